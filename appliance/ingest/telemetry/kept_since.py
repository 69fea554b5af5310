"""From when on readings are kept: for so many days, and where days go for room before their age, from a day on.

A reading of a day that has gone so, or is about to, would go again with the next drop. So it is refused as one past the
retention is, and who drops a day has it for itself: nobody stores readings of it any more, or queues hours of it.
"""

from datetime import UTC, date, datetime, time

from appliance.counted import counted
from appliance.reading import Reason, Refusal

MICROSECONDS = 1_000_000
DAY = 86_400 * MICROSECONDS


class KeptSince:
    """How old a reading may be. It is this process's: an embedded Postgres, which days go from for room, has one."""

    __slots__ = ("day", "longest", "ts")

    def __init__(self, days: int) -> None:
        """``days``: the retention."""
        self.longest = days * DAY
        """The retention, in microseconds."""
        self.day: date | None = None
        """The first day of UTC that is kept by the budget; None: the age alone counts, as after a start."""
        self.ts = 0
        """Where :attr:`day` begins, in microseconds since 1970."""

    def set(self, day: date | None) -> None:
        """Take readings from ``day`` on."""
        self.day = day
        self.ts = 0 if day is None else round(datetime.combine(day, time(), UTC).timestamp()) * MICROSECONDS

    def too_old(self, age: int) -> Refusal:
        """Return the refusal of a reading that is not kept; ``age``: at its receipt, in microseconds."""
        if age > self.longest:
            detail = f"older than the retention of {counted(self.longest // DAY, 'day')} (retention.days)"
        else:
            detail = f"of a day that has gone to make room: readings are kept from {self.day} on (days of UTC)"
        return Refusal(Reason.TIMESTAMP_TOO_OLD, detail)
