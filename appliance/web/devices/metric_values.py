"""A device's latest values as people read them: the label of each, its number with its decimals, its unit."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from appliance.devices.metrics.metric import Metric, described
from appliance.web.page import formats

FIRST = ("temperature", "humidity", "pressure", "co2", "battery")
"""Metrics that are shown first; the others follow in the order in which the device sends them."""


@dataclass(frozen=True, slots=True)
class MetricValue:
    """One value."""

    metric: Metric
    text: str
    unusual: bool
    """Whether it is outside the usual range of the metric."""
    is_number: bool
    """Whether a chart can be drawn of it: numbers, and booleans as 0 and 1."""


def shown(name: str, value: Any, known: Mapping[str, Metric]) -> MetricValue:
    """Return one value; ``known`` are the tenant's metrics."""
    metric = described(name, known, value)
    truth = isinstance(value, bool)
    number = isinstance(value, int | float) and not truth
    low = metric.usual_low is not None and number and value < metric.usual_low
    high = metric.usual_high is not None and number and value > metric.usual_high
    text = formats.quantity(value, metric.decimals) if number else formats.metric(value)
    return MetricValue(metric, text, low or high, number or truth)


def all_shown(latest: Mapping[str, Any], known: Mapping[str, Metric]) -> list[MetricValue]:
    """Return all values: numbers before texts, and within these the metrics of FIRST before the others."""
    values = [shown(name, value, known) for name, value in latest.items()]
    return sorted(values, key=_rank)


def names(latests: Iterable[Mapping[str, Any]]) -> set[str]:
    """Return the names of the metrics of several devices."""
    return {name for latest in latests for name in latest}


def _rank(value: MetricValue) -> tuple[bool, int]:
    name = value.metric.name
    return not value.is_number, FIRST.index(name) if name in FIRST else len(FIRST)
