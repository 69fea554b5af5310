"""Clears retained copies outside of the message path.

An empty retained message clears a topic. Our own session publishes it: its subscription has "no local", so that none
comes back to us. It goes out with QoS 0, since nothing waits for it: what is lost with a connection is swept after the
next one. A registered device may keep a small copy of its status, which is what birth and will are made for.
"""

from collections.abc import Collection, Sequence

import psycopg
import trio
from mqtt5 import QoS

from appliance.broker.retained.topics import Retained, RetainedTopics
from appliance.clock import Clock
from appliance.db.pool import Pool
from appliance.devices import topics as device_topics
from appliance.devices.device import DeviceStatus
from appliance.devices.registry.senders import senders_of
from appliance.devices.topics import DeviceTopic
from appliance.metrics import Metrics
from appliance.mqtt import topics as mqtt_topics
from appliance.mqtt.client import Client
from appliance.reading import Inbound, Kind
from appliance.runtime.activity import activity

ROUND_SECONDS = 1.0
"""Seconds between two rounds while no more is outstanding than one round clears."""
AT_ONCE = 500
"""Copies cleared in one round: some 5 ms of the broker's time."""
PAUSE_SECONDS = 0.05
"""Seconds between two rounds while more are outstanding: the broker has other things to do."""
MAX_STATUS_BYTES = 512
"""The largest copy of a status that stays: one a device, so it is bounded by the seats that are paid for."""
QUERY_SECONDS = 2.0
"""Seconds that the database may take to say which devices there are."""
KEEPS_STATUS = frozenset({DeviceStatus.ACTIVE, DeviceStatus.INACTIVE})


class RetainedClearing:
    """Clears what :meth:`settled` is told of. ``client`` is our session with the embedded broker."""

    def __init__(self, topics: RetainedTopics, client: Client, pool: Pool, clock: Clock, metrics: Metrics) -> None:
        self._topics = topics
        self._client = client
        self._pool = pool
        self._clock = clock
        self._metrics = metrics
        self.cleared = 0
        """Copies cleared since the start."""

    def settled(self, messages: Sequence[Inbound]) -> None:
        """Take note of messages that are committed."""
        for message in messages:
            if message.retain and message.payload:
                self._topics.note(message.topic, len(message.payload))

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Clear copies until cancelled."""
        task_status.started()
        while True:
            activity().doing("clears retained messages from the broker")
            await self.clear(self._topics.take(self._clock.monotonic(), AT_ONCE))
            activity().did()
            await trio.sleep(PAUSE_SECONDS if self._topics.outstanding else ROUND_SECONDS)

    async def clear(self, found: Sequence[Retained]) -> int:
        """Clear these copies but for those that may stay; return how many were cleared."""
        staying = await self._staying(found)
        wanted = [
            one.topic for one in found if one.topic not in staying and mqtt_topics.name_mistake(one.topic) is None
        ]
        if wanted:
            await self._client.publish_many([(topic, b"") for topic in wanted], qos=QoS.AT_MOST_ONCE, retain=True)
        self.cleared += len(wanted)
        self._metrics.retained_cleared.inc(len(wanted))
        return len(wanted)

    async def _staying(self, found: Sequence[Retained]) -> Collection[str]:
        """Return the topics among ``found`` whose copies stay; all that may if the database does not answer."""
        possible = {}
        for one in found:
            parsed = device_topics.parse(one.topic)
            if isinstance(parsed, DeviceTopic) and parsed.kind is Kind.STATUS and one.size <= MAX_STATUS_BYTES:
                possible[one.topic] = (parsed.tenant_id, parsed.device_id)
        if not possible:
            return possible
        try:
            with trio.fail_after(QUERY_SECONDS):
                async with self._pool.connection() as connection:
                    known = await senders_of(connection, possible.values())
        except (psycopg.Error, OSError, trio.TooSlowError) as error:
            activity().failed(error)
            self._topics.sweep_wanted = True
            return possible
        return {topic for topic, device in possible.items() if device in known and known[device].status in KEEPS_STATUS}
