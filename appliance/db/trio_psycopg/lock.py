"""Who may use the connection: one block of code at a time, which leaves the connection fit for the next one."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import TracebackType

import trio
from psycopg import errors

from appliance.db.trio_psycopg import wire as wires
from appliance.db.trio_psycopg.wire import Wire


class Lock:
    """Gives the connection to one block of code at a time, first come, first served.

    A ``trio.Lock`` belongs to the task that took it. A block inside an async generator, ``stream()`` for example, may
    be entered in one task and left in another: what is left by ``break`` is finalized by Trio in a task of its own. So
    this lock belongs to the block. It also costs no trip through the scheduler when it is free: what it guards
    checkpoints by itself.

    Leaving the block settles the connection, whatever happened inside: no statement is left under way, except for
    those that a pipeline has queued.
    """

    __slots__ = ("_held", "_task", "_waiting", "_wire")

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._held = False
        self._task: trio.lowlevel.Task | None = None
        self._waiting = trio.lowlevel.ParkingLot()

    def locked(self) -> bool:
        """Return whether a block has the connection."""
        return self._held

    def acquire_if_free(self) -> bool:
        """Take the lock without waiting; return whether that succeeded."""
        if self._held:
            return False
        self._held = True
        self._task = trio.lowlevel.current_task()
        return True

    async def acquire(self) -> None:
        """Take the lock, waiting in line. Raises ProgrammingError if this task waits for itself."""
        if self.acquire_if_free():
            return
        task = trio.lowlevel.current_task()
        if self._task is task:
            await self._acquire_after_finalizer()
        else:
            await self._waiting.park()
        self._task = task

    async def _acquire_after_finalizer(self) -> None:
        """Wait for a generator that this very task has left by ``break``: Trio finalizes it within the grace."""
        with trio.move_on_after(2 * wires.GRACE_SECONDS):
            await self._waiting.park()
            return
        raise errors.ProgrammingError(
            "this task has an unfinished stream() or COPY on the connection: close that first (contextlib.aclosing)"
        )

    def release(self) -> None:
        """Hand the lock to the first in line."""
        self._task = None
        if self._waiting:
            self._waiting.unpark()
        else:
            self._held = False

    async def __aenter__(self) -> None:
        await self.acquire()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._leave()

    async def _leave(self) -> None:
        try:
            if self._wire.active:
                await self._wire.settle()
        finally:
            self.release()

    @asynccontextmanager
    async def for_clean_up(self) -> AsyncIterator[None]:
        """Enter also in a cancelled task, within the grace; what keeps the lock for longer costs the connection.

        Raises OperationalError then.
        """
        held = self.acquire_if_free()
        if not held:
            with self._wire.grace():
                await self.acquire()
                held = True
        if not held:
            raise errors.OperationalError(
                "another task, or a stream() that was not closed, was still using the connection: it is closed"
            )
        try:
            yield
        finally:
            await self._leave()
