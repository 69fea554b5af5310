"""The shell of the simulator: connections to the broker, and the fleet's messages sent through them on time.

A device always speaks through the same connection, so its messages arrive in order. What is due at one moment is
published in groups. The broker reports how many of a group it refused, not which; so only the last message of a group
may have a topic that it has not accepted before.
"""

import contextlib
import time
from collections.abc import Callable, Container, Iterator, Sequence
from dataclasses import dataclass

import trio

from appliance.mqtt.client import Client
from appliance.mqtt.errors import NegativeAckError
from appliance.mqtt.transport import Tcp, Transport
from appliance.simulate.devices import SimulatedMessage
from appliance.simulate.fleet import Fleet
from appliance.simulate.outcome_counts import OutcomeCounts
from appliance.simulate.schedule import Schedule

SESSION_SECONDS = 3600
"""How long the broker keeps our session: a message that was under way when it went down is sent again, marked so."""

ACKNOWLEDGE_SECONDS = 30.0
"""Seconds to wait for acknowledgements after the last message was sent."""

MOMENT_MESSAGES = 512
"""Messages of one moment at most: bounds what is in memory, and how long the connections wait for one another."""


@dataclass(frozen=True, slots=True)
class BrokerAddress:
    """The broker's address, and the user to publish as; ``transport`` where it is not plain TCP to the address."""

    host: str
    port: int
    username: str | None = None
    password: str | None = None
    transport: Transport | None = None

    def client(self, identifier: str, session_seconds: int = SESSION_SECONDS) -> Client:
        """Return a client that comes back after an interruption, within ``session_seconds`` with the session it had."""
        return Client(
            transport=self.transport or Tcp(self.host, self.port),
            identifier=identifier,
            username=self.username,
            password=self.password,
            clean_start=True,
            session_expiry_interval=session_seconds,
        )


class Publisher:
    """One run of a fleet. ``counts`` is always current; ``on_acknowledged`` gets what the broker acknowledged."""

    def __init__(
        self,
        fleet: Fleet,
        schedule: Schedule,
        *,
        on_acknowledged: Callable[[SimulatedMessage], None] = lambda _: None,
        acknowledge_seconds: float = ACKNOWLEDGE_SECONDS,
    ) -> None:
        self.counts = OutcomeCounts()
        self._fleet = fleet
        self._schedule = schedule
        self.on_acknowledged = on_acknowledged
        self._acknowledge_seconds = acknowledge_seconds
        self._stopped = trio.Event()
        self._waiting = trio.CancelScope()
        self._started = 0.0

    def stop(self) -> None:
        """Send no more, and wait for the acknowledgements that are due."""
        self._stopped.set()
        self._give_up_in(self._acknowledge_seconds)

    def _give_up_in(self, seconds: float) -> None:
        self._waiting.deadline = min(self._waiting.deadline, trio.current_time() + seconds)

    def look(self) -> OutcomeCounts:
        """Return the counts with the time brought up to now."""
        if self._started:
            self.counts.seconds = trio.current_time() - self._started
        return self.counts

    async def run(self, broker: BrokerAddress, connections: int, run: str) -> OutcomeCounts:
        """Publish until the schedule is over or ``stop``; return the counts.

        Raises ConnectError when the broker cannot be reached or refuses us at the start; later it is waited for, but
        not for longer than the schedule's duration and the time for the last acknowledgements.
        """
        async with contextlib.AsyncExitStack() as stack:
            clients = [
                await stack.enter_async_context(broker.client(f"simulate-{run}-{number}"))
                for number in range(connections)
            ]
            self._started = trio.current_time()
            if self._schedule.duration is not None:
                self._give_up_in(self._schedule.duration + self._acknowledge_seconds)
            with self._waiting:
                async with trio.open_nursery() as nursery:
                    await self._send([self._open_lane(nursery, client) for client in clients])
                    self._give_up_in(self._acknowledge_seconds)
        return self.look()

    def _open_lane(self, nursery: trio.Nursery, client: Client) -> "trio.MemorySendChannel[list[SimulatedMessage]]":
        send, receive = trio.open_memory_channel[list[SimulatedMessage]](1)
        nursery.start_soon(self._publish, client, receive)
        return send

    async def _send(self, lanes: Sequence["trio.MemorySendChannel[list[SimulatedMessage]]"]) -> None:
        async with contextlib.AsyncExitStack() as stack:
            for lane in lanes:
                await stack.enter_async_context(lane)
            while (due := self._due()) is not None:
                with trio.move_on_at(due):
                    await self._stopped.wait()
                for lane, group in zip(lanes, self._moment(len(lanes)), strict=True):
                    if group:
                        await lane.send(group)

    def _due(self) -> float | None:
        """Return when the next message leaves, by Trio's clock; None when the run is over."""
        sent = self.counts.sent
        due = self._schedule.due(sent, self._fleet.due)
        if self._stopped.is_set() or self._schedule.over(sent, max(due, trio.current_time() - self._started)):
            return None
        return self._started + due

    def _moment(self, lanes: int) -> list[list[SimulatedMessage]]:
        """Return what is due by now, for each lane; counted as sent."""
        groups: list[list[SimulatedMessage]] = [[] for _ in range(lanes)]
        now = trio.current_time()
        for _ in range(MOMENT_MESSAGES):
            due = self._due()
            if due is None or due > now:
                break
            index, message = self._fleet.speak(time.time())
            self.counts.send(self._fleet.behaviours[index])
            groups[index % lanes].append(message)
        return groups

    async def _publish(self, client: Client, groups: "trio.MemoryReceiveChannel[list[SimulatedMessage]]") -> None:
        taken: set[str] = set()  # topics
        async with groups:
            async for group in groups:
                for part in _parts(group, taken):
                    for message in await self._settle(client, part):
                        taken.add(message.topic)
                        self.counts.acknowledge(message)
                        self.on_acknowledged(message)

    async def _settle(self, client: Client, group: list[SimulatedMessage]) -> list[SimulatedMessage]:
        """Publish a group; return the messages that the broker acknowledged."""
        try:
            await client.publish_many([(message.topic, message.payload) for message in group])
        except NegativeAckError as refusal:
            # More than one: a permission was withdrawn while we ran. Which of them were taken is not known, so none is.
            refused = 1 if refusal.refused == 1 else len(group)
            self.counts.refuse(refusal.reason_code.name, refused)
            return group[:-refused]
        return group


def _parts(group: Sequence[SimulatedMessage], taken: Container[str]) -> Iterator[list[SimulatedMessage]]:
    """Yield the group cut behind each message whose topic is not among the ``taken``; looks at them as it goes."""
    part: list[SimulatedMessage] = []
    for message in group:
        part.append(message)
        if message.topic not in taken:
            yield part
            part = []
    if part:
        yield part
