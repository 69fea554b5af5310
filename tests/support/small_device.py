"""A device as its firmware makes it: MQTT 3.1.1 by hand, with a will."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from struct import pack

import trio


@dataclass
class SmallDevice:
    """A connection that publishes with QoS 0 and never pings."""

    stream: trio.SocketStream

    async def publish(self, topic: str, payload: bytes) -> None:
        """Send one message."""
        await self.stream.send_all(_packet(0x30, _text(topic.encode()) + payload))

    async def vanish(self) -> None:
        """Close the connection without a DISCONNECT, so that the broker publishes the will."""
        await self.stream.aclose()


@asynccontextmanager
async def connected(
    host: str, port: int, client_id: str, user: str, password: str, *, will: tuple[str, bytes], keep_alive: int
) -> AsyncIterator[SmallDevice]:
    """Connect, and vanish at the end at the latest, with ``will`` (topic and payload); ``keep_alive`` is in seconds."""
    stream = await trio.open_tcp_stream(host, port)
    flags = 0x02 | 0x04 | 0x08 | 0x40 | 0x80  # clean session, a will with QoS 1, user and password
    fields = (client_id.encode(), will[0].encode(), will[1], user.encode(), password.encode())
    head = _text(b"MQTT") + bytes([4, flags]) + pack(">H", keep_alive)
    await stream.send_all(_packet(0x10, head + b"".join(map(_text, fields))))
    answer = await stream.receive_some(4)
    assert answer == b"\x20\x02\x00\x00", answer
    async with stream:
        yield SmallDevice(stream)


def _packet(kind: int, body: bytes) -> bytes:
    assert len(body) < 16384
    length = bytes([len(body)]) if len(body) < 128 else bytes([len(body) % 128 | 128, len(body) // 128])
    return bytes([kind]) + length + body


def _text(data: bytes) -> bytes:
    return pack(">H", len(data)) + data
