"""The shell of the simulator: connections to the broker, and the fleet's messages sent through them on time.

A device always speaks through the same connection, so its messages arrive in order. What waits for a connection is
published as one group. The broker tells how many of a group it refused, not which; so only the last message of a group
may have a topic that it has not taken before.
"""

import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import trio

from appliance.mqtt.client import Client
from appliance.mqtt.errors import NegativeAckError
from appliance.simulate.devices import Message
from appliance.simulate.fleet import Fleet
from appliance.simulate.schedule import Schedule
from appliance.simulate.tally import Tally

SESSION_SECONDS = 3600
"""How long the broker keeps our session: a message that was under way when it went down is sent again, marked so."""

ACKNOWLEDGE_SECONDS = 30.0
"""How long the last messages may take to be acknowledged after the last one was sent."""

WAITING_MESSAGES = 256
"""Messages that wait for a connection; then the fleet waits."""

GROUP_MESSAGES = 64


@dataclass(frozen=True, slots=True)
class Broker:
    """Where to publish, and as whom."""

    host: str
    port: int
    username: str | None = None
    password: str | None = None

    def client(self, identifier: str) -> Client:
        """A client that comes back after an interruption, with the session it had."""
        return Client(
            self.host,
            self.port,
            identifier=identifier,
            username=self.username,
            password=self.password,
            clean_start=True,
            session_expiry_interval=SESSION_SECONDS,
        )


class Publisher:
    """One run of a fleet. ``tally`` is up to date at every moment; ``on_acknowledged`` gets what the broker took."""

    def __init__(
        self,
        fleet: Fleet,
        schedule: Schedule,
        *,
        on_acknowledged: Callable[[Message], None] = lambda _: None,
        acknowledge_seconds: float = ACKNOWLEDGE_SECONDS,
    ) -> None:
        self.tally = Tally()
        self._fleet = fleet
        self._schedule = schedule
        self.on_acknowledged = on_acknowledged
        self._acknowledge_seconds = acknowledge_seconds
        self._sending = trio.CancelScope()
        self._started = 0.0

    def stop(self) -> None:
        """Send no more; what is under way is still waited for."""
        self._sending.cancel()

    def look(self) -> Tally:
        """The tally with the time brought up to now."""
        if self._started:
            self.tally.seconds = trio.current_time() - self._started
        return self.tally

    async def run(self, broker: Broker, connections: int, run: str) -> Tally:
        """Publish until the schedule is over or ``stop``; the tally at the end.

        Raises ConnectError when the broker cannot be reached or refuses us at the start; later it is waited for.
        """
        async with contextlib.AsyncExitStack() as stack:
            clients = [
                await stack.enter_async_context(broker.client(f"simulate-{run}-{number}"))
                for number in range(connections)
            ]
            self._started = trio.current_time()
            with trio.CancelScope() as waiting:
                async with trio.open_nursery() as nursery:
                    lanes = [self._open_lane(nursery, client) for client in clients]
                    await self._send(lanes)
                    waiting.deadline = trio.current_time() + self._acknowledge_seconds
        return self.look()

    def _open_lane(self, nursery: trio.Nursery, client: Client) -> "trio.MemorySendChannel[Message]":
        send, receive = trio.open_memory_channel[Message](WAITING_MESSAGES)
        nursery.start_soon(self._publish, client, receive)
        return send

    async def _send(self, lanes: Sequence["trio.MemorySendChannel[Message]"]) -> None:
        async with contextlib.AsyncExitStack() as stack:
            for lane in lanes:
                await stack.enter_async_context(lane)
            with self._sending:
                while True:
                    due = self._schedule.due(self.tally.sent, self._fleet.due)
                    if self._schedule.over(self.tally.sent, max(due, trio.current_time() - self._started)):
                        return
                    await trio.sleep_until(self._started + due)
                    index, message = self._fleet.speak(time.time())
                    await lanes[index % len(lanes)].send(message)
                    self.tally.send(self._fleet.behaviours[index])

    async def _publish(self, client: Client, messages: "trio.MemoryReceiveChannel[Message]") -> None:
        taken: set[str] = set()  # topics
        group: list[Message] = []
        async with messages:
            async for message in messages:
                group.append(message)
                waiting = messages.statistics().current_buffer_used
                if message.topic in taken and waiting and len(group) < GROUP_MESSAGES:
                    continue
                for acknowledged in await self._settle(client, group):
                    taken.add(acknowledged.topic)
                    self.tally.acknowledge(acknowledged)
                    self.on_acknowledged(acknowledged)
                group = []

    async def _settle(self, client: Client, group: list[Message]) -> list[Message]:
        """Publish a group; those that the broker acknowledged."""
        try:
            await client.publish_many([(message.topic, message.payload) for message in group])
        except NegativeAckError as refusal:
            # More than one: a permission was withdrawn while we ran. Which of them were taken is not known, so none is.
            refused = 1 if refusal.refused == 1 else len(group)
            self.tally.refuse(refusal.reason_code.name, refused)
            return group[:-refused]
        return group
