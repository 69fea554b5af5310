"""What is admitted and waits for its commit: all of it becomes the next batch.

While one batch commits, the next one grows, so a batch is as large as the commit before it was long: few and large
under load, one message when there is only one.
"""

from collections import deque
from dataclasses import dataclass

import trio

from appliance.ingest.batch import MICROSECONDS, Batch, Submission

GATHER_SECONDS = MICROSECONDS // 10
"""Batches are joined only if they came in within so many microseconds, so that the whole has one honest time."""


@dataclass(frozen=True, slots=True)
class Work:
    """An admitted batch, the submissions it is made of, and when the first was taken (monotonic seconds)."""

    batch: Batch
    submissions: list[Submission]
    taken_at: float


class BatchBuffer:
    """Between the task that admits and the task that commits. Holds ``size`` messages, or one larger submission."""

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
        """Add what was admitted; the caller has waited for ``room``."""
        self._works.append(work)
        self._held += len(work.batch.messages)
        self._committer.unpark()

    async def take(self) -> Work | None:
        """All that has gathered, as one batch; None when closed and empty. Waits until there is something."""
        await trio.lowlevel.checkpoint()
        while not self._works:
            if self._closed:
                return None
            await self._committer.park()
        first = self._works.popleft()
        batch, submissions = first.batch, first.submissions
        while self._works and self._works[0].batch.received_at - batch.received_at < GATHER_SECONDS:
            further = self._works.popleft()
            batch.absorb(further.batch)
            submissions += further.submissions
        self._held -= len(batch.messages)
        self._admitter.unpark()
        return first

    def close(self) -> None:
        """Nothing more will be added."""
        self._closed = True
        self._committer.unpark()
