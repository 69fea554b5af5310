"""A WebSocket whose handshake is done, as a stream of bytes: the borders of its messages mean nothing to MQTT.

Enters: bytes of MQTT, binary messages. Leaves: one binary message a write, and the bytes of the messages of the other
side. Never: a ping of ours, since MQTT has its own.
"""

import contextlib
from collections.abc import Awaitable, Callable
from typing import NoReturn

import trio
from trio_websocket import CloseReason, ConnectionClosed, WebSocketConnection
from wsproto.utilities import LocalProtocolError

from appliance.mqtt.transport.stream import BROKEN
from appliance.mqtt.transport.websocket_bounds import BoundedStream

MAX_MESSAGE_BYTES = 16 * 1024 * 1024
"""Bytes of one message: it is kept until its end. Brokers send one packet, or some, in each; MQTT would allow 256 MiB,
which no device of a factory sends."""
CLOSE_SECONDS = 1.0
"""Seconds for which a close waits for the other side."""
QUIET_CODES = frozenset({1000, 1001, 1005})
"""What a server says that just ends (RFC 6455 §7.4.1): normal, going away, nothing said."""
ABNORMAL = 1006
"""The connection ended without a CLOSE."""
UNSUPPORTED_DATA = 1003
SHOWN_CHARACTERS = 100
"""Characters of what the other side says that an error repeats."""
TEXT = "the server sent text where MQTT has binary messages"  # [MQTT-6.0.0-1]


class WebSocketStream(trio.abc.Stream):
    """See the module's docstring. One task may write while another one reads, as with any stream."""

    def __init__(
        self,
        connection: WebSocketConnection,
        stream: BoundedStream,
        stop: Callable[[], None],
        failure: Callable[[], Awaitable[Exception | None]],
    ) -> None:
        """``stop`` ends the task that reads; ``failure`` waits for its end, and returns what it raised."""
        self._connection = connection
        self._stream = stream
        self._stop = stop
        self._failure = failure
        self._received = bytearray()
        self._text = False  # behind what is received
        self._fault = ""  # why nothing more is read or written
        self._closed = False

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send the bytes as one binary message."""
        self._check()
        if not data:
            await trio.lowlevel.checkpoint()
            return
        try:
            await self._connection.send_message(bytes(data))
        except (ConnectionClosed, LocalProtocolError):
            self._check()
            raise trio.BrokenResourceError("the server reads no more of the WebSocket") from None
        except trio.Cancelled:
            self._fault = "a write was cut off"  # nothing valid can follow it
            raise

    async def wait_send_all_might_not_block(self) -> None:
        """Return when a write might not block."""
        await self._stream.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        """Return some bytes, empty at the end. Raises BrokenResourceError for what MQTT cannot be in."""
        if self._received:
            await trio.lowlevel.checkpoint()
        while not self._received:
            self._check(reading=True)
            if self._text:
                await self._refuse_text()
            try:
                message = await self._connection.get_message()
            except ConnectionClosed as closed:
                self._check(reading=True)
                return await self._end(closed.reason)
            self._take(message)
            for following in self._stream.take():
                self._take(following)
        size = max_bytes or len(self._received)
        part = bytes(self._received[:size])
        del self._received[:size]
        return part

    def _take(self, message: bytes | str) -> None:
        """Add a message to what is received, unless text came before it."""
        self._text = self._text or isinstance(message, str)
        if not self._text and isinstance(message, bytes):
            self._received += message

    async def _refuse_text(self) -> NoReturn:
        self._fault = TEXT
        self._stream.leave()
        with contextlib.suppress(ConnectionClosed, *BROKEN), trio.move_on_after(CLOSE_SECONDS):
            await self._connection.aclose(UNSUPPORTED_DATA)
        raise trio.BrokenResourceError(TEXT)

    async def aclose(self) -> None:
        """Say that we close, wait a moment for the answer, and close the stream."""
        self._closed = True
        self._stream.leave()
        try:
            if not self._fault:
                with trio.move_on_after(CLOSE_SECONDS), contextlib.suppress(*BROKEN, LocalProtocolError):
                    await self._connection.aclose()
        finally:
            self._stop()
            await trio.aclose_forcefully(self._stream)
        await trio.lowlevel.checkpoint_if_cancelled()

    def _check(self, *, reading: bool = False) -> None:
        if self._closed:
            raise trio.ClosedResourceError
        if self._fault and not (reading and self._fault == "a write was cut off"):
            raise trio.BrokenResourceError(self._fault)

    async def _end(self, reason: CloseReason | None) -> bytes:
        """Return the end of the stream. Raises BrokenResourceError for one that has a reason."""
        failure = await self._failure() if reason is None else None
        if failure is not None:
            self._fault = f"reading the WebSocket failed: {type(failure).__name__} {printable(str(failure))}".rstrip()
            raise trio.BrokenResourceError(self._fault) from None
        if reason is None or reason.code in QUIET_CODES or (reason.code == ABNORMAL and not reason.reason):
            return b""
        said = f" ({printable(reason.reason)})" if reason.reason else ""
        self._fault = f"the WebSocket was closed with code {int(reason.code)}{said}"
        raise trio.BrokenResourceError(self._fault)


def printable(text: str) -> str:
    """Return what the other side says, shortened, with nothing in it that could disturb a terminal or a log."""
    cut = text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}..."
    return "".join(sign if sign.isprintable() else ascii(sign)[1:-1] for sign in cut)
