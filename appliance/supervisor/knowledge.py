"""The second stage: what is known of devices, their seats and their limits, in memory."""

import socket
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial

from appliance import __version__, housekeeping
from appliance.alerts.maintenance.book import MAINTENANCE_CHANNEL, MaintenanceBook
from appliance.db.pool import Pool
from appliance.devices.live.clock_step import ClockStep
from appliance.devices.live.rebuild import rebuild_rollup_queue, rebuild_states
from appliance.devices.live.state_book import StateBook
from appliance.devices.registry.cache import REGISTRY_CHANNEL, Registry
from appliance.devices.registry.limits import LimitOverrides
from appliance.devices.registry.provisioning import Provisioner
from appliance.ingest.batch import MICROSECONDS
from appliance.ingest.charging import Charging
from appliance.ingest.limits.allowances import NotedAllowances
from appliance.ingest.limits.limiter import Limiter
from appliance.ingest.limits.terms import BucketOverride
from appliance.offboarding.worker import DeletionWorker
from appliance.peers import store as peers
from appliance.renewals.life import SubscriptionLife
from appliance.service_clock.service_time import Step
from appliance.supervisor import timekeeping
from appliance.supervisor.foundation import Foundation
from appliance.supervisor.room import persist
from appliance.supervisor.storage import Storage


@dataclass(frozen=True, slots=True)
class Knowledge:
    """The caches that admission asks."""

    states: StateBook
    provisioner: Provisioner
    registry: Registry
    limiter: Limiter
    charging: Charging
    maintenance: MaintenanceBook


async def open_knowledge(base: Foundation, storage: Storage) -> Knowledge:
    """Read what is known, and follow the database's changes from now on."""
    config, tree, pool, clock = base.config, base.tree, storage.pool, base.clock
    states = StateBook(config.limits.max_tracked_devices)
    await persist(base.disk, partial(_heal_records, base, pool), what="records")
    provisioner = Provisioner(pool, grace=base.grace, max_wait=config.provisioning.max_wait, clock=clock)
    await tree.start("provisioner", provisioner.run)
    registry = Registry(
        pool,
        states,
        provisioner,
        clock,
        capacity=config.limits.max_tracked_devices,
        refusal_ttl=config.provisioning.refusal_ttl,
        grace=base.grace,
    )
    overrides = LimitOverrides(pool)
    noted = NotedAllowances(states, registry.tenant, clock)
    limiter = Limiter(
        rate=config.limits.rate,
        burst=config.limits.burst,
        tenant_rate=config.limits.tenant_rate,
        bucket_ttl=config.limits.bucket_ttl,
        max_tracked_devices=config.limits.max_tracked_devices,
        overrides=partial(_bucket_override, overrides),
        backlog=config.limits.backlog,
        allowances=noted.get,
    )
    clock.subscribe(partial(_clock_changed, base, states, registry))
    await timekeeping.keep_time(base, pool, storage.changes, states)
    storage.changes.subscribe(REGISTRY_CHANNEL, registry.changed, registry.forget)
    storage.changes.subscribe(REGISTRY_CHANNEL, overrides.changed, overrides.forget)
    await tree.start("limit overrides", overrides.run, lambda: limiter.limits_changed(clock.monotonic()))
    life = SubscriptionLife(pool, clock, grace=base.grace)
    storage.changes.subscribe(REGISTRY_CHANNEL, life.changed, life.forget)
    await tree.start("life of subscriptions", life.run)
    await tree.start("housekeeping", housekeeping.run, pool, clock)
    deletions = DeletionWorker(pool, clock, base.instance, failpoint=base.failpoints)
    await tree.start("tenant deletions", deletions.run)
    await tree.start("metric names", housekeeping.learn_metrics, pool, clock)
    return Knowledge(states, provisioner, registry, limiter, Charging(limiter), await _open_maintenance(base, storage))


async def _heal_records(base: Foundation, pool: Pool) -> None:
    """Enlist on the database, and bring what is kept of devices up to what is stored of them."""
    async with pool.connection() as connection:
        await peers.enlist(connection, base.instance, socket.gethostname(), __version__)
    now = datetime.fromtimestamp(base.clock.now(), UTC)
    latest = now + timedelta(seconds=base.skew)
    await rebuild_states(pool, base.instance, latest=latest)
    await rebuild_rollup_queue(pool, base.instance, now=now, latest=latest)


async def _open_maintenance(base: Foundation, storage: Storage) -> MaintenanceBook:
    """Return the maintenance windows, which are read again when they change, and when the time does."""
    book = MaintenanceBook(storage.pool, base.clock)
    storage.changes.subscribe(MAINTENANCE_CHANNEL, book.changed, book.forget)
    base.clock.subscribe(lambda _step: book.forget())
    await base.tree.start("maintenance windows", book.run)
    return book


def _clock_changed(base: Foundation, states: StateBook, registry: Registry, step: Step | None) -> None:
    """Forget what was decided by the time before, and heal the states after a ``step``."""
    registry.forget()
    if step is not None:
        moved = ClockStep(round((step.after - step.before) * MICROSECONDS), round(base.skew * MICROSECONDS))
        states.heal(round(base.clock.now() * MICROSECONDS), moved)


def _bucket_override(overrides: LimitOverrides, tenant_id: str, device_id: str | None) -> BucketOverride | None:
    """Return what the database sets for a tenant or device, in the limiter's terms."""
    found = overrides.get(tenant_id, device_id)
    return None if found is None else BucketOverride(found.rate, found.burst, found.tenant_rate)
