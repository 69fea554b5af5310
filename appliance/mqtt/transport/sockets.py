"""Plain sockets: TCP, and Unix sockets of this machine."""

import socket
from dataclasses import dataclass

import trio

KEEPALIVE_IDLE_SECONDS = 60
KEEPALIVE_INTERVAL_SECONDS = 15
KEEPALIVE_PROBES = 4
SEND_BUFFER_BYTES = 1024 * 1024
"""As much as the kernel allows (often 416 KiB). While publishers keep Mosquitto busy it reads one PUBACK of ours for
eight messages of theirs. With the default of 208 KiB some 48,000 fill the socket; then we may not write before three
quarters of them are read: a third of a second in which nothing is received."""


@dataclass(frozen=True, slots=True)
class Tcp:
    """Plain TCP, all addresses of the name tried side by side (RFC 8305)."""

    hostname: str
    port: int = 1883

    @property
    def name(self) -> str:
        """``host:port``."""
        host = f"[{self.hostname}]" if ":" in self.hostname else self.hostname
        return f"{host}:{self.port}"

    async def open(self, _: trio.Nursery) -> trio.SocketStream:
        """Return a connected stream; trio has set TCP_NODELAY on it."""
        try:
            stream = await trio.open_tcp_stream(self.hostname, self.port)
        except UnicodeError:  # from the encoding of international names
            raise OSError(f"{self.hostname!r} cannot be the name of a host") from None
        # MQTT's own keep-alive is what counts; this is for a client that has switched it off.
        return _with_options(
            stream,
            (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
            (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, KEEPALIVE_IDLE_SECONDS),
            (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, KEEPALIVE_INTERVAL_SECONDS),
            (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, KEEPALIVE_PROBES),
        )


@dataclass(frozen=True, slots=True)
class Unix:
    """A Unix socket of this machine."""

    path: str

    @property
    def name(self) -> str:
        """The path of the socket."""
        return self.path

    async def open(self, _: trio.Nursery) -> trio.SocketStream:
        """Return a connected stream."""
        stream = await trio.open_unix_socket(self.path)
        return _with_options(stream, (socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES))


def _with_options(stream: trio.SocketStream, *options: tuple[int, int, int]) -> trio.SocketStream:
    """Set socket options, and return the stream. Closes it if one cannot be set."""
    try:
        for level, option, value in options:
            stream.setsockopt(level, option, value)
    except BaseException:
        stream.socket.close()
        raise
    return stream
