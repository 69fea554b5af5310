"""The connections of httpcore2: dialled by the senders' network, with their deadlines, and a bound on what is read."""

from dataclasses import dataclass, field
from ssl import SSLContext

import httpcore2
import trio

from appliance.delivery.outgoing import tls
from appliance.delivery.outgoing.network import Destination, Network

MAX_HEAD = 65_536
"""Bytes that are read before the answer has begun: its headers, and any number of interim answers (103) before it."""
MAX_RECEIVED = 196_608
"""Bytes that are read at all: the head, and a body with the sizes of its chunks."""
READ_BYTES = 8192
"""Bytes at a time: httpcore2 takes in what was read in one go, and a slice of interim answers costs it 25 ms."""


@dataclass(slots=True)
class Progress:
    """How far a request has come, for whoever asks after a failure."""

    address: str | None = None
    timings: dict[str, float] = field(default_factory=dict)
    sent: bool = False
    """Whether all of the request was written."""


class Backend(httpcore2.AsyncNetworkBackend):
    """Connects by the network of the senders, whatever host httpcore2 names."""

    def __init__(self, network: Network, destination: Destination, progress: Progress) -> None:
        self._network = network
        self._destination = destination
        self._progress = progress
        self._received = 0
        self.bound = MAX_HEAD
        """Bytes that may be read; whoever has the head raises it."""
        self.answer_awaited_at = trio.current_time()

    async def connect_tcp(self, *_args: object, **_kwargs: object) -> httpcore2.AsyncNetworkStream:
        dialled = await self._network.dial(self._destination)
        self._progress.address = dialled.address
        self._progress.timings |= {"name": dialled.name_seconds, "connect": dialled.connect_seconds}
        return Stream(dialled.stream, self)

    async def encrypted(self, stream: trio.SocketStream, context: SSLContext) -> "Stream":
        """Return the stream under TLS, verified for the host that the destination names."""
        began = trio.current_time()
        encrypted = await tls.encrypt(stream, context, self._destination.host, self._network.deadlines.tls)
        self._progress.timings["tls"] = trio.current_time() - began
        return Stream(encrypted, self)

    async def write(self, stream: trio.abc.Stream, data: bytes) -> None:
        """Write a part of the request."""
        seconds = self._network.deadlines.write
        self._progress.timings.setdefault("write", 0.0)
        try:
            with trio.fail_after(seconds):
                await stream.send_all(data)
        except trio.TooSlowError:
            raise httpcore2.WriteTimeout(f"the request was not taken within {seconds:g} s") from None
        self.answer_awaited_at = trio.current_time()

    async def read(self, stream: trio.abc.Stream, most: int) -> bytes:
        """Read a part of the answer."""
        seconds = self._network.deadlines.read
        try:
            with trio.fail_after(seconds):
                data = bytes(await stream.receive_some(min(most, READ_BYTES)))
        except trio.TooSlowError:
            raise httpcore2.ReadTimeout(f"no answer within {seconds:g} s") from None
        self._received += len(data)
        if self._received > self.bound:
            raise httpcore2.RemoteProtocolError(f"more than {self.bound:,} bytes")
        return data

    def is_sent(self) -> None:
        """Note that all of the request was written."""
        self._progress.sent = True


class Stream(httpcore2.AsyncNetworkStream):
    """A connection as httpcore2 sees it, with the deadlines of the senders and a bound on what is read."""

    def __init__(self, stream: trio.SocketStream | trio.SSLStream[trio.SocketStream], backend: Backend) -> None:
        self._stream = stream
        self._backend = backend
        self._broken = False

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ARG002 - we have our own
        if not self._broken:
            self._backend.is_sent()  # httpcore2 reads once it has written everything, or failed to
        try:
            return await self._backend.read(self._stream, max_bytes)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            raise httpcore2.ReadError from None

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ARG002 - we have our own
        try:
            await self._backend.write(self._stream, buffer)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            self._broken = True
            raise httpcore2.WriteError from None

    async def aclose(self) -> None:
        await trio.aclose_forcefully(self._stream)

    async def start_tls(
        self,
        ssl_context: SSLContext,
        server_hostname: str | None = None,  # noqa: ARG002 - the destination's
        timeout: float | None = None,  # noqa: ARG002 - we have our own
    ) -> "Stream":
        if not isinstance(self._stream, trio.SocketStream):
            raise TypeError("TLS inside of TLS is never asked for")
        return await self._backend.encrypted(self._stream, ssl_context)

    def get_extra_info(self, info: str) -> object:  # noqa: ARG002 - httpcore2 asks for what a kept connection needs
        return None
