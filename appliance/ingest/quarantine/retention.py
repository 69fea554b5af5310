"""Evicts quarantined messages that exceed the caps: an age for all, and a number of bytes for each tenant.

Enters: the totals that triggers keep for every tenant. Leaves: fewer rows, and evictions in the ledger. Messages with a
decision are evicted first, then the oldest message of the device with the most held messages. Several appliances on
one database take turns. Never: a scan while every tenant is within its cap.
"""

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import structlog
import trio

from appliance.clock import Clock
from appliance.config import Quarantine
from appliance.db import statements
from appliance.db.locks import lock_key
from appliance.db.pool import Pool
from appliance.db.trio_psycopg import Connection
from appliance.ingest.batch import MICROSECONDS, MINUTE
from appliance.ingest.quarantine.sampling import moment
from appliance.metrics import Metrics
from appliance.reading import HELD_REASONS
from appliance.runtime.periodic import every

SWEEP_SECONDS = 5.0
"""Seconds between two rounds, and so the longest time for which a tenant may exceed its cap."""
DELETE_ROWS = 500
"""Rows in one transaction."""
PAUSE = 0.02
"""Seconds between two transactions, which leave the database to the stream."""
MAX_CHOSEN = 50_000
"""Rows chosen at once; a later query chooses the others."""
LARGE = 20_000
"""Held messages of a tenant from which on choosing is expensive: then a round makes room for SLACK of the cap."""
SLACK = 0.05
REPLAYS_KEPT = timedelta(days=90)
"""How long a finished replay can be viewed."""
QUIET_PERIOD = timedelta(days=1)
"""An eviction after this time without one is logged as an error again."""

RETENTION_LOCK = lock_key("quarantine", "holding")

log = structlog.get_logger(__name__)

EvictedRow = tuple[str | None, str, str, datetime]
"""Tenant, status, reason and time of receipt of an evicted row."""


class QuarantineRetention:
    """Keeps quarantine within its caps."""

    def __init__(self, pool: Pool, instance: str, clock: Clock, limits: Quarantine, metrics: Metrics) -> None:
        self._pool = pool
        self._instance = instance
        self._clock = clock
        self._metrics = metrics
        self._max_bytes = limits.max_bytes
        self._max_age = timedelta(days=limits.max_age_days)
        self._queries = statements.load("quarantine")

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Make a round now and every SWEEP_SECONDS, without end."""
        await every(SWEEP_SECONDS, self._round, chore="quarantine retention", task_status=task_status)

    async def _round(self) -> None:
        await self.round()

    async def round(self) -> int:
        """Evict what exceeds the caps. Return the number of evicted held messages. Raises psycopg.Error, OSError."""
        evicted = await self._evict_old() if self._clock.trusted else 0
        async with self._pool.connection() as connection:
            cursor = await connection.execute(self._queries["select_overfull"], {"max_bytes": self._max_bytes})
            overfull = await cursor.fetchall()
        for tenant_id, size, held, evicted_at in overfull:
            gone = await self._shrink(tenant_id, size, held)
            if gone:
                self._report(tenant_id, gone, evicted_at)
            evicted += gone
        return evicted

    async def _evict_old(self) -> int:
        """Evict messages that are too old, with or without a decision. Return the number of held ones."""
        before = self._now() - self._max_age
        evicted = 0
        while True:
            async with self._pool.connection() as connection, connection.transaction():
                if not await self._try_lock(connection):
                    return evicted
                await connection.execute(self._queries["forget_replays"], {"before": self._now() - REPLAYS_KEPT})
                cursor = await connection.execute(self._queries["evict_aged"], {"before": before, "limit": DELETE_ROWS})
                gone = await cursor.fetchall()
                held = await self._record(connection, gone, for_room=False)
            evicted += held
            self._metrics.evicted.labels("age").inc(held)
            lost = sum(1 for _, status, reason, _ in gone if status == "HELD" and reason in HELD_REASONS)
            if lost:
                log.warning("held messages grew too old", messages=lost, max_age_days=self._max_age.days)
            if len(gone) < DELETE_ROWS:
                return evicted
            await trio.sleep(PAUSE)

    async def _shrink(self, tenant_id: str, size: int, held: int) -> int:
        """Bring one tenant within its cap. Return the number of evicted held messages."""
        target = self._max_bytes - (round(self._max_bytes * SLACK) if held > LARGE else 0)
        evicted = 0
        while size > target:
            chosen, are_held = await self._choose(tenant_id, size - target)
            if not chosen:
                break
            for start in range(0, len(chosen), DELETE_ROWS):
                gone = await self._evict(tenant_id, target, chosen[start : start + DELETE_ROWS], held=are_held)
                if gone is None:
                    return evicted
                evicted += gone
                self._metrics.evicted.labels("room").inc(gone)
                await trio.sleep(PAUSE)
            async with self._pool.connection() as connection:
                size = await self._bytes(connection, tenant_id)
        return evicted

    async def _choose(self, tenant_id: str, excess: int) -> tuple[list[int], bool]:
        """Return messages that free ``excess`` bytes or at least a part of them, and whether they are held."""
        parameters = {"tenant": tenant_id, "excess": excess, "limit": MAX_CHOSEN}
        async with self._pool.connection() as connection:
            for statement, held in (("oldest_decided", False), ("oldest_of_fullest", True)):
                cursor = await connection.execute(self._queries[statement], parameters, prepare=False)
                chosen = [row[0] for row in await cursor.fetchall()]
                if chosen:
                    return chosen, held
        return [], True

    async def _evict(self, tenant_id: str, target: int, ids: Sequence[int], *, held: bool) -> int | None:
        """Evict as many of ``ids`` as exceed ``target`` bytes. Return the number of evicted held messages.

        Returns None if the tenant is within its cap by now, or if a peer evicts at this moment: the peer may have begun
        after ``ids`` were chosen.
        """
        async with self._pool.connection() as connection, connection.transaction():
            if not await self._try_lock(connection):
                return None
            excess = await self._bytes(connection, tenant_id) - target
            if excess <= 0:
                return None
            parameters = {"ids": list(ids), "held": held, "excess": excess}
            cursor = await connection.execute(self._queries["evict"], parameters)
            return await self._record(connection, await cursor.fetchall(), for_room=True)

    async def _bytes(self, connection: Connection[Any], tenant_id: str) -> int:
        row = await (await connection.execute(self._queries["select_bytes"], {"tenant": tenant_id})).fetchone()
        return 0 if row is None else int(row[0])

    async def _try_lock(self, connection: Connection[Any]) -> bool:
        """Return whether this process may evict until the transaction ends; False while a peer does."""
        row = await (await connection.execute(self._queries["try_retention_lock"], {"key": RETENTION_LOCK})).fetchone()
        return row == (True,)

    async def _record(self, connection: Connection[Any], gone: Sequence[EvictedRow], *, for_room: bool) -> int:
        """Write evictions into the totals and the ledger, in the transaction that deletes the rows."""
        held = [(tenant_id or "", received) for tenant_id, status, _, received in gone if status == "HELD"]
        if not held:
            return 0
        counts = Counter(tenant_id for tenant_id, _ in held)
        tenants = sorted(counts)
        now = self._now()
        parameters = {
            "tenants": tenants,
            "counts": [counts[tenant_id] for tenant_id in tenants],
            "newest": [max(received for owner, received in held if owner == tenant_id) for tenant_id in tenants],
            "evicted_at": now if for_room else None,
            "minute": moment(round(now.timestamp() * MICROSECONDS) // MINUTE * MINUTE),
            "instance": self._instance,
        }
        await connection.execute(self._queries["note_evictions"], parameters)
        await connection.execute(self._queries["add_evicted"], parameters)
        return len(held)

    def _report(self, tenant_id: str, evicted: int, last: datetime | None) -> None:
        """Log the first eviction as an error that a person must see, and the following ones as information."""
        first = last is None or self._now() - last > QUIET_PERIOD
        (log.error if first else log.info)(
            "quarantine is full and loses its oldest",
            tenant=tenant_id or None,
            messages=evicted,
            max_bytes=self._max_bytes,
        )

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._clock.now(), UTC)
