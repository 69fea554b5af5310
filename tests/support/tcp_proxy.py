"""A TCP proxy that can go silent, as behind a dead router, or cut each connection at a certain byte.

Silent: connections stay open and no byte passes any more.
"""

import math
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

import trio


class TcpProxy:
    """A proxy from ``port`` of the loopback to the target."""

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._nursery: trio.Nursery | None = None
        self.port = 0
        self.connections = 0
        self.lifetime: Callable[[], float] = lambda: math.inf
        """How many bytes the next connection passes in both directions together, before it is closed."""

    def go_silent(self) -> None:
        """Swallow everything on the connections of this moment; later ones pass again."""
        assert self._nursery is not None
        self._nursery.cancel_scope.cancel()

    async def _serve(self, listener: trio.SocketListener) -> None:
        """Accept until cancelled. The streams of a silenced nursery stay referenced, and so open, until the end."""
        kept: list[trio.SocketStream] = []
        try:
            while True:
                async with trio.open_nursery() as nursery:
                    self._nursery = nursery
                    while True:
                        near = await listener.accept()
                        far = await trio.open_tcp_stream(*self._target)
                        kept += [near, far]
                        self.connections += 1
                        left = [self.lifetime()]
                        nursery.start_soon(_forward, near, far, left)
                        nursery.start_soon(_forward, far, near, left)
        finally:
            for stream in kept:
                stream.socket.close()


async def _forward(source: trio.SocketStream, sink: trio.SocketStream, left: list[float]) -> None:
    try:
        async for data in source:
            granted = int(min(len(data), left[0]))
            left[0] -= granted
            await sink.send_all(data[:granted])
            if left[0] <= 0:
                await trio.aclose_forcefully(source)
                break
        await trio.aclose_forcefully(sink)
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        await trio.aclose_forcefully(sink)


@asynccontextmanager
async def tcp_proxy(host: str, port: int) -> AsyncGenerator[TcpProxy, None]:
    """Run a proxy on a port of its own."""
    proxy = TcpProxy(host, port)
    [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
    proxy.port = listener.socket.getsockname()[1]
    async with listener, trio.open_nursery() as nursery:
        nursery.start_soon(proxy._serve, listener)
        yield proxy
        nursery.cancel_scope.cancel()
