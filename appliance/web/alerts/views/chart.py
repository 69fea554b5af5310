"""The chart of an alert: its metric around the opening, with limit, clearing value and the span of the alert."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any

from appliance.alerts.alert import Alert, AlertType
from appliance.db.trio_psycopg import Connection
from appliance.devices.metrics.metric import Metric
from appliance.history import series
from appliance.history.series import Series, TimeSpan
from appliance.web.alerts.views import limits
from appliance.web.page import formats
from appliance.web.page.axes import time_percent
from appliance.web.page.plot import Box, Plot, axis_of, plot

POINTS = 300
"""Points at most: one every two or three pixels."""
BEFORE = timedelta(hours=2)
"""What is shown before the opening."""
AFTER = timedelta(minutes=30)
"""What is shown after the end."""
LONGEST = timedelta(days=30)
"""The longest span around an alert; of one that is open longer, the end is left out."""
RANGES: Mapping[str, str] = {"around": "Around the alert", "24h": "24 h", "7d": "7 d"}
"""What the address may choose, and how it is called."""
_LENGTHS = {"24h": timedelta(days=1), "7d": timedelta(days=7)}


@dataclass(frozen=True, slots=True)
class Level:
    """A horizontal line, ``y`` in percent from the top."""

    y: float
    label: str


@dataclass(frozen=True, slots=True)
class AlertChart:
    """Everything that is drawn. Positions are in percent."""

    metric: Metric
    plot: Plot | None
    """None: no reading in that time."""
    limit: Level | None
    clearing: Level | None
    opened: float | None
    """Where it opened; None: not in the span that is shown."""
    opened_label: str
    ended: float | None
    band: Box | None
    """The time for which it was open."""
    silent: Box | None
    """The time without a reading, of an alert about silence."""
    description: str
    facts: list[tuple[str, str]]
    note: str
    csv: str


async def alert_chart(
    connection: Connection[Any],
    alert: Alert,
    metric: Metric,
    chosen: str,
    *,
    now: datetime,
    zone: tzinfo | None,
    oldest_reading: datetime,
    csv: str,
) -> AlertChart | None:
    """Return the chart of an alert about numbers of a device, else None. ``csv``: the address of its readings."""
    value = alert.details.get("value")
    if alert.device_id is None or (value is not None and limits.number_of(value) is None):
        return None
    span = span_of(alert, chosen, now, zone)
    found = await series.read(
        connection,
        alert.tenant_id,
        alert.device_id,
        metric.name,
        span,
        points=POINTS,
        zone=zone,
        oldest_reading=oldest_reading,
    )
    ends = f"&from={span.first.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}&to={span.last.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
    return drawn(alert, metric, found, zone, csv + ends)


def span_of(alert: Alert, chosen: str, now: datetime, zone: tzinfo | None) -> TimeSpan:
    """Return the span that is shown: around the alert, or so long before its end or the present."""
    end = now if alert.closed_at is None else min(alert.closed_at + AFTER, now)
    if chosen in _LENGTHS:
        first, last = end - _LENGTHS[chosen], end
    else:
        first = alert.started_at - BEFORE
        last = max(min(end, first + LONGEST), alert.started_at + AFTER / 30)
    return TimeSpan(first.astimezone(zone), last.astimezone(zone))


def drawn(alert: Alert, metric: Metric, found: Series, zone: tzinfo | None, csv: str) -> AlertChart:
    """Return the chart of a series that was read."""
    limit, clear = (limits.number_of(alert.details.get(name)) for name in ("threshold", "clear_value"))
    levels = [level for level in (limit, clear) if level is not None]
    axis, span = axis_of(found.points, levels), found.span
    opened = alert.started_at.timestamp()
    ended = None if alert.closed_at is None else alert.closed_at.timestamp()
    x, last = time_percent(opened, span), 100.0 if ended is None else time_percent(ended, span)
    begins_here = span.first.timestamp() <= opened <= span.last.timestamp()
    return AlertChart(
        metric=metric,
        plot=plot(found, zone, levels) if found.points else None,
        limit=None if limit is None else Level(100 * axis.share(limit), f"Limit {limits.quantity(limit, metric)}"),
        clearing=None
        if clear is None or clear == limit
        else Level(100 * axis.share(clear), f"Clears at {limits.quantity(clear, metric)}"),
        opened=round(x, 2) if begins_here else None,
        opened_label=f"Opened {formats.short_time(opened, zone)}",
        ended=None if ended is None or ended > span.last.timestamp() else round(last, 2),
        band=Box(round(x, 2), round(max(last - x, 0), 2)) if last > x else None,
        silent=_silent(alert, found, last),
        description=_description(alert, metric, found, limit, zone),
        facts=_facts(alert, metric, found),
        note=metric.unit or "",
        csv=csv,
    )


def _silent(alert: Alert, found: Series, last: float) -> Box | None:
    """Return the time from the last reading before the alert to its end, for an alert about silence."""
    if alert.alert_type not in (AlertType.NO_HEARTBEAT, AlertType.NO_DATA):
        return None
    before = [point.until for point in found.points if point.at <= alert.started_at.timestamp()]
    x = time_percent(before[-1], found.span) if before else 0.0
    return Box(round(x, 2), round(last - x, 2)) if last > x else None


def _facts(alert: Alert, metric: Metric, found: Series) -> list[tuple[str, str]]:
    summary = found.summary()
    if summary is None:
        return []
    value = limits.quantity(alert.details.get("value"), metric, unit=False)
    facts = [("Newest", limits.quantity(found.points[-1].mean, metric, unit=False))]
    facts += [("At opening", value)] if value else []
    facts += [
        ("Lowest", limits.quantity(summary.low, metric, unit=False)),
        ("Highest", limits.quantity(summary.high, metric, unit=False)),
        ("Gaps", str(len(summary.gaps)) if summary.gaps else "none"),
    ]
    return facts


def _description(alert: Alert, metric: Metric, found: Series, limit: float | None, zone: tzinfo | None) -> str:
    first, last = found.span.first.timestamp(), found.span.last.timestamp()
    text = (
        f"{metric.title} of {alert.device_id} from {formats.absolute(first, zone)} to {formats.absolute(last, zone)}."
    )
    summary = found.summary()
    if summary is None:
        return f"{text} No readings."
    text += f" Between {limits.quantity(summary.low, metric)} and {limits.quantity(summary.high, metric)}."
    if limit is not None:
        text += f" The limit is {limits.quantity(limit, metric)}."
    return f"{text} The alert opened at {formats.clock_time(alert.started_at.timestamp(), zone)}."
