"""One deadline over everything until the broker accepts, and nothing that stays open when a connection is given up."""

import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any, NoReturn

import pytest
import trio
from mqtt5 import ConnAckPacket, DisconnectPacket

from appliance.mqtt.client import Client
from appliance.mqtt.errors import ConnectError
from appliance.mqtt.transport import Tcp, Tls, Transport, Unix, WebSocket
from tests.support.certificates import Authority
from tests.support.mqtt.nth_checkpoint import cancelled_at
from tests.support.mqtt.opening import open_and_close
from tests.support.mqtt.scripted import written
from tests.support.mqtt.websocket_frames import BINARY, answer, frame
from tests.support.scripted_server import scripted_server

CONNECT_SECONDS = 0.3
PATIENCE = 30.0
"""Seconds for a test: far more than it takes, so that only what never ends is slow."""

AUTHORITY = Authority()
CONTEXT = AUTHORITY.certificate("localhost").server_context()
CLIENT_CONTEXT = ssl.create_default_context(cadata=AUTHORITY.pem)
KINDS = ("tcp", "tls", "ws", "wss")
MQTT = "Sec-WebSocket-Protocol: mqtt"


def transport_of(kind: str, tcp: Transport) -> Transport:
    """Return the transport of a kind over another one."""
    tls = tcp if kind in {"tcp", "ws"} else Tls(tcp, CLIENT_CONTEXT, "localhost")
    return WebSocket(tls, "localhost") if kind.startswith("ws") else tls


async def given_up(transport: Transport) -> str:
    """Return why a client gave up, which was in time."""
    begun = trio.current_time()
    with trio.fail_after(PATIENCE), pytest.raises(ConnectError) as caught:
        async with Client(transport=transport, connect_timeout=CONNECT_SECONDS):
            pass
    assert trio.current_time() - begun >= CONNECT_SECONDS
    return str(caught.value)


async def silence(stream: trio.abc.Stream) -> None:
    """Read, and never answer. Close once the client has said two things: the second is that it goes."""
    if await stream.receive_some():
        await stream.receive_some()


async def accept(kind: str, stream: trio.SocketStream, pause: float = 0.0) -> trio.abc.Stream:
    """Do the handshakes of a kind as a server, with a pause before each; return the stream behind them."""
    accepted: trio.abc.Stream = stream
    if kind in {"tls", "wss"}:
        await trio.sleep(pause)
        encrypted = trio.SSLStream(stream, CONTEXT, server_side=True)
        await encrypted.do_handshake()
        accepted = encrypted
    if kind.startswith("ws"):
        request = bytes(await accepted.receive_some())
        if request:
            await trio.sleep(pause)
            await accepted.send_all(answer(request, MQTT))
    return accepted


# Every stage


class NoResolver(trio.abc.HostnameResolver):
    """Name servers that do not answer."""

    async def getaddrinfo(self, *_: object) -> NoReturn:
        """Never return."""
        await trio.sleep_forever()

    async def getnameinfo(self, *_: object) -> NoReturn:
        """Never return."""
        await trio.sleep_forever()


async def test_a_name_that_is_never_resolved() -> None:
    trio.socket.set_custom_hostname_resolver(NoResolver())
    for kind in KINDS:
        assert "no answer within 0.3 s" in await given_up(transport_of(kind, Tcp("broker.example")))


@pytest.fixture
def full_port() -> Iterator[int]:
    """A port that answers no more, since nobody accepts the connections that wait."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        waiting = [socket.socket() for _ in range(4)]
        try:
            for one in waiting:
                one.setblocking(False)
                one.connect_ex(listener.getsockname())
            yield listener.getsockname()[1]
        finally:
            for one in waiting:
                one.close()


@pytest.mark.parametrize("kind", KINDS)
async def test_a_port_that_answers_no_connection(kind: str, full_port: int) -> None:
    assert "no answer within 0.3 s" in await given_up(transport_of(kind, Tcp("127.0.0.1", full_port)))


@pytest.mark.parametrize("kind", ["tls", "ws", "wss"])
async def test_a_server_that_accepts_and_answers_no_handshake(kind: str) -> None:
    async with scripted_server(silence) as port:
        assert "no answer within 0.3 s" in await given_up(transport_of(kind, Tcp("127.0.0.1", port)))


async def test_a_server_that_answers_the_handshake_of_tls_and_not_that_of_websocket() -> None:
    async def serve(stream: trio.SocketStream) -> None:
        await silence(await accept("tls", stream))

    async with scripted_server(serve) as port:
        assert "no answer within 0.3 s" in await given_up(transport_of("wss", Tcp("127.0.0.1", port)))


@pytest.mark.parametrize("kind", KINDS)
async def test_a_broker_that_never_answers_connect(kind: str) -> None:
    async def serve(stream: trio.SocketStream) -> None:
        await silence(await accept(kind, stream))

    async with scripted_server(serve) as port:
        assert "did not answer CONNECT in time" in await given_up(transport_of(kind, Tcp("127.0.0.1", port)))


async def test_a_unix_socket_behind_which_nobody_answers(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "mqtt.sock"))
        listener.listen()
        assert "did not answer CONNECT in time" in await given_up(Unix(str(tmp_path / "mqtt.sock")))


async def test_the_deadline_is_over_all_stages_together() -> None:
    async def serve(stream: trio.SocketStream) -> None:
        pause = CONNECT_SECONDS * 2 / 3  # which no single stage exceeds
        await silence(await accept("wss", stream, pause))

    async with scripted_server(serve) as port:
        assert "no answer within 0.3 s" in await given_up(transport_of("wss", Tcp("127.0.0.1", port)))


# Nothing stays open


class Recorded:
    """TCP that remembers the sockets it has opened."""

    name = "recorded"

    def __init__(self, port: int) -> None:
        self._tcp = Tcp("127.0.0.1", port)
        self.sockets: list[trio.socket.SocketType] = []

    async def open(self, tasks: trio.Nursery) -> trio.abc.Stream:
        """Open one more."""
        stream = await self._tcp.open(tasks)
        self.sockets.append(stream.socket)
        return stream

    @property
    def closed(self) -> bool:
        """Whether all are closed."""
        return all(one.fileno() == -1 for one in self.sockets)


@asynccontextmanager
async def accepting_broker(kind: str) -> AsyncIterator[int]:
    """Serve handshakes and CONNACKs; yield the port."""

    async def serve(stream: trio.SocketStream) -> None:
        accepted = await accept(kind, stream)
        if said := bytes(await accepted.receive_some()):
            connack = written(ConnAckPacket())
            await accepted.send_all(frame(BINARY, connack) if kind.startswith("ws") else connack)
            if not said.endswith(written(DisconnectPacket())):  # which a client that is cancelled may send at once
                await accepted.receive_some()

    async with scripted_server(serve) as port:
        yield port


async def cancelled_anywhere(recorded: Recorded, work: Callable[[], Awaitable[Any]]) -> int:
    """Do the work, cancelled at each of its checkpoints, until it is not; return how many there were."""
    for number in count(1):
        with trio.fail_after(PATIENCE):
            if not await cancelled_at(number, work):
                return number
        assert recorded.closed, f"cancelled at checkpoint {number}"
    raise AssertionError


@pytest.mark.parametrize("kind", KINDS)
async def test_opening_that_is_cancelled_anywhere_leaves_nothing_open(kind: str) -> None:
    async with accepting_broker(kind) as port:
        recorded = Recorded(port)
        transport = transport_of(kind, recorded)

        async def work() -> None:
            await open_and_close(transport)

        assert await cancelled_anywhere(recorded, work) > 3
        assert recorded.closed


@pytest.mark.parametrize("kind", KINDS)
async def test_a_client_that_is_cancelled_anywhere_leaves_nothing_open(kind: str) -> None:
    async with accepting_broker(kind) as port:
        recorded = Recorded(port)

        async def work() -> None:
            async with Client(transport=transport_of(kind, recorded), reconnect=False):
                pass

        assert await cancelled_anywhere(recorded, work) > 5
        assert recorded.closed


async def test_what_failed_leaves_no_file_descriptor() -> None:
    async def serve(stream: trio.SocketStream) -> None:
        await stream.receive_some()
        await stream.send_all(b"no TLS, no WebSocket, no MQTT")

    before = set(Path("/proc/self/fd").iterdir())
    async with scripted_server(serve) as port:
        for kind in KINDS:
            for _ in range(5):
                with pytest.raises(ConnectError):
                    async with Client(transport=transport_of(kind, Tcp("127.0.0.1", port))):
                        pass
    assert set(Path("/proc/self/fd").iterdir()) == before
