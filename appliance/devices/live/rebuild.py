"""What a crash loses of the states of devices and of the roll-up queue, rebuilt from the readings at the start."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from appliance.db import statements
from appliance.db.pool import Pool

STATEMENTS = statements.load("devices")


async def rebuild_states(pool: Pool, instance: str, *, latest: datetime) -> int:
    """Bring ``device_state`` up to what this instance stored after its last write; return the number of rows.

    Readings after ``latest`` are left out: only a wrong clock can have stored them.
    """
    return await _rebuild(pool, "rebuild_states", {"instance": instance, "latest": latest})


async def rebuild_rollup_queue(pool: Pool, instance: str, *, now: datetime, latest: datetime) -> int:
    """Queue, as of ``now``, what this instance stored after its last write; return the number of hours of devices.

    Readings after ``latest`` are left out, too.
    """
    return await _rebuild(pool, "rebuild_rollup_queue", {"instance": instance, "now": now, "latest": latest})


async def _rebuild(pool: Pool, statement: str, parameters: Mapping[str, Any]) -> int:
    async with pool.connection() as connection:
        cursor = await connection.execute(STATEMENTS[statement], parameters)
        return max(cursor.rowcount, 0)
