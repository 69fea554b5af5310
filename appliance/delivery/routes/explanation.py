"""Why routes take alerts, for people: each route's decision on one alert, and a draft's on the newest ones."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from appliance.db.require import require
from appliance.db.trio_psycopg import Connection
from appliance.delivery.routes.matching import Candidate, Decision, Subject, decide
from appliance.delivery.routes.route import DeliverOn, Route
from appliance.delivery.routes.store import STATEMENTS, get, of_tenant, prepared, route_of
from appliance.delivery.routes.validation import RouteDraft
from appliance.severity import Severity

PREVIEWED = 50
"""The newest alerts that a draft is tried on."""
NEW = UUID(int=2**128 - 1)
"""The id of a route that is not written yet: the last of those with its priority."""


@dataclass(frozen=True, slots=True)
class JudgedAlert:
    """An alert, and what a route makes of it."""

    alert_id: int
    summary: str
    created_at: datetime
    subject: Subject
    decision: Decision


async def decisions_of(
    connection: Connection[Any], tenant_id: str, alert_id: int, event: DeliverOn = DeliverOn.OPEN
) -> list[Decision]:
    """Return what each route of the tenant would make of an event of an alert now, in order. Raises NotFound."""
    parameters = {"tenant": tenant_id, "alert": alert_id, "limit": 1}
    cursor = await connection.execute(STATEMENTS["newest_alerts"], parameters, prepare=False)
    row = require(await cursor.fetchone(), f"alert {alert_id}")
    told = await (
        await connection.execute(STATEMENTS["routes_told"], {"tenant": tenant_id, "alert": alert_id})
    ).fetchall()
    told_routes = {route_id for (route_id,) in told}
    candidates = [
        Candidate(known.route, known.integration_enabled, known.route.route_id in told_routes)
        for known in await of_tenant(connection, tenant_id)
    ]
    return decide(candidates, event, _subject(row))


async def preview(
    connection: Connection[Any],
    tenant_id: str,
    draft: RouteDraft,
    route_id: UUID | None,
    *,
    now: datetime,
    alert_types: Collection[str],
) -> list[JudgedAlert]:
    """Return what a draft, in place of a route or as a new one, would have made of the newest alerts, newest first.

    It is taken for enabled, as its integration is: that is what somebody who edits it wants to know. Routes before it
    may stop an alert. Raises Invalid with the field; NotFound.
    """
    before = None if route_id is None else (await get(connection, tenant_id, route_id)).route
    columns = await prepared(connection, tenant_id, draft, before, alert_types)
    route = _route(columns, route_id or NEW, now)
    others = [known for known in await of_tenant(connection, tenant_id) if known.route.route_id != route_id]
    candidates = [Candidate(route, integration_enabled=True)]
    candidates += [Candidate(known.route, known.integration_enabled) for known in others]
    parameters = {"tenant": tenant_id, "alert": None, "limit": PREVIEWED}
    rows = await (await connection.execute(STATEMENTS["newest_alerts"], parameters, prepare=False)).fetchall()
    event = route.deliver_on[0]
    judged = []
    for row in rows:
        subject = _subject(row)
        [mine] = [one for one in decide(candidates, event, subject) if one.route is route]
        judged.append(JudgedAlert(row[0], row[1], row[-1], subject, mine))
    return judged


def _subject(row: tuple[Any, ...]) -> Subject:
    _, _, severity, alert_type, site_id, device_id, tags, failing, _ = row
    return Subject(Severity(severity), alert_type, site_id, device_id, tuple(tags), failing)


def _route(columns: dict[str, Any], route_id: UUID, now: datetime) -> Route:
    order = (
        "name", "enabled", "integration_id", "severities", "alert_types", "site_ids", "tags", "device_prefixes",
        "deliver_on", "priority", "stop", "delay_seconds", "remind_minutes", "throttle_seconds", "burst", "quiet_from",
        "quiet_until", "quiet_zone", "quiet_spares_critical",
    )  # fmt: skip
    values = columns | {"enabled": True}
    return route_of((columns["tenant"], route_id, *(values[name] for name in order), 1, now, now))
