"""The API of metrics: ``/customer/metrics``."""

from dataclasses import replace
from datetime import datetime
from http import HTTPStatus
from typing import Annotated

import msgspec
from msgspec import UNSET, UnsetType
from quart import Blueprint, Response

from appliance.devices.metrics.metric import Metric
from appliance.devices.metrics.store import TenantMetric
from appliance.web.access.auth import ADMINS, READERS, allow
from appliance.web.metrics import export
from appliance.web.metrics.actions import MetricCollection
from appliance.web.openapi.body import body, given
from appliance.web.openapi.describe import PageQuery, answer, describe, query
from appliance.web.page import csv


class MetricOut(msgspec.Struct, frozen=True):
    """A metric as people read it."""

    tenant_id: str
    name: Annotated[str, msgspec.Meta(description="As devices send it.")]
    label: str | None
    unit: str | None
    decimals: Annotated[int | None, msgspec.Meta(description="Null: as many as the device sends.")]
    usual_low: float | None
    usual_high: float | None
    version: Annotated[datetime, msgspec.Meta(description="Send it with a change; an outdated version is a conflict.")]


class MetricPage(msgspec.Struct, frozen=True):
    """One page; ``next`` is the cursor of the next, if there is one."""

    items: list[MetricOut]
    next: str | None


class MetricNew(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A metric that is named before a device sends it."""

    name: str
    label: str | None = None
    unit: str | None = None
    decimals: int | None = None
    usual_low: float | None = None
    usual_high: float | None = None


class MetricChange(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The changes; omitted fields keep their values."""

    label: str | UnsetType | None = UNSET
    unit: str | UnsetType | None = UNSET
    decimals: int | UnsetType | None = UNSET
    usual_low: float | UnsetType | None = UNSET
    usual_high: float | UnsetType | None = UNSET
    version: datetime | None = None


def blueprint(metrics: MetricCollection) -> Blueprint:
    """Return the routes of the API."""
    routes = Blueprint("api_metrics", __name__)

    @routes.get("/customer/metrics")
    @allow(READERS)
    @describe("List metrics", query=PageQuery, answers={HTTPStatus.OK: MetricPage}, csv=True)
    async def list_metrics() -> Response:
        asked = query(PageQuery)
        if csv.asked_for():
            return export.answer(metrics)
        found, following = await metrics.page(asked.limit, asked.cursor)
        return answer(MetricPage([shown(kept) for kept in found], following))

    @routes.post("/customer/metrics")
    @allow(ADMINS)
    @describe("Add a metric", body=MetricNew, answers={HTTPStatus.CREATED: MetricOut})
    async def create() -> Response:
        new = await body(MetricNew)
        made = await metrics.create(Metric(**msgspec.structs.asdict(new)))
        return answer(shown(made), HTTPStatus.CREATED, {"Location": f"/customer/metrics/{new.name}"})

    @routes.get("/customer/metrics/<name>")
    @allow(READERS)
    @describe("Show a metric", answers={HTTPStatus.OK: MetricOut})
    async def show(name: str) -> Response:
        return answer(shown(await metrics.get(name)))

    @routes.patch("/customer/metrics/<name>")
    @allow(ADMINS)
    @describe("Update a metric", body=MetricChange, answers={HTTPStatus.OK: MetricOut})
    async def change(name: str) -> Response:
        wanted = await body(MetricChange)
        edited = await metrics.edit(name, lambda kept: replace(kept.metric, **given(wanted)), wanted.version)
        return answer(shown(edited))

    @routes.delete("/customer/metrics/<name>")
    @allow(ADMINS)
    @describe("Remove a metric", answers={HTTPStatus.NO_CONTENT: None})
    async def delete(name: str) -> Response:
        await metrics.delete(name)
        return Response(b"", HTTPStatus.NO_CONTENT)

    return routes


def shown(kept: TenantMetric) -> MetricOut:
    """Return a metric as the API shows it."""
    metric = kept.metric
    return MetricOut(
        kept.tenant_id,
        metric.name,
        metric.label,
        metric.unit,
        metric.decimals,
        metric.usual_low,
        metric.usual_high,
        kept.version,
    )
