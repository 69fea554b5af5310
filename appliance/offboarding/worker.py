"""The work of deletions: slices, one process at a time, resumable at any instant."""

from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import psycopg
import structlog
import trio

from appliance.clock import Clock
from appliance.db import statements
from appliance.db.locks import lock_key
from appliance.db.pool import Pool
from appliance.db.trio_psycopg import Connection
from appliance.failpoints import Failpoints
from appliance.offboarding import deletion
from appliance.offboarding.deletion import Deletion, DeletionStatus
from appliance.offboarding.tables import place_of
from appliance.runtime.activity import activity
from appliance.runtime.periodic import every

STATEMENTS = statements.load("offboarding")

INTERVAL_SECONDS = 2.0
"""Seconds between two looks for a deletion that somebody has asked for."""
SLICE_ROWS = 5_000
"""Rows deleted in one transaction: some tens of milliseconds."""
PAUSE_SECONDS = 0.02
"""Seconds between two slices: the stream and the pages have the database meanwhile."""
BUSY_SECONDS = 0.3
"""Seconds until a slice is tried again whose rows or record somebody else has locked."""
PASSES = 5
"""How often in one round all tables are gone through, when rows come in while others go."""
RECHECK_SECONDS = 300.0
"""Seconds between two looks for rows that came in after a deletion was done."""
RECHECK_DAYS = 7
"""Days for which that is done: whoever was frozen with a batch in flight has written it by then."""
WORK_LOCK = lock_key("tenant deletions")
"""Held by the session that deletes."""

BUSY = (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected)
"""Somebody else was first; the same again will do."""
REFERRED_TO = psycopg.errors.ForeignKeyViolation
"""Rows of another table name these: they go in a later pass."""

log = structlog.get_logger(__name__)


class DeletionWorker:
    """Does the work of all deletions that are not done. ``pool``: role ``appliance_ingest``."""

    def __init__(
        self, pool: Pool, clock: Clock, instance: str, *, failpoint: Failpoints, slice_rows: int = SLICE_ROWS
    ) -> None:
        self._pool = pool
        self._clock = clock
        self._instance = instance
        self._failpoint = failpoint
        self._slice_rows = slice_rows
        self._recheck_at = 0.0

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Look for deletions and do their work, for ever."""
        await every(INTERVAL_SECONDS, self._round, chore="tenant deletions", task_status=task_status)

    async def work(self) -> bool:
        """Do what is to be done; return False if another process is at it."""
        async with self._pool.connection() as connection, _exclusive(connection) as alone:
            if alone:
                cursor = await connection.execute(STATEMENTS["select_unfinished"])
                for (deletion_id,) in await cursor.fetchall():
                    await self._delete(connection, deletion_id)
            return alone

    async def recheck(self) -> int:
        """Delete what came in after a deletion was done, and return how many rows that was."""
        gone = 0
        async with self._pool.connection() as connection, _exclusive(connection) as alone:
            if alone:
                since = self._now() - timedelta(days=RECHECK_DAYS)
                cursor = await connection.execute(STATEMENTS["select_recent"], {"since": since})
                for deletion_id, tenant_id in await cursor.fetchall():
                    if left := await deletion.rows_left(connection, tenant_id):
                        log.warning("rows of a deleted tenant came in late", tenant=tenant_id, tables=left)
                        gone += await self._empty(connection, deletion_id, left)
        return gone

    async def _round(self) -> None:
        await self.work()
        if self._clock.monotonic() >= self._recheck_at:
            await self.recheck()
            self._recheck_at = self._clock.monotonic() + RECHECK_SECONDS

    async def _delete(self, connection: Connection[Any], deletion_id: int) -> None:
        found = await deletion.get(connection, deletion_id)
        if found.expected is None:
            await self._count(connection, found)
        for _ in range(PASSES):
            left = await deletion.rows_left(connection, found.tenant_id)
            await self._empty(connection, deletion_id, left)
            try:
                status = await deletion.advance(connection, deletion_id, self._now())
            except (*BUSY, REFERRED_TO):
                await trio.sleep(BUSY_SECONDS)
                continue
            if status is DeletionStatus.DONE:
                log.info("tenant deleted", tenant=found.tenant_id, deletion=deletion_id)
            if status is not DeletionStatus.RUNNING and not left:
                return  # else something has just gone: look once more
        log.debug("a deletion goes on in the next round", tenant=found.tenant_id, deletion=deletion_id)

    async def _count(self, connection: Connection[Any], found: Deletion) -> None:
        """Count the rows of each table: what progress is measured by."""
        counts: dict[str, int] = {}
        for table, partition_of in await _tables(connection):
            cursor = await connection.execute(STATEMENTS["count_rows"], {"tenant": found.tenant_id, "table": table})
            row = await cursor.fetchone()
            if row is not None and row[0]:
                counts[partition_of or table] = counts.get(partition_of or table, 0) + row[0]
            activity().did()
        parameters = {
            "deletion": found.deletion_id,
            "expected": msgspec.json.encode(counts).decode(),
            "now": self._now(),
        }
        await connection.execute(STATEMENTS["set_expected"], parameters)

    async def _empty(self, connection: Connection[Any], deletion_id: int, tables: Collection[str]) -> int:
        """Delete the rows of ``tables``, slice by slice, in the order of all, and return their number."""
        gone = 0
        for table in [table for table, _ in await _tables(connection) if table in tables]:
            while True:
                try:
                    size = await self._slice(connection, deletion_id, table)
                except BUSY:
                    await trio.sleep(BUSY_SECONDS)
                    continue
                except REFERRED_TO:
                    break
                gone += size
                activity().did()
                if size < self._slice_rows:
                    break
                await trio.sleep(PAUSE_SECONDS)
        return gone

    async def _slice(self, connection: Connection[Any], deletion_id: int, table: str) -> int:
        parameters = {
            "deletion": deletion_id,
            "table": table,
            "at_most": self._slice_rows,
            "now": self._now(),
            "instance": self._instance,
        }
        async with connection.transaction():
            cursor = await connection.execute(STATEMENTS["delete_slice"], parameters)
            row = await cursor.fetchone()
            size = 0 if row is None else int(row[0])
            if size:
                self._failpoint("before_slice_commit")
        if size:
            self._failpoint("after_slice_commit")
        return size

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._clock.now(), UTC)


async def _tables(connection: Connection[Any]) -> list[tuple[str, str | None]]:
    """Return all tables with rows of tenants, partitions one by one, in the order in which they are emptied."""
    cursor = await connection.execute(STATEMENTS["select_tables"])
    return sorted(await cursor.fetchall(), key=lambda row: place_of(*row))


@asynccontextmanager
async def _exclusive(connection: Connection[Any]) -> AsyncIterator[bool]:
    """Hold the lock of the work for a block; False if another session has it. The end of a session gives it back."""
    cursor = await connection.execute(STATEMENTS["try_lock"], {"key": WORK_LOCK})
    row = await cursor.fetchone()
    alone = row is not None and row[0] is True
    try:
        yield alone
    finally:
        if alone and not connection.closed:
            with trio.CancelScope(shield=True), trio.move_on_after(1):
                await connection.execute(STATEMENTS["unlock"], {"key": WORK_LOCK})
