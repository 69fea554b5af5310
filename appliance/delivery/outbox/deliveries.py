"""Deliveries as people see and change them: lists, one with its attempts, send again, cancel.

Enters: a connection and what is asked for. Leaves: rows as they are, and changes with their audit row. What is sent is
up to the couriers, whom a trigger of the database wakes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from appliance.counted import counted
from appliance.db import statements
from appliance.db.audit import Entry, record
from appliance.db.change_context import ChangeContext
from appliance.db.require import require
from appliance.db.trio_psycopg import Connection
from appliance.delivery.outbox.job import JobEvent, JobStatus, Reason, Receipt
from appliance.errors import Conflict
from appliance.severity import Severity

STATEMENTS = statements.load("deliveries")

MAX_ATTEMPTS = 100
"""Newest attempts of a delivery that are read."""
MAX_RETRIED = 1000
"""Deliveries that one request sends again."""
MAX_WORDS = 8
"""Words of a search that count."""
MAX_COUNTED = 10_000
"""The newest deliveries of a filter that are counted."""
TRIED = frozenset({Reason.RETRYING, Reason.UNREACHABLE})
"""Why a delivery waits that was tried: for its next try, which may come at once."""


@dataclass(frozen=True, slots=True)
class DeliveryFilter:
    """Which deliveries. An empty list, and None, mean any."""

    tenant_id: str | None = None
    """None: all tenants, for operators."""
    statuses: Sequence[JobStatus] = ()
    events: Sequence[JobEvent] = ()
    route_id: UUID | None = None
    integration_id: UUID | None = None
    alert_id: int | None = None
    since: datetime | None = None
    until: datetime | None = None
    search: str = ""
    """Words that must all occur in the alert, its device, the route, the integration or the message id."""
    newer_than: int | None = None
    """A job: those written after it."""

    def parameters(self) -> dict[str, Any]:
        """Return the parameters of the statements."""
        return {
            "tenant": self.tenant_id,
            "statuses": [status.value for status in self.statuses] or None,
            "events": [event.value for event in self.events] or None,
            "route": self.route_id,
            "integration": self.integration_id,
            "alert": self.alert_id,
            "since": self.since,
            "until": self.until,
            "words": self.search.lower().split()[:MAX_WORDS],
            "newer_than": self.newer_than,
        }


@dataclass(frozen=True, slots=True)
class Delivery:
    """A job with the names of what it is about; None where that is gone."""

    job_id: int
    tenant_id: str
    alert_id: int
    alert_summary: str
    alert_type: str
    severity: Severity
    alert_status: str
    device_id: str | None
    device_name: str | None
    route_id: UUID
    route_name: str | None
    integration_id: UUID
    integration_name: str | None
    integration_type: str | None
    event: JobEvent
    occurrence: int
    message_id: UUID
    status: JobStatus
    reason: Reason | None
    created_at: datetime
    next_run_at: datetime
    tries: int
    attempt_count: int
    receipt: Receipt
    unreachable_since: datetime | None
    merged_into: int | None
    finished_at: datetime | None


@dataclass(frozen=True, slots=True)
class Attempt:
    """A row of ``delivery_attempts``."""

    at: datetime
    latency_ms: int
    outcome: str
    """A verdict of a sender, or ``lost``: the process ended before the answer was written down."""
    http_status: int | None
    address: str | None
    answer: str | None
    error: str | None
    request: str | None


@dataclass(frozen=True, slots=True)
class DeliveryPage:
    """A page of a list, and the job after which the next begins, if there is one."""

    deliveries: Sequence[Delivery]
    next: int | None


async def page(
    connection: Connection[Any], wanted: DeliveryFilter, *, limit: int, after: int | None = None
) -> DeliveryPage:
    """Return up to ``limit`` deliveries that match, newest first, after the job ``after``."""
    parameters = wanted.parameters() | {"jobs": None, "after": after, "limit": limit + 1}
    cursor = await connection.execute(STATEMENTS["list_deliveries"], parameters, prepare=False)
    found = [_delivery(row) for row in await cursor.fetchall()]
    return DeliveryPage(found[:limit], found[limit - 1].job_id if len(found) > limit else None)


async def get(connection: Connection[Any], tenant_id: str | None, job_id: int) -> Delivery:
    """Return one delivery. Raises NotFound."""
    parameters = DeliveryFilter(tenant_id).parameters() | {"jobs": [job_id], "after": None, "limit": 1}
    cursor = await connection.execute(STATEMENTS["list_deliveries"], parameters, prepare=False)
    return _delivery(require(await cursor.fetchone(), _what(job_id)))


async def of_ids(connection: Connection[Any], tenant_id: str | None, ids: Sequence[int]) -> list[Delivery]:
    """Return the deliveries of these ids that there are, newest first."""
    parameters = DeliveryFilter(tenant_id).parameters() | {"jobs": list(ids), "after": None, "limit": len(ids)}
    cursor = await connection.execute(STATEMENTS["list_deliveries"], parameters, prepare=False)
    return [_delivery(row) for row in await cursor.fetchall()]


async def attempts(connection: Connection[Any], tenant_id: str, job_id: int) -> list[Attempt]:
    """Return the newest attempts of a delivery, newest first."""
    parameters = {"tenant": tenant_id, "job": job_id, "limit": MAX_ATTEMPTS}
    return [
        Attempt(*row) for row in await (await connection.execute(STATEMENTS["list_attempts"], parameters)).fetchall()
    ]


async def counts(connection: Connection[Any], wanted: DeliveryFilter) -> dict[JobStatus, int]:
    """Return the number of deliveries by status, whatever statuses the filter asks for; of the newest MAX_COUNTED."""
    parameters = wanted.parameters() | {"limit": MAX_COUNTED}
    cursor = await connection.execute(STATEMENTS["count_deliveries"], parameters, prepare=False)
    found = {JobStatus(status): number for status, number in await cursor.fetchall()}
    return {status: found.get(status, 0) for status in JobStatus}


async def newest_attempts(connection: Connection[Any], listed: Sequence[Delivery]) -> dict[int, Attempt]:
    """Return the newest attempt of each delivery that has one, without its request; of a merged one its carrier's."""
    parameters = {
        "tenants": [one.tenant_id for one in listed],
        "ids": [one.job_id for one in listed],
        "tried": [one.merged_into or one.job_id for one in listed],
    }
    cursor = await connection.execute(STATEMENTS["newest_attempts"], parameters)
    return {job_id: Attempt(*values) for job_id, *values in await cursor.fetchall()}


async def retry(connection: Connection[Any], tenant_id: str, job_id: int, context: ChangeContext) -> None:
    """Send a dead delivery again, or one at once that waits for its next try; with the same id.

    Raises NotFound; Conflict, with the present status.
    """
    status, reason, alert_id, event, integration_on, route_on = await _lock(connection, tenant_id, job_id)
    waits = status is JobStatus.PENDING and reason in TRIED
    if status is not JobStatus.DEAD and not waits:
        raise Conflict(f"This delivery is {status.value}: only one that failed can be sent again.", status.value)
    if not (integration_on and route_on):
        off = "route" if integration_on else "integration"
        raise Conflict(f"Its {off} is disabled or deleted: enable the {off} first.", status.value)
    if waits:
        parameters = {"tenant": tenant_id, "job": job_id, "now": context.now}
        await connection.execute(STATEMENTS["hasten_delivery"], parameters)
    else:
        await _retry(connection, tenant_id, [job_id], context)
    after = {"alert_id": alert_id, "event": event, "status": JobStatus.PENDING.value}
    await _record(connection, "delivery.retry", tenant_id, str(job_id), {"status": status.value}, after, context)


async def retry_dead(connection: Connection[Any], wanted: DeliveryFilter, context: ChangeContext) -> int:
    """Send up to MAX_RETRIED dead deliveries of a tenant again, the oldest first; return how many.

    Those of a disabled route or integration stay as they are.
    """
    tenant_id = require(wanted.tenant_id, "tenant")
    parameters = wanted.parameters() | {"limit": MAX_RETRIED}
    cursor = await connection.execute(STATEMENTS["pick_dead"], parameters, prepare=False)
    jobs = [row[0] for row in await cursor.fetchall()]
    if jobs:
        await _retry(connection, tenant_id, jobs, context)
        after = {"deliveries": len(jobs), "first": jobs[0], "last": jobs[-1]}
        await _record(
            connection, "delivery.retry", tenant_id, counted(len(jobs), "delivery", "deliveries"), None, after, context
        )
    return len(jobs)


async def cancel(connection: Connection[Any], tenant_id: str, job_id: int, context: ChangeContext) -> None:
    """Never send a delivery that waits. Raises NotFound; Conflict, with the present status."""
    status, _, alert_id, event, *_ = await _lock(connection, tenant_id, job_id)
    if status is not JobStatus.PENDING:
        raise Conflict(f"This delivery is {status.value}: only one that waits can be cancelled.", status.value)
    parameters = {"tenant": tenant_id, "job": job_id, "now": context.now}
    await connection.execute(STATEMENTS["cancel_delivery"], parameters)
    after = {"alert_id": alert_id, "event": event, "status": JobStatus.SKIPPED.value}
    await _record(connection, "delivery.cancel", tenant_id, str(job_id), {"status": status.value}, after, context)


async def _lock(
    connection: Connection[Any], tenant_id: str, job_id: int
) -> tuple[JobStatus, Reason | None, int, str, bool, bool]:
    cursor = await connection.execute(STATEMENTS["lock_delivery"], {"tenant": tenant_id, "job": job_id})
    status, reason, *others = require(await cursor.fetchone(), _what(job_id))
    alert_id, event, integration_on, route_on = others
    why = None if reason is None else Reason(reason)
    return JobStatus(status), why, alert_id, event, integration_on, route_on


async def _retry(connection: Connection[Any], tenant_id: str, jobs: Sequence[int], context: ChangeContext) -> None:
    parameters = {"tenant": tenant_id, "ids": list(jobs), "now": context.now}
    await connection.execute(STATEMENTS["retry_deliveries"], parameters)


async def _record(
    connection: Connection[Any],
    action: str,
    tenant_id: str,
    object_id: str,
    before: dict[str, Any] | None,
    after: dict[str, Any],
    context: ChangeContext,
) -> None:
    entry = Entry(context.actor, action, "delivery", object_id, tenant_id, before, after)
    await record(connection, entry, now=context.now)


def _what(job_id: int) -> str:
    return f"delivery {job_id}"


def _delivery(row: tuple[Any, ...]) -> Delivery:
    values = list(row)
    values[5], values[14], values[17], values[23] = (
        Severity(row[5]),
        JobEvent(row[14]),
        JobStatus(row[17]),
        Receipt(row[23]),
    )
    values[18] = None if row[18] is None else Reason(row[18])
    return Delivery(*values)
