"""APPROVAL: devices wait until a person approves or rejects them. One alert a tenant."""

from typing import Any

from appliance.alerts.alert import AlertType
from appliance.alerts.conditions.condition import Condition
from appliance.alerts.conditions.store import STATEMENTS
from appliance.db.trio_psycopg import Connection
from appliance.severity import Severity

FINGERPRINT = "approval"


async def approval_conditions(connection: Connection[Any]) -> list[Condition]:
    """Return what holds of all tenants that are not suspended."""
    cursor = await connection.execute(STATEMENTS["count_pending"])
    return [_condition(tenant_id, waiting) for tenant_id, waiting in await cursor.fetchall()]


def _condition(tenant_id: str, waiting: int) -> Condition:
    summary = "1 device waits for approval" if waiting == 1 else f"{waiting:,} devices wait for approval"
    return Condition(tenant_id, FINGERPRINT, AlertType.APPROVAL, Severity.LOW, summary, {"value": waiting})
