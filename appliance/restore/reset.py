"""What a restored database does not go on with: what was issued to, or leased by, those who may work elsewhere now."""

from datetime import UTC, date, datetime, time
from typing import Any

from psycopg import sql

from appliance.db import statements
from appliance.db.audit import Entry, record
from appliance.db.change_context import ChangeContext
from appliance.db.require import require
from appliance.db.trio_psycopg import Connection

STATEMENTS = statements.load("restore")

RESETS = (
    "end_sessions",
    "end_links",
    "forget_requests",
    "forget_broker",
    "forget_clock",
    "forget_probes",
    "release_replays",
    "release_deletions",
)
"""Statements that reset one thing each."""


async def reset_database(
    connection: Connection[Any], context: ChangeContext, made_at: datetime, facts: dict[str, Any]
) -> int:
    """Reset what must not go on, hold all notices, and record who restored what; return how many notices were skipped.

    One transaction, of the role ``appliance_owner``. ``made_at``: when the backup was made.
    """
    async with connection.transaction():
        for name in RESETS:
            await connection.execute(STATEMENTS[name])
        times = {"now": context.now, "made": made_at}
        await connection.execute(STATEMENTS["skip_deliveries"], times)
        row = require(await (await connection.execute(STATEMENTS["count_skipped"], times)).fetchone(), "a count")
        await connection.execute(STATEMENTS["hold_notices"], times)
        found = require(await (await connection.execute(STATEMENTS["newest_restore"])).fetchone(), "the restore")
        after = {"backup_of": made_at.isoformat(), "skipped_notices": row[0], **facts}
        entry = Entry(context.actor, "restore.apply", "restore", str(found[0]), None, None, after)
        await record(connection, entry, now=context.now)
    return int(row[0])


async def restored_before(connection: Connection[Any], made_at: datetime) -> bool | None:
    """Return whether a database that was loaded from that backup was reset too; None: it was not loaded from it."""
    if await (await connection.execute(STATEMENTS["has_restores"])).fetchone() != (True,):
        return None
    row = await (await connection.execute(STATEMENTS["restored_before"], {"made": made_at})).fetchone()
    return None if row is None else bool(row[0])


async def is_empty(connection: Connection[Any]) -> bool:
    """Return whether the database holds nothing yet."""
    return await (await connection.execute(STATEMENTS["is_empty"])).fetchone() == (True,)


async def count_before(connection: Connection[Any], day: date) -> int:
    """Return how many readings are older than the UTC ``day``."""
    before = {"before": datetime.combine(day, time(), UTC)}
    row = require(await (await connection.execute(STATEMENTS["readings_before"], before)).fetchone(), "a count")
    return int(row[0])


def guard(now: datetime, made_at: datetime) -> str:
    """Return what is run in the transaction that loads a dump, whatever its version: no notice of it is ever sent.

    Between that transaction and :func:`reset_database` a process may be killed, and another started on the database.
    """
    times = sql.SQL("{}::timestamptz").format(sql.Literal(now.isoformat()))
    made = sql.SQL("{}::timestamptz").format(sql.Literal(made_at.isoformat()))
    return (
        sql.SQL(GUARD).format(now=times, made=made).as_string(None)  # literals alone: no connection is needed
    )


GUARD = """
SET row_security = on;  -- pg_restore turns it off; the owner sees all rows by policy
DO $guard$ BEGIN
  IF to_regclass('public.delivery_jobs') IS NOT NULL THEN
    UPDATE public.delivery_jobs SET status = 'SKIPPED', reason = 'restored', finished_at = {now}, leased_by = NULL,
      lease_until = NULL, receipt = CASE WHEN receipt = 'none' AND status <> 'DEAD' THEN 'possible' ELSE receipt END
    WHERE status IN ('PENDING', 'PROCESSING', 'DEAD');
  END IF;
  IF to_regclass('public.restores') IS NOT NULL THEN
    INSERT INTO public.restores (restored_at, made_at) VALUES ({now}, {made});
  END IF;
END $guard$;
"""
