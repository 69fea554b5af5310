"""The stream below a WebSocket, and the messages that were read from it and not taken yet.

trio-websocket bounds a message by its bytes alone, and the messages that wait by their number alone. So a server that
sends a message in millions of tiny frames, or answers the handshake with an HTTP body that does not end, would fill our
memory; and with room for one message, of whatever size, the pump would get one message a read, after each of which it
waits a little. Here the bound is what one read of the stream may bring, in however many messages.
"""

from collections.abc import Iterator
from typing import Any

import trio
from trio_websocket import WebSocketConnection

READ_BYTES = 65536
QUEUED_MESSAGES = READ_BYTES // 2 + 1
"""Messages that one read ends: each has two bytes at least, but for one that an earlier read began."""
HANDSHAKE_BYTES = 256 * 1024
"""Bytes of an answer to the handshake; h11 takes 16 KiB of headers, the rest is the body of a refusal. A read that
also has the first messages in it is shorter."""
MAX_PIECES = 1024
"""Pieces of a message that are kept apart: each read of a long one adds a piece, and so does each frame."""
SLOW_READ_BYTES = 4096
"""Bytes of a read while a message comes in tiny frames: all frames of a read are handled in one turn of the loop."""


class BoundedStream(trio.abc.Stream):
    """See the module's docstring. ``connection`` is set once the handshake is done."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self.connection: WebSocketConnection | None = None
        self._stream = stream
        self._handshake = 0  # bytes read until it is done
        self._leaving = False
        self._taken = trio.lowlevel.ParkingLot()

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send as the stream does."""
        await self._stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        """Wait as the stream does."""
        await self._stream.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        """Read as the stream does, once all messages of the reads before were taken.

        Raises BrokenResourceError when the handshake does not end, and for text in very many pieces.
        """
        if self.connection is None:
            if self._handshake > HANDSHAKE_BYTES:
                raise trio.BrokenResourceError("the answer to the WebSocket handshake does not end")
            data = await self._stream.receive_some(max_bytes)
            self._handshake += len(data)
            return data
        queue = self.connection._recv_channel  # noqa: SLF001
        while queue.statistics().current_buffer_used and not self._leaving:
            await self._taken.park()
        if len(self.connection._message_parts) > MAX_PIECES:  # noqa: SLF001
            _join(self.connection._message_parts)  # noqa: SLF001
            max_bytes = SLOW_READ_BYTES
        return await self._stream.receive_some(max_bytes)

    def take(self) -> Iterator[bytes | str]:
        """Take the messages that wait, without waiting for one; then the next read begins."""
        assert self.connection is not None  # noqa: S101 - nothing waits before
        try:
            while True:
                yield self.connection._recv_channel.receive_nowait()  # noqa: SLF001
        except (trio.WouldBlock, trio.EndOfChannel, trio.ClosedResourceError):
            self._taken.unpark_all()

    def leave(self) -> None:
        """Read on whether or not messages are taken: the answer to our CLOSE is behind them."""
        self._leaving = True
        self._taken.unpark_all()

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
