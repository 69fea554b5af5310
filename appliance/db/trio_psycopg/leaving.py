"""What ``stream()`` and ``notifies()`` return: iterators that may be left at any point."""

import logging
import math
from collections import deque
from collections.abc import AsyncGenerator
from contextlib import suppress
from types import AsyncGeneratorType, TracebackType
from typing import Any

import trio
from psycopg import Notify, errors
from psycopg.rows import Row

from appliance.db.trio_psycopg.driven import DrivenConnection
from appliance.db.trio_psycopg.wire import notifications

logger = logging.getLogger(__name__)


class Stream(AsyncGenerator[Row, None]):
    """The rows of a query as they come, made of a generator that holds the connection until it is closed.

    Dropped before its end, by ``break`` for example, the generator is closed by a task of Trio's own: what Trio does
    with any generator, but without the warning, since nothing is lost. Interrupted, it cannot be read on and says so:
    a generator would end there, as if all rows had been read.
    """

    def __init__(self, rows: AsyncGeneratorType[Row, None]) -> None:
        self._rows = rows
        self._token: trio.lowlevel.TrioToken | None = None
        self._interrupted = False

    async def asend(self, value: None) -> Row:
        """Return the next row. Raises OperationalError after an interruption."""
        if self._interrupted:
            raise errors.OperationalError("the stream was interrupted: the rest of its rows is lost")
        if self._token is None:
            self._token = trio.lowlevel.current_trio_token()
        try:
            return await self._rows.asend(value)
        except StopAsyncIteration:
            raise
        except BaseException:
            self._interrupted = self._rows.ag_frame is None
            raise

    async def athrow(self, *error: Any) -> Row:
        """Raise an exception where the generator stands."""
        return await self._rows.athrow(*error)

    async def aclose(self) -> None:
        """Give the connection back, without a statement under way."""
        await self._rows.aclose()

    def __del__(self) -> None:
        if self._token is not None and self._rows.ag_frame is not None:
            with suppress(trio.RunFinishedError):
                self._token.run_sync_soon(_spawn_close, self._rows)


def _spawn_close(rows: AsyncGeneratorType[Any, None]) -> None:
    with suppress(RuntimeError):  # the run is ending: Trio itself closes the generators that are left
        trio.lowlevel.spawn_system_task(_close, rows)


async def _close(rows: AsyncGeneratorType[Any, None]) -> None:
    # Cancelled, so that it waits for nothing but what is shielded, and bounded by the grace.
    with trio.CancelScope(shield=True) as scope:
        scope.cancel()
        try:
            await rows.aclose()
        except Exception as error:  # noqa: BLE001 - a system task that fails would end the program
            logger.warning("while closing a stream that was dropped: %s", error)


class Notifications(AsyncGenerator[Notify, None]):
    """Notifications as they come: an iterator without a generator, so that nothing has to be closed.

    The connection is in use only while one is waited for. A wait that was cancelled may be repeated.
    """

    def __init__(
        self,
        connection: DrivenConnection[Any],
        backlog: deque[Notify],
        handlers: list[Any],
        *,
        timeout: float | None,
        stop_after: int | None,
    ) -> None:
        """``backlog`` is where the connection puts them; with ``handlers``, psycopg gives them to these alone."""
        self._connection = connection
        self._backlog = backlog
        self._handlers = handlers
        self._timeout = math.inf if timeout is None else timeout
        self._deadline: float | None = None
        self._stop_after = math.inf if stop_after is None else stop_after
        self._received = 0
        self._in_batch = self._last = self._ended = False

    async def asend(self, value: None) -> Notify:  # noqa: ARG002 - of the protocol
        """Return the next one; those that came together are all returned before the end is considered."""
        if self._deadline is None:
            self._deadline = trio.current_time() + self._timeout
        while not self._ended:
            if self._in_batch and self._backlog:
                self._received += 1
                return self._backlog.popleft()
            if self._in_batch and (self._last or self._received >= self._stop_after):
                self._ended = True
                break
            self._in_batch = False
            self._last = trio.current_time() >= self._deadline
            if self._last or not self._backlog:
                await self._hear(self._deadline)
            self._in_batch = True
        raise StopAsyncIteration

    async def _hear(self, deadline: float) -> None:
        """Have those that have arrived, or the first ones before ``deadline``, put into the backlog."""
        await trio.lowlevel.checkpoint_if_cancelled()
        connection = self._connection
        with trio.move_on_at(deadline):
            async with connection.lock:
                connection.wire.check_open()
                heard = await connection.wire.see_through(notifications(connection.pgconn))
                if self._handlers:
                    encoding = connection.info.encoding
                    self._backlog.extend(
                        Notify(one.relname.decode(encoding), one.extra.decode(encoding), one.be_pid) for one in heard
                    )

    async def athrow(
        self,
        kind: type[BaseException] | BaseException,
        error: BaseException | object = None,
        traceback: TracebackType | None = None,
    ) -> Notify:
        """End with an exception."""
        self._ended = True
        raised = error if isinstance(error, BaseException) else kind() if isinstance(kind, type) else kind
        raise raised.with_traceback(traceback)

    async def aclose(self) -> None:
        """End; those that were not returned are had by the next call of ``notifies()``."""
        self._ended = True
