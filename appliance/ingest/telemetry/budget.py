"""How much the data folder may take, and which day of readings goes when it takes more. Pure: sizes are parameters.

Two limits hold, the smaller of them at a time. ``retention.max_bytes`` is one of the configuration. The other follows
from the disk: as much is to be free that it is neither low nor full. But only where the data folder has most of what is
taken there. Elsewhere somebody else fills the disk, and readings that go would only make room for more of that.

    within -- own > limit --> over: a checkpoint, so that Postgres gives back what it needs no more, and one look more
    over ---- still over ---> the oldest day goes: refused, rolled up, dropped; then the next look
    over ---- no day ended -> exhausted: today is never dropped, nor is anything but readings
    over ---- by no more than what a restore set aside -> exhausted: that is to go first, by a person

What goes is a day that has ended for :data:`EDGE`, so that its last hours are rolled up. For the disk it goes once the
disk is short for :data:`LASTING_SECONDS`, or as soon as it is :func:`pressing`: a backup that is written there, or a
file that is unpacked, is gone by then.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum

from appliance.db.partitions import DayPartition
from appliance.ingest.telemetry.expiry import DAY, EDGE, Wait, midnight

LASTING_SECONDS = 900.0
"""Seconds for which the disk is short before a day goes for it. A day that has gone does not come back."""


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
    aside: int = 0
    """Of the own: what a restore builds, and what it replaced."""


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

    @property
    def due(self) -> int:
        """Return the bytes for which days go: what is over beyond what a restore set aside.

        Else the data that were replaced, and that nobody needs any more, would push out those that were restored.
        """
        return 0 if self.usage is None else max(0, self.over - self.usage.aside)

    def room_for(self, readings: int) -> int | None:
        """Return how many bytes readings may take in all, of which ``readings`` are taken; None without a limit."""
        if self.usage is None or self.limit is None:
            return None
        return max(0, self.limit.bytes - self.usage.own + self.usage.aside + readings)


def limit_of(usage: Usage, terms: BudgetTerms) -> Limit | None:
    """Return the limit that holds; None: nothing limits what is taken but the end of the disk."""
    limits = []
    if terms.max_bytes:
        limits.append(Limit(terms.max_bytes, Source.MAX_BYTES))
    if terms.by_disk and 2 * (usage.own - usage.aside) >= usage.total - usage.free:
        limits.append(Limit(max(0, usage.own + usage.free - usage.spare), Source.DISK))
    return min(limits, key=lambda one: one.bytes, default=None)


def pressing(usage: Usage) -> bool:
    """Return whether so little is free that a day goes at once. Half as far down, and messages are not stored."""
    return 4 * usage.free < 3 * usage.spare


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
