"""Limits set for single tenants and devices in the database, kept in memory for the limiter.

All of them are read at the start and again after a change, at most twice a second: they are few, and the limiter must
know a device's own limit before its first message.
"""

from collections.abc import Callable
from dataclasses import dataclass

import psycopg
import structlog
import trio

from appliance.db import statements
from appliance.db.pool import Pool
from appliance.runtime.activity import activity

REFRESH_SECONDS = 0.5
"""Minimum seconds between two readings."""

STATEMENTS = statements.load("registry")

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class LimitOverride:
    """The limits of one row; None leaves the wider one in force. Rates in messages a second, ``burst`` in messages."""

    rate: float | None
    burst: int | None
    tenant_rate: float | None


class LimitOverrides:
    """``get`` answers from memory; ``changed`` and ``forget`` ask for a new reading; ``run`` reads."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._limits: dict[tuple[str, str | None], LimitOverride] = {}
        self._stale = trio.Event()

    def get(self, tenant_id: str, device_id: str | None) -> LimitOverride | None:
        """Return what is set for a device, or with ``device_id`` None for the tenant."""
        return self._limits.get((tenant_id, device_id))

    def changed(self, payload: str) -> None:  # noqa: ARG002 - limits are rows of the registry: any change may be one
        """Take a notification of the registry's channel: the limits are read again."""
        self._stale.set()

    def forget(self) -> None:
        """Read the limits again: a change may have been missed. Until then the known ones stay in force."""
        self._stale.set()

    async def run(
        self, on_change: Callable[[], None], *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Read now and after each change, for ever; starts after the first reading.

        ``on_change`` is called after a reading that differs from the one before, the first included.
        """
        await self._read(on_change)
        task_status.started()
        while True:
            activity().doing("waits for a change of a limit")
            await self._stale.wait()
            self._stale = trio.Event()
            try:
                await self._read(on_change)
                activity().did()
            except (psycopg.Error, OSError) as error:
                activity().failed(error)
                log.warning("limits not read", error=str(error).strip())
                self._stale.set()
            await trio.sleep(REFRESH_SECONDS)

    async def _read(self, on_change: Callable[[], None]) -> None:
        async with self._pool.connection() as connection:
            cursor = await connection.execute(STATEMENTS["select_overrides"])
            found = {
                (row[0], row[1]): LimitOverride(row[2], None if row[3] is None else int(row[3]), row[4])
                for row in await cursor.fetchall()
            }
        if found != self._limits:
            self._limits = found
            on_change()
