"""``/customer/devices/{device_id}/telemetry``: a metric of a device over time, as JSON or as CSV."""

from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Annotated

import msgspec
from quart import Blueprint, Response, request

from appliance.devices import fleet
from appliance.devices.metrics import metric, store
from appliance.devices.metrics.metric import Metric
from appliance.errors import Invalid
from appliance.history import series
from appliance.history.series import MAX_POINTS, Series, Source
from appliance.web.access.auth import READERS, allow, viewer
from appliance.web.access.transactions import tenant_of
from appliance.web.openapi.describe import answer, describe, query
from appliance.web.page import csv as csv_export
from appliance.web.page.formats import iso
from appliance.web.page.paths import device_of_path
from appliance.web.page.time_range import RangeName, choose
from appliance.web.platform import Platform


class TelemetryQuery(msgspec.Struct, frozen=True, rename={"first": "from", "last": "to"}):
    """The metric, the time range, and the number of steps."""

    metric: Annotated[str, msgspec.Meta(description="As the device sends it.")] = ""
    first: Annotated[
        str,
        msgspec.Meta(
            max_length=64,
            description="RFC 3339, seconds since 1970, or a day or local time in the zone of who asks."
            " Without it: a day, or `range`, before `to`.",
        ),
    ] = ""
    last: Annotated[str, msgspec.Meta(max_length=64, description="The same; a day counts whole. Without it: now.")] = ""
    range: Annotated[RangeName | None, msgspec.Meta(description="In place of `from`.")] = None
    points: Annotated[int, msgspec.Meta(ge=1, le=MAX_POINTS, description="The maximum number of steps.")] = 500
    format: Annotated[str, msgspec.Meta(description="`csv`: as `Accept: text/csv`.")] = ""


class TelemetryPoint(msgspec.Struct, frozen=True):
    """A step with readings."""

    at: Annotated[datetime, msgspec.Meta(description="The start of the step.")]
    until: Annotated[datetime, msgspec.Meta(description="Its end: a day on which the clock is changed has its hours.")]
    readings: int
    mean: float
    low: float
    high: float


class TelemetryGap(msgspec.Struct, frozen=True, rename={"first": "from", "last": "to"}):
    """A time between two points without readings that is longer than usual."""

    first: datetime
    last: datetime


class TelemetrySeries(msgspec.Struct, frozen=True, rename={"first": "from", "last": "to"}):
    """A metric of a device over time. Steps without readings are left out."""

    device_id: str
    metric: str
    label: str | None
    unit: str | None
    first: datetime
    last: datetime
    step: Annotated[
        int,
        msgspec.Meta(
            description="Seconds. More than an hour is reckoned in the zone of who asks: 86400 is a local day."
        ),
    ]
    source: Annotated[Source, msgspec.Meta(description="The readings, or hourly roll-ups of them.")]
    points: list[TelemetryPoint]
    gaps: list[TelemetryGap]


def blueprint(platform: Platform, retention_days: int) -> Blueprint:
    """Return the route."""
    routes = Blueprint("api_telemetry", __name__)
    access = platform.access
    keeps = timedelta(days=retention_days)

    @routes.get("/customer/devices/<device_id>/telemetry")
    @allow(READERS)
    @describe(
        "Read a metric of a device over time",
        details="Short time ranges use the readings, long ones hourly roll-ups; both are downsampled to `points`.",
        query=TelemetryQuery,
        answers={HTTPStatus.OK: TelemetrySeries},
        csv=True,
    )
    async def telemetry(device_id: str) -> Response:
        asked = query(TelemetryQuery)
        if not metric.NAME.fullmatch(asked.metric):
            raise Invalid("Give the metric: metric=NAME.", "metric")
        as_csv = csv_export.asked_for()
        tenant_id, device_id, now = tenant_of(), device_of_path(device_id), access.now()
        zone = viewer().zone
        span = choose(request.args, now, zone).span
        async with access.reading() as connection:
            await fleet.get(connection, tenant_id, device_id)
            known = await store.of_names(connection, tenant_id, [asked.metric])
            found = await series.read(
                connection,
                tenant_id,
                device_id,
                asked.metric,
                span,
                points=asked.points,
                zone=zone,
                oldest_reading=now - keeps,
            )
        described = metric.described(asked.metric, known)
        if as_csv:
            return _csv(device_id, described, found, now)
        return answer(_json(device_id, described, found))

    return routes


def _json(device_id: str, of: Metric, found: Series) -> TelemetrySeries:
    return TelemetrySeries(
        device_id,
        of.name,
        of.label,
        of.unit,
        found.span.first,
        found.span.last,
        found.step,
        found.source,
        [
            TelemetryPoint(_utc(one.at), _utc(one.until), one.readings, one.mean, one.low, one.high)
            for one in found.points
        ],
        [TelemetryGap(_utc(gap.first), _utc(gap.last)) for gap in found.gaps()],
    )


def _csv(device_id: str, of: Metric, found: Series, now: datetime) -> Response:
    """Return one line a point, with times in the viewer's zone."""
    zone = viewer().zone
    unit = f" ({of.unit})" if of.unit else ""
    heads = ["time", "readings", *(f"{of.name} {what}{unit}" for what in ("mean", "lowest", "highest"))]
    rows = [(iso(one.at, zone), one.readings, one.mean, one.low, one.high) for one in found.points]
    return csv_export.answer(f"{device_id}-{of.name}", heads, csv_export.at_once(rows), now.timestamp())


def _utc(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
