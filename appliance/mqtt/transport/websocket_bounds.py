"""What a server of a WebSocket may have us keep: little before the handshake is done, and few pieces of a message.

trio-websocket bounds a message by its bytes alone. A server that sends it in millions of tiny frames, or answers the
handshake with an HTTP body that does not end, would fill our memory all the same.
"""

from typing import Any

import trio
from trio_websocket import WebSocketConnection

HANDSHAKE_BYTES = 256 * 1024
"""Bytes of an answer to the handshake; h11 takes 16 KiB of headers, the rest is the body of a refusal. A read that
also has the first messages in it is shorter."""
MAX_PIECES = 1024
"""Pieces of a message that are kept apart: each read of a long one adds a piece, and so does each frame."""
SLOW_READ_BYTES = 4096
"""Bytes of a read while a message comes in tiny frames: all frames of a read are handled in one turn of the loop."""


class BoundedStream(trio.abc.Stream):
    """The stream below a WebSocket. ``connection`` is set once the handshake is done."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self.connection: WebSocketConnection | None = None
        self._stream = stream
        self._handshake = 0  # bytes read until it is done

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send as the stream does."""
        await self._stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        """Wait as the stream does."""
        await self._stream.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        """Read as the stream does. Raises BrokenResourceError when the handshake does not end, and
        for text in very many pieces, which MQTT is not."""
        if self.connection is not None:
            if len(self.connection._message_parts) > MAX_PIECES:  # noqa: SLF001 - it offers no bound of its own
                _join(self.connection._message_parts)  # noqa: SLF001
                max_bytes = SLOW_READ_BYTES
            return await self._stream.receive_some(max_bytes)
        if self._handshake > HANDSHAKE_BYTES:
            raise trio.BrokenResourceError("the answer to the WebSocket handshake does not end")
        data = await self._stream.receive_some(max_bytes)
        self._handshake += len(data)
        return data

    async def aclose(self) -> None:
        """Close the stream."""
        await self._stream.aclose()


def _join(pieces: list[Any]) -> None:
    """Put all pieces of a message into the first one, which grows without a copy of what is there."""
    first = pieces[0]
    if isinstance(first, str):
        raise trio.BrokenResourceError("the server sends text in very many pieces")
    whole = first if isinstance(first, bytearray) else bytearray(first)
    for piece in pieces[1:]:
        whole += piece
    pieces[:] = [whole]
