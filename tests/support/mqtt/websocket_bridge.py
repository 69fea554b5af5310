"""A WebSocket server before a broker's TCP port: Debian's Mosquitto is built without WebSocket."""

import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from functools import partial

import mqtt5
import trio
from trio_websocket import ConnectionClosed, WebSocketConnection, WebSocketRequest, WebSocketServer
from wsproto.events import BytesMessage

from appliance.mqtt.framing import Framing

CHUNK_BYTES = 65536
SINGLE_BYTES = 1000
Cut = Callable[[bytes], Iterator[tuple[bytes, bool]]]
"""Cuts what the broker wrote into frames; the flag says whether a message ends with the frame."""


def whole(data: bytes) -> Iterator[tuple[bytes, bool]]:
    """One message for all that the broker wrote: many packets, and parts of packets."""
    yield data, True


def single_bytes(data: bytes) -> Iterator[tuple[bytes, bool]]:
    """One message a byte, each after an empty one, for the first of what the broker wrote; the rest is one message."""
    for value in data[:SINGLE_BYTES]:
        yield b"", True
        yield bytes([value]), True
    yield data[SINGLE_BYTES:], True


def fragments(data: bytes) -> Iterator[tuple[bytes, bool]]:
    """One message of frames with three bytes each."""
    for start in range(0, len(data), 3):
        yield data[start : start + 3], start + 3 >= len(data)


def packets() -> Cut:
    """Return a cut with one message a packet, as brokers do it."""
    framing = Framing()

    def cut(data: bytes) -> Iterator[tuple[bytes, bool]]:
        found, fault = framing.feed(data)
        assert fault is None, fault
        for packet in found:
            yield _written(packet), True

    return cut


def _written(packet: mqtt5.Packet) -> bytes:
    return packet.write()


@asynccontextmanager
async def websocket_bridge(
    port: int, *, cut: Callable[[], Cut] = lambda: whole, context: ssl.SSLContext | None = None
) -> AsyncIterator[int]:
    """Bridge WebSockets at /mqtt to a broker's port on loopback, each with a cut of its own; yield the port."""
    listeners: list[trio.SocketListener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
    served = (
        listeners if context is None else [trio.SSLListener(one, context, https_compatible=True) for one in listeners]
    )
    async with trio.open_nursery() as nursery:
        server = WebSocketServer(partial(_bridge, port, cut), served)
        nursery.start_soon(server.run)
        yield listeners[0].socket.getsockname()[1]
        nursery.cancel_scope.cancel()


async def _bridge(port: int, cut: Callable[[], Cut], request: WebSocketRequest) -> None:
    if request.path != "/mqtt":
        await request.reject(404)
        return
    client = await request.accept(subprotocol="mqtt")
    stream = await trio.open_tcp_stream("127.0.0.1", port)
    async with stream, trio.open_nursery() as nursery:

        async def upwards() -> None:
            try:
                while True:
                    message = await client.get_message()
                    assert isinstance(message, bytes)
                    await stream.send_all(message)
            except (ConnectionClosed, trio.BrokenResourceError):
                nursery.cancel_scope.cancel()

        nursery.start_soon(upwards)
        await _downwards(stream, client, cut())
        nursery.cancel_scope.cancel()


async def _downwards(stream: trio.SocketStream, client: WebSocketConnection, cut: Cut) -> None:
    """Send what the broker writes, until one of the two ends."""
    try:
        while data := bytes(await stream.receive_some(CHUNK_BYTES)):
            frames = [client._wsproto.send(BytesMessage(data=part, message_finished=ends)) for part, ends in cut(data)]
            async with client._stream_lock:  # all at once: a write a frame would take minutes
                await client._stream.send_all(b"".join(frames))
    except (ConnectionClosed, trio.BrokenResourceError):
        return
