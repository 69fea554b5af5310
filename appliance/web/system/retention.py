"""What the System page and its API tell of the days of readings: kept, next to go, waiting, and what to expect."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime

import msgspec

from appliance.db.partitions import DayPartition
from appliance.ingest.telemetry.budget import BudgetState, Source
from appliance.ingest.telemetry.disk_outlook import DiskOutlook, disk_outlook
from appliance.ingest.telemetry.expiry import Wait, expired, expires_at, waits_for


@dataclass(frozen=True, slots=True)
class DaySize:
    """A UTC day that has readings, and what they take, indexes included."""

    day: date
    bytes: int


@dataclass(frozen=True, slots=True)
class Budget:
    """What may be taken by all that is below the data folder. Sizes are bytes."""

    taken: int
    limit: int
    source: Source
    """Whether the configuration says so, or the size of the disk."""
    going: date | None
    """The day that goes now to make room."""
    wait: Wait | None
    """What keeps it; also where no day goes since the clock is in doubt."""
    exhausted: bool
    """Whether more is taken, and no day can go."""


@dataclass(frozen=True, slots=True)
class WaitingDay:
    """A day past its age that is still there, and what keeps it."""

    day: date
    reason: Wait
    pending_hours: int
    """Hours of devices that are still to be rolled up."""


class RetentionView(msgspec.Struct, frozen=True):
    """The readings that are kept. Sizes are bytes, days are those of UTC, times are seconds since 1970."""

    keep_days: int
    """As configured."""
    bytes: int
    days: Sequence[DaySize]
    """The oldest first."""
    next_day: date | None
    """The day that goes next, if nothing keeps it; None without readings."""
    next_at: float | None
    """When it goes; in the past for a day that waits."""
    waiting: Sequence[WaitingDay]
    outlook: DiskOutlook | None
    """None before a day is complete."""
    budget: Budget | None = None
    """None where nothing but the end of the disk limits what is taken, or where that is not known yet."""


def retention_view(
    days: Sequence[DayPartition],
    now: float,
    keep_days: int,
    *,
    trusted: bool,
    blocked: Wait | None,
    free: int | None,
    budget: BudgetState | None,
) -> RetentionView:
    """Return what there is to tell at ``now``; ``free`` is the space on the disk of the readings, if it is known."""
    moment = datetime.fromtimestamp(now, UTC)
    kept = [DaySize(one.day, one.bytes) for one in days if not one.empty]
    next_day = kept[0].day if kept else None
    taken = sum(one.bytes for one in kept)
    room = None if budget is None else budget.room_for(taken)
    return RetentionView(
        keep_days=keep_days,
        bytes=taken,
        days=kept,
        next_day=next_day,
        next_at=None if next_day is None else expires_at(next_day, keep_days).timestamp(),
        waiting=[
            WaitingDay(one.partition.day, waits_for(one, trusted=trusted, blocked=blocked), one.partition.pending_hours)
            for one in expired(days, moment, keep_days)
            if not one.partition.empty
        ],
        outlook=disk_outlook(days, moment.date(), keep_days, free, room),
        budget=_budget(budget),
    )


def _budget(state: BudgetState | None) -> Budget | None:
    if state is None or state.usage is None or state.limit is None:
        return None
    return Budget(
        state.usage.own, state.limit.bytes, state.limit.source, state.day, state.wait, exhausted=state.exhausted
    )
