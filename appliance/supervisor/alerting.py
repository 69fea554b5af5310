"""Part of the stream's stage: the engine of alerts, with what it follows and does beside the batches."""

from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial

from appliance.alerts.engine.memories import Memories
from appliance.alerts.engine.observer import RuleObserver
from appliance.alerts.engine.plan import PlannedRule
from appliance.alerts.engine.rule_book import RULES_CHANNEL, RuleBook
from appliance.alerts.engine.upkeep import Upkeep
from appliance.alerts.rules import in_force
from appliance.alerts.rules.rule import AlertRule
from appliance.clock import Clock
from appliance.db.pool import Pool
from appliance.devices.registry.cache import REGISTRY_CHANNEL
from appliance.supervisor.foundation import Foundation
from appliance.supervisor.storage import Storage


async def open_engine(base: Foundation, storage: Storage) -> RuleObserver:
    """Read the rules, follow their changes, and return the observer that judges by them."""
    pool, clock, tree = storage.pool, base.clock, base.tree
    book = RuleBook(partial(_load, pool, clock), base.config.limits.max_tracked_devices)
    storage.changes.subscribe(RULES_CHANNEL, book.rules_changed, book.rules_missed)
    storage.changes.subscribe(REGISTRY_CHANNEL, book.devices_changed, book.devices_missed)
    await tree.start("alert rules", book.run)
    memories = Memories(pool)
    await tree.start("alert windows", memories.run)
    reopen_after = base.config.alerts.reopen_after
    upkeep = Upkeep(pool, base.instance, clock, book, memories, base.metrics, partial(_mark_failed, pool), reopen_after)
    await tree.start("alert upkeep", upkeep.run)
    return RuleObserver(book, memories, clock, base.metrics, upkeep.shared, upkeep.failed)


async def _load(pool: Pool, clock: Clock, tenants: Sequence[str] | None) -> Sequence[AlertRule]:
    """Return the rules in force, and mark those that cannot be read."""
    now = datetime.fromtimestamp(clock.now(), UTC)
    async with pool.connection() as connection, connection.transaction():
        if tenants is None:
            loaded = await in_force.load_rules(connection)
        else:
            loaded = await in_force.load_rules_of(connection, tenants)
        for key, error in loaded.unreadable:
            await in_force.mark_error(connection, *key, error, now)
    return loaded.rules


async def _mark_failed(pool: Pool, planned: PlannedRule, error: str, now: datetime) -> None:
    rule = planned.rule
    async with pool.connection() as connection:
        await in_force.mark_error(connection, rule.tenant_id, rule.rule_id, rule.version, error, now)
