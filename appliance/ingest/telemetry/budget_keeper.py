"""Lets the oldest day of readings go when the data folder takes more than it may, one day at a time.

Enters: what the folder takes, measured by a function that is handed in, and the limits. Leaves: fewer partitions, each
with its count in the ledger and its audit row, and readings of those days refused. Never: a drop of the present day or
of anything but readings, one in doubt of the clock, one that holds up the stream for longer than its lock timeout.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime

import psycopg
import structlog
import trio

from appliance.clock import Clock
from appliance.db.partitions import DayPartition, read_days
from appliance.db.pool import Pool
from appliance.ingest.telemetry.budget import (
    LASTING_SECONDS,
    BudgetState,
    BudgetTerms,
    Source,
    Usage,
    budget_cutoff,
    has_ended,
    limit_of,
    next_to_go,
    pressing,
)
from appliance.ingest.telemetry.day_dropper import DayDropper
from appliance.ingest.telemetry.expiry import DAY, Cause, ExpiredDay, Wait
from appliance.ingest.telemetry.kept_since import KeptSince
from appliance.runtime.activity import activity
from appliance.runtime.periodic import every

LOOK_SECONDS = 2.0
"""Seconds between two looks."""
MEASURE_SECONDS = 10.0
"""Seconds between two measurements of a data folder within its limit, which walk some thousand files in a thread. Where
only the disk limits, and has room, there are none."""
SOON_SECONDS = 1.0
"""Seconds until the next look while a day is about to go. A look that finds its lock taken may hold up the stream."""
BLOCKED_SECONDS = 15.0
"""Seconds until a lock that was not had is tried again, as while a backup reads."""
SETTLE_SECONDS = 3.0
"""Seconds after which readings that were accepted before their day was closed are stored, and their hours queued."""
ROLL_SECONDS = 5.0
"""Seconds of a round in which hours are rolled up."""
PATIENCE, PATIENCE_WHEN_FULL = 600.0, 30.0
"""Seconds for which a day waits for its roll-ups. Then it goes without those that are missing, and the audit says how
many: while the disk is full nothing is stored, and what comes in is worth more than the hours of a day that goes."""
CHECKPOINT_SECONDS = 60.0
"""Seconds until there is another checkpoint without a day that has gone since the last."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Premises:
    """What the budget is handed of the process around it."""

    has_room: Callable[[], bool]
    """Whether as much of the disk is free as is to be."""
    is_full: Callable[[], bool]
    """Whether the disk is full: nothing is stored."""
    measure: Callable[[], Awaitable[Usage]]
    roll_up: Callable[[date], Awaitable[int]]
    """Rolls up some of the queued hours of a day; returns how many, 0 once there are none, or while another does it."""
    checkpoint: Callable[[], Awaitable[None]]
    """Has Postgres give back what it needs no more."""


CAUSES = {Source.MAX_BYTES: Cause.MAX_BYTES, Source.DISK: Cause.DISK}
"""What the audit says of a day that goes for a limit from there."""


@dataclass(slots=True)
class _Closing:
    """The day that is about to go. Times are monotonic seconds."""

    day: date
    since: float


class BudgetKeeper:
    """Keeps the data folder within its limit."""

    def __init__(
        self,
        pool: Pool,
        clock: Clock,
        dropper: DayDropper,
        kept_since: KeptSince,
        terms: BudgetTerms,
        premises: Premises,
        failpoint: Callable[[str], None],
    ) -> None:
        self._pool = pool
        self._clock = clock
        self._dropper = dropper
        self._kept_since = kept_since
        self._terms = terms
        self._premises = premises
        self._failpoint = failpoint
        self._closing: _Closing | None = None
        self._gone_until: date | None = None
        """The day after the newest that has gone."""
        self._checkpoint_at = self._measure_at = float("-inf")
        self._short_since: float | None = None
        """Since when the disk is short, in monotonic seconds."""
        self._reported: BudgetState = BudgetState()
        self.state = BudgetState()
        """As of the last look."""

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Look now and every LOOK_SECONDS, without end."""
        await every(LOOK_SECONDS, self.round, chore="disk budget", task_status=task_status)

    async def round(self) -> float | None:
        """Look once, and bring the day that goes one step further; return the seconds until the next look.

        Raises psycopg.Error, OSError: Postgres is away, or has no room; the next round goes on.
        """
        if not self._terms.max_bytes and (not self._terms.by_disk or self._premises.has_room()):
            self._within(BudgetState())
            return None
        monotonic = self._clock.monotonic()
        if self._premises.has_room() and not self.state.over and monotonic < self._measure_at:
            return None
        usage = await self._premises.measure()
        self._measure_at = monotonic + MEASURE_SECONDS
        state = BudgetState(usage, limit_of(usage, self._terms))
        if not state.over:
            self._within(state)
            return None
        if self._closing is None and monotonic >= self._checkpoint_at:
            self._checkpoint_at = monotonic + CHECKPOINT_SECONDS
            self._settle(replace(self.state, usage=state.usage, limit=state.limit))
            await self._premises.checkpoint()
            self._failpoint("after_checkpoint")
            return 0.0
        return await self._make_room(state)

    async def _make_room(self, state: BudgetState) -> float | None:
        """Choose the day that goes, or bring it one step further."""
        usage, limit = state.usage, state.limit
        if limit is None or not state.due:
            self._within(BudgetState(usage, limit, wait=Wait.ASIDE, exhausted=True))
            return MEASURE_SECONDS
        if self._closing is None and self._may_pass(state):
            self._settle(BudgetState(usage, limit, wait=Wait.PASSING))
            return None
        if not self._clock.trusted:
            self._settle(BudgetState(usage, limit, wait=Wait.CLOCK))
            return None
        async with self._pool.connection() as connection:
            days = await read_days(connection)
        now = self._now()
        one = next_to_go(days, now)
        if one is None:  # within the first hour of a day, the day before goes soon
            self._settle(BudgetState(usage, limit, exhausted=not has_ended(days, now)))
            return None
        wait = await self._let_go(one, CAUSES[limit.source])
        self._settle(BudgetState(usage, limit, None if wait is None else one.day, wait))
        return BLOCKED_SECONDS if wait is Wait.LOCK and not self._premises.is_full() else SOON_SECONDS

    def _may_pass(self, state: BudgetState) -> bool:
        """Return whether the disk is short for so short a time that it may have room again by itself."""
        usage, limit = state.usage, state.limit
        if usage is None or limit is None or limit.source is not Source.DISK:
            return False
        monotonic = self._clock.monotonic()
        if self._short_since is None:
            self._short_since = monotonic
        return not pressing(usage) and monotonic - self._short_since < LASTING_SECONDS

    async def _let_go(self, one: DayPartition, cause: Cause) -> Wait | None:
        """Close a day to further readings, roll up its hours, drop it for ``cause``: a step a call.

        Returns what it waits for, None if it has gone.
        """
        now, closing = self._clock.monotonic(), self._closing
        if closing is None or closing.day != one.day:
            closing = self._closing = _Closing(one.day, now)
            if self._kept_since.day is None or self._kept_since.day <= one.day:
                self._kept_since.set(one.day + DAY)
            self._failpoint("after_day_closed")
        if now - closing.since < SETTLE_SECONDS:
            return Wait.TURN
        room_for_rollups = await self._roll_up(one.day)
        self._failpoint("after_day_rolled_up")
        patience = PATIENCE_WHEN_FULL if self._premises.is_full() else PATIENCE
        without = not room_for_rollups or now - closing.since >= patience
        at = self._now()
        expired = ExpiredDay(one, cause)
        wait, gone = await self._dropper.drop(expired, cutoff=budget_cutoff(at), now=at, without_rollups=without)
        if gone:
            self._closing, self._gone_until = None, max(one.day + DAY, self._gone_until or one.day)
            self._checkpoint_at = float("-inf")
        return None if gone else wait

    async def _roll_up(self, day: date) -> bool:
        """Roll up queued hours of a day for a while; return whether Postgres had room for that."""
        try:
            with trio.move_on_after(ROLL_SECONDS):
                while await self._premises.roll_up(day):
                    pass
        except psycopg.errors.DiskFull:
            return False
        return True

    def _within(self, state: BudgetState) -> None:
        """Let nothing go: a day that was about to, and has not, is written to again."""
        self._short_since = None
        if self._closing is not None:
            self._closing = None
            self._kept_since.set(self._gone_until)
        self._settle(state)

    def _settle(self, state: BudgetState) -> None:
        """Make ``state`` the present one, and log what is new of it."""
        self.state, before = state, self._reported
        if state.exhausted and not before.exhausted:
            wait = None if state.wait is None else state.wait.value
            log.warning("more is taken than may be, and no day of readings can go", over=state.over, waits_for=wait)
        elif state.day is not None and (state.day, state.wait) != (before.day, before.wait):
            wait = None if state.wait is None else state.wait.value
            log.info("a day goes to make room", day=state.day.isoformat(), over=state.over, waits_for=wait)
        elif state.wait is Wait.CLOCK and before.wait is not Wait.CLOCK:
            log.warning("no day goes to make room: the clock is in doubt", over=state.over)
        self._reported = state
        activity().doing(_in_words(state))

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._clock.now(), UTC)


def _in_words(state: BudgetState) -> str:
    """Return what the task tree says."""
    if state.usage is None or state.limit is None:
        return "the disk has room"
    taken = f"{state.usage.own // 1_000_000:,} of {state.limit.bytes // 1_000_000:,} MB are taken"
    if state.day is not None:
        return f"{taken}, {state.day.isoformat()} goes"
    return f"{taken}, no day can go" if state.exhausted else taken
