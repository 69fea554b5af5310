"""Looks through all retained copies that the embedded broker holds, and clears those that need not be there.

Our session never receives them (retain handling 2), so what an earlier version, a crash or a flood has left is seen by
nobody. A short session of its own subscribes to everything below ``tenant/`` and ends the subscription at once: the
broker has queued what it holds by then, and of live messages only the few of that moment come along. A message of our
own, published behind it, marks the end. It takes as many at a time as it acknowledges, so the sweep sets the pace.
"""

from collections.abc import Callable
from itertools import count

import structlog
import trio
from mqtt5 import QoS, RetainHandling

from appliance.broker.accounts import SWEEP_TOPIC
from appliance.broker.retained.clearing import RetainedClearing
from appliance.broker.retained.topics import Retained, RetainedTopics
from appliance.mqtt.client import Client
from appliance.mqtt.errors import MqttError
from appliance.mqtt.link import LinkState
from appliance.runtime.activity import activity

EVERYTHING = "tenant/#"
DOWN = "down"
"""The fifth level of topics to devices: what is kept there is for them."""
INTERVAL_SECONDS = 3600.0
"""Seconds between two sweeps without a cause: copies of devices that were deleted go then, too."""
LEAST_SECONDS = 3.0
"""Seconds from one sweep to the next, whatever the cause."""
SHARE = 0.1
"""The share of the time that sweeps take at most: one of many copies is followed by a long rest."""
POLL_SECONDS = 1.0
"""Seconds after which a want of the topics' room, and a reload, are seen."""
DEADLINE_SECONDS = 600.0
PACE_SECONDS = 0.05
"""Seconds between two groups of copies."""
GROUP = 200
"""Copies cleared at once."""

log = structlog.get_logger(__name__)


class RetainedSweep:
    """Sweeps at the start, whenever our session is new, something was missed or users changed, and once an hour.

    ``connect`` makes a client of the appliance's own user without a lasting session. ``reloads`` counts how often the
    broker has read its users anew: of one that was removed or shut out, nothing is to stay.
    """

    def __init__(
        self,
        connect: Callable[[], Client],
        session: Client,
        topics: RetainedTopics,
        clearing: RetainedClearing,
        reloads: Callable[[], int],
    ) -> None:
        self._connect = connect
        self._session = session
        self._topics = topics
        self._clearing = clearing
        self._reloads = reloads
        self._wanted = trio.Event()
        self._numbers = count(1)
        self._seen_reloads = 0
        self.sweeps = 0
        """Completed sweeps."""

    def request(self) -> None:
        """Sweep soon."""
        self._wanted.set()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Sweep until cancelled."""
        task_status.started()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._follow_session)
            while True:
                activity().doing("waits for a cause to look through retained messages")
                with trio.move_on_after(INTERVAL_SECONDS):
                    await self._cause()
                self._wanted, self._topics.sweep_wanted, self._seen_reloads = trio.Event(), False, self._reloads()
                began = trio.current_time()
                await self._try()
                await trio.sleep(max(LEAST_SECONDS, (trio.current_time() - began) / SHARE))

    async def _follow_session(self) -> None:
        """Want a sweep for each new connection: a broker that died has copies again that were cleared since."""
        async for link in self._session.link_changes():
            if link.state is LinkState.READY:
                self._wanted.set()

    async def _cause(self) -> None:
        while not (self._wanted.is_set() or self._topics.sweep_wanted or self._reloads() != self._seen_reloads):
            with trio.move_on_after(POLL_SECONDS):
                await self._wanted.wait()

    async def _try(self) -> None:
        activity().doing("looks through retained messages")
        try:
            with trio.fail_after(DEADLINE_SECONDS):
                found, cleared = await self.sweep()
        except (MqttError, OSError, trio.TooSlowError) as error:
            log.warning("retained messages were not looked through", error=str(error) or type(error).__name__)
            activity().failed(error)
            self._topics.sweep_wanted = True
            return
        activity().did()
        if cleared:
            log.info("retained messages cleared from the broker", found=found, cleared=cleared)

    async def sweep(self) -> tuple[int, int]:
        """Look through all copies once; return how many there were and how many were cleared.

        Raises MqttError when the broker ends the connection.
        """
        found, cleared, group = 0, 0, list[Retained]()
        mark = str(next(self._numbers)).encode()
        async with self._connect() as client:
            await client.subscribe(SWEEP_TOPIC, max_qos=QoS.AT_LEAST_ONCE)
            await client.subscribe(
                EVERYTHING,
                max_qos=QoS.AT_LEAST_ONCE,
                retain_as_published=False,  # the flag is then on those that were kept, and on no live message
                retain_handling=RetainHandling.SEND_ALWAYS,
            )
            await client.unsubscribe(EVERYTHING)
            await client.publish(SWEEP_TOPIC, mark)
            async for batch in client.batches():
                for packet in batch.packets:
                    if packet.retain and not for_devices(packet.topic):
                        group.append(Retained(packet.topic, len(packet.payload)))
                        found += 1
                done = any(packet.topic == SWEEP_TOPIC and packet.payload == mark for packet in batch.packets)
                while len(group) >= GROUP or (done and group):
                    cleared += await self._clearing.clear(group[:GROUP])
                    del group[:GROUP]
                    await trio.sleep(PACE_SECONDS)
                if done:
                    self.sweeps += 1
                    return found, cleared
                await client.acknowledge(batch)
        raise MqttError("the connection ended before the last retained message")


def for_devices(topic: str) -> bool:
    """Return whether a topic leads to a device: what is kept there is the appliance's own."""
    levels = topic.split("/", 5)
    return len(levels) > 4 and levels[2] == "device" and levels[4] == DOWN
