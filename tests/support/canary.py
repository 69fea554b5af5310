"""Listeners where nobody may connect: on loopback and on the address of this machine in its own network."""

import contextlib
import socket
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field

import trio


@dataclass
class Canary:
    """What has connected."""

    addresses: Sequence[str]
    port: int
    listeners: Sequence[trio.SocketListener] = field(repr=False)
    connections: int = 0

    async def serve(self, listener: trio.SocketListener) -> None:
        """Count connections until cancelled."""
        while True:
            stream = await listener.accept()
            self.connections += 1
            await stream.aclose()

    @contextlib.asynccontextmanager
    async def full_queue(self) -> AsyncIterator[int]:
        """Give the port of a listener whose queue is full, so that a connection to it is never made."""
        with contextlib.ExitStack() as stack:
            listening = stack.enter_context(socket.socket())
            listening.bind(("127.0.0.1", 0))
            listening.listen(0)
            for _ in range(4):
                caller = stack.enter_context(socket.socket())
                caller.setblocking(False)
                caller.connect_ex(listening.getsockname())
            await trio.sleep(0.05)
            yield listening.getsockname()[1]


def lan_address() -> str:
    """Return the address from which this machine would speak to others, loopback without a network."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return "127.0.0.1"
        return str(probe.getsockname()[0])


@contextlib.asynccontextmanager
async def canaries() -> AsyncIterator[Canary]:
    """Listen on loopback of both families and on the machine's own address, all on one port."""
    wanted = list(dict.fromkeys(("127.0.0.1", lan_address(), "::1")))
    listeners: list[trio.SocketListener] = []
    port = 0
    for address in wanted:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        listening = trio.socket.socket(family, socket.SOCK_STREAM)
        with contextlib.suppress(OSError):  # a machine without IPv6
            await listening.bind((address, port))
            listening.listen(128)
            port = listening.getsockname()[1]
            listeners.append(trio.SocketListener(listening))
    canary = Canary([str(one.socket.getsockname()[0]) for one in listeners], port, listeners)
    async with trio.open_nursery() as nursery:
        for listener in listeners:
            nursery.start_soon(canary.serve, listener)
        yield canary
        nursery.cancel_scope.cancel()
    for listener in listeners:
        await listener.aclose()
