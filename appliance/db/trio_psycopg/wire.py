"""The waiting: psycopg's generators run on Trio, and what is done when one is interrupted."""

import logging
import select
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TypeVar, cast

import trio
from psycopg import errors, generators, pq
from psycopg._capabilities import capabilities
from psycopg._enums import Ready, Wait
from psycopg.abc import PQGen, PQGenConn

GRACE_SECONDS = 2.0
"""How long clean-up may hold back a cancellation before the connection is closed instead."""

READ_ON_SECONDS = 0.1
"""How long the rest of a result that nobody wants is read before its statement is cancelled, which would fail the
transaction around it: a thousand rows take some milliseconds."""

MAX_BUSY_SECONDS = 0.005
"""How long one connection whose socket is always ready may keep the event loop to itself (psycopg's own value)."""

RV = TypeVar("RV")

_OK = pq.ConnStatus.OK
_IDLE = pq.TransactionStatus.IDLE
_ACTIVE = pq.TransactionStatus.ACTIVE
_PIPELINE_OFF = pq.PipelineStatus.OFF
_COPY_IN = pq.ExecStatus.COPY_IN
_COPY_OUT = pq.ExecStatus.COPY_OUT
_WAIT_R, _WAIT_W = int(Wait.R), int(Wait.W)
_READY_R, _READY_W = int(Ready.R), int(Ready.W)
_MASKS = {_WAIT_R: select.POLLIN, _WAIT_W: select.POLLOUT, _WAIT_R | _WAIT_W: select.POLLIN | select.POLLOUT}

_INTERRUPTIONS = (trio.Cancelled, KeyboardInterrupt)

logger = logging.getLogger(__name__)


class CommitOutcomeUnknown(errors.OperationalError):
    """COMMIT was sent and no answer came: it may have been done or not. The connection is closed."""


class Wire:
    """The socket of one libpq connection: runs psycopg's generators on Trio and cleans up after interrupted ones.

    All methods want exclusive use of the connection, which whoever calls them has by the connection's lock.
    """

    def __init__(self, pgconn: pq.abc.PGconn) -> None:
        self.pgconn = pgconn
        self.interrupted_pipeline = False
        """True once a statement of the current pipeline was cancelled: what was sent with it is not stored."""
        self._last_yield = 0.0
        self._finished = False

    @property
    def closed(self) -> bool:
        """True once nothing can be sent any more."""
        return self.pgconn.status != _OK

    @property
    def active(self) -> bool:
        """True while the server still owes an answer."""
        return self.pgconn.transaction_status == _ACTIVE

    def close(self) -> None:
        """Close the socket; a task that waits on it gets ``OperationalError``."""
        with suppress(errors.OperationalError):  # libpq has closed it already
            trio.lowlevel.notify_closing(self.pgconn.socket)
        self._finished = True
        self.pgconn.finish()

    def close_unless_idle(self) -> None:
        """After a rollback that failed, nothing but the end of the session undoes the work."""
        if self.pgconn.transaction_status != _IDLE:
            self.close()

    def end_pipeline(self, level: int) -> None:
        """Close the connection if libpq did not leave pipeline mode with the outermost pipeline, ``level`` 0."""
        if level == 0:
            self.interrupted_pipeline = False
            if self.pgconn.pipeline_status != _PIPELINE_OFF:
                logger.warning("the pipeline could not be ended: closing the connection")
                self.close()

    @contextmanager
    def grace(self) -> Iterator[None]:
        """For clean-up: shielded, and bounded by closing the connection if the server does not answer in time."""
        with trio.move_on_after(GRACE_SECONDS, shield=True) as scope:
            yield
        if scope.cancelled_caught:
            logger.warning("no answer from the server within %s s: closing the connection", GRACE_SECONDS)
            self.close()

    async def drive(self, generator: PQGen[RV]) -> RV:
        """Run ``generator`` to its end, waiting when it has to. Cancelled, it can be driven on or closed."""
        try:
            wanted = int(next(generator))
            while True:
                ready = _poll(self.pgconn.socket, wanted)
                if not ready:
                    ready = await _wait(self.pgconn.socket, wanted)
                    self._last_yield = time.monotonic()
                elif time.monotonic() - self._last_yield > MAX_BUSY_SECONDS:
                    await self._yield()
                wanted = int(generator.send(cast("Ready", ready)))
        except StopIteration as end:
            return cast("RV", end.value)
        except errors.Error:
            discard(generator)  # it may have been the waiting that failed
            raise

    async def start(self, generator: PQGen[RV]) -> RV:
        """``see_through`` for a task that may be cancelled already: then nothing is begun."""
        await trio.lowlevel.checkpoint_if_cancelled()
        if time.monotonic() - self._last_yield > MAX_BUSY_SECONDS:
            await self._yield()
        self.check_open()
        return await self.see_through(generator)

    def check_open(self) -> None:
        """Raise OperationalError after ``close()``: some of libpq's functions would say that all rows were read."""
        if self._finished:
            raise errors.OperationalError("the connection is closed")

    async def see_through(self, generator: PQGen[RV]) -> RV:
        """Run ``generator``; if that is interrupted, leave the connection between two statements, or closed."""
        try:
            return await self.drive(generator)
        except _INTERRUPTIONS:
            if self.active:
                with self.grace():
                    await self._interrupt(generator)
            discard(generator)
            raise

    async def commit(self, generator: PQGen[RV]) -> None:
        """Run ``generator``, which commits; interrupted, it is given the grace to finish.

        Raises CommitOutcomeUnknown if no answer came; any other error means that nothing was committed, an
        OperationalError among them if the connection is closed before.
        """
        if self.closed:
            raise errors.OperationalError("the connection is closed: no COMMIT was sent")
        try:
            await self.drive(generator)
        except _INTERRUPTIONS as interruption:
            finished = False
            with self.grace():
                finished = await self._committed(generator)
            if not finished:
                raise CommitOutcomeUnknown("no answer to COMMIT before the time was up") from interruption
            if not isinstance(interruption, trio.Cancelled):
                raise
        except errors.Error as error:
            self._if_lost_unknown(error)
            raise

    async def stop(self) -> None:
        """Have the server stop what it does and read all it still sends, ending a COPY that was under way."""
        await self.request_cancel()
        try:
            await self.drive(_settle(self.pgconn))
        except errors.Error as error:
            logger.debug("while stopping a statement: %s", error)

    async def settle(self) -> None:
        """End a statement whose result nobody will read; closes the connection if the server does not answer.

        What is left of the result is read if there is little of it, else the statement is cancelled. A pipeline
        stays as it is.
        """
        if self.pgconn.pipeline_status != _PIPELINE_OFF:
            return
        with self.grace():
            with trio.move_on_after(READ_ON_SECONDS), suppress(errors.Error):
                await self.drive(_settle(self.pgconn))
            if self.active:
                await self.stop()

    async def request_cancel(self) -> None:
        """Ask the server to cancel; a request that cannot be delivered is only logged."""
        try:
            if capabilities.has_cancel_safe():
                request = self.pgconn.cancel_conn()
                request.start()
                await drive_connecting(generators.cancel(request))
            else:
                await trio.to_thread.run_sync(self.pgconn.get_cancel().cancel, abandon_on_cancel=True)
        except errors.Error as error:
            logger.warning("a request to cancel could not be delivered: %s", error)

    async def _yield(self) -> None:
        # Not cancellable: what a generator has begun is cleaned up only where it waits.
        await trio.lowlevel.cancel_shielded_checkpoint()
        self._last_yield = time.monotonic()

    async def _committed(self, generator: PQGen[RV]) -> bool:
        try:
            await self.drive(generator)
        except errors.Error as error:
            self._if_lost_unknown(error)
            raise
        return True

    def _if_lost_unknown(self, error: errors.Error) -> None:
        if self.closed:
            raise CommitOutcomeUnknown(f"the connection was lost while COMMIT was under way: {error}") from error

    async def _interrupt(self, generator: PQGen[RV]) -> None:
        if self.pgconn.pipeline_status == _PIPELINE_OFF:
            generator.close()
            await self.stop()
            return
        self.interrupted_pipeline = True
        # The queues of the pipeline match the results only if the generator itself takes them.
        await self.request_cancel()
        try:
            await self.drive(generator)
        except errors.Error as error:
            logger.debug("while interrupting a pipeline: %s", error)


def discard(generator: PQGen[RV]) -> None:
    """Close a generator that is not run to its end, and that may want to wait or to send something even so."""
    with suppress(errors.Error, RuntimeError):
        generator.close()


def notifications(pgconn: pq.abc.PGconn) -> PQGen[list[pq.PGnotify]]:
    """Wait for notifications and return them, after calling the connection's handler with each.

    Unlike psycopg's generator of that name, it begins with those that came with the answer to another statement.
    """
    found: list[pq.PGnotify] = []
    while not found:
        while (notification := pgconn.notifies()) is not None:
            found.append(notification)
            if pgconn.notify_handler:
                pgconn.notify_handler(notification)
        if not found:
            yield Wait.R
            pgconn.consume_input()
    return found


def _settle(pgconn: pq.abc.PGconn) -> PQGen[None]:
    """Read and drop all the server still sends, up to the end of the statement."""
    yield from generators.send(pgconn)
    while (result := (yield from generators.fetch(pgconn))) is not None:
        if result.status == _COPY_IN:
            while pgconn.put_copy_end(b"abandoned by the client") == 0:
                yield Wait.W
            yield from generators.send(pgconn)
        elif result.status == _COPY_OUT:
            while (length := pgconn.get_copy_data(1)[0]) >= 0:
                if length == 0:
                    yield Wait.R
                    pgconn.consume_input()


def _poll(descriptor: int, wanted: int) -> int:
    """Which of ``wanted`` is ready right now: one cheap system call against a trip through the event loop."""
    poll = select.poll()
    poll.register(descriptor, _MASKS[wanted])
    found = poll.poll(0)
    if not found:
        return 0
    events = found[0][1]
    ready = 0
    if events & (select.POLLIN | select.POLLHUP | select.POLLERR):
        ready |= _READY_R
    if events & (select.POLLOUT | select.POLLHUP | select.POLLERR):
        ready |= _READY_W
    return ready


async def _wait(descriptor: int, wanted: int) -> int:
    """Wait until one of ``wanted`` is ready; psycopg finds out by itself what is wrong with a broken socket."""
    try:
        if wanted == _WAIT_R:
            await trio.lowlevel.wait_readable(descriptor)
            return _READY_R
        if wanted == _WAIT_W:
            await trio.lowlevel.wait_writable(descriptor)
            return _READY_W
        return await _either(descriptor)
    except trio.ClosedResourceError:
        raise errors.OperationalError("the connection was closed by another task") from None
    except OSError as error:
        raise errors.OperationalError("connection socket closed") from error


async def _either(descriptor: int) -> int:
    """Wait for reading or writing: only when the server does not read what we send."""
    ready = 0
    failure: errors.OperationalError | None = None

    async def one(wanted: int) -> None:
        nonlocal ready, failure
        try:
            ready |= await _wait(descriptor, wanted)
        except errors.OperationalError as error:
            failure = error  # raised below: the nursery would make a group of it
        nursery.cancel_scope.cancel()

    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(one, _WAIT_R)
            nursery.start_soon(one, _WAIT_W)
    except BaseExceptionGroup as interruptions:
        raise _alone(interruptions) from None
    if failure is not None:
        raise failure
    return ready


def _alone(interruptions: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return what interrupted a nursery of ours, as if there were no nursery: Cancelled, unless there is more."""
    _, more = interruptions.split(trio.Cancelled)
    chosen = (more or interruptions).exceptions[0]
    return _alone(chosen) if isinstance(chosen, BaseExceptionGroup) else chosen


async def drive_connecting(generator: PQGenConn[RV]) -> RV:
    """Run a generator that names its socket each time, as connecting and cancelling do."""
    try:
        descriptor, wanted = next(generator)
        while True:
            ready = await _wait(descriptor, int(wanted))
            descriptor, wanted = generator.send(cast("Ready", ready))
    except StopIteration as end:
        return cast("RV", end.value)
    finally:
        generator.close()  # gives up a half-open connection
