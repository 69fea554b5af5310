"""What a transport is, what says that its stream is lost, and a stream that somebody else has opened."""

from dataclasses import dataclass
from typing import Protocol

import trio

BROKEN = (OSError, trio.BrokenResourceError, trio.ClosedResourceError)
"""What says that a stream cannot be had, or is lost. TLS of Trio fails in a handshake with the second."""


class Transport(Protocol):
    """The address of a broker, and how to connect to it."""

    @property
    def name(self) -> str:
        """The endpoint as people write it; without secrets."""
        ...

    async def open(self, tasks: trio.Nursery, /) -> trio.abc.Stream:
        """Return a new stream, all handshakes done. Raises one of ``BROKEN`` when there is none.

        The caller sets the deadline. Whatever happens, also when it is cancelled, nothing stays open behind it.
        ``tasks`` is a nursery for what the stream needs beside its caller; it ends with the connection, and nothing
        there may raise.
        """
        ...


@dataclass(frozen=True, slots=True)
class OpenStream:
    """A stream that somebody else has connected, for a client of one connection (``reconnect`` off)."""

    stream: trio.abc.Stream
    name: str

    async def open(self, _: trio.Nursery) -> trio.abc.Stream:
        """Return the stream."""
        await trio.lowlevel.checkpoint()
        return self.stream
