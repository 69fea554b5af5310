"""The same broker over TLS and WebSocket, both of which ejabberd brings along."""

from collections.abc import Callable
from pathlib import Path

import pytest
import trio

from appliance.mqtt.errors import ConnectError
from appliance.mqtt.transport import TlsFiles, Transport, transport_to
from appliance.mqtt.transport.address import parse
from tests.mqtt.interop.conftest import MAX_PAYLOAD
from tests.support.certificates import Authority
from tests.support.ejabberd_clients import DEADLINE, at, durable, payloads, received
from tests.support.ejabberd_server import PATH, EjabberdServer

Way = Callable[[str], Transport]


@pytest.fixture
def way(ejabberd: EjabberdServer, authority: Authority, tmp_path: Path) -> Way:
    """Return the transport of a scheme to the broker, whose CA is trusted."""
    ca = tmp_path / "ca.pem"
    ca.write_text(authority.pem)

    def to(scheme: str) -> Transport:
        return transport_to(parse(ejabberd.url(scheme)), TlsFiles(ca_file=ca))

    return to


@pytest.mark.parametrize("scheme", ["mqtts", "ws", "wss"])
async def test_messages_of_every_qos_and_size_go_both_ways(
    ejabberd: EjabberdServer, way: Way, prefix: str, scheme: str
) -> None:
    sizes = (0, 1, 125, 126, 65_535, 65_536, MAX_PAYLOAD - 200)  # around the borders of WebSocket's frames
    async with at(ejabberd, transport=way(scheme)) as ours, at(ejabberd) as other:
        await ours.subscribe(f"{prefix}/#", max_qos=2)
        for qos in (0, 1, 2):
            for size in sizes:
                for sender in (ours, other):
                    await sender.publish(f"{prefix}/x", bytes(size), qos=qos)
                    [packet] = await received(ours, 1)
                    assert (len(packet.payload), int(packet.qos)) == (size, qos)
        await other.publish_many([(f"{prefix}/x", b"%d" % number) for number in range(200)])
        assert await payloads(ours, 200) == [b"%d" % number for number in range(200)]
        assert ours.generation == 1


async def test_a_session_is_resumed_over_another_transport(ejabberd: EjabberdServer, way: Way, prefix: str) -> None:
    async with at(ejabberd) as device:
        for scheme, present in (("wss", False), ("mqtts", True), ("ws", True)):
            async with durable(ejabberd, prefix, transport=way(scheme)) as ours:
                assert ours.session_present is present
                if present:
                    assert await payloads(ours, 1) == [b"while we were away"]
                else:
                    await ours.subscribe(f"{prefix}/#")
            await device.publish(f"{prefix}/x", b"while we were away")


@pytest.mark.parametrize("scheme", ["mqtts", "wss"])
async def test_a_certificate_of_an_unknown_ca_is_refused_in_words(ejabberd: EjabberdServer, scheme: str) -> None:
    transport = transport_to(parse(ejabberd.url(scheme)), TlsFiles())
    with pytest.raises(ConnectError, match="certificate"), trio.fail_after(DEADLINE):
        async with at(ejabberd, transport=transport):
            pass


async def test_a_path_without_mqtt_is_refused_in_words(ejabberd: EjabberdServer) -> None:
    transport = transport_to(parse(ejabberd.url("ws").replace(PATH, "/elsewhere")), TlsFiles())
    with pytest.raises(ConnectError, match="404"), trio.fail_after(DEADLINE):
        async with at(ejabberd, transport=transport):
            pass
