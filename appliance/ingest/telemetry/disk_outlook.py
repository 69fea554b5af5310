"""How much readings will take on disk, and whether the disk lasts. Pure: sizes, day and free space are parameters.

The growth of a day is the mean of the last complete ones. From it and the sizes of the days there are follows, day by
day, what comes and what goes by age, until as much goes as comes: either the disk is full before, or it lasts. Where
days go for room, the oldest goes before the disk is full: then it lasts, and keeps fewer days. Only readings are
counted; whatever else grows on that disk comes on top.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from appliance.db.partitions import DayPartition

MEASURED_DAYS = 7
"""Complete days, at most, whose mean is the growth: a week has each weekday once."""
DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class DiskOutlook:
    """What to expect of the disk. Sizes are bytes, indexes included."""

    growth: int
    """A day."""
    measured_days: int
    """How many complete days that is the mean of."""
    at_most: int
    """What readings take once every day that is kept is as large."""
    free: int | None
    """What is free now; None if that is not known."""
    full_in: int | None
    """Days until that is used up; None if it lasts, or if it is not known."""
    drops_in: int | None = None
    """Days until the first day goes for room, before its age; None: none does."""
    keeps: int | None = None
    """Complete days that are kept then; None: all that the retention says; 0: not even one."""


def disk_outlook(
    days: Sequence[DayPartition], today: date, keep_days: int, free: int | None, room: int | None
) -> DiskOutlook | None:
    """Return what to expect from the UTC day ``today`` on with ``free`` bytes; None before a day is complete.

    ``room``: bytes that readings may take in all before the oldest day goes; None: none goes before its age.
    """
    sizes = {one.day: one.bytes for one in days if not one.empty and one.day <= today}
    first = max(min(sizes, default=today), today - MEASURED_DAYS * DAY)
    measured_days = (today - first).days
    if measured_days == 0:
        return None
    growth = sum(sizes.get(first + n * DAY, 0) for n in range(measured_days)) // measured_days
    at_most = growth * (keep_days + 1)  # and the day that is being filled
    full_in = None if free is None else _used_up_in(sizes, today, keep_days, growth, free)
    drops_in = keeps = None
    if room is not None:
        drops_in = _used_up_in(sizes, today, keep_days, growth, room - sum(sizes.values()))
    if room is not None and drops_in is not None:
        # While the day is filled that has begun, so many complete ones have room. One is the least that helps: it goes
        # in the first hours of the next.
        keeps = max(min(room // growth - 1, keep_days), 0) if growth else keep_days
        if keeps and full_in is not None and drops_in <= full_in:
            full_in = None
    return DiskOutlook(growth, measured_days, at_most, free, full_in, drops_in, keeps)


def _used_up_in(sizes: Mapping[date, int], today: date, keep_days: int, growth: int, free: int) -> int | None:
    """Return after how many days ``free`` bytes are used up, by what comes less what goes; None if never."""
    filled = max(growth, sizes.get(today, 0))
    used = filled - sizes.get(today, 0)
    for n in range(keep_days + 2):  # by then everything that is there today has gone
        if used > free:
            return n
        leaving = today + (n - keep_days) * DAY
        if n == 0:
            gone = sum(size for day, size in sizes.items() if day <= leaving)
        elif leaving < today:
            gone = sizes.get(leaving, 0)
        else:
            gone = filled if leaving == today else growth
        used += growth - gone
    return None
