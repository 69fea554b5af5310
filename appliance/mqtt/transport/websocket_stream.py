"""A WebSocket whose handshake is done, as a stream of bytes: the borders of its messages mean nothing to MQTT.

Enters: bytes of MQTT, frames. Leaves: one binary message a write, and the bytes of the binary messages of the other
side, as they come. Never: a whole message in memory, a ping of ours (MQTT has its own), a task.
"""

import contextlib

import trio
import wsproto
from wsproto.connection import ConnectionState
from wsproto.events import BytesMessage, CloseConnection, Event, Ping, Pong, TextMessage
from wsproto.frame_protocol import CloseReason

from appliance.mqtt.transport.stream import BROKEN

CHUNK_BYTES = 65536
"""Bytes read at once, unless the reader asks for more; what he did not ask for waits for his next call."""
MAX_MESSAGE_BYTES = 268_435_455 + 5
"""Bytes of one message: as many as the longest MQTT packet has (MQTT 5 §1.5.5 and its fixed header). Nothing of a
message is kept until its end, so this guards no memory. It ends a server that sends something else: one that speaks
MQTT has no reason for a longer message."""
CLOSE_SECONDS = 1.0
"""Seconds for which a close may wait for the other side to read."""
QUIET_CODES = frozenset({CloseReason.NORMAL_CLOSURE, CloseReason.GOING_AWAY, CloseReason.NO_STATUS_RCVD})
"""What a server says that just ends."""
SHOWN_CHARACTERS = 100
"""Characters of what the other side says that an error repeats."""


class WebSocketStream(trio.abc.Stream):
    """See the module's docstring. One task may write while another one reads, as with any stream.

    A ping is answered by whoever is at it, the reader or the writer, and of several pings only the last one
    (RFC 6455 §5.5.3): what waits to be sent is at most one PONG and one CLOSE.
    """

    def __init__(self, stream: trio.abc.Stream, connection: wsproto.WSConnection, max_message_bytes: int) -> None:
        self._stream = stream
        self._connection = connection
        self._max_message_bytes = max_message_bytes
        self._message_bytes = 0  # of the message that is under way
        self._received = bytearray()
        self._pong: Pong | None = None
        self._goodbye: CloseConnection | None = None
        self._fault = ""  # why nothing more is read, beside the end of the stream
        self._ended = False
        self._torn = False  # a write was cut off: nothing valid can follow it
        self._closed = False
        self._writing = trio.Lock()
        self._read_events()  # frames that came with the answer to the handshake

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send the bytes as one binary message."""
        async with self._writing:
            if self._closed:
                raise trio.ClosedResourceError
            if self._torn or self._fault or self._connection.state is not ConnectionState.OPEN:
                raise trio.BrokenResourceError(self._fault or "the server reads no more of the WebSocket")
            if data:
                await self._write(self._connection.send(BytesMessage(data=bytes(data))))
            while replies := self._replies():
                await self._write(replies)

    async def wait_send_all_might_not_block(self) -> None:
        """Return when a write might not block."""
        await self._stream.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        """Return some bytes, empty at the end. Raises BrokenResourceError for what MQTT cannot be in."""
        if max_bytes is not None and max_bytes < 1:
            raise ValueError("max_bytes must be at least 1")
        if self._received:
            await trio.lowlevel.checkpoint()
        while not self._received:
            if self._fault:
                await trio.lowlevel.checkpoint()
                raise trio.BrokenResourceError(self._fault)
            if self._ended:
                await trio.lowlevel.checkpoint()
                return b""
            data = await self._stream.receive_some(max(max_bytes or 0, CHUNK_BYTES))
            if not data:
                self._ended = True
                continue
            self._connection.receive_data(bytes(data))
            self._read_events()
            await self._answer()
        size = max_bytes or len(self._received)
        part = bytes(self._received[:size])
        del self._received[:size]
        return part

    async def aclose(self) -> None:
        """Say that we close, unless the server does not read, and close the stream without waiting for its answer."""
        was_open = not (self._closed or self._torn or self._writing.locked())
        self._closed = True
        try:
            if was_open and self._connection.state is ConnectionState.OPEN:
                with trio.move_on_after(CLOSE_SECONDS), contextlib.suppress(*BROKEN):
                    await self._write(self._connection.send(CloseConnection(CloseReason.NORMAL_CLOSURE)))
        finally:
            await self._stream.aclose()

    async def _write(self, data: bytes) -> None:
        torn, self._torn = self._torn, True
        await self._stream.send_all(data)
        self._torn = torn

    async def _answer(self) -> None:
        """Send what has to be answered, unless somebody writes, who then sends it."""
        nothing = self._pong is None and self._goodbye is None
        if nothing or self._torn or self._closed or self._writing.locked():
            return
        async with self._writing:
            while replies := self._replies():
                try:
                    await self._write(replies)
                except BROKEN:  # what was received before still counts
                    return

    def _replies(self) -> bytes:
        """Return what has to be answered, and forget it."""
        events: list[Event] = [event for event in (self._pong, self._goodbye) if event is not None]
        self._pong = self._goodbye = None
        if self._connection.state is not ConnectionState.OPEN:  # after a CLOSE only a CLOSE may follow
            events = [event for event in events if isinstance(event, CloseConnection)]
        return b"".join(self._connection.send(event) for event in events)

    def _read_events(self) -> None:
        for event in self._connection.events():
            match event:
                case BytesMessage():
                    self._take(event)
                case Ping():
                    self._pong = event.response()
                case CloseConnection():
                    self._end(event)
                case TextMessage():
                    self._fail("the server sent text where MQTT has binary messages", CloseReason.UNSUPPORTED_DATA)
            if self._fault or self._ended:
                return

    def _take(self, event: BytesMessage) -> None:
        self._message_bytes += len(event.data)
        if self._message_bytes > self._max_message_bytes:
            words = f"the server sent a WebSocket message of more than {self._max_message_bytes} bytes"
            self._fail(words, CloseReason.MESSAGE_TOO_BIG)
            return
        self._received += event.data
        if event.message_finished:
            self._message_bytes = 0

    def _end(self, event: CloseConnection) -> None:
        if self._connection.state is ConnectionState.OPEN:  # no CLOSE: what came cannot be read
            words = f"the server broke the WebSocket protocol: {printable(event.reason or '')}"
            self._fail(words, CloseReason(event.code))
            return
        self._goodbye = event.response()
        if event.code in QUIET_CODES:
            self._ended = True
        else:
            said = f" ({printable(event.reason)})" if event.reason else ""
            self._fault = f"the server closed the WebSocket with code {int(event.code)}{said}"

    def _fail(self, words: str, code: CloseReason) -> None:
        self._fault = words
        self._goodbye = CloseConnection(code)


def printable(text: str) -> str:
    """Return what the other side says, shortened, with nothing in it that could disturb a terminal or a log."""
    cut = text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}..."
    return "".join(sign if sign.isprintable() else ascii(sign)[1:-1] for sign in cut)
