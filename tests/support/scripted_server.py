"""A server on loopback that does what a test says, for what no real one does."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import trio


@asynccontextmanager
async def scripted_server(behave: Callable[[trio.SocketStream], Awaitable[None]]) -> AsyncIterator[int]:
    """Serve connections by ``behave`` and yield the port; what a client does to it is not its concern."""

    async def serve(stream: trio.SocketStream) -> None:
        try:
            await behave(stream)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        finally:
            await trio.aclose_forcefully(stream)

    async with trio.open_nursery() as nursery:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, serve, [listener])
        yield listener.socket.getsockname()[1]
        nursery.cancel_scope.cancel()
