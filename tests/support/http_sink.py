"""A receiver on loopback that answers as it is told: well, badly, slowly, endlessly, not at all."""

import contextlib
import gzip
import json
import math
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import trio

Stream = trio.abc.Stream
Behaviour = Callable[[Stream], Awaitable[None]]
"""What is done once a request was read."""


@dataclass(frozen=True)
class Received:
    """A request as it came."""

    method: str
    target: str
    headers: Sequence[tuple[str, str]]
    """In order, names in lower case."""
    body: bytes

    def header(self, name: str) -> str | None:
        """Return the first value of a header."""
        return next((value for key, value in self.headers if key == name), None)

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


@dataclass
class HttpSink:
    """What has arrived."""

    behaviour: Behaviour
    scheme: str
    port: int = 0
    requests: list[Received] = field(default_factory=list)
    connections: int = 0

    def url(self, target: str = "/hook", host: str = "127.0.0.1") -> str:
        """Return an address of the sink."""
        return f"{self.scheme}://{host}:{self.port}{target}"

    async def handle(self, stream: Stream) -> None:
        """Read one request, and answer."""
        self.connections += 1
        with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            async with stream:
                received = await _request(stream)
                if received is not None:
                    self.requests.append(received)
                    await self.behaviour(stream)


async def _request(stream: Stream) -> Received | None:
    data = b""
    while b"\r\n\r\n" not in data:
        part = await stream.receive_some(65_536)
        if not part:
            return None
        data += part
    head, _, body = bytes(data).partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = [(name.lower(), value.strip()) for name, _, value in (line.partition(":") for line in lines)]
    length = int(dict(headers).get("content-length", "0"))
    while len(body) < length:
        body += await stream.receive_some(65_536)
    method, target, _ = first.split(" ")
    return Received(method, target, headers, body)


@contextlib.asynccontextmanager
async def http_sink(behaviour: Behaviour, context: ssl.SSLContext | None = None) -> AsyncIterator[HttpSink]:
    """Serve on a free port of 127.0.0.1, under TLS with a context."""
    sink = HttpSink(behaviour, "http" if context is None else "https")

    async def handle(stream: trio.SocketStream) -> None:
        served: Stream = stream
        if context is not None:
            served = trio.SSLStream(stream, context, server_side=True, https_compatible=True)
        await sink.handle(served)

    listening = trio.socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    await listening.bind(("127.0.0.1", 0))
    listening.listen(64)
    sink.port = listening.getsockname()[1]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, handle, [trio.SocketListener(listening)])
        yield sink
        nursery.cancel_scope.cancel()


@contextlib.contextmanager
def sink_in_thread(behaviour: Behaviour) -> Iterator[HttpSink]:
    """Serve in a thread of its own, for tests without a loop."""
    made: list[HttpSink] = []
    stops: list[tuple[trio.lowlevel.TrioToken, trio.Event]] = []
    serving = threading.Event()

    async def run() -> None:
        async with http_sink(behaviour) as one:
            stop = trio.Event()
            made.append(one)
            stops.append((trio.lowlevel.current_trio_token(), stop))
            serving.set()
            await stop.wait()

    thread = threading.Thread(target=trio.run, args=(run,))
    thread.start()
    assert serving.wait(10)
    try:
        yield made[0]
    finally:
        token, stop = stops[0]
        token.run_sync_soon(stop.set)
        thread.join()


def in_turn(*behaviours: Behaviour) -> Behaviour:
    """Behave otherwise each time, and as the last one for ever."""
    left = list(behaviours)

    async def behave(stream: Stream) -> None:
        await (left.pop(0) if len(left) > 1 else left[0])(stream)

    return behave


def answers(status: int, *headers: str, body: bytes = b"ok") -> Behaviour:
    """Answer at once with a status, header lines and a body."""
    lines = [f"HTTP/1.1 {status} Because", *headers, f"Content-Length: {len(body)}", "", ""]
    return raw("\r\n".join(lines).encode() + body)


def raw(data: bytes) -> Behaviour:
    """Answer with these bytes, and close."""

    async def behave(stream: Stream) -> None:
        await stream.send_all(data)

    return behave


async def silence(_stream: Stream) -> None:
    """Never answer."""
    await trio.sleep_forever()


async def hang_up(_stream: Stream) -> None:
    """Close without an answer."""
    await trio.lowlevel.checkpoint()


def drip(data: bytes, seconds: float) -> Behaviour:
    """Answer one byte at a time, and never end."""

    async def behave(stream: Stream) -> None:
        for byte in data:
            await stream.send_all(bytes([byte]))
            await trio.sleep(seconds)
        await trio.sleep_forever()

    return behave


def endless(data: bytes, pause: float | None = None, times: float = math.inf) -> Behaviour:
    """Send the same again and again."""

    async def behave(stream: Stream) -> None:
        sent = 0
        while sent < times:
            await stream.send_all(data)
            sent += 1
            if pause:
                await trio.sleep(pause)
        await trio.sleep_forever()

    return behave


def megabytes(status: int, count: int) -> Behaviour:
    """Answer with a body of so many MiB, as announced."""
    head = f"HTTP/1.1 {status} Large\r\nContent-Length: {count * 1_048_576}\r\n\r\n".encode()

    async def behave(stream: Stream) -> None:
        await stream.send_all(head)
        for _ in range(count * 16):
            await stream.send_all(b"x" * 65_536)

    return behave


@lru_cache(maxsize=1)
def bomb() -> bytes:
    """Return about a MiB that gzip unpacks to a GiB."""
    layer = gzip.compress(bytes(16 * 1_048_576), compresslevel=9)
    return layer * 64  # members of one file, each of 16 MiB


def packed_bomb(status: int) -> Behaviour:
    """Answer with the bomb, as gzip."""
    return answers(status, "Content-Encoding: gzip", body=bomb())
