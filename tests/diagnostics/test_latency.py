"""Percentiles of the last hour, from a histogram that only ever grows."""

from math import inf

import pytest
from prometheus_client import CollectorRegistry, Histogram

from appliance.diagnostics.latency import POINTS, LatencyHistory, quantile


def _history() -> tuple[Histogram, LatencyHistory]:
    histogram = Histogram("t", "t", buckets=(0.01, 0.1, 1.0), registry=CollectorRegistry())
    return histogram, LatencyHistory(histogram)


def test_a_percentile_lies_within_its_bucket() -> None:
    bounds, counts = (0.01, 0.1, 1.0, inf), (50, 90, 100, 100)
    assert quantile(bounds, counts, 0.5) == pytest.approx(0.01)
    assert quantile(bounds, counts, 0.7) == pytest.approx(0.055)
    assert quantile(bounds, counts, 0.95) == pytest.approx(0.55)
    assert quantile(bounds, counts, 1.0) == pytest.approx(1.0)


def test_past_the_last_bound_nothing_is_invented() -> None:
    assert quantile((0.01, inf), (0, 10), 0.95) == 0.01


def test_nothing_observed_is_no_percentile() -> None:
    _, history = _history()
    assert history.hour() is None
    assert history.series() == [None] * POINTS


def test_only_what_was_observed_within_the_hour_counts() -> None:
    histogram, history = _history()
    for _ in range(100):
        histogram.observe(0.9)
    history.sample()
    for _ in range(POINTS):
        history.sample()
    assert history.hour() is None, "the slow ones are more than an hour old"
    for _ in range(10):
        histogram.observe(0.005)
    found = history.hour()
    assert found is not None
    assert (found.count, found.p99 <= 0.01) == (10, True)


def test_each_step_of_the_series_stands_for_itself() -> None:
    histogram, history = _history()
    histogram.observe(0.005)
    history.sample()
    histogram.observe(0.5)
    histogram.observe(0.5)
    history.sample()
    history.sample()
    *earlier, first, second, third = history.series()
    assert set(earlier) == {None}
    assert first is not None
    assert second is not None
    assert (first.count, second.count, third) == (1, 2, None)
    assert first.median < 0.01 < 0.1 < second.median
