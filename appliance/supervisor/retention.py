"""Part of the stream's stage: days of readings that go, by their age and to make room."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import date
from functools import partial

import trio
from psycopg.conninfo import make_conninfo

from appliance.db import statements
from appliance.db.trio_psycopg import connect
from appliance.diagnostics.process_metrics import Disk, ProcessMetrics, measure
from appliance.disk.watch import DiskWatch
from appliance.history.roller import Roller
from appliance.ingest.telemetry.budget import BudgetState, BudgetTerms, Usage, limit_of
from appliance.ingest.telemetry.budget_keeper import BudgetKeeper, Premises
from appliance.ingest.telemetry.day_dropper import DayDropper
from appliance.ingest.telemetry.kept_since import KeptSince
from appliance.ingest.telemetry.retention import TelemetryRetention
from appliance.supervisor.foundation import Foundation
from appliance.supervisor.storage import ANY_DATABASE, SUPERUSER, Storage

CHECKPOINT_PATIENCE = 60.0
"""Seconds that a checkpoint may take; after that it goes on by itself, and the disk is looked at."""

STATEMENTS = statements.load("db")


@dataclass(frozen=True, slots=True)
class Retention:
    """What lets days of readings go."""

    by_age: TelemetryRetention
    budget: BudgetKeeper | None
    """None with a database elsewhere, whose disk is not ours to watch."""


async def start_retention(base: Foundation, storage: Storage, kept_since: KeptSince, roller: Roller) -> Retention:
    """Start dropping days: only now, when what a crash left is queued for its roll-up."""
    config, clock, pool = base.config, base.clock, storage.pool
    dropper = DayDropper(pool, base.instance, base.metrics, base.failpoints)
    by_age = TelemetryRetention(pool, clock, dropper, keep_days=config.retention.days, metrics=base.metrics)
    await base.tree.start("retention", by_age.run)
    if storage.postgres is None:
        return Retention(by_age, None)
    checkpoint = partial(_checkpoint, make_conninfo(storage.endpoint.base, user=SUPERUSER, dbname=ANY_DATABASE))
    premises = premises_of(base, roller.roll_day, checkpoint)
    keeper = BudgetKeeper(pool, clock, dropper, kept_since, budget_terms(base), premises, base.failpoints)
    await base.tree.start("disk budget", keeper.run)
    return Retention(by_age, keeper)


def premises_of(
    base: Foundation, roll_up: Callable[[date], Awaitable[int]], checkpoint: Callable[[], Awaitable[None]]
) -> Premises:
    """Return what the budget is told of the disk, as of the last look at it, and what it can have done."""
    return Premises(
        has_room=lambda: base.disk.room.free >= base.disk.spare,
        is_full=lambda: base.disk.full is not None,
        measure=partial(_measure, base),
        roll_up=roll_up,
        checkpoint=checkpoint,
    )


def budget_state(base: Foundation, retention: Retention, process: ProcessMetrics) -> BudgetState | None:
    """Return the budget as of the last look; where none was needed, by what is measured once a minute."""
    if retention.budget is None:
        return None
    state = retention.budget.state
    if state.usage is not None or process.disk is None:
        return state
    usage = usage_of(process.disk, base.disk)
    return BudgetState(usage, limit_of(usage, budget_terms(base)))


def budget_terms(base: Foundation) -> BudgetTerms:
    """Return what the configuration says of the disk budget."""
    return BudgetTerms(base.config.retention.max_bytes, by_disk=base.config.retention.when_full == "drop")


def usage_of(disk: Disk, watch: DiskWatch) -> Usage:
    """Return what was measured as the budget sees it."""
    own = disk.postgres + disk.broker + disk.rest + disk.reserve
    return Usage(own, disk.total, disk.free, watch.spare, disk.aside)


async def _measure(base: Foundation) -> Usage:
    """Walk the data folder in a thread, abandoned at the end of the process: it only reads."""
    disk = await trio.to_thread.run_sync(measure, base.data.path, abandon_on_cancel=True)
    return usage_of(disk, base.disk)


async def _checkpoint(conninfo: str) -> None:
    with trio.move_on_after(CHECKPOINT_PATIENCE):
        async with await connect(conninfo) as connection:
            await connection.execute(STATEMENTS["checkpoint"])
