"""WebSocket as a transport: its handshake, its frames, and how it ends."""

import random
import tracemalloc
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
import trio.testing
from trio_websocket import WebSocketConnection
from wsproto.connection import Connection, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Event, Pong

from appliance.mqtt.client import Client
from appliance.mqtt.errors import ConnectError
from appliance.mqtt.transport import BROKEN, OpenStream, Tcp, WebSocket
from tests.support.mqtt.opening import open_and_close
from tests.support.mqtt.opening import opened as client_side
from tests.support.mqtt.websocket_frames import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, answer, frame
from tests.support.scripted_server import scripted_server
from tests.support.soak import times

MQTT = "Sec-WebSocket-Protocol: mqtt"
EMPTY = "Content-Length: 0"
ENDED = (
    "the server ended the WebSocket handshake: does it speak WebSocket on this port, and the subprotocol"
    ' "mqtt" at /mqtt?'
)
GARBAGE_ROUNDS = times(80)
Pair = Callable[[], tuple[Any, Any]]


async def head(stream: trio.abc.ReceiveStream) -> bytes:
    """Return a request, up to the blank line."""
    found = b""
    while not found.endswith(b"\r\n\r\n"):
        found += bytes(await stream.receive_some())
    return found


class Served:
    """The server's end of a WebSocket in memory."""

    def __init__(self, stream: trio.StapledStream[Any, Any]) -> None:
        self.stream = stream
        self.request = b""
        self._frames = Connection(ConnectionType.SERVER)

    async def event(self) -> Event:
        """Return what the client sends next."""
        while True:
            for event in self._frames.events():
                return event
            data = await self.stream.receive_some()
            assert data, "the client closed without a frame"
            self._frames.receive_data(bytes(data))


@asynccontextmanager
async def opened(
    pair: Pair = trio.testing.memory_stream_pair, **options: int
) -> AsyncIterator[tuple[trio.abc.Stream, Served]]:
    """Yield a WebSocket whose handshake is done, and the server's end."""
    ours, theirs = pair()
    served = Served(theirs)

    async def accept() -> None:
        served.request = await head(theirs)
        await theirs.send_all(answer(served.request, MQTT))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(accept)
        with trio.fail_after(30):
            socket = WebSocket(OpenStream(ours, "memory"), "broker.example:8083", "/m?a=b", **options)
            stream = await socket.open(nursery)
        try:
            with trio.fail_after(30):
                yield stream, served
        finally:
            await trio.aclose_forcefully(stream)
            await trio.aclose_forcefully(served.stream)


# The handshake


async def test_a_request_names_path_host_and_subprotocol() -> None:
    async with opened() as (_, served):
        lines = served.request.decode().lower().split("\r\n")
        assert lines[0] == "get /m?a=b http/1.1"
        assert {"host: broker.example:8083", "sec-websocket-protocol: mqtt", "upgrade: websocket"} <= set(lines)


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (
            lambda request: answer(request, MQTT, EMPTY, status="404 Not Found"),
            "answered 404 Not Found in place of a WebSocket",
        ),
        (lambda request: answer(request, EMPTY, status="401 Unauthorized"), "answered 401 Unauthorized"),
        (
            lambda request: answer(request, "Location: ws://x/", EMPTY, status="301 Moved"),
            "answered 301 Moved Permanently",
        ),
        (
            lambda request: answer(request, MQTT, EMPTY, status="200 OK"),
            "answered 200 OK in place of a WebSocket: is /mqtt where",
        ),
        (lambda request: answer(request, MQTT, EMPTY, status="799 Odd"), "answered 799 in place"),
        (lambda request: answer(request, status="103 Early Hints"), "answered 103 Early Hints"),
        (answer, 'the server chose no subprotocol in place of "mqtt": is /mqtt where MQTT is?'),
        (lambda request: answer(request, "Sec-WebSocket-Protocol: amqp"), ENDED),
        (lambda request: answer(request, "Sec-WebSocket-Protocol: am\u00e9"), ENDED),
        (lambda request: answer(request, MQTT, token="bm90aGluZw=="), ENDED),
        (lambda request: answer(request, MQTT, "Sec-WebSocket-Extensions: permessage-deflate"), ENDED),
        (lambda _: b"HTTP/1.1 101 Switching\r\nConnection: Upgrade\r\n\r\n", ENDED),
        (lambda _: b"\x20\x09\x00\x00\x06\x22\x00\x0a" * 4, ENDED),
        (lambda _: b"HTTP/1.1 200 OK\r\n" + b"X-Filler: y\r\n" * 3000, ENDED),
        (lambda _: b"", ENDED),
    ],
)
async def test_a_server_that_refuses_is_told_with_what_to_mend(reply: Callable[[bytes], bytes], words: str) -> None:
    async def serve(stream: trio.SocketStream) -> None:
        data = reply(await head(stream))
        if data:
            await stream.send_all(data)
            await stream.receive_some()

    async with scripted_server(serve) as port:
        with trio.fail_after(30), pytest.raises(ConnectError) as caught:
            async with Client(transport=WebSocket(Tcp("127.0.0.1", port), f"127.0.0.1:{port}")):
                pass
    assert words in str(caught.value)
    assert f"at 127.0.0.1:{port}/mqtt: " in str(caught.value)


async def test_what_a_server_says_is_shown_on_one_line_and_cut() -> None:
    async with opened() as (stream, served):
        await served.stream.send_all(frame(CLOSE, b"\x0f\xa0" + "\u202e\nx".encode() + b"y" * 110))
        with pytest.raises(trio.BrokenResourceError) as caught:
            await stream.receive_some()
    assert str(caught.value) == f"the WebSocket was closed with code 4000 (\\u202e\\nx{'y' * 97}...)"


@pytest.mark.parametrize("name", ["a" * 64, "a..b"])
async def test_a_host_that_no_header_can_name_is_an_error_like_the_others(name: str) -> None:
    ours, _ = trio.testing.memory_stream_pair()
    with pytest.raises(OSError, match="cannot be the name of a host"):
        await open_and_close(WebSocket(OpenStream(ours, "memory"), name))


# Frames


async def test_bytes_come_as_they_are_whatever_frames_and_messages_they_are_in() -> None:
    async with opened() as (stream, served):
        await served.stream.send_all(
            frame(BINARY, b"ab")
            + frame(BINARY, b"")
            + frame(BINARY, b"c", ends=False)
            + frame(PING, b"between")
            + frame(CONTINUATION, b"d", ends=False)
            + frame(CONTINUATION, b"")
            + frame(BINARY, bytes(126))
            + frame(BINARY, bytes(65536))
        )
        assert await stream.receive_some(1) == b"a"
        found = b""
        while len(found) < 3 + 126 + 65536:
            found += bytes(await stream.receive_some(100_000))
        assert found == b"bcd" + bytes(126 + 65536)
        assert await served.event() == Pong(b"between")


@pytest.mark.parametrize("frames", [[b"1234", b"56789"], [b"12", b"34", b"56", b"789"]])
async def test_a_message_that_is_longer_than_any_packet_ends_the_stream(frames: list[bytes]) -> None:
    async with opened(max_message_bytes=8) as (stream, served):
        for _ in range(2):
            await served.stream.send_all(frame(BINARY, b"12345678"))
            assert await stream.receive_some() == b"12345678"
        parts = [frame(CONTINUATION if number else BINARY, part, ends=False) for number, part in enumerate(frames)]
        await served.stream.send_all(b"".join(parts))
        with pytest.raises(trio.BrokenResourceError, match=r"code 1009 \(Exceeded maximum message size: 8 bytes"):
            await stream.receive_some()
        assert isinstance(event := await served.event(), CloseConnection)
        assert event.code == 1009


async def test_all_messages_that_have_come_are_read_at_once() -> None:
    async with opened() as (stream, served):
        await served.stream.send_all(frame(BINARY, b"message") * 500)
        await trio.testing.wait_all_tasks_blocked()
        assert await stream.receive_some() == b"message" * 500


async def test_what_nobody_takes_is_left_with_the_server() -> None:
    sent = 0

    async def send() -> None:
        nonlocal sent
        while True:
            await served.stream.send_all(frame(BINARY, b"message"))
            sent += 1

    async with opened(trio.testing.lockstep_stream_pair) as (stream, served), trio.open_nursery() as nursery:
        await trio.testing.wait_all_tasks_blocked()  # the answer to the handshake is sent
        nursery.start_soon(send)
        await trio.testing.wait_all_tasks_blocked()
        assert sent == 1
        assert await stream.receive_some() == b"message"
        await trio.testing.wait_all_tasks_blocked()
        assert sent == 2
        nursery.cancel_scope.cancel()


async def test_a_message_in_very_many_pieces_takes_no_more_memory_than_its_bytes() -> None:
    async with opened() as (stream, served):
        pieces = frame(CONTINUATION, b"xy", ends=False) * 4000
        await served.stream.send_all(frame(BINARY, b"", ends=False))
        await trio.testing.wait_all_tasks_blocked()
        tracemalloc.start()
        try:
            for _ in range(10):
                await served.stream.send_all(pieces)
                await trio.testing.wait_all_tasks_blocked()
            kept, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert kept < 500_000
        await served.stream.send_all(frame(CONTINUATION, b"end"))
        found = b""
        while not found.endswith(b"end"):
            found += bytes(await stream.receive_some())
        assert found == b"xy" * 40_000 + b"end"


async def test_a_server_that_never_ends_its_refusal_is_left() -> None:
    sent = 0

    async def serve(stream: trio.SocketStream) -> None:
        nonlocal sent
        await stream.send_all(answer(await head(stream), status="404 Not Found"))
        while True:
            await stream.send_all(bytes(65536))
            sent += 65536

    async with scripted_server(serve) as port:
        with trio.fail_after(30), pytest.raises(OSError, match="the server ended the WebSocket handshake"):
            await open_and_close(WebSocket(Tcp("127.0.0.1", port), "b"))
    assert sent < 100 * 65536


async def test_text_is_no_mqtt() -> None:
    async with opened() as (stream, served):
        await served.stream.send_all(frame(BINARY, b"good") + frame(TEXT, b"bad") + frame(BINARY, b"never"))
        assert await stream.receive_some() == b"good"
        for _ in range(2):
            with pytest.raises(trio.BrokenResourceError, match="the server sent text where MQTT has binary messages"):
                await stream.receive_some()
        assert isinstance(event := await served.event(), CloseConnection)
        assert event.code == 1003
        with pytest.raises(trio.BrokenResourceError, match="sent text"):
            await stream.send_all(b"x")


@pytest.mark.parametrize(
    "data",
    [
        frame(BINARY, b"x", mask=True),
        frame(BINARY, b"x", reserved=4),
        frame(CONTINUATION, b"x"),
        frame(BINARY, b"x", ends=False) + frame(BINARY, b"y"),
        frame(0x3, b"x"),
        frame(PING, b"x", ends=False),
        frame(PING, bytes(126)),
        frame(CLOSE, b"\x03"),
        frame(CLOSE, b"\x03\xed"),
    ],
)
async def test_frames_that_must_not_be_end_the_stream(data: bytes) -> None:
    async with opened() as (stream, served):
        await served.stream.send_all(frame(BINARY, b"good") + data)
        assert await stream.receive_some() == b"good"
        with pytest.raises(trio.BrokenResourceError, match="the WebSocket was closed with code 1002 "):
            await stream.receive_some()


async def test_each_write_is_one_binary_message_and_an_empty_one_none() -> None:
    async with opened() as (stream, served):
        for payload in (b"a", b"", bytes(70_000), bytearray(b"b"), memoryview(b"c")):
            await stream.send_all(payload)
        for expected in (b"a", bytes(70_000), b"b", b"c"):
            found, ended = b"", False
            while not ended:
                event = await served.event()
                assert isinstance(event, BytesMessage)
                found, ended = found + event.data, event.message_finished
            assert found == expected


async def test_pings_are_answered_and_none_is_ours() -> None:
    async with opened() as (stream, served):
        await served.stream.send_all(frame(PING, b"1") + frame(PONG, b"ours") + frame(PING, b"2") + frame(BINARY, b"x"))
        assert await stream.receive_some() == b"x"
        assert [await served.event(), await served.event()] == [Pong(b"1"), Pong(b"2")]


async def test_a_write_that_was_cut_off_is_followed_by_nothing() -> None:
    async with opened(trio.testing.lockstep_stream_pair) as (stream, served):
        with trio.move_on_after(0.01):
            await stream.send_all(b"never read")
        with pytest.raises(trio.BrokenResourceError):
            await stream.send_all(b"x")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(served.stream.send_all, frame(BINARY, b"still read"))
            assert await stream.receive_some() == b"still read"


# The end


@pytest.mark.parametrize("said", [b"", b"\x03\xe8", b"\x03\xe8bye", b"\x03\xe9"])
async def test_a_server_that_closes_is_the_end_of_the_stream_after_all_that_came_before(said: bytes) -> None:
    async with opened() as (stream, served):
        await served.stream.send_all(frame(BINARY, b"last") + frame(CLOSE, said) + b"whatever")
        assert await stream.receive_some() == b"last"
        assert await stream.receive_some() == b""
        assert await stream.receive_some() == b""
        assert isinstance(await served.event(), CloseConnection)  # ours, in answer
        with pytest.raises(trio.BrokenResourceError):
            await stream.send_all(b"x")


async def test_what_fails_in_the_task_that_reads_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(WebSocketConnection, "_handle_ping_event", fail)
    async with opened() as (stream, served):
        await served.stream.send_all(frame(BINARY, b"last") + frame(PING))
        assert await stream.receive_some() == b"last"
        with pytest.raises(trio.BrokenResourceError, match="reading the WebSocket failed: ZeroDivisionError"):
            await stream.receive_some()


async def test_a_server_that_closes_for_a_reason_is_told() -> None:
    async with opened() as (stream, served):
        await served.stream.send_all(frame(CLOSE, b"\x03\xf0no access"))
        with pytest.raises(trio.BrokenResourceError, match=r"was closed with code 1008 \(no access\)$"):
            await stream.receive_some()


async def test_an_end_without_a_word_is_an_end() -> None:
    async with opened() as (stream, served):
        await served.stream.send_all(frame(BINARY, b"last") + frame(BINARY, bytes(100))[:50])
        await served.stream.send_eof()
        assert await stream.receive_some() == b"last"
        assert await stream.receive_some() == b""


async def test_closing_says_so_once() -> None:
    async with opened() as (stream, served):
        await stream.aclose()
        assert isinstance(event := await served.event(), CloseConnection)
        assert event.code == 1000
        assert await served.stream.receive_some() == b""
        await stream.aclose()
        with pytest.raises(trio.ClosedResourceError):
            await stream.send_all(b"x")
        with pytest.raises(trio.ClosedResourceError):
            await stream.receive_some()


async def test_closing_by_force_waits_for_nobody() -> None:
    async with opened(trio.testing.lockstep_stream_pair) as (stream, served):
        await trio.aclose_forcefully(stream)
        while await served.stream.receive_some():
            pass


async def test_a_server_that_reads_nothing_does_not_hold_a_close(autojump_clock: trio.testing.MockClock) -> None:
    async with opened(trio.testing.lockstep_stream_pair) as (stream, _):
        begun = trio.current_time()
        await stream.aclose()
        assert trio.current_time() - begun == 1.0
    assert autojump_clock.rate == 0.0


@pytest.mark.parametrize("accepted", [True, False])
async def test_whatever_comes_raises_nothing_but_that_the_stream_is_lost(accepted: bool) -> None:
    seed = random.randrange(2**32)
    chance = random.Random(seed)
    good = [frame(kind, bytes(size)) for kind in (BINARY, TEXT, PING, PONG, CLOSE) for size in (0, 2, 125, 130)]
    for number in range(GARBAGE_ROUNDS):
        ours, theirs = trio.testing.memory_stream_pair()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(send_garbage, theirs, chance, good, accepted)
            try:
                async with client_side(WebSocket(OpenStream(ours, "memory"), "b")) as stream:
                    while await stream.receive_some():
                        pass
                    await stream.send_all(b"x")
            except BROKEN:
                pass
            except Exception as error:
                raise AssertionError(f"seed {seed}, round {number}") from error
        await trio.aclose_forcefully(ours)


async def send_garbage(stream: Any, chance: random.Random, good: list[bytes], accepted: bool) -> None:
    """Answer a request and send frames, both with some bytes changed, or the frames alone."""
    right = answer(await head(stream), MQTT)
    frames = b"".join(chance.choice([*good, chance.randbytes(6)]) for _ in range(4))
    fuzzed = bytearray(frames if accepted else right + frames)
    for _ in range(chance.randrange(6)):
        fuzzed[chance.randrange(len(fuzzed))] = chance.randrange(256)
    await stream.send_all((right if accepted else b"") + fuzzed)
    await stream.send_eof()
