"""Charts of messages per second: the current rate, and the rates over the time range of an Overview.

The last hour comes from the live view, in steps of 20 seconds; longer ranges from the accounting in the database.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta, tzinfo

from appliance import local_time
from appliance.web.live.feed import LiveFeed
from appliance.web.live.rates import RatePoint
from appliance.web.overview.choice import OverviewChoice, OverviewRange
from appliance.web.overview.query import AccountingStep, OverviewData
from appliance.web.page import axes, charts, formats
from appliance.web.page.charts import ChartSeries

CHART_STEP, CHART_POINTS = 20, 180
"""Seconds and number of the chart's steps, of the last hour."""
SPARK_STEP, SPARK_POINTS = 30, 60
"""The same for the sparkline: half an hour."""
COLUMN_STEP, COLUMN_POINTS = 120, 30
"""The same for the refused messages, of the last hour."""


@dataclass(frozen=True, slots=True)
class Rate:
    """The current rate with its sparkline."""

    now: float
    spark: charts.Paths
    peak: float
    peak_at: float | None


@dataclass(frozen=True, slots=True)
class RateChart:
    """Messages per second over the time range."""

    values: list[axes.Tick]
    times: list[axes.Tick]
    accepted: charts.Paths
    refused: charts.Paths
    newest: charts.End | None
    summary: str


@dataclass(frozen=True, slots=True)
class Flow:
    """Messages per second in even steps, from ``began`` to ``ended``, in seconds since 1970-01-01 UTC."""

    began: float
    ended: float
    points: Sequence[RatePoint]


def current(feed: LiveFeed, tenant: str | None) -> Rate:
    """Return the current rate."""
    totals = [_total(point) for point in feed.series(SPARK_STEP, SPARK_POINTS, tenant)]
    peak = charts.highest(totals)
    end = feed.series_end(SPARK_STEP)
    peak_at = end - (SPARK_POINTS - totals.index(peak)) * SPARK_STEP if peak > 0 else None
    spark = charts.paths(totals, axes.nice_top(peak), charts.SPARK_WIDTH, charts.SPARK_HEIGHT)
    return Rate(feed.rate(tenant), spark, peak, peak_at)


def flow(feed: LiveFeed, data: OverviewData | None, choice: OverviewChoice) -> Flow:
    """Return the rates from which the chart of a choice is drawn."""
    if choice.range is OverviewRange.HOUR:
        end = feed.series_end(CHART_STEP)
        return Flow(end - CHART_STEP * CHART_POINTS, end, feed.series(CHART_STEP, CHART_POINTS, choice.tenant))
    step, steps = choice.scale.step, choice.scale.steps
    if data is None:
        return Flow(0.0, float(step * steps), [RatePoint(None, None)] * steps)
    end = data.since + step * steps
    return Flow(data.since, end, [_mean(one, step) for one in whole_steps(data, step, steps)])


def whole_steps(data: OverviewData, step: int, steps: int) -> list[AccountingStep]:
    """Return the accounting of every step that is over, those without messages included."""
    known = {one.began: one for one in data.accounting}
    starts = [data.since + index * step for index in range(steps)]
    return [known.get(start) or AccountingStep(start, 0, 0, 0, 0) for start in starts]


def chart(drawn: Flow, choice: OverviewChoice, zone: tzinfo | None) -> RateChart:
    """Return the chart of a flow; its times are shown in ``zone``, None is the machine's own."""
    accepted, refused = [point.accepted for point in drawn.points], [point.refused for point in drawn.points]
    top = axes.nice_top(charts.highest(accepted, refused))
    times = _times(drawn, choice, zone)
    return RateChart(
        values=axes.value_ticks(top),
        times=times,
        accepted=charts.paths(accepted, top, charts.PLOT_WIDTH, charts.PLOT_HEIGHT),
        refused=charts.paths(refused, top, charts.PLOT_WIDTH, charts.PLOT_HEIGHT),
        newest=charts.end(accepted, top),
        summary=(
            f"Messages per second from {times[0].text} to {times[-1].text}. "
            f"Accepted peaks at {formats.rate(charts.highest(accepted))}, "
            f"refused at {formats.rate(charts.highest(refused))}."
        ),
    )


def refused_columns(feed: LiveFeed, data: OverviewData | None, choice: OverviewChoice) -> list[charts.Column]:
    """Return the refused messages of the time range as columns."""
    refused: ChartSeries = []
    if choice.range is OverviewRange.HOUR:
        refused = [point.refused for point in feed.series(COLUMN_STEP, COLUMN_POINTS, choice.tenant)]
    elif data is not None:
        counts = [one.refused for one in whole_steps(data, choice.scale.step, choice.scale.steps)]
        refused = [
            float(sum(counts[at : at + choice.scale.joined])) for at in range(0, len(counts), choice.scale.joined)
        ]
    return charts.columns(refused, charts.highest(refused) or 1)


def _mean(one: AccountingStep, step: int) -> RatePoint:
    return RatePoint((one.received - one.refused - one.cleared) / step, one.refused / step)


def _total(point: RatePoint) -> float | None:
    return None if point.accepted is None or point.refused is None else point.accepted + point.refused


def _times(drawn: Flow, choice: OverviewChoice, zone: tzinfo | None) -> list[axes.Tick]:
    """Return labels of the axis: days at the time of day of its end, so that each is named once; else even steps."""
    labels, length = choice.scale.labels, drawn.ended - drawn.began
    if choice.range is not OverviewRange.WEEK:
        even = [drawn.began + length * index / labels for index in range(labels + 1)]
        return [axes.Tick(100 * (at - drawn.began) / length, formats.short_time(at, zone)) for at in even]
    last, times = local_time.wall_clock(drawn.ended, zone).date(), []
    for days in range(-labels, 1):
        at = max(local_time.days_later(drawn.ended, days, zone), drawn.began)
        times.append(axes.Tick(100 * (at - drawn.began) / length, f"{last + timedelta(days=days):%a %-d}"))
    return times
