"""MQTT over WebSocket (MQTT 5 §6) by trio-websocket, over the stream of another transport.

trio-websocket reads in a task of its own, in the nursery that the caller lends. What that task raises is noted and told
by whoever waits for the handshake or reads: nothing of it reaches the nursery.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from http.client import responses
from typing import cast

import trio
from trio_websocket import ConnectionRejected, WebSocketConnection, wrap_client_stream

from appliance.mqtt.transport.stream import Transport
from appliance.mqtt.transport.websocket_bounds import QUEUED_MESSAGES, READ_BYTES, BoundedStream
from appliance.mqtt.transport.websocket_stream import MAX_MESSAGE_BYTES, WebSocketStream, printable

SUBPROTOCOL = "mqtt"
"""[MQTT-6.0.0-3]"""


@dataclass(frozen=True, slots=True)
class WebSocket:
    """A WebSocket of the subprotocol ``mqtt`` over the stream of another transport.

    ``authority`` is the ``Host`` header, ``target`` the path, with its query if there is one. A message of more than
    ``max_message_bytes`` ends the connection.
    """

    inner: Transport
    authority: str
    target: str = "/mqtt"
    max_message_bytes: int = MAX_MESSAGE_BYTES

    @property
    def name(self) -> str:
        """The endpoint of what is inside, and the path; never the query, which may hold a token."""
        return self.inner.name + self.path

    @property
    def path(self) -> str:
        """The target without its query."""
        return self.target.partition("?")[0]

    async def open(self, tasks: trio.Nursery) -> trio.abc.Stream:
        """Return a stream whose handshake is done. Raises OSError when the server refuses, and what ``inner`` does."""
        try:
            self.authority.encode("idna")  # as the header will be
        except UnicodeError:
            raise OSError(f"{printable(self.authority)} cannot be the name of a host") from None
        stream = BoundedStream(await self.inner.open(tasks))
        reader = _Reader(tasks)
        try:
            connection = stream.connection = await self._shake_hands(stream, reader)
        except BaseException:
            reader.stop()
            await trio.aclose_forcefully(stream)
            raise
        return WebSocketStream(connection, stream, reader.stop, reader.failure)

    async def _shake_hands(self, stream: trio.abc.Stream, reader: "_Reader") -> WebSocketConnection:
        connection: WebSocketConnection | None = None
        with reader.handshake:
            connection = await wrap_client_stream(
                cast("trio.Nursery", reader),
                cast("trio.SocketStream", stream),  # any stream does
                self.authority,
                self.target,
                subprotocols=[SUBPROTOCOL],
                message_queue_size=QUEUED_MESSAGES,
                max_message_size=self.max_message_bytes,
                receive_buffer_size=READ_BYTES,
            )
        if connection is None:
            raise self._refusal(reader.error)
        if connection.subprotocol != SUBPROTOCOL:
            raise ConnectionError(
                f'the server chose no subprotocol in place of "{SUBPROTOCOL}": is {self.path} where MQTT is?'
            )
        return connection

    def _refusal(self, error: Exception | None) -> OSError:
        """Return why the handshake ended."""
        if isinstance(error, ConnectionRejected):
            answer = f"{error.status_code} {responses.get(error.status_code, '')}".rstrip()
            return ConnectionError(
                f"the server answered {answer} in place of a WebSocket: is {self.path} where MQTT is?"
            )
        return ConnectionError(
            "the server ended the WebSocket handshake: does it speak WebSocket on this port,"
            f' and the subprotocol "{SUBPROTOCOL}" at {self.path}?'
        )


class _Reader:
    """Stands for a nursery: runs the one task of trio-websocket, and notes what it raises.

    ``handshake`` is cancelled when the task ends: trio-websocket itself would wait for an answer for ever. The task
    lives until ``stop``, also when all around it is cancelled: MQTT still says goodbye then, and reads the answer.
    """

    def __init__(self, tasks: trio.Nursery) -> None:
        self.handshake = trio.CancelScope()
        self.error: Exception | None = None
        self._tasks = tasks
        self._ended = trio.Event()
        self._scope = trio.CancelScope(shield=True)

    def stop(self) -> None:
        """End the task."""
        self._scope.cancel()

    async def failure(self) -> Exception | None:
        """Wait for the end of the task; return what it raised."""
        await self._ended.wait()
        return self.error

    def start_soon(self, task: Callable[..., Awaitable[object]], *args: object) -> None:
        """Run the task in the nursery behind this."""
        self._tasks.start_soon(self._run, task, args)

    async def _run(self, task: Callable[..., Awaitable[object]], args: tuple[object, ...]) -> None:
        try:
            with self._scope:
                await task(*args)
        except Exception as error:  # noqa: BLE001 - of a task that is not ours; told by who waits for it
            self.error = error
        finally:
            self.handshake.cancel()
            self._ended.set()
