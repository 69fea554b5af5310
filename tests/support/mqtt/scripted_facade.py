"""A client with aiomqtt's interface whose broker is a script."""

from unittest import mock

import mqtt5
import trio

from appliance.backoff import Backoff
from appliance.mqtt.aiomqtt import Client
from tests.support.mqtt.scripted_broker import Peer, ScriptedBroker

QUIET_SECONDS = 0.05


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
