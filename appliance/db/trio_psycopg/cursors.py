"""psycopg's cursors, whose COPY, ``stream()`` and end can be cancelled."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from types import AsyncGeneratorType
from typing import Any, cast

from psycopg import AsyncCursor, AsyncServerCursor, errors, pq
from psycopg.abc import Params, PQGen, Query
from psycopg.copy import AsyncCopy, AsyncLibpqWriter, AsyncWriter
from psycopg.generators import copy_end, copy_to
from psycopg.rows import Row

from appliance.db.trio_psycopg.driven import DrivenConnection
from appliance.db.trio_psycopg.leaving import Stream

_COPY_IN = pq.ExecStatus.COPY_IN


class Copy(AsyncCopy):
    """A COPY under way. Left with an error, it is ended on the server within the grace.

    Left before all was read, it is ended by the connection's lock; what is read from it afterwards is an error.
    """

    connection: DrivenConnection[Any]

    async def finish(self, exc: BaseException | None) -> None:
        """End the COPY: with ``exc`` None all data is delivered and checked, else nothing of it is kept."""
        if not isinstance(self.writer, AsyncLibpqWriter):
            await super().finish(exc)
        elif exc is not None:
            self._finished = self._direction == _COPY_IN
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
    """psycopg's cursor. Its COPY and ``stream()`` can be cancelled, or left at any row: the connection goes on."""

    __slots__ = ()

    def stream(
        self, query: Query, params: Params | None = None, *, binary: bool | None = None, size: int = 1
    ) -> Stream[Row]:
        """Return the rows of a query as they come, ``size`` of them in one message of the server.

        The connection is in use until the last row is taken or the stream is closed: by ``contextlib.aclosing``, or
        soon after a ``break``, which drops it. Raises OperationalError if the connection is closed meanwhile.
        """
        return Stream(cast("AsyncGeneratorType[Row, None]", self._streamed(query, params, binary, size)))

    async def _streamed(
        self, query: Query, params: Params | None, binary: bool | None, size: int
    ) -> AsyncGenerator[Row, None]:
        if self._pgconn.pipeline_status:
            raise errors.ProgrammingError("stream() cannot be used in pipeline mode")
        connection = self._conn
        async with connection.lock:
            await connection.wait(self._stream_send_gen(query, params, binary=binary, size=size))
            first = True
            while (result := await connection.wait(self._stream_fetchone_gen(first))) is not None:
                for position in range(result.ntuples):
                    yield self._tx.load_row(position, self._make_row)
                first = False

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


class ServerCursor(AsyncServerCursor[Row], Cursor[Row]):
    """psycopg's server-side cursor, which is closed on the server even if its task is cancelled."""

    __slots__ = ()

    _conn: DrivenConnection[Any]

    async def close(self) -> None:
        """Close the cursor here and on the server, within the grace."""
        async with self._conn.lock.for_clean_up():
            try:
                if not self.closed and not self._conn.closed:
                    with self._conn.wire.grace():
                        await self._conn.wire.drive(self._close_gen())
            finally:
                self._close()
