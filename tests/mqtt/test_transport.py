"""What a stream to the broker must bear, and how it may end."""

import socket
import ssl
from pathlib import Path

import pytest
import trio
from mqtt5 import ConnAckPacket

from appliance.backoff import Backoff
from appliance.mqtt.client import Client
from appliance.mqtt.inflight import LAST_PACKET_ID, pubacks
from appliance.mqtt.transport import Tcp, Unix
from tests.support.certificates import Authority
from tests.support.mqtt.scripted import qos1, written
from tests.support.scripted_server import scripted_server

BATCH = 2048


async def test_an_acknowledgement_of_every_packet_id_fits_before_the_broker_reads_one(tmp_path: Path) -> None:
    path = tmp_path / "broker.sock"
    with socket.socket(socket.AF_UNIX) as broker:
        broker.bind(str(path))
        broker.listen()
        async with await Unix(str(path)).open() as stream:
            with trio.fail_after(60):
                for first in range(1, LAST_PACKET_ID, BATCH):
                    await stream.send_all(pubacks(list(range(first, min(first + BATCH, LAST_PACKET_ID + 1)))))


class Tls:
    """TLS to a port of the loopback."""

    name = "tls"

    def __init__(self, port: int, context: ssl.SSLContext) -> None:
        self._port = port
        self._context = context

    async def open(self) -> trio.abc.Stream:
        stream = await trio.open_tcp_stream("127.0.0.1", self._port)
        return trio.SSLStream(stream, self._context, server_hostname="localhost")


@pytest.mark.parametrize("closes_properly", [True, False])
async def test_tls_that_ends_with_or_without_a_goodbye_loses_nothing_that_came_before(closes_properly: bool) -> None:
    authority = Authority()
    server_context = authority.certificate("localhost").server_context()

    async def serve(stream: trio.SocketStream) -> None:
        encrypted = trio.SSLStream(stream, server_context, server_side=True)
        await encrypted.receive_some()
        await encrypted.send_all(written(ConnAckPacket(), qos1(1, b"before the end")))
        if closes_properly:
            await encrypted.aclose()

    async with scripted_server(serve) as port:
        tls = Tls(port, ssl.create_default_context(cadata=authority.pem))
        async with Client(transport=tls, keep_trying=True, backoff=Backoff(first=0.01, maximum=0.02)) as client:
            with trio.fail_after(60):
                batch = await anext(client.batches())
                assert [packet.payload for packet in batch.packets] == [b"before the end"]
                await client.disconnected()
                await client.connected()


async def test_tls_by_a_ca_that_is_not_known_is_told_and_tried_again() -> None:
    server_context = Authority().certificate("localhost").server_context()

    async def serve(stream: trio.SocketStream) -> None:
        await trio.SSLStream(stream, server_context, server_side=True).do_handshake()

    async with scripted_server(serve) as port:
        tls = Tls(port, ssl.create_default_context())
        async with Client(transport=tls, keep_trying=True, backoff=Backoff(first=0.01, maximum=0.02)) as client:
            with trio.fail_after(60):
                while "CERTIFICATE_VERIFY_FAILED" not in client.link.detail:
                    await trio.sleep(0.01)


async def test_a_socket_whose_options_cannot_be_set_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[trio.SocketStream] = []

    def refuse(stream: trio.SocketStream, *_: int) -> None:
        opened.append(stream)
        raise OSError(22, "Invalid argument")

    monkeypatch.setattr(trio.SocketStream, "setsockopt", refuse)

    async def serve(stream: trio.SocketStream) -> None:
        await stream.receive_some()

    async with scripted_server(serve) as port:
        with pytest.raises(OSError, match="Invalid argument"):
            await Tcp("127.0.0.1", port).open()
    assert {stream.socket.fileno() for stream in opened} == {-1}
