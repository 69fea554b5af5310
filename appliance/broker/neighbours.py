"""Whether another appliance is on the same external broker: both would store each reading without a ``ts``.

Theory. Every appliance listens on one topic of ours, over a light connection of its own. One that starts asks there who
else is on the broker, before its durable session subscribes to anything, and waits for answers. An appliance that runs
answers, and the one that starts gives way. Of two that start at the same time the later one gives way, by the time of
its start and then by its id: each hears the question of the other, or the answer to its own. The question comes back to
who asked, which shows that the broker passes the topic on; where it does not, because of an ACL, it cannot be told
whether somebody is there. An instance is no neighbour of itself: what kill -9 left of it answers nothing.

| who is heard  | while we start                    | while we run                          |
|---------------|-----------------------------------|---------------------------------------|
| one that runs | we give way                       | trouble: both came while apart        |
| an earlier one that starts | we give way          | it gives way, once it has our answer  |
| a later one that starts    | it gives way         | it gives way, once it has our answer  |

The running ones never end by what is said here, for any client of the broker may say it.
"""

import contextlib
import math
from dataclasses import dataclass
from enum import StrEnum

import msgspec
import structlog
import trio
from mqtt5 import QoS

from appliance.errors import ApplianceError
from appliance.mqtt.client import Client
from appliance.mqtt.errors import MqttError, NegativeAckError
from appliance.mqtt.link import LinkState
from appliance.runtime.activity import activity

TOPIC = "appliance/peers"
"""None of a device, so nothing of it reaches ingest."""
ANSWER_SECONDS = 2.0
"""Seconds that one which starts waits for answers: a message there and back, and a busy machine."""
MAX_SPOKEN = 64
"""Neighbours that are logged once each."""

log = structlog.get_logger(__name__)


class Phase(StrEnum):
    """What an appliance does."""

    STARTS = "starts"
    RUNS = "runs"


class Statement(msgspec.Struct, frozen=True):
    """What an appliance says of itself on the topic."""

    instance: str
    name: str
    """Of its machine."""
    started: float
    """In seconds since 1970, by its own clock: only its order matters."""
    phase: Phase
    asks: bool
    """Whether others are to answer."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Who this appliance is, and when it started, in seconds since 1970."""

    instance: str
    name: str
    started: float


class Neighbours:
    """Asks who else is on the broker, and answers whoever asks. ``broker``: its address, for people."""

    def __init__(self, client: Client, identity: Identity, broker: str, answer_seconds: float) -> None:
        self._client = client
        self._identity = identity
        self._broker = broker
        self._answer_seconds = answer_seconds
        self._phase = Phase.STARTS
        self._echoed = trio.Event()
        self.asked = trio.Event()
        """Set when nobody else was found at the start."""
        self._found: Statement | None = None
        self._gives_way = trio.Event()
        self._spoken: set[str] = set()
        self.trouble: str | None = None
        """Another appliance that runs on the same broker; None: none was heard."""

    @property
    def waits_for(self) -> str:
        """Return what the question waits for, for people, while ``asked`` is not set."""
        link = self._client.link
        return "asks which other appliances are on this broker" if link.up else link.detail

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Ask, set ``asked``, then answer for ever. While the broker is away, nothing is asked.

        Raises ApplianceError while another appliance is on the broker.
        """
        async with self._client as client:
            task_status.started()
            async with trio.open_nursery() as nursery:
                if await self._subscribed(client):
                    nursery.start_soon(self._listen, client)
                    await self._ask_and_wait(client)
                if self._found is None:
                    self._phase = Phase.RUNS
                    activity().doing("answers other appliances that ask who is on this broker")
                    self.asked.set()
                    await self._ask_after_each_connection(client)
                nursery.cancel_scope.cancel()
            if self._found is not None:  # raised outside of the nursery, as it is
                raise ApplianceError(self._refusal(self._found))

    async def _ask_and_wait(self, client: Client) -> None:
        await self._ask(client)
        with trio.move_on_after(self._answer_seconds):
            await self._gives_way.wait()
        if self._found is None and not self._echoed.is_set():
            self._cannot_tell("the broker does not pass it on")

    async def _subscribed(self, client: Client) -> bool:
        try:
            await client.subscribe(TOPIC, max_qos=QoS.AT_LEAST_ONCE)
        except NegativeAckError as error:
            self._cannot_tell(str(error))
            return False
        return True

    async def _ask(self, client: Client) -> None:
        try:
            await client.publish(TOPIC, self._statement(asks=True))
        except NegativeAckError as error:
            log.debug("no question to other appliances", error=str(error))  # it does not come back: that is told

    async def _ask_after_each_connection(self, client: Client) -> None:
        """Ask again after a connection was lost: another one may have started without hearing us."""
        generation = client.generation
        async for link in client.link_changes():
            if link.state is LinkState.READY and client.generation != generation:
                generation = client.generation
                await self._ask(client)
        await trio.sleep(math.inf)

    async def _listen(self, client: Client) -> None:
        async for message in client.messages():
            await client.puback(message)
            try:
                said = msgspec.json.decode(message.payload, type=Statement)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                continue  # somebody else's message on our topic
            await self._heard(client, said)

    async def _heard(self, client: Client, said: Statement) -> None:
        ours = self._identity
        if said.instance == ours.instance:
            if said.started == ours.started:
                self._echoed.set()
            return
        if said.asks:
            with contextlib.suppress(MqttError):
                await client.publish(TOPIC, self._statement(asks=False))
        runs = said.phase is Phase.RUNS
        if self._phase is Phase.STARTS:
            if runs or (said.started, said.instance) < (ours.started, ours.instance):
                self._found = said
                self._gives_way.set()
        elif runs:
            self.trouble = f"{_shown(said)} is on the same broker: readings without ts are stored twice"
            if said.instance not in self._spoken and len(self._spoken) < MAX_SPOKEN:
                self._spoken.add(said.instance)
                log.error("two appliances on one broker", other=said.name[:64], instance=said.instance[:64])

    def _statement(self, *, asks: bool) -> bytes:
        ours = self._identity
        return msgspec.json.encode(Statement(ours.instance, ours.name, ours.started, self._phase, asks))

    def _refusal(self, first: Statement) -> str:
        return (
            f"{_shown(first)} is already on the broker at {self._broker}. Two appliances on one broker would store"
            " readings without `ts` twice: stop that one, or give this one a broker of its own (broker.url)"
        )

    def _cannot_tell(self, why: str) -> None:
        log.warning(
            "cannot tell whether another appliance is on this broker: let it publish and subscribe to the topic",
            topic=TOPIC,
            reason=why,
        )


def _shown(other: Statement) -> str:
    """Return who another appliance is; what it says of itself may be anything."""
    name = "".join(character if character.isprintable() else "?" for character in other.name[:64])
    instance = "".join(character if character.isalnum() else "?" for character in other.instance[:32])
    return f"the appliance {name or 'without a name'} (instance {instance})"
