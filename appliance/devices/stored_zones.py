"""Time zones in the database that were renamed since they were stored: they get their present names, with audit rows.

Done by the program and not by a migration, since it is the program that knows the names: a later one knows more.
"""

from datetime import datetime
from typing import Any

import structlog

from appliance import zones
from appliance.db import statements
from appliance.db.trio_psycopg import Connection

STATEMENTS = statements.load("tenants")

log = structlog.get_logger(__name__)


async def rename(connection: Connection[Any], now: datetime) -> int:
    """Give tenants, sites, people, maintenance windows and routes the present names of their zones; return how many.

    A present name that this machine lacks is not given to anything. Raises psycopg.Error if a row stays locked.
    """
    names = {old: new for old, new in zones.PRESENT_NAMES.items() if new in zones.known()}
    parameters = {"old": list(names), "present": list(names.values()), "now": now}
    cursor = await connection.execute(STATEMENTS["rename_zones"], parameters)
    [(renamed,)] = await cursor.fetchall()
    if renamed:
        log.info("time zones stored by their present names", rows=renamed)
    return int(renamed)
