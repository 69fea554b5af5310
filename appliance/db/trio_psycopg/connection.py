"""The connection and its blocks: psycopg's own classes, with every wait and every clean-up going through the wire."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from types import TracebackType
from typing import Any, Self, TypeVar, cast

import trio
from psycopg import AsyncConnection, AsyncCursor, AsyncPipeline, AsyncTransaction, errors, pq
from psycopg.abc import AdaptContext, ConnDict, ConnParam, Params, PQGen, Query
from psycopg.adapt import AdaptersMap
from psycopg.conninfo import make_conninfo, timeout_from_conninfo
from psycopg.copy import AsyncCopy, AsyncLibpqWriter, AsyncWriter
from psycopg.generators import copy_end, copy_to
from psycopg.rows import AsyncRowFactory, Row, tuple_row

from appliance.db.trio_psycopg.addresses import describe, resolve
from appliance.db.trio_psycopg.wire import Wire, drive_connecting

RV = TypeVar("RV")

_COPY_IN = pq.ExecStatus.COPY_IN
_INERROR = pq.TransactionStatus.INERROR

logger = logging.getLogger(__name__)


class _Lock:
    """``trio.Lock`` that costs no trip through the scheduler when it is free: what it guards checkpoints by itself."""

    __slots__ = ("_lock",)

    def __init__(self) -> None:
        self._lock = trio.Lock()

    def acquire_if_free(self) -> bool:
        if self._lock.locked():
            return False
        self._lock.acquire_nowait()
        return True

    async def acquire(self) -> None:
        if not self.acquire_if_free():
            await self._lock.acquire()

    def release(self) -> None:
        self._lock.release()

    async def __aenter__(self) -> None:
        await self.acquire()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.release()


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
            # In a pipeline the state of the transaction is known only when all before is answered.
            await self._conn.wire.see_through(self._conn.sync_gen())
            try:
                await self._conn.wire.see_through(self._synced(self._enter_gen()))
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

    def _synced(self, generator: PQGen[RV]) -> PQGen[RV]:
        """In a pipeline, have the answers too: the next step depends on them."""
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
        connection = await cls._first_to_answer(await resolve(params, deadline), deadline)
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
                    return await drive_connecting(cls._connect_gen(make_conninfo("", **address)))
                failures.append(errors.ConnectionTimeout(f"no answer from {describe(address)} in {share:.1f} s"))
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
        lock = cast("_Lock", self.lock)
        held = lock.acquire_if_free()
        if not held:
            with self.wire.grace():
                await lock.acquire()
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
