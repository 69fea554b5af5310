"""A TCP proxy in front of a broker that cuts the connection in the place of certain packets of the broker."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import mqtt5
import trio

from appliance.mqtt.framing import Framing

CHUNK_BYTES = 65536


class PacketProxy:
    """A proxy from ``port`` of the loopback to a broker.

    ``losses`` are kinds of packets: instead of the next of the first of them, the client gets a closed connection. Then
    it is the turn of the second. ``connections`` counts.
    """

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self.port = 0
        self.connections = 0
        self.losses: list[type[mqtt5.Packet]] = []

    async def serve(self, near: trio.SocketStream) -> None:
        """Forward one connection."""
        self.connections += 1
        far = await trio.open_tcp_stream(*self._target)
        async with near, far, trio.open_nursery() as nursery:
            nursery.start_soon(self._up, near, far)
            await self._down(far, near)
            nursery.cancel_scope.cancel()

    async def _up(self, near: trio.SocketStream, far: trio.SocketStream) -> None:
        try:
            async for data in near:
                await far.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        await trio.aclose_forcefully(far)

    async def _down(self, far: trio.SocketStream, near: trio.SocketStream) -> None:
        framing = Framing()
        try:
            async for data in far:
                packets, fault = framing.feed(bytes(data))
                assert fault is None, fault
                for packet in packets:
                    if self.losses and isinstance(packet, self.losses[0]):
                        del self.losses[0]
                        return
                    await near.send_all(packet.write())
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass


@asynccontextmanager
async def packet_proxy(host: str, port: int) -> AsyncGenerator[PacketProxy, None]:
    """Run a proxy on a port of its own."""
    proxy = PacketProxy(host, port)
    async with trio.open_nursery() as nursery:
        [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
        proxy.port = listener.socket.getsockname()[1]
        nursery.start_soon(trio.serve_listeners, proxy.serve, [listener])
        yield proxy
        nursery.cancel_scope.cancel()
