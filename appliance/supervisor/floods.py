"""What keeps one user from stopping the embedded broker for everybody: copies cleared, floods found."""

from dataclasses import dataclass
from functools import partial

from appliance.broker.clients import sweep_client
from appliance.broker.floods.meter import FloodMeter
from appliance.broker.floods.record import FloodRecord
from appliance.broker.floods.watch import FloodWatch
from appliance.broker.retained.clearing import RetainedClearing
from appliance.broker.retained.sweep import RetainedSweep
from appliance.broker.retained.topics import RetainedTopics
from appliance.broker.shut_out import ShutOut
from appliance.children.mosquitto import Mosquitto
from appliance.mqtt.client import Client
from appliance.supervisor.foundation import Foundation
from appliance.supervisor.storage import Storage


@dataclass(frozen=True, slots=True)
class FloodDefence:
    """The parts, before and while they run. With an external broker none does: its users and messages are not ours."""

    record: FloodRecord
    topics: RetainedTopics
    clearing: RetainedClearing
    watch: FloodWatch


def make_defence(base: Foundation, storage: Storage, client: Client, shut_out: ShutOut) -> FloodDefence:
    """Return the parts; ``client`` is our session with the broker."""
    topics, record = RetainedTopics(), FloodRecord(shut_out, base.clock, base.metrics)
    clearing = RetainedClearing(topics, client, storage.pool, base.clock, base.metrics)
    limits = base.config.limits
    meter = FloodMeter(allowed=lambda seconds: limits.burst + limits.rate * seconds)
    return FloodDefence(record, topics, clearing, FloodWatch(meter, topics, storage.pool, record, base.clock))


async def start_defence(base: Foundation, defence: FloodDefence, embedded: Mosquitto, client: Client) -> None:
    """Start the services, once devices are let in."""
    sweep = RetainedSweep(
        partial(sweep_client, base.config, embedded),
        client,
        defence.topics,
        defence.clearing,
        lambda: embedded.reloads,
    )
    await base.tree.start("flood watch", defence.watch.run)
    await base.tree.start("retained clearing", defence.clearing.run)
    await base.tree.start("retained sweep", sweep.run)
