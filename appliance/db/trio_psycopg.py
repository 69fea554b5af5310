"""psycopg 3 on Trio: ``psycopg.AsyncConnection`` with its asyncio places replaced, cancellation included.

psycopg writes its protocol as generators that yield "wait until the socket is readable/writable" and leave the waiting
to the connection class. Here Trio waits. Everything else - cursors, adapters, row factories, COPY, pipelines, prepared
statements - is psycopg's own, and so is its documentation. This module imports nothing but psycopg and Trio.

**Cancellation.** A task that is cancelled while it waits for the server must not leave the connection in the middle of
a statement. So the server is asked to cancel and its answer is read, shielded, for at most ``GRACE_SECONDS``; then
``Cancelled`` goes on. Rollback, the end of a COPY and the end of a pipeline run under the same shield. Whatever was
interrupted, the connection afterwards is either between two statements (``IDLE`` once its transaction block is left)
or closed.

**COMMIT** is never cancelled on the server: it is given the grace to finish. If it did, the block ends normally
(Trio delivers the cancellation at the next checkpoint); if its outcome cannot be known, the connection is closed and
``CommitOutcomeUnknown`` is raised.

Not supported: ``AsyncQueuedLibpqWriter`` (it starts asyncio tasks). A ``Cursor.stream()`` left early while its task is
cancelled leaves an ACTIVE connection, which must be closed.
"""

import logging
import select
import socket
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, nullcontext, suppress
from types import TracebackType
from typing import Any, Self, TypeVar, cast

import trio
from psycopg import AsyncConnection, AsyncCursor, AsyncPipeline, AsyncTransaction, errors, generators, pq
from psycopg._capabilities import capabilities
from psycopg._conninfo_utils import get_param, get_param_def, is_ip_address, split_attempts
from psycopg._enums import Ready, Wait
from psycopg.abc import AdaptContext, ConnDict, ConnParam, Params, PQGen, PQGenConn, Query
from psycopg.adapt import AdaptersMap
from psycopg.conninfo import make_conninfo, timeout_from_conninfo
from psycopg.copy import AsyncCopy, AsyncLibpqWriter, AsyncWriter
from psycopg.generators import copy_end, copy_to
from psycopg.rows import AsyncRowFactory, Row, tuple_row

GRACE_SECONDS = 2.0
"""How long clean-up may hold back a cancellation before the connection is closed instead."""

MAX_BUSY_SECONDS = 0.005
"""How long one connection whose socket is always ready may keep the event loop to itself (psycopg's own value)."""

RV = TypeVar("RV")

_OK = pq.ConnStatus.OK
_IDLE = pq.TransactionStatus.IDLE
_ACTIVE = pq.TransactionStatus.ACTIVE
_INERROR = pq.TransactionStatus.INERROR
_COPY_IN = pq.ExecStatus.COPY_IN
_COPY_OUT = pq.ExecStatus.COPY_OUT
_WAIT_R, _WAIT_W = int(Wait.R), int(Wait.W)
_READY_R, _READY_W = int(Ready.R), int(Ready.W)
_MASKS = {_WAIT_R: select.POLLIN, _WAIT_W: select.POLLOUT, _WAIT_R | _WAIT_W: select.POLLIN | select.POLLOUT}

# A group is what the nursery in _either() makes of a cancellation.
_INTERRUPTIONS = (trio.Cancelled, KeyboardInterrupt, BaseExceptionGroup)

logger = logging.getLogger(__name__)


class CommitOutcomeUnknown(errors.OperationalError):
    """COMMIT was sent and no answer came: it may have been done or not. The connection is closed."""


class _Lock:
    """``trio.Lock`` that costs no trip through the scheduler when it is free: what it guards checkpoints by itself."""

    __slots__ = ("_lock",)

    def __init__(self) -> None:
        self._lock = trio.Lock()

    async def acquire(self) -> None:
        try:
            self._lock.acquire_nowait()
        except trio.WouldBlock:
            await self._lock.acquire()

    def release(self) -> None:
        self._lock.release()

    async def __aenter__(self) -> None:
        await self.acquire()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.release()


class Wire:
    """The socket of one libpq connection: runs psycopg's generators on Trio and cleans up after interrupted ones.

    All methods want exclusive use of the connection, which whoever calls them has by the connection's lock.
    """

    def __init__(self, pgconn: pq.abc.PGconn) -> None:
        self.pgconn = pgconn
        self._last_yield = 0.0

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
        self.pgconn.finish()

    def close_unless_idle(self) -> None:
        """After a rollback that failed, nothing but the end of the session undoes the work."""
        if self.pgconn.transaction_status != _IDLE:
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

    async def start(self, generator: PQGen[RV]) -> RV:
        """``see_through`` for a task that may be cancelled already: then nothing is begun."""
        await trio.lowlevel.checkpoint_if_cancelled()
        if time.monotonic() - self._last_yield > MAX_BUSY_SECONDS:
            await self._yield()
        return await self.see_through(generator)

    async def see_through(self, generator: PQGen[RV]) -> RV:
        """Run ``generator``; if that is interrupted, leave the connection between two statements, or closed."""
        try:
            return await self.drive(generator)
        except _INTERRUPTIONS:
            if self.active:
                with self.grace():
                    await self._interrupt(generator)
            raise

    async def commit(self, generator: PQGen[RV]) -> None:
        """Run ``generator``, which commits; interrupted, it is given the grace to finish.

        Raises CommitOutcomeUnknown if no answer came; any other error means that nothing was committed.
        """
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

    async def request_cancel(self) -> None:
        """Ask the server to cancel; a request that cannot be delivered is only logged."""
        try:
            if capabilities.has_cancel_safe():
                request = self.pgconn.cancel_conn()
                request.start()
                await _drive_connecting(generators.cancel(request))
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
        if self.pgconn.pipeline_status == pq.PipelineStatus.OFF:
            generator.close()
            await self.stop()
            return
        # The queues of the pipeline match the results only if the generator itself takes them.
        await self.request_cancel()
        try:
            await self.drive(generator)
        except errors.Error as error:
            logger.debug("while interrupting a pipeline: %s", error)


class Copy(AsyncCopy):
    """A COPY under way. Left with an error, it is ended on the server within the grace."""

    connection: "Connection[Any]"

    async def finish(self, exc: BaseException | None) -> None:
        """End the COPY: with ``exc`` None all data is delivered and checked, else nothing of it is kept."""
        if not isinstance(self.writer, AsyncLibpqWriter):
            await super().finish(exc)
        elif exc is not None:
            self._finished = True
            if self.connection.wire.active:
                with self.connection.wire.grace():
                    await self.connection.wire.stop()
        elif self._direction == _COPY_IN:
            result = await self.connection.wire.see_through(self._end_gen(self.formatter.end()))
            self.cursor._results = [result]  # noqa: SLF001 - as psycopg's own writer does
            self._finished = True

    def _end_gen(self, rest: Any) -> PQGen[pq.abc.PGresult]:
        if rest:
            yield from copy_to(self._pgconn, rest)
        return (yield from copy_end(self._pgconn, None))


class Cursor(AsyncCursor[Row]):
    """psycopg's cursor, whose COPY can be cancelled."""

    __slots__ = ()

    @asynccontextmanager
    async def copy(
        self, statement: Query, params: Params | None = None, *, writer: AsyncWriter | None = None
    ) -> AsyncIterator[AsyncCopy]:
        """Start a COPY and hand out the object that reads or writes it."""
        async with self._conn.lock:
            await self._conn.wait(self._start_copy_gen(statement, params))
            async with Copy(self, writer=writer) as copy:
                yield copy
        self._select_current_result(0)  # the COPY's own result brings the row count


class Pipeline(AsyncPipeline):
    """psycopg's pipeline, whose end always reads what the server still has to say."""

    _conn: "Connection[Any]"

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc_val: BaseException | None, exc_tb: TracebackType | None
    ) -> None:
        try:
            if self._conn.closed:
                raise errors.OperationalError("the connection was lost inside the pipeline")
            locked_already = self._lock is not self._conn.lock
            async with nullcontext() if locked_already else self._conn.clean_up_lock():
                await self._leave(exc_val)
        except errors.Error as error:
            if exc_val is None:
                raise
            logger.debug("while leaving a pipeline after another error: %s", error)
        finally:
            self._exit(exc_val)

    async def _leave(self, error: BaseException | None) -> None:
        wire = self._conn.wire
        if error is None or isinstance(error, Exception):
            await wire.see_through(self._exit_gen())
            return
        with wire.grace():
            if wire.active:
                await wire.request_cancel()
            await wire.drive(self._exit_gen())


class Transaction(AsyncTransaction):
    """A transaction block, or a savepoint inside one.

    Unlike psycopg's, it never ends quietly without having committed: a block that caught a database error and goes on
    to its end raises ``InFailedSqlTransaction`` (Postgres would answer COMMIT with a rollback), one whose connection
    was lost raises ``OperationalError``.
    """

    _conn: "Connection[Any]"

    async def __aenter__(self) -> Self:
        await trio.lowlevel.checkpoint_if_cancelled()
        async with self._conn.lock:
            self._check_enter()
            try:
                await self._conn.wire.see_through(self._synced(self._enter_gen(), first=True))
            except BaseException as error:
                await self._roll_back(type(error), error)  # __aexit__ will not be called
                raise
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc_val: BaseException | None, exc_tb: TracebackType | None
    ) -> bool:
        async with self._conn.clean_up_lock():
            if exc_val is not None or self.force_rollback:
                return await self._roll_back(exc_type, exc_val)
            await self._commit()
            return False

    async def _commit(self) -> None:
        wire = self._conn.wire
        if wire.closed:
            self.status = self.Status.FAILED
            raise errors.OperationalError("the connection was lost inside the transaction: nothing is committed")
        if not self._outer_transaction:
            await wire.see_through(self._synced(self._exit_gen(None, None, None)))
        elif self.pgconn.transaction_status == _INERROR:
            failed = errors.InFailedSqlTransaction("the block caught an error and went on: nothing is committed")
            await self._roll_back(type(failed), failed)
            raise failed
        else:
            await wire.commit(self._synced(self._exit_gen(None, None, None)))

    async def _roll_back(self, exc_type: type[BaseException] | None, error: BaseException | None) -> bool:
        """Roll back within the grace; true if ``error`` is a ``psycopg.Rollback`` of this very block."""
        wire = self._conn.wire
        swallow = False
        if wire.closed:
            self.status = self.Status.FAILED
            return swallow
        with wire.grace():
            if wire.active and not self._conn.in_pipeline:
                await wire.stop()
            swallow = await wire.drive(self._synced(self._exit_gen(exc_type, error, None)))
        if self._outer_transaction:
            wire.close_unless_idle()
        return swallow

    def _synced(self, generator: PQGen[RV], *, first: bool = False) -> PQGen[RV]:
        """In a pipeline, have the answers to all before (``first``) and to this: the next step depends on them."""
        if first:
            yield from self._conn.sync_gen()
        value = yield from generator
        yield from self._conn.sync_gen()
        return value


class Connection(AsyncConnection[Row]):
    """A connection to Postgres for one Trio task at a time."""

    def __init__(
        self,
        pgconn: pq.abc.PGconn,
        row_factory: AsyncRowFactory[Row] = cast("Any", tuple_row),  # noqa: B008 - a constant
    ) -> None:
        super().__init__(pgconn, row_factory)
        self.lock = _Lock()  # type: ignore[assignment]  # psycopg only enters and leaves it
        self.cursor_factory = Cursor
        self.wire = Wire(pgconn)

    @classmethod
    async def connect(  # type: ignore[override]  # of the keywords only timeout may be a float
        cls,
        conninfo: str = "",
        *,
        timeout: float | None = None,
        autocommit: bool = False,
        prepare_threshold: int | None = 5,
        context: AdaptContext | None = None,
        row_factory: AsyncRowFactory[Row] | None = None,
        cursor_factory: type[AsyncCursor[Row]] | None = None,
        **kwargs: ConnParam,
    ) -> Self:
        """Connect within ``timeout`` seconds (default: ``connect_timeout`` of the connection string, else 130).

        The time covers name resolution and all addresses; each of them gets an equal share of what is left.
        Raises OperationalError, ConnectionTimeout among them, which names every address tried.
        """
        params = await cls._get_connection_params(conninfo, **kwargs)
        deadline = trio.current_time() + (timeout_from_conninfo(params) if timeout is None else timeout)
        connection = await cls._first_to_answer(await _resolve(params, deadline), deadline)
        connection._autocommit = autocommit  # noqa: SLF001 - its own class
        connection.prepare_threshold = prepare_threshold
        if row_factory:
            connection.row_factory = row_factory
        if cursor_factory:
            connection.cursor_factory = cursor_factory
        if context:
            connection._adapters = AdaptersMap(context.adapters)  # noqa: SLF001 - its own class
        return connection

    @classmethod
    async def _first_to_answer(cls, addresses: list[ConnDict], deadline: float) -> Self:
        failures: list[errors.Error] = []
        for position, address in enumerate(addresses):
            share = (deadline - trio.current_time()) / (len(addresses) - position)
            try:
                with trio.move_on_after(max(0.0, share)):
                    return await _drive_connecting(cls._connect_gen(make_conninfo("", **address)))
                failures.append(errors.ConnectionTimeout(f"no answer from {_describe(address)} in {share:.1f} s"))
            except errors.Error as error:
                failures.append(error)
        if len(failures) == 1:
            raise failures[0]
        raise type(failures[-1])("no address answered: " + "; ".join(str(failure).strip() for failure in failures))

    @property
    def in_pipeline(self) -> bool:
        """True inside ``pipeline()``."""
        return self._pipeline is not None

    def sync_gen(self) -> PQGen[None]:
        """Send and read all that a pipeline has queued; nothing outside of one."""
        if self._pipeline is not None:
            yield from self._pipeline._sync_gen()  # noqa: SLF001 - psycopg's own generator of it

    async def wait(self, gen: PQGen[RV], interval: float = 0.0, timeout: float | None = None) -> RV:  # noqa: ARG002
        """Run one of psycopg's generators; all of psycopg's statements come through here.

        Raises psycopg's ``_WaitTimeout`` after ``timeout`` seconds. ``interval`` has no use under Trio.
        """
        if timeout is None:
            return await self.wire.start(gen)
        with trio.move_on_after(timeout):
            return await self.wire.start(gen)
        raise errors._WaitTimeout("wait timeout expired")  # noqa: SLF001 - what psycopg's notifies() catches

    @asynccontextmanager
    async def clean_up_lock(self) -> AsyncIterator[None]:
        """The lock, also for a cancelled task; another task that keeps it past the grace costs the connection."""
        held = False
        with self.wire.grace():
            await cast("_Lock", self.lock).acquire()
            held = True
        if not held:
            raise errors.OperationalError("another task was still using the connection: it is closed")
        try:
            yield
        finally:
            self.lock.release()

    async def commit(self) -> None:
        """Commit what was begun outside of ``transaction()``. Raises CommitOutcomeUnknown."""
        async with self.clean_up_lock():
            await self.wire.commit(self._commit_gen())

    async def rollback(self) -> None:
        """Roll back what was begun outside of ``transaction()``, also when the task is cancelled."""
        async with self.clean_up_lock():
            with self.wire.grace():
                if self.wire.active and not self.in_pipeline:
                    await self.wire.stop()
                await self.wire.drive(self._rollback_gen())

    async def close(self) -> None:
        """Say goodbye and close the socket; never waits."""
        self.abandon()

    def abandon(self) -> None:
        """``close()`` for callers that cannot await."""
        if not self.closed:
            self._closed = True
            self.wire.close()

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc_val: BaseException | None, exc_tb: TracebackType | None
    ) -> None:
        try:
            if exc_val is None and not self.closed:
                await self.commit()
        finally:
            self.abandon()  # which rolls back

    async def cancel_safe(self, *, timeout: float = 30.0) -> None:
        """Ask the server, over a connection of its own, to cancel what another task is waiting for here.

        Raises CancellationTimeout after ``timeout`` seconds.
        """
        if self._should_cancel():
            with trio.move_on_after(timeout):
                await self.wire.request_cancel()
                return
            raise errors.CancellationTimeout("cancellation timeout expired")

    @asynccontextmanager
    async def transaction(
        self, savepoint_name: str | None = None, force_rollback: bool = False
    ) -> AsyncIterator[AsyncTransaction]:
        """A transaction block; nested, a savepoint. See ``Transaction``."""
        transaction = Transaction(self, savepoint_name, force_rollback)
        if self._pipeline:
            async with transaction, self.pipeline():
                yield transaction
        else:
            async with transaction:
                yield transaction

    @asynccontextmanager
    async def pipeline(self) -> AsyncIterator[AsyncPipeline]:
        """A block whose statements are sent without waiting for the answers to those before."""
        async with self.lock:
            self._check_connection_ok()
            if self._pipeline is None:
                self._pipeline = Pipeline(self)
            pipeline = self._pipeline
        try:
            async with pipeline:
                yield pipeline
        finally:
            if pipeline.level == 0:
                self._pipeline = None

    @asynccontextmanager
    async def _pipeline_nolock(self) -> AsyncIterator[AsyncPipeline]:
        pipeline = self._pipeline = Pipeline(self, _no_lock=True)
        try:
            async with pipeline:
                yield pipeline
        finally:
            self._pipeline = None


async def connect(conninfo: str, *, timeout: float = 10.0) -> Connection[tuple[Any, ...]]:
    """A connection in autocommit mode, so that transactions are exactly the ``transaction()`` blocks.

    Raises OperationalError if none could be made within ``timeout`` seconds.
    """
    return await Connection.connect(conninfo, timeout=timeout, autocommit=True)


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

    async def one(wanted: int) -> None:
        nonlocal ready
        ready |= await _wait(descriptor, wanted)
        nursery.cancel_scope.cancel()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(one, _WAIT_R)
        nursery.start_soon(one, _WAIT_W)
    return ready


async def _drive_connecting(generator: PQGenConn[RV]) -> RV:
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


async def _resolve(params: ConnDict, deadline: float) -> list[ConnDict]:
    """The addresses to try, with ``hostaddr`` filled in, so that libpq never blocks in a name lookup."""
    addresses: list[ConnDict] = []
    failure: errors.OperationalError | None = None
    for attempt in split_attempts(params):
        host = get_param(attempt, "host")
        with trio.move_on_at(deadline) as scope:
            try:
                addresses += await _resolve_one(attempt, host)
            except OSError as error:
                failure = errors.OperationalError(f"failed to resolve host {host!r}: {error}")
        if scope.cancelled_caught:
            failure = errors.ConnectionTimeout(f"failed to resolve host {host!r} in time")
    if not addresses:
        raise failure or errors.OperationalError("no host to connect to")
    return addresses


async def _resolve_one(attempt: ConnDict, host: str | None) -> list[ConnDict]:
    if not host or host.startswith(("/", "@")) or get_param(attempt, "hostaddr"):
        return [attempt]
    if is_ip_address(host):
        return [{**attempt, "hostaddr": host}]
    default = get_param_def("port")
    port = get_param(attempt, "port") or (default and default.compiled) or "5432"
    found = await trio.socket.getaddrinfo(host, port, proto=socket.IPPROTO_TCP, type=socket.SOCK_STREAM)
    return [{**attempt, "hostaddr": str(address[0])} for *_, address in found]


def _describe(address: ConnDict) -> str:
    host = get_param(address, "host") or "the default socket"
    return f"{host} ({address['hostaddr']})" if "hostaddr" in address else str(host)
