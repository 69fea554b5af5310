"""Alerts that no device's reading causes: what watches them is handed what the appliance knows of itself."""

import socket
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from appliance.alerts.conditions.own import (
    QUIET_SECONDS,
    ClockDoubt,
    EndingCertificate,
    Exceeded,
    FloodingUser,
    MissingBackup,
    OwnConditions,
    OwnState,
    SharedId,
)
from appliance.alerts.conditions.watcher import ConditionWatcher
from appliance.db.partitions import read_days
from appliance.db.trio_psycopg import Connection
from appliance.diagnostics.process_metrics import ProcessMetrics
from appliance.disk.levels import DiskState
from appliance.ingest.telemetry.budget import BudgetState, Source
from appliance.ingest.telemetry.disk_outlook import disk_outlook
from appliance.ingest.telemetry.expiry import Wait
from appliance.supervisor.broker import BrokerAccess
from appliance.supervisor.foundation import Foundation
from appliance.supervisor.retention import Retention, budget_state
from appliance.supervisor.storage import Storage

LISTENERS = {"web": "dashboard", "broker": "broker"}
"""The listeners under TLS in the words of an alert."""


@dataclass(frozen=True, slots=True)
class Watch:
    """What the appliance notes of itself."""

    process: ProcessMetrics
    own: OwnConditions
    """What is wrong with it."""


async def open_watch(base: Foundation, storage: Storage, broker: BrokerAccess, retention: Retention) -> Watch:
    """Measure the process, and open and close the alerts of conditions."""
    clock, tree, statistics = base.clock, base.tree, broker.statistics
    process = ProcessMetrics(
        base.metrics, clock, base.data.path, queue=lambda: statistics.waiting, each_second=tree.sample
    )
    await tree.start("process metrics", process.run)
    await tree.start("disk usage", process.watch_disk)
    own = OwnConditions(
        base.instance,
        socket.gethostname(),
        partial(_own_state, base, broker, retention),
        clock,
        own_broker=broker.embedded is not None,
    )
    own.look()
    await tree.start("own conditions", own.run)
    watcher = ConditionWatcher(
        storage.pool,
        clock,
        own,
        partial(_full_in, base, retention, process),
        grace=base.grace,
        reopen_after=timedelta(seconds=base.config.alerts.reopen_after),
    )
    await tree.start("alert conditions", watcher.run)
    return Watch(process, own)


def _own_state(base: Foundation, broker: BrokerAccess, retention: Retention) -> OwnState:
    doubt, room, health = base.clock.doubt, base.disk.room, broker.health()
    return OwnState(
        {**health.warnings(), **health.causes()},
        broker.statistics.dropped,
        room.free,
        room.total,
        base.disk.state is not DiskState.OK,
        None if doubt is None else ClockDoubt(doubt.cause.value, doubt.since),
        [
            SharedId(one.client_id, one.users, one.times)
            for one in broker.log.client_ids.shared()
            if one.repeated and base.clock.now() - one.last_at < QUIET_SECONDS
        ],
        [FloodingUser(one.user, one.detail, one.times) for one in broker.floods.current()],
        _exceeded(retention),
        _ending(base),
        {LISTENERS[name]: cause for name, cause in base.certificates.troubles.items()},
        _without_backup(base),
    )


def _without_backup(base: Foundation) -> MissingBackup | None:
    trouble = None if base.backups is None else base.backups.trouble()
    return None if trouble is None else MissingBackup(trouble.cause, trouble.since)


def _exceeded(retention: Retention) -> Exceeded | None:
    """Return the limit of the configuration that is exceeded although no day can go. Of the disk's, its room tells."""
    state = BudgetState() if retention.budget is None else retention.budget.state
    if not state.exhausted or state.usage is None or state.limit is None or state.limit.source is not Source.MAX_BYTES:
        return None
    return Exceeded(state.usage.own, state.limit.bytes, state.wait is Wait.ASIDE)


def _ending(base: Foundation) -> list[EndingCertificate]:
    now = datetime.fromtimestamp(base.clock.now(), UTC)
    return [
        EndingCertificate(LISTENERS[name], one.not_after, one.not_after <= now)
        for name, one in base.certificates.expiring(now)
    ]


async def _full_in(
    base: Foundation, retention: Retention, process: ProcessMetrics, connection: Connection[Any], now: datetime
) -> int | None:
    """Return after how many days readings fill the disk; None: they do not, or days go for room before.

    Only an embedded Postgres keeps them on the measured one.
    """
    budget = budget_state(base, retention, process)
    if budget is None or process.disk is None:
        return None
    days, today = await read_days(connection), now.astimezone(UTC).date()
    room = budget.room_for(sum(one.bytes for one in days if not one.empty))
    outlook = disk_outlook(days, today, base.config.retention.days, process.disk.free, room)
    return None if outlook is None else outlook.full_in
