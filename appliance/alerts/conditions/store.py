"""Conditions raised and ended: in the caller's transaction, one by one or as a set. Role ``appliance_ingest``."""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec

from appliance.alerts.alert import CloseReason
from appliance.alerts.conditions.condition import Condition
from appliance.db import statements
from appliance.db.trio_psycopg import Connection

STATEMENTS = statements.load("alert_conditions")

AT_ONCE = 1000
"""Conditions in one statement."""

ConditionKey = tuple[str, str]
"""Tenant and fingerprint."""


async def raise_condition(
    connection: Connection[Any], condition: Condition, now: datetime, *, reopen_after: timedelta
) -> None:
    """Open an alert, or bring the one that is not closed up to date. Whoever raises it ends it: :func:`end_condition`.

    An alert that a person closed opens anew only after its condition has ended, or ``reopen_after`` has passed.
    """
    await raise_conditions(connection, [condition], now, reopen_after=reopen_after)


async def end_condition(connection: Connection[Any], tenant_id: str, fingerprint: str, now: datetime) -> None:
    """Close the alert about a condition that has ended. Does nothing if there is none."""
    await end_conditions(connection, [(tenant_id, fingerprint)], now)


async def supersede_conditions(connection: Connection[Any], superseded: Iterable[ConditionKey], now: datetime) -> None:
    """End each of ``superseded`` because another condition took its place: people are told of that one instead."""
    await _end(connection, superseded, now, CloseReason.SUPERSEDED)


async def raise_conditions(
    connection: Connection[Any],
    conditions: Iterable[Condition],
    now: datetime,
    *,
    reopen_after: timedelta,
    keeper: str | None = None,
) -> None:
    """Raise each of ``conditions`` as :func:`raise_condition` does; those of a ``keeper`` are ended by :func:`keep`."""
    ordered = sorted(conditions, key=lambda condition: condition.key)
    for start in range(0, len(ordered), AT_ONCE):
        some = ordered[start : start + AT_ONCE]
        parameters = {"keeper": keeper, "now": now, "reopen_before": now - reopen_after}
        await connection.execute(STATEMENTS["raise_conditions"], parameters | _columns(some))


async def end_conditions(connection: Connection[Any], ended: Iterable[ConditionKey], now: datetime) -> None:
    """End each of ``ended`` as :func:`end_condition` does."""
    await _end(connection, ended, now, CloseReason.CLEARED)


async def keep(
    connection: Connection[Any],
    keeper: str,
    conditions: Sequence[Condition],
    now: datetime,
    *,
    reopen_after: timedelta,
) -> None:
    """Bring a keeper's alerts in line with ``conditions``: those hold, and whatever else it raised before ends."""
    cursor = await connection.execute(STATEMENTS["select_kept"], {"keeper": keeper})
    held = {(tenant_id, fingerprint) for tenant_id, fingerprint in await cursor.fetchall()}
    await end_conditions(connection, held - {condition.key for condition in conditions}, now)
    await raise_conditions(connection, conditions, now, reopen_after=reopen_after, keeper=keeper)


async def _end(connection: Connection[Any], ended: Iterable[ConditionKey], now: datetime, reason: CloseReason) -> None:
    ordered = sorted(set(ended))
    for start in range(0, len(ordered), AT_ONCE):
        some = ordered[start : start + AT_ONCE]
        keys = {"tenants": [key[0] for key in some], "fingerprints": [key[1] for key in some]}
        await connection.execute(STATEMENTS["end_conditions"], keys | {"reason": reason.value, "now": now})


def _columns(conditions: Sequence[Condition]) -> dict[str, Any]:
    return {
        "tenants": [one.tenant_id for one in conditions],
        "fingerprints": [one.fingerprint for one in conditions],
        "types": [one.alert_type.value for one in conditions],
        "severities": [one.severity.value for one in conditions],
        "summaries": [one.summary for one in conditions],
        "details": [msgspec.json.encode(one.details).decode() for one in conditions],
        "sites": [one.site_id for one in conditions],
        "devices": [one.device_id for one in conditions],
        "counts": [one.count for one in conditions],
        "starts": [one.started_at for one in conditions],
    }
