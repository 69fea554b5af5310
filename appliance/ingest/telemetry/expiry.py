"""Which days of readings may go, when, and what they wait for. Pure: the days and the time are parameters.

A day goes as a whole, once all of it is older than the retention. Days are those of UTC, as partitions are, whatever
the zones of tenants. Admission refuses a reading that is older than the retention when it is received. What it accepts
is stored, and its hour queued for a roll-up, a moment later: so days are kept for ``EDGE`` longer than readings of them
are accepted.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum

from appliance.db.partitions import DayPartition

DAY = timedelta(days=1)
EDGE = timedelta(hours=1)
"""How long the last reading that was accepted for a day may take to be stored. One that takes longer (Postgres was
away) makes its day anew, which is dropped again once it is rolled up."""
FAR_AHEAD = timedelta(days=31)
"""From here on a day in the future was made by a wrong clock. The database itself refuses a day within 30 days."""


class Cause(StrEnum):
    """Why a day goes."""

    AGE = "age"
    """All of it is older than the retention."""
    AHEAD = "ahead"
    """It is empty, and so far in the future that a wrong clock made it."""
    MAX_BYTES = "max_bytes"
    """It is the oldest, and all take more than the configuration says: see ``budget.py``."""
    DISK = "disk"
    """It is the oldest, and the disk is nearly full: see ``budget.py``."""


class Wait(StrEnum):
    """What keeps a day that is past its age."""

    CLOCK = "clock"
    """The wall clock is in doubt: nothing is dropped."""
    ROLLUPS = "rollups"
    """Hours of it are still to be rolled up."""
    LOCK = "lock"
    """Somebody read or wrote telemetry for longer than the drop waits for its lock."""
    BACKUP = "backup"
    """A backup reads all tables, and ends within hours."""
    PASSING = "passing"
    """The disk is short for minutes only: what takes the room may go by itself."""
    ASIDE = "aside"
    """What a restore replaced takes the room, and is to be removed by a person."""
    TURN = "turn"
    """Nothing: it goes in one of the next rounds."""


@dataclass(frozen=True, slots=True)
class ExpiredDay:
    """A day that may go."""

    partition: DayPartition
    cause: Cause


def cutoff(now: datetime, keep_days: int) -> datetime:
    """Return the moment that is older than everything to be kept: a day that ends by then is expired."""
    return now.astimezone(UTC) - timedelta(days=keep_days) - EDGE


def midnight(day: date) -> datetime:
    """Return when a UTC day begins."""
    return datetime.combine(day, time(), UTC)


def expires_at(day: date, keep_days: int) -> datetime:
    """Return the moment from which on a day is expired."""
    return midnight(day) + DAY + timedelta(days=keep_days) + EDGE


def expired(days: Sequence[DayPartition], now: datetime, keep_days: int) -> Iterator[ExpiredDay]:
    """Yield the days that may go, the oldest first."""
    before = cutoff(now, keep_days)
    for partition in sorted(days, key=lambda one: one.day):
        if midnight(partition.day) + DAY <= before:
            yield ExpiredDay(partition, Cause.AGE)
        elif partition.empty and not partition.pending_hours and midnight(partition.day) - FAR_AHEAD > now:
            yield ExpiredDay(partition, Cause.AHEAD)


def waits_for(one: ExpiredDay, *, trusted: bool, blocked: Wait | None) -> Wait:
    """Return what keeps an expired day. ``blocked``: why the lock was not had when a day was last tried.

    That concerns every day, since whoever reads or writes telemetry locks all of it.
    """
    if not trusted:
        return Wait.CLOCK
    if one.partition.pending_hours:
        return Wait.ROLLUPS
    return blocked or Wait.TURN
