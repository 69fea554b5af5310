"""Readings of devices that were deleted together with them: erased in slices, after the deletion has committed."""

from datetime import UTC, datetime

from appliance.clock import Clock
from appliance.db import statements
from appliance.db.pool import Pool

STATEMENTS = statements.load("seats")

ERASE_ROWS = 10_000
"""Readings erased in one transaction: some tens of milliseconds."""


async def erase_marked(pool: Pool, clock: Clock) -> int:
    """Erase what is marked for it, and return how many readings went. Role ``appliance_ingest``.

    Can be interrupted at any time, and run again or by two at once: the mark of a device goes with its last reading.
    Call it after a deletion, and at the start for what a crash left.
    """
    erased = 0
    async with pool.connection() as connection:
        cursor = await connection.execute(STATEMENTS["devices_to_erase"])
        for tenant_id, device_id in await cursor.fetchall():
            parameters = {"tenant": tenant_id, "device": device_id, "at_most": ERASE_ROWS}
            while True:
                now = datetime.fromtimestamp(clock.now(), UTC)
                cursor = await connection.execute(STATEMENTS["erase_slice"], {**parameters, "now": now})
                row = await cursor.fetchone()
                slice_size = 0 if row is None else row[0]
                erased += slice_size
                if slice_size < ERASE_ROWS:
                    break
    return erased
