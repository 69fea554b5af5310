"""The service clock within the start: its second phase, and the services that keep it."""

from appliance import healing
from appliance.db.changes import Changes
from appliance.db.pool import Pool
from appliance.devices.live.state_book import StateBook
from appliance.healing import Healing
from appliance.ingest.batch import MICROSECONDS
from appliance.service_clock.confirmations import CLOCK_CHANNEL, Confirmations, newest_receipt, take
from appliance.supervisor.foundation import Foundation


async def settle_start(base: Foundation, pool: Pool) -> float | None:
    """Decide what time it is, now that the database can be asked, and heal what a wrong clock wrote before.

    Before this, nothing may be read or decided by time. Returns when this instance last received something.
    """
    async with pool.connection() as connection:
        newest = await newest_receipt(connection, base.instance)
        step = base.clock.settle_start(newest, await take(connection, base.instance))
    if base.clock.trusted:
        await healing.heal(pool, base.instance, base.clock.now(), step, base.skew)
    return newest


async def keep_time(base: Foundation, pool: Pool, changes: Changes, states: StateBook) -> None:
    """Start to follow the wall clock, to apply confirmations, and to heal whenever a doubt ends."""
    tree, clock = base.tree, base.clock
    base.metrics.clock_trusted.set_function(lambda: float(clock.trusted))

    def heal_states() -> None:
        states.heal(round(clock.now() * MICROSECONDS), None)

    repairs = Healing(pool, base.instance, clock, base.skew, heal_states)
    clock.subscribe(repairs.note)
    await tree.start("service clock", clock.run)
    confirmations = Confirmations(pool, base.instance, clock)
    changes.subscribe(CLOCK_CHANNEL, confirmations.changed, confirmations.wake)
    await tree.start("clock confirmations", confirmations.run)
    await tree.start("healing", repairs.run)
