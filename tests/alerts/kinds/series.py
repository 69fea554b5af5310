"""Short series of readings, written as a test wants to read them, and what a rule makes of them."""

from collections.abc import Mapping, Sequence
from typing import Any

from appliance.alerts.kinds.kind import Event, KindName
from appliance.alerts.kinds.table import KINDS
from tests.alerts.kinds.driver import evaluate, samples

START = 1_800_000_000
"""Seconds since 1970: the time that a test calls 0."""
SECOND = 1_000_000


def happened(kind: KindName, rule: Mapping[str, Any], *readings: tuple[float, Any]) -> list[tuple[float, str]]:
    """Return what happened and when. A reading is (seconds, metrics), or (seconds, value) of the metric ``t``."""
    series = [(round((START + at) * SECOND), _metrics(given)) for at, given in readings]
    parsed = KINDS[kind].parse({"metric": "t", **rule})
    return [
        ((sample.ts - START * SECOND) / SECOND, outcome.event.value)
        for sample, outcome in evaluate(KINDS[kind], parsed, samples(series))
        if outcome.event is not Event.NOTHING
    ]


def each(values: Sequence[Any], *, every: float = 10) -> list[tuple[float, Any]]:
    """Return readings of these values, one every so many seconds."""
    return [(every * number, value) for number, value in enumerate(values)]


def _metrics(given: Any) -> Mapping[str, Any]:
    return given if isinstance(given, Mapping) else {"t": given}
