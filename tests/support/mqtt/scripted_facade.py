"""A client with aiomqtt's interface whose broker is a script."""

from collections.abc import Awaitable, Callable
from typing import Final
from unittest import mock

import mqtt5
import trio
import trio.testing
from mqtt5 import ConnAckPacket

from appliance.backoff import Backoff
from appliance.mqtt.aiomqtt import Client, ConnectError, NegativeAckError
from tests.support.mqtt.scripted_broker import Peer, ScriptedBroker

QUIET_SECONDS: Final = 0.05
DURABLE: Final = {"reconnect": True, "session_expiry_interval": 600}
"""Options of a client that connects again and whose session outlives the connection."""


def facade_of(broker: ScriptedBroker, **options: object) -> Client:
    """Return a client of this broker."""
    with mock.patch("appliance.mqtt.aiomqtt.client._transport", return_value=broker):
        return Client(hostname="scripted", **options)  # type: ignore[arg-type]


async def sent_since(peer: Peer) -> list[mqtt5.Packet]:
    """Return what the client has sent and nobody has read, once it sends no more. The clock is a mock."""
    packets: list[mqtt5.Packet] = []
    while True:
        with trio.move_on_after(QUIET_SECONDS) as scope:
            packet = await peer.packet()
        if scope.cancelled_caught or packet is None:
            return packets
        packets.append(packet)


def quick_client(**options: object) -> Client:
    """Return a client that connects again nearly at once, however often it has to."""
    with mock.patch("appliance.mqtt.client.Backoff", return_value=Backoff(first=0.01, maximum=0.02)):
        return Client(**options)  # type: ignore[arg-type]


async def reconnected(broker: ScriptedBroker, peer: Peer, client: Client, connack: ConnAckPacket) -> Peer:
    """Lose the connection, answer the next one with ``connack``, and return its far end."""
    broker.connack = connack
    await peer.close()
    await client.disconnected()
    await client.connected()
    return await broker.peer()


class Calls:
    """Calls under way, and what became of them: results or errors, by name."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self._nursery = nursery
        self.results: dict[str, object] = {}

    async def start(self, name: str, call: Callable[[], Awaitable[object]]) -> None:
        """Start a call; return once it waits, or is over."""

        async def run() -> None:
            try:
                self.results[name] = await call()
            except (ConnectError, NegativeAckError) as error:
                self.results[name] = error

        self._nursery.start_soon(run)
        await trio.testing.wait_all_tasks_blocked()


async def received(client: Client, count: int) -> list[tuple[int | None, bytes | None]]:
    """Return id and payload of the next packets; a PUBREL has no payload, hence None."""
    messages = client.messages()
    with trio.fail_after(30):
        packets = [await anext(messages) for _ in range(count)]
    return [(packet.packet_id, getattr(packet, "payload", None)) for packet in packets]


async def nothing_waits(client: Client) -> bool:
    """Return whether no message or PUBREL is there to be taken. The clock is a mock."""
    with trio.move_on_after(QUIET_SECONDS) as scope:
        await anext(client.messages())
    return scope.cancelled_caught
