"""Whether devices can publish: a message through the device listener, as a device sends one, every few seconds.

The probe connects with a user of its own, publishes a number at QoS 1, and its message must arrive on our connection:
by each way in, in clear text and under TLS. So the listener, the password file, the ACL and the broker's routing are
tried together. Its topic is none of a device, so nothing of it reaches ingest. With an external broker nothing is
probed: its listener and its users are not ours.
"""

from collections.abc import Callable, Mapping
from itertools import count

import trio
from mqtt5 import QoS

from appliance.broker.accounts import PROBE_TOPIC
from appliance.mqtt.client import Client
from appliance.mqtt.errors import MqttError, NegativeAckError
from appliance.runtime.periodic import First, every

PROBE_SECONDS = 10.0
"""Seconds between two probes. Each is a connection, and a line in the broker's log."""
RETRY_SECONDS = 1.0
"""Seconds after a probe that failed: one failure may be a restart of the broker, the second in a row is told."""
DEADLINE = 5.0
"""Seconds from the connection until the message has arrived."""


class ListenerProbe:
    """Publishes through the device listener. ``trouble`` is what devices meet there, None while they can publish.

    ``ways`` make a client of the probe's user, one for each way in, by the name of those who come by it; ``receiver``
    is a client of ours. All are connected here. ``interval`` is the seconds between two probes.
    """

    def __init__(self, ways: Mapping[str, Callable[[], Client]], receiver: Client, interval: float) -> None:
        self._ways = ways
        self._receiver = receiver
        self._interval = interval
        self._numbers = count(1)
        self.arrived = 0
        """The number of the last message that arrived."""
        self._progress = trio.Event()
        self._failure: str | None = None
        self.trouble: str | None = None

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Probe for ever."""
        async with self._receiver as receiver, trio.open_nursery() as nursery:
            await receiver.subscribe(PROBE_TOPIC, max_qos=QoS.AT_MOST_ONCE)
            nursery.start_soon(self._receive, receiver)
            first = First.AT_ONCE
            await every(self._interval, self._round, chore="listener probe", first=first, task_status=task_status)

    async def _receive(self, receiver: Client) -> None:
        async for message in receiver.messages():
            self.arrived = int(message.payload)  # nobody else may publish there
            self._progress.set()
            self._progress = trio.Event()

    async def _round(self) -> float | None:
        before, self._failure = self._failure, await self._try_ways()
        self.trouble = self._failure if before is not None or self._failure is None else self.trouble
        return None if self._failure is None else min(RETRY_SECONDS, self._interval)

    async def _try_ways(self) -> str | None:
        """Send one message by each way; return what went wrong first."""
        for who, connect in self._ways.items():
            if (trouble := await self._probe(who, connect)) is not None:
                return trouble
        return None

    async def _probe(self, who: str, connect: Callable[[], Client]) -> str | None:
        """Send one message; return what went wrong."""
        number = next(self._numbers)
        try:
            with trio.fail_after(DEADLINE):
                async with connect() as client:
                    await client.publish(PROBE_TOPIC, str(number).encode())
                while self.arrived < number:
                    await self._progress.wait()
        except trio.TooSlowError:
            return f"a message by the listener of {who} did not arrive within {DEADLINE:.0f} s"
        except NegativeAckError as error:
            return f"the broker refuses what {who} publish: {error}"
        except (MqttError, OSError) as error:
            return f"{who} cannot connect: {error}"
        return None
