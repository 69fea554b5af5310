"""A keeper of the disk budget over a database: the test says what is taken, the days are real."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import date, datetime

import psycopg

from appliance.db.partitions import read_days
from appliance.db.pool import Pool, open_pool
from appliance.db.roles import INGEST
from appliance.history.roller import Roller
from appliance.ingest.telemetry.budget import BudgetTerms, Usage
from appliance.ingest.telemetry.budget_keeper import CHECKPOINT_SECONDS, MEASURE_SECONDS, BudgetKeeper, Premises
from appliance.ingest.telemetry.day_dropper import DayDropper
from appliance.ingest.telemetry.expiry import Wait
from appliance.ingest.telemetry.kept_since import KeptSince
from appliance.metrics import Metrics
from tests.support.postgres_server import Database
from tests.support.retention import Clock

DISK = 10**12
MOST = 10**9
"""Bytes that may be taken."""


@dataclass
class Stepping(Clock):
    """A clock whose monotonic time the test moves."""

    seconds: float = 0.0

    def monotonic(self) -> float:
        return self.seconds


@dataclass
class Budgeted:
    """A data folder: the days of a database, and ``others`` beside them, of which MOST may be taken."""

    pool: Pool
    clock: Stepping
    others: int
    failpoint: Callable[[str], None] = lambda _name: None
    terms: BudgetTerms = field(default_factory=lambda: BudgetTerms(MOST, by_disk=False))
    full: bool = False
    free: int = DISK // 2
    spare: int = 0
    aside: int = 0
    """Bytes of ``others`` that a restore set aside."""
    total: int = DISK
    checkpoints: int = 0
    measured: int = 0
    rolls_up: bool | psycopg.Error = True
    """Whether hours are rolled up; an error is raised."""
    kept_since: KeptSince = field(default_factory=lambda: KeptSince(30))

    def __post_init__(self) -> None:
        self.roller = Roller(self.pool, self.clock, keep_days=400, settle=-1.0)
        premises = Premises(
            has_room=lambda: self.free >= self.spare,
            is_full=lambda: self.full,
            measure=self.measure,
            roll_up=self.roll_up,
            checkpoint=self.checkpoint,
        )
        dropper = DayDropper(self.pool, "one", Metrics(), self.failpoint)
        self.keeper = BudgetKeeper(
            self.pool, self.clock, dropper, self.kept_since, self.terms, premises, self.failpoint
        )

    async def measure(self) -> Usage:
        """Return what is taken now."""
        self.measured += 1
        async with self.pool.connection() as connection:
            days = await read_days(connection)
        own = self.others + sum(one.bytes for one in days if not one.empty)
        return Usage(own, self.total, self.free, self.spare, self.aside)

    async def size_of_a_day(self) -> int:
        """Return what the oldest day takes; all are taken to be as large."""
        async with self.pool.connection() as connection:
            return next(one.bytes for one in await read_days(connection) if not one.empty)

    async def roll_up(self, day: date) -> int:
        """Roll up as the appliance does, or find nothing to do."""
        if isinstance(self.rolls_up, psycopg.Error):
            raise self.rolls_up
        return await self.roller.roll_day(day) if self.rolls_up else 0

    async def checkpoint(self) -> None:
        """Count it."""
        self.checkpoints += 1

    async def step(self, seconds: float = MEASURE_SECONDS) -> Wait | None:
        """Make a round after so many seconds; return what the day waits for."""
        self.clock.seconds += seconds
        await self.keeper.round()
        return self.keeper.state.wait

    async def settle(self) -> None:
        """Make rounds until nothing has to go, or nothing can."""
        for _ in range(100):
            await self.step()
            if not self.keeper.state.over or self.keeper.state.exhausted:
                return
        raise AssertionError(self.keeper.state)


@asynccontextmanager
async def budgeted(
    database: Database, now: datetime, *, others: int, trusted: bool = True, **more: object
) -> AsyncIterator[Budgeted]:
    """Open a keeper; the first checkpoint is due at once, others CHECKPOINT_SECONDS later or after a day that went."""
    async with open_pool(database.conninfo(INGEST), name="budget", min_size=1, max_size=3) as pool:
        yield Budgeted(pool, Stepping(now, trusted, CHECKPOINT_SECONDS), others, **more)  # type: ignore[arg-type]
