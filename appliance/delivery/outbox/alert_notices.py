"""What was told of alerts, for people: the jobs of one alert with their newest try, and how many arrived of many.

Only reads. A page asks for one tenant's alert, or for the alerts of a list, which may be of several tenants.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from appliance.db import statements
from appliance.db.trio_psycopg import Connection
from appliance.delivery.outbox.job import JobEvent, JobStatus, Reason, Receipt

STATEMENTS = statements.load("alert_notices")

MAX_NOTICES = 500
"""Newest jobs of one alert that are read: reminders may go on for days."""
MAX_COUNTED = 1000
"""Unrouted alerts that are counted at most."""


@dataclass(frozen=True, slots=True)
class NewestTry:
    """How the newest try of a notice went; of a merged one, that of the notice that tells it."""

    at: datetime
    latency_ms: int
    outcome: str
    """A :class:`~appliance.delivery.senders.sender.Verdict`, or ``lost``."""
    http_status: int | None
    error: str | None


@dataclass(frozen=True, slots=True)
class AlertNotice:
    """A job of an alert as people read it."""

    job_id: int
    route_id: UUID
    route_name: str | None
    """None: the route was deleted."""
    integration_name: str | None
    integration_type: str | None
    event: JobEvent
    occurrence: int
    status: JobStatus
    reason: Reason | None
    created_at: datetime
    next_run_at: datetime
    tries: int
    attempts: int
    receipt: Receipt
    finished_at: datetime | None
    carrier_alert: int | None
    """The alert whose notice tells this one, if another does."""
    newest: NewestTry | None


@dataclass(frozen=True, slots=True)
class Told:
    """Of one alert: what became of the first notice of each route that tells it."""

    routes: int
    arrived: int
    dead: int
    waiting: int
    """Those that are not finished."""


async def of_alert(connection: Connection[Any], tenant_id: str, alert_id: int) -> list[AlertNotice]:
    """Return the notices of an alert in the order in which they were written."""
    parameters = {"tenant": tenant_id, "alert": alert_id, "limit": MAX_NOTICES}
    cursor = await connection.execute(STATEMENTS["notices_of_alert"], parameters)
    return [_notice(row) for row in reversed(await cursor.fetchall())]


async def told_of(connection: Connection[Any], alerts: Iterable[tuple[str, int]]) -> Mapping[int, Told]:
    """Return what was told of alerts, given as tenant and id; none for those of which nobody is told."""
    named = list(alerts)
    parameters = {"tenants": [tenant for tenant, _ in named], "ids": [alert_id for _, alert_id in named]}
    cursor = await connection.execute(STATEMENTS["told_of_alerts"], parameters)
    return {alert_id: Told(*numbers) for alert_id, *numbers in await cursor.fetchall()}


async def count_unrouted(
    connection: Connection[Any], tenant_id: str | None, site_id: str | None, *, settled: datetime
) -> int:
    """Count the open alerts of which no route tells anybody; of a tenant (None: of all) and a site (empty: of none).

    Alerts that another one stands for, and silenced ones, are told to nobody on purpose. At most MAX_COUNTED.
    """
    parameters = {"tenant": tenant_id, "site": site_id, "settled": settled, "limit": MAX_COUNTED}
    [(number,)] = await (await connection.execute(STATEMENTS["count_unrouted"], parameters)).fetchall()
    return int(number)


def _notice(row: tuple[Any, ...]) -> AlertNotice:
    job_id, route_id, route, integration, kind, event, occurrence, status, reason = row[:9]
    created_at, next_run_at, tries, attempts, receipt, finished_at, carrier = row[9:16]
    newest = None if row[16] is None else NewestTry(*row[16:])
    return AlertNotice(
        job_id,
        route_id,
        route,
        integration,
        kind,
        JobEvent(event),
        occurrence,
        JobStatus(status),
        None if reason is None else Reason(reason),
        created_at,
        next_run_at,
        tries,
        attempts,
        Receipt(receipt),
        finished_at,
        carrier,
        newest,
    )
