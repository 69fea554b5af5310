"""The batch buffer: messages that are admitted and wait for their commit. All of them become the next batch.

While one batch commits, the next one grows, so the size of a batch follows the duration of the commit before it: few
large ones under load, and a batch of one message when there is only one.
"""

from collections import deque
from dataclasses import dataclass

import trio

from appliance.ingest.batch import MICROSECONDS, Batch, Submission

RECEIPT_SPAN_SECONDS = 0.1
"""Messages that were received further apart are not joined into one batch, because it has one receive time for all.

The policy is applied wherever messages are joined: by the source on the broker's side to what it reads in one go, and
here to what several submissions bring. (How long the MQTT client leaves bytes with the kernel, some milliseconds, is
another matter: see ``appliance.mqtt.pump``.)
"""
_RECEIPT_SPAN = round(RECEIPT_SPAN_SECONDS * MICROSECONDS)


@dataclass(frozen=True, slots=True)
class Work:
    """An admitted batch, the submissions that it consists of, and when the first was taken (monotonic seconds)."""

    batch: Batch
    submissions: list[Submission]
    taken_at: float


class BatchBuffer:
    """Queue from the task that admits to the one that commits. Holds ``size`` messages, or one larger submission."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._works: deque[Work] = deque()
        self._held = 0
        self._closed = False
        self._admitter = trio.lowlevel.ParkingLot()
        self._committer = trio.lowlevel.ParkingLot()

    async def room(self, count: int) -> None:
        """Wait until ``count`` more messages may be added."""
        await trio.lowlevel.checkpoint()
        while self._held and self._held + count > self._size:
            await self._admitter.park()

    def add(self, work: Work) -> None:
        """Add an admitted batch; the caller has waited for ``room``."""
        self._works.append(work)
        self._held += len(work.batch.messages)
        self._committer.unpark()

    async def take(self) -> Work | None:
        """Wait until there is something; return all of it as one batch, or None when closed and empty."""
        await trio.lowlevel.checkpoint()
        while not self._works:
            if self._closed:
                return None
            await self._committer.park()
        first = self._works.popleft()
        batch, submissions = first.batch, first.submissions
        while self._works and self._works[0].batch.received_at - batch.received_at < _RECEIPT_SPAN:
            further = self._works.popleft()
            batch.absorb(further.batch)
            submissions += further.submissions
        self._held -= len(batch.messages)
        self._admitter.unpark()
        return first

    def close(self) -> None:
        """Take note that nothing more will be added."""
        self._closed = True
        self._committer.unpark()
