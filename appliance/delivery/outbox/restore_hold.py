"""The hold on notices after a restore, until an operator confirms that the machine of the backup is off.

Enters: a row of ``restores``, which a restore writes. Leaves: due jobs that say why they are not sent, and the end of
the hold, with its audit row. Never: a notice while two machines may tell the same.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from appliance.db.audit import Entry, record
from appliance.db.change_context import ChangeContext
from appliance.db.trio_psycopg import Connection
from appliance.delivery.outbox.cases import STATEMENTS
from appliance.delivery.outbox.job import DELIVERIES_CHANNEL
from appliance.errors import Conflict


@dataclass(frozen=True, slots=True)
class RestoreHold:
    """Since when notices are held, and the age of the backup."""

    restored_at: datetime
    made_at: datetime
    """When the backup was made."""


async def read(connection: Connection[Any]) -> RestoreHold | None:
    """Return the hold; None: notices are sent. Role ``appliance_ingest``."""
    row = await (await connection.execute(STATEMENTS["select_hold"])).fetchone()
    return None if row is None else RestoreHold(*row)


async def count_held(connection: Connection[Any]) -> int:
    """Return how many notices are held."""
    row = await (await connection.execute(STATEMENTS["count_held"])).fetchone()
    return 0 if row is None else int(row[0])


async def hold_due(connection: Connection[Any], now: datetime) -> None:
    """Say of the jobs that are due why they are not sent."""
    await connection.execute(STATEMENTS["hold_due"], {"now": now})


async def confirm(connection: Connection[Any], context: ChangeContext) -> int:
    """Record that the old machine is off; return how many notices that lets go, one summary a route.

    Raises Conflict when nothing is held.
    """
    async with connection.transaction():
        cursor = await connection.execute(
            STATEMENTS["confirm_restores"], {"now": context.now, "actor": context.actor.name}
        )
        confirmed = await cursor.fetchall()
        if not confirmed:
            raise Conflict("Notices are not held: no restore waits to be confirmed.")
        await hold_due(connection, context.now)
        held = await count_held(connection)
        for restore_id, made_at in sorted(confirmed):
            after = {"backup_of": made_at.isoformat(), "held": held}
            entry = Entry(context.actor, "restore.confirm", "restore", str(restore_id), None, None, after)
            await record(connection, entry, now=context.now)
        await connection.execute("SELECT pg_notify(%s, '')", [DELIVERIES_CHANNEL])
    return held
