"""When the next backup is made. Pure: the time, the record and the settings are parameters.

A slot is the time of day that is configured, on each day of its zone. A night in which the appliance was off is made up
for, a failure is tried again, and where there is no good backup yet the first is made soon. While the clock is in doubt
only what has elapsed counts.
"""

from dataclasses import dataclass
from datetime import datetime, time, timedelta, tzinfo

from appliance import local_time
from appliance.backup.record import Record

SETTLE_SECONDS = 60.0
"""Seconds after a start before a backup begins: a start has other things to do."""
RETRY_SECONDS = 3600.0
"""Seconds after a failure until it is tried again."""
DAY_SECONDS = 86_400.0
"""Seconds between two backups while the clock is in doubt."""


@dataclass(frozen=True, slots=True)
class Slots:
    """A time of day, in a zone."""

    at: time
    zone: tzinfo | None

    def before(self, now: float) -> float:
        """Return the newest slot that is not after ``now``."""
        return max(slot for slot in self._around(now) if slot <= now)

    def after(self, now: float) -> float:
        """Return the next slot."""
        return min(slot for slot in self._around(now) if slot > now)

    def _around(self, now: float) -> list[float]:
        day = local_time.wall_clock(now, self.zone).date()
        days = [day + timedelta(days=number) for number in (-2, -1, 0, 1, 2)]
        return [local_time.instant(datetime.combine(each, self.at), self.zone) for each in days]


def due_at(record: Record, slots: Slots, now: float) -> float:
    """Return when the next backup is due by the wall clock, in seconds since 1970; in the past if it is late."""
    last = record.last
    began = None if last is None else last.began_at.timestamp()
    if last is None or began is None or began > now:  # none yet, or written by a clock that was ahead
        return now
    if last.ended_at is None or last.error is not None or record.good is None:
        return began + RETRY_SECONDS
    return slots.after(began)
