"""How much the data folder may take, and which day of readings goes when it takes more. Pure: sizes are parameters.

Two limits hold, the smaller of them at a time. ``retention.max_bytes`` is one of the configuration. The other follows
from the disk: as much is to be free that it is neither low nor full. But only where the data folder has most of what is
taken there. Elsewhere somebody else fills the disk, and readings that go would only make room for more of that.

    within -- own > limit --> over: a checkpoint, so that Postgres gives back what it needs no more, and one look more
    over ---- still over ---> the oldest day goes: refused, rolled up, dropped; then the next look
    over ---- no day ended -> exhausted: today is never dropped, nor is anything but readings

What goes is a day that has ended for :data:`EDGE`, so that its last hours are rolled up.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum

from appliance.db.partitions import DayPartition
from appliance.ingest.telemetry.expiry import DAY, EDGE, Wait, midnight


class Source(StrEnum):
    """Where a limit comes from."""

    MAX_BYTES = "max_bytes"
    """The configuration."""
    DISK = "disk"
    """The size of the disk."""


@dataclass(frozen=True, slots=True)
class Usage:
    """What was measured, in bytes."""

    own: int
    """Everything below the data folder, as the file system counts it: database with log and indexes, the broker's
    store, copies, the reserve."""
    total: int
    """Of the disk of the data folder."""
    free: int
    spare: int
    """What is to be free of it."""


@dataclass(frozen=True, slots=True)
class Limit:
    """What the data folder may take, in bytes."""

    bytes: int
    source: Source


@dataclass(frozen=True, slots=True)
class BudgetTerms:
    """What the configuration says."""

    max_bytes: int
    """0: no limit but the disk."""
    by_disk: bool
    """Whether days go before the disk gets full."""


@dataclass(frozen=True, slots=True)
class BudgetState:
    """The budget as of the last look."""

    usage: Usage | None = None
    """None: not measured, since the disk has room and nothing else limits."""
    limit: Limit | None = None
    day: date | None = None
    """The day that goes now; None while none has to, or none can."""
    wait: Wait | None = None
    """What keeps it; also without a day, where the clock is in doubt."""
    exhausted: bool = False
    """Whether more is taken than may be, and no day can go."""

    @property
    def over(self) -> int:
        """Return the bytes that are taken beyond the limit, 0 within it."""
        return 0 if self.usage is None or self.limit is None else max(0, self.usage.own - self.limit.bytes)

    def room_for(self, readings: int) -> int | None:
        """Return how many bytes readings may take in all, of which ``readings`` are taken; None without a limit."""
        if self.usage is None or self.limit is None:
            return None
        return max(0, self.limit.bytes - self.usage.own + readings)


def limit_of(usage: Usage, terms: BudgetTerms) -> Limit | None:
    """Return the limit that holds; None: nothing limits what is taken but the end of the disk."""
    limits = []
    if terms.max_bytes:
        limits.append(Limit(terms.max_bytes, Source.MAX_BYTES))
    if terms.by_disk and 2 * usage.own >= usage.total - usage.free:
        limits.append(Limit(max(0, usage.own + usage.free - usage.spare), Source.DISK))
    return min(limits, key=lambda one: one.bytes, default=None)


def budget_cutoff(now: datetime) -> datetime:
    """Return the moment by which a day must have ended to go for room."""
    return now - EDGE


def has_ended(days: Sequence[DayPartition], now: datetime) -> bool:
    """Return whether there is a day with readings that may go now or soon."""
    return any(not one.empty and midnight(one.day) + DAY <= now for one in days)


def next_to_go(days: Sequence[DayPartition], now: datetime) -> DayPartition | None:
    """Return the oldest day with readings that may go for room; None: there is none."""
    before = budget_cutoff(now)
    ended = (one for one in days if not one.empty and midnight(one.day) + DAY <= before)
    return min(ended, key=lambda one: one.day, default=None)
