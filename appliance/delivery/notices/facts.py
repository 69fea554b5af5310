"""What notices say of alerts, read in one statement."""

from collections.abc import Collection
from typing import Any

import msgspec
from psycopg import AsyncCursor

from appliance.db import statements
from appliance.db.trio_psycopg import Connection
from appliance.delivery.notices.notice import AlertFacts
from appliance.severity import Severity

STATEMENTS = statements.load("deliveries")


async def ask_facts(connection: Connection[Any], tenant_id: str, alert_ids: Collection[int]) -> AsyncCursor[Any]:
    """Ask for the facts of alerts as they are now; in a pipeline the answer comes with others."""
    parameters = {"tenant": tenant_id, "ids": list(alert_ids)}
    return await connection.execute(STATEMENTS["select_facts"], parameters)


async def facts_of(asked: AsyncCursor[Any]) -> dict[int, tuple[AlertFacts, int]]:
    """Return by id, from an answer, the facts of the alerts that are there, and the newest entry of their timelines."""
    return {row[0]: (_facts(row[:-1]), row[-1]) for row in await asked.fetchall()}


def _facts(row: tuple[Any, ...]) -> AlertFacts:
    values = list(row)
    values[3], values[6] = Severity(row[3]), msgspec.json.decode(row[6])
    return AlertFacts(*values)
