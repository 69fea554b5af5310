"""A pair of streams in memory that breaks after a number of bytes of either end, in the middle of a packet."""

from typing import TypeAlias

import trio
import trio.testing


class _Budget:
    """Bytes that still pass in either direction, and what to close afterwards."""

    def __init__(self, size: int) -> None:
        self.left = size
        self.ends: list[trio.testing.MemorySendStream | trio.testing.MemoryReceiveStream] = []

    def take(self, wanted: int) -> int:
        granted = min(wanted, self.left)
        self.left -= granted
        return granted

    def close(self) -> None:
        for end in self.ends:
            end.close()


class _LossySendStream(trio.abc.SendStream):
    def __init__(self, stream: trio.testing.MemorySendStream, budget: _Budget) -> None:
        self._stream = stream
        self._budget = budget

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        granted = self._budget.take(len(data))
        await self._stream.send_all(bytes(data)[:granted])
        if granted < len(data):
            self._budget.close()
            raise trio.BrokenResourceError("cut")

    async def wait_send_all_might_not_block(self) -> None:
        await self._stream.wait_send_all_might_not_block()

    async def aclose(self) -> None:
        await self._stream.aclose()


Pipe: TypeAlias = "trio.StapledStream[_LossySendStream, trio.testing.MemoryReceiveStream]"


def lossy_pipe(size: int) -> tuple[Pipe, Pipe]:
    """Return two ends of a connection that breaks once ``size`` bytes have passed."""
    budget = _Budget(size)
    one, other = trio.testing.memory_stream_pair()
    budget.ends = [one.send_stream, other.send_stream]
    near = trio.StapledStream(_LossySendStream(one.send_stream, budget), one.receive_stream)
    far = trio.StapledStream(_LossySendStream(other.send_stream, budget), other.receive_stream)
    return near, far
