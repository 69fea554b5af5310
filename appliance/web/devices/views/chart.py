"""The chart of a device's page: one metric over a time range of the address. ``devices/chart.html`` draws it.

The page that shows it calls :func:`chart_of` with the arguments of its address (``m``, ``range``, ``from``, ``to``) and
includes the template with the result as ``chart``.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, tzinfo
from typing import Any
from urllib.parse import urlencode

from appliance.db.trio_psycopg import Connection
from appliance.devices.metrics.metric import NAME, Metric
from appliance.errors import Invalid
from appliance.history import series
from appliance.history.series import Series, Source, Summary
from appliance.web.page import formats
from appliance.web.page.plot import Plot, plot
from appliance.web.page.time_range import TITLES, RangeName, choose

POINTS = 400
"""Points of a chart of usual width, at most: one every two pixels. A year has one a day."""
PARAMETERS = ("m", "range", "from", "to")
"""The parameters of the page's address that belong to the chart."""


@dataclass(frozen=True, slots=True)
class ChartLink:
    """A link to one of the time ranges."""

    title: str
    address: str
    current: bool


@dataclass(frozen=True, slots=True)
class DeviceChart:
    """Everything that the template shows."""

    metric: Metric
    note: str
    """The unit, and what a point is: ``°C, mean of 5 min``."""
    description: str
    """The line in words, for people who cannot see it."""
    plot: Plot | None
    """None: no reading in that time range."""
    facts: list[tuple[str, str]]
    """Statistics: name and value."""
    ranges: list[ChartLink]
    kept: list[tuple[str, str]]
    """Parameters that the form for dates must also send."""
    first: str
    last: str
    """The time range as form fields contain it, in the viewer's zone."""
    source: str
    """The address of the same data as JSON, for zooming; ``from``, ``to`` and ``points`` are appended."""
    csv: str
    time_range: tuple[float, float]
    """In seconds since 1970."""
    zone_name: str
    """The name of the viewer's zone, empty if it has none."""


async def chart_of(
    connection: Connection[Any],
    tenant_id: str,
    device_id: str,
    metric: Metric,
    arguments: Mapping[str, str],
    *,
    now: datetime,
    zone: tzinfo | None,
    oldest_reading: datetime,
) -> DeviceChart:
    """Return the chart of ``metric`` that the arguments of the page's address choose. Raises Invalid, naming the field.

    Other arguments stay in its links. Readings older than ``oldest_reading`` may have been deleted.
    """
    chosen = choose(arguments, now, zone)
    found = await series.read(
        connection,
        tenant_id,
        device_id,
        metric.name,
        chosen.span,
        points=POINTS,
        zone=zone,
        oldest_reading=oldest_reading,
    )
    kept = {name: value for name, value in arguments.items() if name not in PARAMETERS} | {"m": metric.name}
    tenant = {"tenant": arguments["tenant"]} if arguments.get("tenant") else {}
    source = f"/customer/devices/{device_id}/telemetry?{urlencode({'metric': metric.name, **tenant})}"
    first, last = chosen.span.first, chosen.span.last
    ends = {"from": formats.iso(first.timestamp(), zone), "to": formats.iso(last.timestamp(), zone)}
    return DeviceChart(
        metric=metric,
        note=_note(metric, found),
        description=_description(metric, device_id, found, zone),
        plot=plot(found, zone) if found.points else None,
        facts=_facts(metric, found),
        ranges=[
            ChartLink(TITLES[one], f"?{urlencode({**kept, 'range': one.value})}", one is chosen.range)
            for one in RangeName
        ],
        kept=list(kept.items()),
        first=f"{first:%Y-%m-%dT%H:%M}",
        last=f"{last:%Y-%m-%dT%H:%M}",
        source=source,
        csv=f"{source}&{urlencode({**ends, 'points': POINTS, 'format': 'csv'})}",
        time_range=(first.timestamp(), last.timestamp()),
        zone_name=getattr(zone, "key", ""),
    )


def metric_of(arguments: Mapping[str, str], shown: Mapping[str, Metric]) -> Metric | None:
    """Return the metric that the address chooses, or the first of ``shown``; None without any. Raises Invalid."""
    asked = arguments.get("m", "")
    if not asked:
        return next(iter(shown.values()), None)
    if not NAME.fullmatch(asked):
        raise Invalid("`m` must be the name of a metric.", "m")
    return shown.get(asked) or Metric(asked)


def number(value: float, metric: Metric) -> str:
    """Return a value of a metric with its decimals and a minus sign, without its unit."""
    if metric.decimals is None:
        return formats.metric(float(f"{value:.6g}"))
    text = f"{value:.{metric.decimals}f}" if abs(value) < 1e15 else f"{value:.6g}"
    return text.replace("-", formats.MINUS)


def _note(metric: Metric, found: Series) -> str:
    alone = found.source is Source.READINGS and all(point.readings == 1 for point in found.points)
    each = "each reading" if alone else f"mean of {formats.lasting(found.step)}"
    return f"{metric.unit}, {each}" if metric.unit else each


def _facts(metric: Metric, found: Series) -> list[tuple[str, str]]:
    summary = found.summary()
    if summary is None:
        return []
    return [
        ("Lowest", number(summary.low, metric)),
        ("Mean", number(summary.mean, metric)),
        ("Highest", number(summary.high, metric)),
        ("Readings", formats.count(summary.readings)),
        ("Gaps", _gaps(summary)),
    ]


def _gaps(summary: Summary) -> str:
    if not summary.gaps:
        return "none"
    return f"{len(summary.gaps)}, together {formats.lasting(sum(gap.last - gap.first for gap in summary.gaps))}"


def _description(metric: Metric, device_id: str, found: Series, zone: tzinfo | None) -> str:
    first, last = found.span.first.timestamp(), found.span.last.timestamp()
    head = f"{metric.title} of {device_id} from {formats.absolute(first, zone)} to {formats.absolute(last, zone)}."
    summary = found.summary()
    if summary is None:
        return f"{head} No readings."
    unit = f" {metric.unit}" if metric.unit else ""
    return (
        f"{head} Between {number(summary.low, metric)} and {number(summary.high, metric)}{unit}, in the mean"
        f" {number(summary.mean, metric)}, at the end {number(found.points[-1].mean, metric)}."
        f" Gaps: {_gaps(summary)}."
    )
