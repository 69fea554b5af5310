"""What notices say of alerts, read in one statement."""

from collections.abc import Collection
from typing import Any

import msgspec

from appliance.db import statements
from appliance.db.trio_psycopg import Connection
from appliance.delivery.notices.notice import AlertFacts
from appliance.severity import Severity

STATEMENTS = statements.load("deliveries")


async def read_facts(connection: Connection[Any], tenant_id: str, alert_ids: Collection[int]) -> dict[int, AlertFacts]:
    """Return the facts of the alerts that are there, by id, as they are now."""
    parameters = {"tenant": tenant_id, "ids": list(alert_ids)}
    cursor = await connection.execute(STATEMENTS["select_facts"], parameters)
    found = [_facts(row) for row in await cursor.fetchall()]
    return {facts.alert_id: facts for facts in found}


def _facts(row: tuple[Any, ...]) -> AlertFacts:
    values = list(row)
    values[3], values[6] = Severity(row[3]), msgspec.json.decode(row[6])
    return AlertFacts(*values)
