"""MQTT over WebSocket (MQTT 5 §6): the handshake over the stream of another transport.

By ``wsproto``, which has no I/O, and not by trio-websocket, which is built on it: that one reads in a task of its own,
so that every connection needs a nursery, out of which a refusal comes as an exception group; and a server that closes
in the handshake is waited for until the deadline. Without a task, nothing can be left running.
"""

from dataclasses import dataclass
from http.client import responses

import trio
import wsproto
from wsproto.events import AcceptConnection, RejectConnection, Request
from wsproto.utilities import RemoteProtocolError

from appliance.mqtt.transport.stream import Transport
from appliance.mqtt.transport.websocket_stream import MAX_MESSAGE_BYTES, WebSocketStream, printable

SUBPROTOCOL = "mqtt"
"""[MQTT-6.0.0-3]"""
ANSWER_BYTES = 4096
"""Bytes read at once in a handshake. h11, in wsproto, refuses an answer with more than 16 KiB of headers."""


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

    async def open(self) -> trio.abc.Stream:
        """Return a stream whose handshake is done. Raises OSError when the server refuses, and what ``inner`` does."""
        stream = await self.inner.open()
        try:
            connection = await self._shake_hands(stream)
        except BaseException:
            await trio.aclose_forcefully(stream)
            raise
        return WebSocketStream(stream, connection, self.max_message_bytes)

    async def _shake_hands(self, stream: trio.abc.Stream) -> wsproto.WSConnection:
        connection = wsproto.WSConnection(wsproto.ConnectionType.CLIENT)
        try:
            request = connection.send(Request(host=self.authority, target=self.target, subprotocols=[SUBPROTOCOL]))
        except (ValueError, wsproto.utilities.LocalProtocolError):  # from the encoding of names
            raise OSError(f"{printable(self.authority)} cannot be the name of a host") from None
        await stream.send_all(request)
        while True:
            data = bytes(await stream.receive_some(ANSWER_BYTES))
            if not data:
                raise ConnectionError(
                    "the server closed the connection in the WebSocket handshake: does it speak WebSocket on this port?"
                )
            try:
                connection.receive_data(data)
            except (RemoteProtocolError, ValueError) as error:  # ValueError: a header that is not ASCII
                raise ConnectionError(self._broken(error)) from None
            event = next(connection.events(), None)  # leave what may follow to the stream
            if isinstance(event, RejectConnection):
                raise ConnectionError(self._rejected(event.status_code))
            if isinstance(event, AcceptConnection):
                if event.subprotocol != SUBPROTOCOL:
                    raise ConnectionError(
                        f'the server chose no subprotocol in place of "{SUBPROTOCOL}": is {self.path} where MQTT is?'
                    )
                return connection

    def _broken(self, error: Exception) -> str:
        words = str(error)
        _, unrecognized, name = words.partition("unrecognized subprotocol ")
        if unrecognized:
            return f'the server chose the subprotocol {printable(name)} in place of "{SUBPROTOCOL}"'
        if words == "Bad HTTP message":
            return "what answers is no WebSocket server: is it the port for WebSocket?"
        return f"the server broke the WebSocket handshake: {printable(words)}"

    def _rejected(self, status: int) -> str:
        answer = f"{status} {responses.get(status, '')}".rstrip()
        return f"the server answered {answer} in place of a WebSocket: is {self.path} where MQTT is?"
