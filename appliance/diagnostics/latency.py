"""Percentiles of a Prometheus histogram over the last hour, not since the start.

A histogram counts the observations below each of its bounds. The difference of two samples holds those in between;
within a bucket they are assumed to be evenly spread, as Prometheus' ``histogram_quantile`` does.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import inf

from prometheus_client import Histogram

STEP = 20.0
"""Seconds between two samples."""
POINTS = 180
"""Steps of one hour."""


@dataclass(frozen=True, slots=True)
class Percentiles:
    """Of ``count`` observations, in seconds."""

    count: int
    median: float
    p95: float
    p99: float


@dataclass(frozen=True, slots=True)
class LatencySample:
    """A histogram at one moment: of each upper bound, how many observations were at or below it."""

    bounds: Sequence[float]
    counts: Sequence[float]

    def since(self, before: "LatencySample") -> Percentiles | None:
        """Return what was observed after ``before``; None if nothing was."""
        counts = [now - then for now, then in zip(self.counts, before.counts, strict=True)]
        if not counts or counts[-1] <= 0:
            return None
        at = [quantile(self.bounds, counts, share) for share in (0.5, 0.95, 0.99)]
        return Percentiles(round(counts[-1]), *at)


def quantile(bounds: Sequence[float], counts: Sequence[float], share: float) -> float:
    """Return the value below which ``share`` of the observations lie; the last finite bound is the highest answer."""
    rank = share * counts[-1]
    below, lower = 0.0, 0.0
    for bound, count in zip(bounds, counts, strict=True):
        if count >= rank:
            if bound == inf or count == below:
                return lower
            return lower + (bound - lower) * (rank - below) / (count - below)
        below, lower = count, bound
    return lower


class LatencyHistory:
    """One hour of a histogram."""

    def __init__(self, histogram: Histogram) -> None:
        self._histogram = histogram
        self._readings: deque[LatencySample] = deque([self._read()], maxlen=POINTS + 1)

    def sample(self) -> None:
        """Read the histogram; to be called every STEP seconds."""
        self._readings.append(self._read())

    def hour(self) -> Percentiles | None:
        """Return the percentiles of the last hour, including observations since the last sample."""
        return self._read().since(self._readings[0])

    def series(self) -> list[Percentiles | None]:
        """Return the percentiles of each step, oldest first, always POINTS; None where nothing was observed."""
        readings = list(self._readings)
        steps = [later.since(earlier) for earlier, later in pairwise(readings)]
        return [None] * (POINTS - len(steps)) + steps

    def _read(self) -> LatencySample:
        buckets = [
            (float(sample.labels["le"]), sample.value)
            for metric in self._histogram.collect()
            for sample in metric.samples
            if sample.name.endswith("_bucket")
        ]
        return LatencySample([bound for bound, _ in buckets], [count for _, count in buckets])
