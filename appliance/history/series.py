"""A metric of a device over a span of time, in as many steps as a chart has room for.

Short spans come from the readings themselves; long ones, those older than the readings that are kept, those of which
readings are gone, and those with too many readings to look at, come from hourly roll-ups. Each step that has readings
is a point with their mean, the lowest and the highest; where nothing came for longer than usual there is a gap.

Steps of more than an hour are round on the viewer's wall clock: a day is a step of 23, 24 or 25 hours. Roll-ups are of
UTC hours, so in zones that are half an hour or a quarter off, an edge cuts an hour, as the ends of a span may. Such an
hour is counted exactly, from its readings, unless they are gone or too many; then the whole hour belongs to the step
that its middle is in. Steps of one hour are the hours of the roll-ups themselves.
"""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from enum import StrEnum
from itertools import islice
from typing import Any

from appliance import local_time
from appliance.db import statements
from appliance.db.trio_psycopg import Connection
from appliance.errors import Invalid
from appliance.local_time import DAY, HOUR

STATEMENTS = statements.load("history")

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
FEW_HOURS = SURELY_FEW // HOUR
"""Hours whose readings are read without counting them first."""
MAX_SPAN = 36_500 * DAY
"""Seconds."""
MAX_MOVE = 2 * DAY
"""Seconds by which all changes of a clock make a span shorter or longer on the wall, at most: a day, and room."""


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
    """A step that has readings, from ``at`` to ``until``, in seconds since 1970 UTC."""

    at: float
    until: float
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
    """The points of a span, in order of time, ``step`` seconds each but where the clock is changed."""

    span: TimeSpan
    step: int
    source: Source
    points: Sequence[Point]

    @property
    def usual_distance(self) -> float:
        """Return the distance of two points of ``step`` seconds, up to which there is no gap between them."""
        return self.step * 1.5 if len(self.points) < 2 else max(self.step * 1.5, 3 * self._interval())

    def _interval(self) -> float:
        """Return the seconds between two readings, estimated from the points."""
        distances = [later.at - earlier.at for earlier, later in zip(self.points, self.points[1:], strict=False)]
        return statistics.median(distances) * len(self.points) / sum(point.readings for point in self.points)

    def gaps(self) -> list[Gap]:
        """Return the gaps: times without readings between two points that are longer than usual."""
        usual = self.usual_distance - self.step
        pairs = zip(self.points, self.points[1:], strict=False)
        return [Gap(earlier.until, later.at) for earlier, later in pairs if later.at - earlier.until > usual]

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
    zone: tzinfo | None,
    oldest_reading: datetime,
) -> Series:
    """Return the series of a metric with at most ``points`` points; readings before ``oldest_reading`` may be gone.

    ``zone`` is the viewer's, None the machine's own. An unknown metric or device has no points. Raises Invalid, naming
    the field.
    """
    check_span(span, points)
    step, edges = _steps(span, points, zone, STEPS)
    of = {"tenant": tenant_id, "device": device_id, "metric": metric, "first": span.first, "last": span.last}
    hourly = step >= HOUR or span.first < oldest_reading
    if not hourly and span.seconds > SURELY_FEW:
        hourly = await _count(connection, "readings_in_span", of) > MANY_READINGS
    if not hourly:
        found = await _read_raw(connection, of, step, edges[0])
        if not await _some_are_gone(connection, of, span, sum(point.readings for point in found)):
            return Series(span, step, Source.READINGS, found)
        oldest_reading = span.last
    if step < HOUR:
        step, edges = _steps(span, points, zone, [long for long in STEPS if long >= HOUR])
    return Series(span, step, Source.HOURLY, await _read_hourly(connection, of, edges, oldest_reading))


async def _read_raw(connection: Connection[Any], of: dict[str, Any], step: int, first: float) -> list[Point]:
    """Return the points of the readings themselves, in steps of at most an hour."""
    of = of | {"step": timedelta(seconds=step), "origin": _moment(first)}
    cursor = await connection.execute(STATEMENTS["read_raw"], of)
    return [_point(at, at + step, *values) for at, *values in await cursor.fetchall()]


async def _some_are_gone(connection: Connection[Any], of: dict[str, Any], span: TimeSpan, found: int) -> bool:
    """Return whether the roll-ups of the whole hours of a span have more readings than were ``found`` in all of it.

    So it is where the retention was shorter once than it is now, or is shorter in another process.
    """
    first, last = -(-span.first.timestamp() // HOUR) * HOUR, span.last.timestamp() // HOUR * HOUR
    if first >= last:
        return False
    return await _count(connection, "readings_in_span", of | {"first": _moment(first), "last": _moment(last)}) > found


async def _read_hourly(
    connection: Connection[Any], of: dict[str, Any], edges: Sequence[float], oldest_reading: datetime
) -> list[Point]:
    """Return the points of the roll-ups, and of the readings of hours that are not rolled up or that an edge cuts."""
    ends = max(edges[0], of["first"].timestamp()), min(edges[-1], of["last"].timestamp())
    bounds = [ends[0], *edges[1:-1], ends[1]]
    if _has_no_middle(*ends):  # a span within an hour or two shows these
        bounds[0], bounds[-1] = ends[0] // HOUR * HOUR, -(-ends[1] // HOUR) * HOUR
    cut = {bound // HOUR * HOUR for bound in bounds if bound % HOUR}
    of = of | {
        "first": _moment(bounds[0] // HOUR * HOUR),
        "last": _moment(bounds[-1]),
        "bounds": bounds,
        "hours": sorted(hour for hour in cut if hour >= oldest_reading.timestamp()),
    }
    if len(of["hours"]) > FEW_HOURS and await _count(connection, "readings_in_hours", of) > MANY_READINGS:
        of["hours"] = []
    cursor = await connection.execute(STATEMENTS["read_hourly"], of)
    return [_point(edges[number - 1], edges[number], *values) for number, *values in await cursor.fetchall()]


def _has_no_middle(first: float, last: float) -> bool:
    """Return whether no middle of a UTC hour is in a span."""
    return math.ceil(first / HOUR - 0.5) + 0.5 >= last / HOUR


async def _count(connection: Connection[Any], name: str, of: dict[str, Any]) -> int:
    row = await (await connection.execute(STATEMENTS[name], of)).fetchone()
    return 0 if row is None else int(row[0])


def _point(at: float, until: float, readings: int, total: float, low: float, high: float) -> Point:
    return Point(at, until, readings, min(high, max(low, total / readings)), low, high)


def _steps(span: TimeSpan, points: int, zone: tzinfo | None, steps: Sequence[int]) -> tuple[int, list[float]]:
    """Return the shortest of ``steps`` of which a span touches at most ``points``, and the edges of these."""
    edges: list[float] = []
    for step in steps:
        if span.seconds <= points * step + (0 if step <= HOUR else MAX_MOVE):  # else there are too many
            where = UTC if step == HOUR else zone  # the hours of the roll-ups
            found = local_time.edges(span.first.timestamp(), span.last.timestamp(), step, where)
            edges = list(islice(found, points + 2))
            if len(edges) <= points + 1:
                return step, edges
    return steps[-1], edges


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
