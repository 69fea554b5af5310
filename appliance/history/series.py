"""A metric of a device over a span of time, in as many steps as a chart has room for.

Short spans come from the readings themselves, long ones - and those older than the readings that are kept, and those
with too many readings to look at - from hourly roll-ups. Each step that has readings is a point with their mean, the
lowest and the highest; where nothing came for longer than usual there is a gap, left open.
"""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

from appliance.db import statements
from appliance.db.trio_psycopg import Connection
from appliance.errors import Invalid

STATEMENTS = statements.load("history")

HOUR = 3600
DAY = 24 * HOUR
STEPS = (
    1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800,
    HOUR, 2 * HOUR, 3 * HOUR, 6 * HOUR, 12 * HOUR, DAY, 2 * DAY, 7 * DAY, 30 * DAY,
    90 * DAY, 365 * DAY, 3650 * DAY, 36_500 * DAY,
)  # fmt: skip
"""Seconds that a step may have: values familiar to people."""
MAX_POINTS = 2000
SURELY_FEW = 3 * HOUR
"""A span whose readings are read without counting them first: at the usual limit some 100,000."""
MANY_READINGS = 100_000
"""Most readings that are read for one chart: a tenth of a second."""
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MAX_SPAN = 36_500 * DAY
"""Seconds."""


class Source(StrEnum):
    """The source of a series."""

    READINGS = "readings"
    HOURLY = "hourly"


@dataclass(frozen=True, slots=True)
class TimeSpan:
    """A time from ``first`` up to, not including, ``last``; both with their zone."""

    first: datetime
    last: datetime

    @property
    def seconds(self) -> float:
        """Return the length in seconds."""
        return self.last.timestamp() - self.first.timestamp()  # a difference within one zone is one of the wall clock


@dataclass(frozen=True, slots=True)
class Point:
    """A step that has readings. ``at``, seconds since 1970 UTC, is when it begins."""

    at: float
    readings: int
    mean: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Gap:
    """A time without readings that is longer than usual, in seconds since 1970 UTC."""

    first: float
    last: float


@dataclass(frozen=True, slots=True)
class Series:
    """The points of a span, in order of time, ``step`` seconds each."""

    span: TimeSpan
    step: int
    source: Source
    points: Sequence[Point]

    @property
    def usual_distance(self) -> float:
        """Return the distance of two points, in seconds, up to which there is no gap between them."""
        return self.step * 1.5 if len(self.points) < 2 else max(self.step * 1.5, 3 * self._interval())

    def _interval(self) -> float:
        """Return the seconds between two readings, estimated from the points."""
        distances = [later.at - earlier.at for earlier, later in zip(self.points, self.points[1:], strict=False)]
        return statistics.median(distances) * len(self.points) / sum(point.readings for point in self.points)

    def gaps(self) -> list[Gap]:
        """Return the gaps: times without readings between two points that are longer than usual."""
        usual = self.usual_distance
        pairs = zip(self.points, self.points[1:], strict=False)
        return [Gap(earlier.at + self.step, later.at) for earlier, later in pairs if later.at - earlier.at > usual]

    def summary(self) -> "Summary | None":
        """Return the summary of the points; None without any."""
        if not self.points:
            return None
        readings = sum(point.readings for point in self.points)
        return Summary(
            readings,
            min(point.low for point in self.points),
            sum(point.mean * (point.readings / readings) for point in self.points),
            max(point.high for point in self.points),
            self.gaps(),
        )


@dataclass(frozen=True, slots=True)
class Summary:
    """Of a series: the number of readings, lowest, mean and highest value, and the gaps."""

    readings: int
    low: float
    mean: float
    high: float
    gaps: Sequence[Gap]


def check_span(span: TimeSpan, points: int) -> None:
    """Raise Invalid, naming the field, for a span that cannot be drawn."""
    if span.seconds <= 0:
        raise Invalid("`from` must be before `to`", "from")
    if span.seconds > MAX_SPAN:
        raise Invalid("`from` must be at most 100 years before `to`", "from")
    if not 1 <= points <= MAX_POINTS:
        raise Invalid(f"`points` must be from 1 to {MAX_POINTS}", "points")


async def read(
    connection: Connection[Any],
    tenant_id: str,
    device_id: str,
    metric: str,
    span: TimeSpan,
    *,
    points: int,
    oldest_reading: datetime,
) -> Series:
    """Return the series of a metric with at most ``points`` points; readings before ``oldest_reading`` may be gone.

    An unknown metric or device has no points. Raises Invalid, naming the field.
    """
    check_span(span, points)
    step = next((step for step in STEPS if _count(span, step) <= points), STEPS[-1])
    of = {"tenant": tenant_id, "device": device_id, "metric": metric, "first": span.first, "last": span.last}
    hourly = step >= HOUR or span.first < oldest_reading
    if not hourly and span.seconds > SURELY_FEW:
        row = await (await connection.execute(STATEMENTS["readings_in_hours"], of)).fetchone()
        hourly = row is not None and row[0] > MANY_READINGS
    if hourly:
        step = max(step, HOUR)
        of["first"] = span.first.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    of |= {"step": timedelta(seconds=step), "origin": _origin(span, step)}
    cursor = await connection.execute(STATEMENTS["read_hourly" if hourly else "read_raw"], of)
    rows = [
        Point(at, readings, min(high, max(low, total / readings)), low, high)
        for at, readings, total, low, high in await cursor.fetchall()
    ]
    return Series(span, step, Source.HOURLY if hourly else Source.READINGS, rows)


def _origin(span: TimeSpan, step: int) -> datetime:
    """Return the origin of the steps: the viewer's midnight for steps longer than an hour."""
    return span.first.replace(hour=0, minute=0, second=0, microsecond=0) if step > HOUR else EPOCH


def _count(span: TimeSpan, step: int) -> int:
    """Return the number of steps that a span touches."""
    origin = _origin(span, step).timestamp()
    return math.ceil((span.last.timestamp() - origin) / step) - math.floor((span.first.timestamp() - origin) / step)
