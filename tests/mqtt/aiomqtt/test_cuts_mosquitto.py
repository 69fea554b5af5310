"""The claim that a program which repeats what it did not see the end of gets every message of QoS 2 across, once.

Its connections to a real Mosquitto are cut at random bytes, in both directions.
"""

import random
import secrets

import trio
from mqtt5 import PublishPacket, PubRelPacket, QoS, TopicFilter

from appliance.mqtt.aiomqtt import Client, ConnectError
from tests.support.mosquitto_server import MosquittoServer
from tests.support.mqtt.scripted_facade import quick_client
from tests.support.soak import times
from tests.support.tcp_proxy import tcp_proxy

CUTS = 30
BYTES = 600
"""That a connection passes on average, some ten exchanges."""
DEADLINE = 120.0


async def test_messages_of_qos_2_come_once_and_in_order_although_connections_are_cut(
    mosquitto: MosquittoServer,
) -> None:
    seed = secrets.randbits(32)
    chance = random.Random(seed)
    topic = f"test/{secrets.token_hex(6)}"
    found: list[bytes] = []
    published = 0
    async with tcp_proxy(mosquitto.host, mosquitto.port) as proxy:
        options = {"hostname": mosquitto.host, "port": proxy.port, "session_expiry_interval": 600, "reconnect": True}
        consumer, publisher = (quick_client(**options) for _ in range(2))
        with trio.fail_after(DEADLINE):
            async with consumer, publisher, trio.open_nursery() as nursery:
                await consumer.subscribe(TopicFilter(topic))
                proxy.lifetime = lambda: chance.randint(1, 2 * BYTES)
                for client in (consumer, publisher):
                    client._engine.drop_connection()
                nursery.start_soon(consume, consumer, found)
                while proxy.connections < times(CUTS) + 4:
                    await publish(publisher, topic, b"%d" % published)
                    published += 1
                proxy.lifetime = lambda: 1 << 40
                while len(found) < published:
                    await trio.sleep(0.01)
                nursery.cancel_scope.cancel()
    assert found == [b"%d" % number for number in range(published)], f"seed {seed}"


async def publish(client: Client, topic: str, payload: bytes) -> None:
    """Publish a message, as aiomqtt's documentation says."""
    packet_id = next(client.packet_ids)
    duplicate = False
    while True:
        try:
            await client.publish(topic, payload, qos=QoS.EXACTLY_ONCE, packet_id=packet_id, duplicate=duplicate)
            break
        except ConnectError:
            duplicate = True
            await client.connected()
    while True:
        try:
            await client.pubrel(packet_id)
            break
        except ConnectError:
            await client.connected()


async def consume(client: Client, found: list[bytes]) -> None:
    """Receive messages, as aiomqtt's documentation says."""
    kept: dict[int, bytes] = {}
    while True:
        try:
            async for packet in client.messages():
                assert packet.packet_id is not None
                if isinstance(packet, PublishPacket):
                    kept[packet.packet_id] = packet.payload
                    await client.pubrec(packet.packet_id)
                elif isinstance(packet, PubRelPacket):
                    if packet.packet_id in kept:  # else it is done, and only our PUBCOMP was lost
                        found.append(kept.pop(packet.packet_id))
                    await client.pubcomp(packet.packet_id)
        except ConnectError:
            await client.connected()
