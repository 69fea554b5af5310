"""The connection: psycopg's own class, with every wait and every clean-up going through the wire."""

import warnings
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any, Self, TypeVar, cast

import trio
from psycopg import AsyncCursor, AsyncPipeline, AsyncTransaction, Notify, errors, pq
from psycopg.abc import AdaptContext, ConnDict, ConnParam
from psycopg.adapt import AdaptersMap
from psycopg.conninfo import make_conninfo, timeout_from_conninfo
from psycopg.rows import AsyncRowFactory, Row, tuple_row

from appliance.db.trio_psycopg.addresses import describe, resolve
from appliance.db.trio_psycopg.blocks import Pipeline, Transaction
from appliance.db.trio_psycopg.cursors import Cursor, ServerCursor
from appliance.db.trio_psycopg.driven import DrivenConnection
from appliance.db.trio_psycopg.leaving import Notifications
from appliance.db.trio_psycopg.wire import drive_connecting

RV = TypeVar("RV")


class Connection(DrivenConnection[Row]):
    """A connection to Postgres for one Trio task at a time."""

    def __init__(
        self,
        pgconn: pq.abc.PGconn,
        row_factory: AsyncRowFactory[Row] = cast("Any", tuple_row),  # noqa: B008 - a constant
    ) -> None:
        super().__init__(pgconn, row_factory)
        self.cursor_factory = Cursor
        self.server_cursor_factory = ServerCursor

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

    async def commit(self) -> None:
        """Commit what was begun outside of ``transaction()``.

        Raises CommitOutcomeUnknown if COMMIT was sent and no answer came, OperationalError if the connection is closed.
        """
        async with self.lock.for_clean_up():
            await self.wire.commit(self._commit_gen())

    async def rollback(self) -> None:
        """Roll back what was begun outside of ``transaction()``, also when the task is cancelled."""
        async with self.lock.for_clean_up():
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
        lost = self.broken and not self._autocommit  # then commit() tells that what was done is not stored
        try:
            if exc_val is None and (lost or not self.closed):
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

    def notifies(self, *, timeout: float | None = None, stop_after: int | None = None) -> Notifications:
        """Return an iterator over notifications as they come, for ``timeout`` seconds; with 0, those that have arrived.

        It ends after ``stop_after`` of them, or a few more if they came together, as psycopg's does. While one is being
        handled the connection is free for other statements, and those that a ``break`` leaves are had by the next call.
        """
        if self._notify_handlers:
            warnings.warn("handlers get the notifications that notifies() yields, too", RuntimeWarning, stacklevel=2)
        backlog = cast("deque[Notify]", self._notifies_backlog)  # None only while psycopg's own notifies() runs
        return Notifications(self, backlog, self._notify_handlers, timeout=timeout, stop_after=stop_after)

    async def _try_cancel(self, *, timeout: float = 5.0) -> None:  # noqa: ARG002 - the grace is the time
        """Ask the server to cancel, as psycopg's own ``stream()`` and COPY do on their way out.

        Shielded: a request that is given up half-way would reach the server during the next statement.
        """
        with self.wire.grace():
            await self.wire.request_cancel()

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
    async def pipeline(self, *, commits: bool = False) -> AsyncIterator[AsyncPipeline]:
        """A block whose statements are sent without waiting for the answers to those before.

        ``commits``: its end commits, whether its last statement is COMMIT or, outside of a transaction, all of them are
        one by themselves. A cancelled task gives that end the grace to finish. Raises CommitOutcomeUnknown if no answer
        came. A block that fails or is cancelled before its end stores nothing, and costs the connection.
        """
        async with self.lock:
            self._check_connection_ok()
            if self._pipeline is None:
                self._pipeline = Pipeline(self)
                self._pipeline.commits = commits
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
