"""The blocks of a connection that end with an answer of the server: pipelines and transactions."""

import logging
from contextlib import nullcontext
from types import TracebackType
from typing import Any, Self, TypeVar, cast

import trio
from psycopg import AsyncPipeline, AsyncTransaction, errors, pq
from psycopg.abc import PQGen

from appliance.db.trio_psycopg.driven import DrivenConnection
from appliance.db.trio_psycopg.wire import discard

RV = TypeVar("RV")

_INERROR = pq.TransactionStatus.INERROR
_ABORTED = pq.PipelineStatus.ABORTED

logger = logging.getLogger(__name__)


class Pipeline(AsyncPipeline):
    """psycopg's pipeline, whose end always reads what the server still has to say.

    It never ends quietly after one of its statements was cancelled: ``PipelineAborted`` then. One that commits at its
    end commits nothing if its block does not come to that end: the connection is closed instead.
    """

    _conn: DrivenConnection[Any]

    commits = False
    """Whether its end commits: then that is given the grace to finish, as a COMMIT is."""

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc_val: BaseException | None, exc_tb: TracebackType | None
    ) -> None:
        try:
            if self._conn.closed:
                raise errors.OperationalError("the connection was lost inside the pipeline")
            locked_already = self._lock is not cast("Any", self._conn.lock)
            async with nullcontext() if locked_already else self._conn.lock.for_clean_up():
                await self._leave(exc_val)
        except errors.Error as error:
            if exc_val is None:
                raise
            logger.debug("while leaving a pipeline after another error: %s", error)
        finally:
            try:
                self._exit(exc_val)
            finally:
                self._conn.wire.end_pipeline(self.level)

    async def _leave(self, error: BaseException | None) -> None:
        wire = self._conn.wire
        if error is not None and self.commits and self.level == 1 and self._conn.pgconn.pipeline_status != _ABORTED:
            with wire.grace():
                if wire.active:
                    await wire.request_cancel()
            wire.close()  # a sync would commit what was sent
            return
        if error is None or isinstance(error, Exception):
            if error is None and self.commits and self.level == 1:
                await wire.commit(self._exit_gen())
            else:
                await wire.see_through(self._exit_gen())
            if wire.interrupted_pipeline:
                raise errors.PipelineAborted(
                    "a statement of the pipeline was cancelled: what went with it is not stored"
                )
            return
        ending = self._exit_gen()
        with wire.grace():
            if wire.active:
                await wire.request_cancel()
            await wire.drive(ending)
        discard(ending)


class Transaction(AsyncTransaction):
    """A transaction block, or a savepoint inside one.

    Unlike psycopg's, it never ends quietly without having committed: a block that caught a database error and goes on
    to its end raises ``InFailedSqlTransaction`` (Postgres would answer COMMIT with a rollback), one whose connection
    was lost raises ``OperationalError``.
    """

    _conn: DrivenConnection[Any]

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
        async with self._conn.lock.for_clean_up():
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
            wire.interrupted_pipeline = False  # what was interrupted belongs to this block: it began with a sync
        if self._outer_transaction:
            wire.close_unless_idle()
        return swallow

    def _synced(self, generator: PQGen[RV]) -> PQGen[RV]:
        """In a pipeline, have the answers too: the next step depends on them."""
        value = yield from generator
        yield from self._conn.sync_gen()
        return value
