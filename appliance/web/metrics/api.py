"""``/customer/metrics``: what the metrics of devices are called, in which unit, with how many decimals."""

from dataclasses import replace
from datetime import datetime
from http import HTTPStatus
from typing import Annotated

import msgspec
from msgspec import UNSET, UnsetType
from quart import Blueprint, Response

from appliance.devices.metrics import store
from appliance.devices.metrics.metric import Metric
from appliance.devices.metrics.store import TenantMetric
from appliance.devices.seats import changes
from appliance.errors import Conflict
from appliance.web.access.auth import ADMINS, READERS, allow, viewer
from appliance.web.access.transactions import actor, tenant_of, tenants_shown
from appliance.web.metrics import export
from appliance.web.openapi.body import body
from appliance.web.openapi.describe import answer, describe, query
from appliance.web.page import csv as csv_export
from appliance.web.page import cursor
from appliance.web.page.paths import metric_of_path
from appliance.web.platform import Platform


class MetricOut(msgspec.Struct, frozen=True):
    """A metric as people read it."""

    tenant_id: str
    name: Annotated[str, msgspec.Meta(description="As devices send it.")]
    label: str | None
    unit: str | None
    decimals: Annotated[int | None, msgspec.Meta(description="Null: as many as the device sends.")]
    usual_low: float | None
    usual_high: float | None
    version: Annotated[datetime, msgspec.Meta(description="Send it with a change: a stale one is a conflict.")]


class MetricQuery(msgspec.Struct, frozen=True):
    """Which page."""

    limit: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 50
    cursor: Annotated[str, msgspec.Meta(max_length=1000)] = ""


class MetricPage(msgspec.Struct, frozen=True):
    """One page; ``next`` is the cursor of the next, if there is one."""

    items: list[MetricOut]
    next: str | None


class MetricNew(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A metric to be named before it is seen."""

    name: str
    label: str | None = None
    unit: str | None = None
    decimals: int | None = None
    usual_low: float | None = None
    usual_high: float | None = None


class MetricChange(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is to change; what is left out stays."""

    label: str | UnsetType | None = UNSET
    unit: str | UnsetType | None = UNSET
    decimals: int | UnsetType | None = UNSET
    usual_low: float | UnsetType | None = UNSET
    usual_high: float | UnsetType | None = UNSET
    version: datetime | None = None


def blueprint(platform: Platform) -> Blueprint:
    """The routes."""
    routes = Blueprint("api_metrics", __name__)
    access = platform.access

    def by() -> changes.ChangeContext:
        return changes.ChangeContext(actor(), access.now(), platform.grace)

    @routes.get("/customer/metrics")
    @allow(READERS)
    @describe("List metrics", query=MetricQuery, answers={HTTPStatus.OK: MetricPage}, csv=True)
    async def list_metrics() -> Response:
        asked = query(MetricQuery)
        if csv_export.asked_for():
            return export.answer(platform, viewer(), tenants_shown())
        after = cursor.read(asked.cursor, tuple[str, str])
        async with access.reading() as connection:
            found = await store.list_page(connection, tenants_shown(), limit=asked.limit + 1, after=after)
        more = found[asked.limit - 1] if len(found) > asked.limit else None
        place = None if more is None else (more.tenant_id, more.metric.name)
        return answer(MetricPage([shown(named) for named in found[: asked.limit]], cursor.write(place)))

    @routes.post("/customer/metrics")
    @allow(ADMINS)
    @describe("Name a metric", body=MetricNew, answers={HTTPStatus.CREATED: MetricOut})
    async def create() -> Response:
        new = await body(MetricNew)
        async with access.changing() as connection:
            made = await store.create(connection, tenant_of(), Metric(**msgspec.structs.asdict(new)), by())
        return answer(shown(made), HTTPStatus.CREATED, {"Location": f"/customer/metrics/{new.name}"})

    @routes.get("/customer/metrics/<name>")
    @allow(READERS)
    @describe("Show a metric", answers={HTTPStatus.OK: MetricOut})
    async def show(name: str) -> Response:
        async with access.reading() as connection:
            return answer(shown(await store.get(connection, tenant_of(), metric_of_path(name))))

    @routes.patch("/customer/metrics/<name>")
    @allow(ADMINS)
    @describe("Name a metric anew", body=MetricChange, answers={HTTPStatus.OK: MetricOut})
    async def change(name: str) -> Response:
        wanted = await body(MetricChange)
        given = {name: value for name, value in msgspec.structs.asdict(wanted).items() if value is not UNSET}
        given.pop("version")
        async with access.changing() as connection:
            seen = await store.get(connection, tenant_of(), metric_of_path(name))
            if wanted.version not in (None, seen.version):
                raise Conflict(f"Somebody has changed metric {name} meanwhile; read it again.")
            new = replace(seen.metric, **given)
            changed = await store.change(connection, tenant_of(), new, by(), version=seen.version)
        return answer(shown(changed))

    @routes.delete("/customer/metrics/<name>")
    @allow(ADMINS)
    @describe("Forget what a metric is called", answers={HTTPStatus.NO_CONTENT: None})
    async def delete(name: str) -> Response:
        async with access.changing() as connection:
            await store.delete(connection, tenant_of(), metric_of_path(name), by())
        return Response(b"", HTTPStatus.NO_CONTENT)

    return routes


def shown(named: TenantMetric) -> MetricOut:
    """A metric as the API shows it."""
    metric = named.metric
    return MetricOut(
        named.tenant_id,
        metric.name,
        metric.label,
        metric.unit,
        metric.decimals,
        metric.usual_low,
        metric.usual_high,
        named.version,
    )
