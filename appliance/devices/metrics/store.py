"""The metrics of a tenant: learned when they are first seen, named by people.

Enters: a connection and a description by a person. Leaves: :class:`TenantMetric`; a change has its audit row in the
same transaction. Never: work in the message path; new names are found in the devices' latest values, seconds later.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from appliance.db import statements
from appliance.db.audit import Entry, record
from appliance.db.change_context import ChangeContext
from appliance.db.require import require, require_rows
from appliance.db.trio_psycopg import Connection
from appliance.devices.metrics.metric import Metric, fault_of, guess
from appliance.devices.seats.changes import check_tenant
from appliance.errors import Conflict, Outdated

STATEMENTS = statements.load("metrics")

MOST_LEARNED = 1000
"""Most names of one tenant that are learned, so that a device that invents names does not fill the page."""
LEARNED_AT_ONCE = 500
FIELDS = ("label", "unit", "decimals", "usual_low", "usual_high")


@dataclass(frozen=True, slots=True)
class TenantMetric:
    """One metric of a tenant in the database."""

    tenant_id: str
    metric: Metric
    version: datetime
    """When it was last changed; an edit names the version it started from."""


async def list_page(
    connection: Connection[Any], tenant_id: str | None, *, limit: int, after: tuple[str, str] | None = None
) -> list[TenantMetric]:
    """Return the metrics of a tenant, or of all for None, by tenant and name, after the position ``after``."""
    after_tenant, after_name = after or (None, None)
    parameters = {"tenant": tenant_id, "after_tenant": after_tenant, "after_name": after_name, "limit": limit}
    cursor = await connection.execute(STATEMENTS["list_metrics"], parameters, prepare=False)
    return [_named(row) for row in await cursor.fetchall()]


async def of_names(connection: Connection[Any], tenant_id: str, names: Iterable[str]) -> dict[str, Metric]:
    """Return the kept metrics of ``names``, by name. For the others there is :func:`.metric.guess`."""
    parameters = {"tenant": tenant_id, "names": sorted(set(names))}
    cursor = await connection.execute(STATEMENTS["select_metrics"], parameters)
    return {named.metric.name: named.metric for named in map(_named, await cursor.fetchall())}


async def get(connection: Connection[Any], tenant_id: str, name: str) -> TenantMetric:
    """Return one metric. Raises NotFound."""
    cursor = await connection.execute(STATEMENTS["select_metrics"], {"tenant": tenant_id, "names": [name]})
    return _named(require(await cursor.fetchone(), f"metric {name}"))


async def create(connection: Connection[Any], tenant_id: str, metric: Metric, context: ChangeContext) -> TenantMetric:
    """Create a metric before it was ever seen. Raises Invalid with the field; Conflict if it exists; NotFound."""
    _check(metric)
    async with connection.transaction():
        await check_tenant(connection, tenant_id)
        cursor = await connection.execute(STATEMENTS["insert_metric"], _parameters(tenant_id, metric, context))
        row = await cursor.fetchone()
        if row is None:
            raise Conflict(f"Metric {metric.name} already exists.")
        await record(connection, _entry(context, "create", tenant_id, None, metric), now=context.now)
    return _named(row)


async def change(
    connection: Connection[Any],
    tenant_id: str,
    metric: Metric,
    context: ChangeContext,
    *,
    version: datetime | None = None,
) -> TenantMetric:
    """Replace the whole description of a metric.

    Raises Invalid with the field; NotFound; Conflict when somebody else has changed it since ``version``.
    """
    _check(metric)
    async with connection.transaction():
        cursor = await connection.execute(STATEMENTS["lock_metric"], {"tenant": tenant_id, "name": metric.name})
        before = _named(require(await cursor.fetchone(), f"metric {metric.name}"))
        if version is not None and version != before.version:
            raise Outdated(f"Metric {metric.name} was changed by someone else; reload the page.")
        if before.metric == metric:
            return before
        cursor = await connection.execute(STATEMENTS["update_metric"], _parameters(tenant_id, metric, context))
        after = _named(require(await cursor.fetchone(), f"metric {metric.name}"))
        await record(connection, _entry(context, "update", tenant_id, before.metric, metric), now=context.now)
    return after


async def delete(connection: Connection[Any], tenant_id: str, name: str, context: ChangeContext) -> None:
    """Delete the description of a metric; it is learned again if a device still sends it. Raises NotFound."""
    async with connection.transaction():
        before = await get(connection, tenant_id, name)
        cursor = await connection.execute(STATEMENTS["delete_metric"], {"tenant": tenant_id, "name": name})
        require_rows(cursor.rowcount, f"metric {name}")
        await record(connection, _entry(context, "delete", tenant_id, before.metric, None), now=context.now)


async def learn(connection: Connection[Any], since: datetime, *, now: datetime) -> int:
    """Keep the new metrics of devices heard after ``since``, of all tenants; return their number."""
    parameters = {"since": since, "most": MOST_LEARNED, "limit": LEARNED_AT_ONCE}
    cursor = await connection.execute(STATEMENTS["unknown_metrics"], parameters)
    unknown = [(tenant_id, guess(name, value)) for tenant_id, name, value in await cursor.fetchall()]
    if not unknown:
        return 0
    columns = {
        "tenants": [tenant_id for tenant_id, _ in unknown],
        "names": [metric.name for _, metric in unknown],
        "labels": [metric.label for _, metric in unknown],
        "units": [metric.unit for _, metric in unknown],
        "decimals": [metric.decimals for _, metric in unknown],
        "now": now,
    }
    cursor = await connection.execute(STATEMENTS["learn_metrics"], columns)
    return max(cursor.rowcount, 0)


def _check(metric: Metric) -> None:
    fault = fault_of(metric)
    if fault is not None:
        raise fault.error()


def _parameters(tenant_id: str, metric: Metric, context: ChangeContext) -> dict[str, Any]:
    return {"tenant": tenant_id, "name": metric.name, **_state(metric, FIELDS), "now": context.now}


def _entry(context: ChangeContext, verb: str, tenant_id: str, before: Metric | None, after: Metric | None) -> Entry:
    """Return the audit row: the fields that differ, before and after; all fields of a new or deleted metric."""
    named = before or after
    assert named is not None, "a change has a side"  # noqa: S101 - narrows the type
    both = before is not None and after is not None
    fields = [name for name in FIELDS if not both or getattr(before, name) != getattr(after, name)]
    old, new = (None if side is None else _state(side, fields) for side in (before, after))
    return Entry(context.actor, f"metric.{verb}", "metric", named.name, tenant_id, old, new)


def _state(metric: Metric, fields: Iterable[str]) -> dict[str, Any]:
    return {name: getattr(metric, name) for name in fields}


def _named(row: tuple[Any, ...]) -> TenantMetric:
    tenant_id, *metric, version = row
    return TenantMetric(tenant_id, Metric(*metric), version)
