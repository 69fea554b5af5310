"""A pool of connections: last in, first out, so that the fewest possible are kept warm and the rest stay spare.

It takes back only connections between two transactions (``IDLE``) and closes every other; an idle one is checked
before it is lent, so a restart of Postgres costs each user at most the statement that was under way. New
connections are opened in the background, one at a time, with growing delays while Postgres is away. The pool grows
from ``min_size`` to ``max_size`` and does not shrink.
"""

import collections
import select
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import psycopg
import structlog
import trio
from psycopg.pq import TransactionStatus

from appliance.backoff import Backoff
from appliance.db.trio_psycopg import Connection, connect

CONNECT_SECONDS = 10.0
"""Seconds that one try to open a connection may take."""

log = structlog.get_logger(__name__)

Configure = Callable[[Connection[Any]], Awaitable[None]]
"""Prepares a new connection; it must leave it idle."""


class PoolTimeout(psycopg.OperationalError):
    """No connection became free in time; says how many there are and why none could be opened."""


@dataclass(frozen=True, slots=True)
class PoolStatistics:
    """The present numbers of a pool (first four), and its counts since it was opened (the others)."""

    size: int
    idle: int
    in_use: int
    waiting: int
    opened: int
    discarded: int
    failures: int
    timeouts: int
    last_failure: str | None


@dataclass(slots=True, eq=False)
class _Waiter:
    """A task in the queue; the connection comes with the event."""

    arrived: trio.Event = field(default_factory=trio.Event)
    connection: Connection[Any] | None = None


class Pool:
    """Connections in autocommit mode for many tasks; made by ``open_pool``."""

    def __init__(
        self,
        conninfo: str,
        *,
        name: str,
        min_size: int,
        max_size: int,
        timeout: float,
        configure: Configure | None,
    ) -> None:
        if not 0 <= min_size <= max_size or max_size < 1:
            raise ValueError(f"pool {name}: 0 <= min_size <= max_size, 1 <= max_size")
        self.name = name
        self.timeout = timeout
        self._conninfo = conninfo
        self._min_size = min_size
        self._max_size = max_size
        self._configure = configure
        self._idle: list[Connection[Any]] = []
        self._in_use = 0
        self._waiters: collections.deque[_Waiter] = collections.deque()
        self._lacking = trio.Event()
        self._filled = trio.Event()
        self._closed = False
        self._opened = 0
        self._discarded = 0
        self._failures = 0
        self._timeouts = 0
        self._last_failure: str | None = None

    @asynccontextmanager
    async def connection(self, timeout: float | None = None) -> AsyncIterator[Connection[Any]]:
        """Lend a connection for a block. Waits up to ``timeout`` seconds (default: the pool's), then PoolTimeout.

        Transactions are explicit: ``async with connection.transaction()``. One left open is rolled back by closing
        the connection.
        """
        connection = await self._take(self.timeout if timeout is None else timeout)
        try:
            yield connection
        finally:
            self._in_use -= 1
            self._put(connection)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection[Any]]:
        """Lend a connection in a transaction, which is committed at the end of the block."""
        async with self.connection() as connection, connection.transaction():
            yield connection

    def statistics(self) -> PoolStatistics:
        """Return the present statistics."""
        return PoolStatistics(
            size=self._size,
            idle=len(self._idle),
            in_use=self._in_use,
            waiting=len(self._waiters),
            opened=self._opened,
            discarded=self._discarded,
            failures=self._failures,
            timeouts=self._timeouts,
            last_failure=self._last_failure,
        )

    @property
    def _size(self) -> int:
        return len(self._idle) + self._in_use

    async def _take(self, timeout: float) -> Connection[Any]:
        await trio.lowlevel.checkpoint_if_cancelled()
        while self._idle:
            connection = self._idle.pop()
            if _healthy(connection):
                self._in_use += 1
                return connection
            self._discard(connection)
        if self._closed:
            raise PoolTimeout(f"pool {self.name} is closed")
        return await self._queue(timeout)

    async def _queue(self, timeout: float) -> Connection[Any]:
        waiter = _Waiter()
        self._waiters.append(waiter)
        self._lacking.set()
        try:
            with trio.move_on_after(timeout):
                await waiter.arrived.wait()
        except BaseException:
            if waiter.connection is not None:  # it came after the cancellation, before this task ran again
                self._in_use -= 1
                self._put(waiter.connection)
            raise
        finally:
            if waiter.connection is None:
                self._waiters.remove(waiter)
        if waiter.connection is None:
            self._timeouts += 1
            reason = f": {self._last_failure}" if self._last_failure else ""
            raise PoolTimeout(
                f"pool {self.name}: no connection within {timeout:g} s"
                f" ({self._in_use} of {self._max_size} in use, {len(self._waiters)} waiting){reason}"
            )
        return waiter.connection

    def _put(self, connection: Connection[Any]) -> None:
        if self._closed or connection.pgconn.transaction_status != TransactionStatus.IDLE:
            self._discard(connection)
        elif self._waiters:
            waiter = self._waiters.popleft()
            waiter.connection = connection
            self._in_use += 1
            waiter.arrived.set()
        else:
            self._idle.append(connection)

    def _discard(self, connection: Connection[Any]) -> None:
        connection.abandon()
        self._discarded += 1
        self._lacking.set()

    def _missing(self) -> bool:
        wanted = min(self._max_size, max(self._min_size, self._size + len(self._waiters)))
        return self._size < wanted

    async def refill(self) -> None:
        """Open missing connections, for as long as the pool lives."""
        backoff = Backoff(first=0.05, maximum=1.0)
        while True:
            while not self._missing():
                self._filled.set()
                self._lacking = trio.Event()
                await self._lacking.wait()
            try:
                connection = await self._open()
            except psycopg.Error as error:
                self._failures += 1
                self._last_failure = str(error).strip()
                log.warning("cannot connect to the database", pool=self.name, error=self._last_failure)
                await trio.sleep(backoff.next())
            else:
                backoff.reset()
                self._last_failure = None
                self._opened += 1
                self._put(connection)

    async def filled(self) -> None:
        """Return once ``min_size`` connections are open. Raises PoolTimeout after the pool's timeout."""
        with trio.move_on_after(self.timeout):
            await self._filled.wait()
            return
        self._timeouts += 1
        raise PoolTimeout(f"pool {self.name}: cannot connect within {self.timeout:g} s: {self._last_failure}")

    async def _open(self) -> Connection[Any]:
        connection = await connect(self._conninfo, timeout=CONNECT_SECONDS)
        try:
            if self._configure is not None:
                await self._configure(connection)
                if connection.pgconn.transaction_status != TransactionStatus.IDLE:
                    raise psycopg.ProgrammingError(f"pool {self.name}: configure left a transaction open")
        except BaseException:
            connection.abandon()
            raise
        return connection

    def close(self) -> None:
        """Close idle connections; those in use are closed when they come back."""
        self._closed = True
        while self._idle:
            self._idle.pop().abandon()


@asynccontextmanager
async def open_pool(
    conninfo: str,
    *,
    name: str,
    min_size: int = 1,
    max_size: int,
    timeout: float = 30.0,
    configure: Configure | None = None,
) -> AsyncIterator[Pool]:
    """Open a pool for a block, which is entered once ``min_size`` connections are open.

    ``timeout`` (seconds) bounds that and, by default, every wait for a connection. ``configure`` is
    called with each new connection. Raises PoolTimeout, with what the server said, if none can be opened in time.
    """
    pool = Pool(conninfo, name=name, min_size=min_size, max_size=max_size, timeout=timeout, configure=configure)
    raised: BaseException | None = None
    wrapped = False
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(pool.refill)
            try:
                await pool.filled()
                yield pool
            except BaseException as error:
                raised = error
                raise
            finally:
                pool.close()
                nursery.cancel_scope.cancel()
    except BaseExceptionGroup as group:
        wrapped = group.exceptions == (raised,)
        if not wrapped:
            raise
    if wrapped and raised is not None:
        raise raised  # as it was: the nursery in here is nobody's business


def _healthy(connection: Connection[Any]) -> bool:
    """Return False if the server has closed the connection, or sent anything unasked."""
    if connection.closed:
        return False
    poll = select.poll()
    poll.register(connection.pgconn.socket, select.POLLIN)
    return not poll.poll(0)
