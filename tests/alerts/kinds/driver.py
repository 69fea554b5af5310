"""Drives the step of a kind over a series of readings of one device, as the stream does."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from appliance.alerts.kinds.kind import REST, Kind, Newest, Parameters, Sample, Step


def evaluate(kind: Kind, parameters: Parameters, samples: Iterable[Sample]) -> Iterator[tuple[Sample, Step]]:
    """Yield each reading that is judged with the outcome, from a device at rest on. Nothing for kinds without a step.

    Readings without the metric, and those that are not newer than the last one judged, are left out.
    """
    step, metric = kind.step, parameters.metric
    if step is None or metric is None:
        return
    state, judged = REST, -1
    memory = kind.memory(parameters) if kind.memory is not None else None
    for sample in samples:
        if metric not in sample.metrics or sample.ts <= judged:
            continue
        judged = sample.ts
        outcome = step(parameters, state, sample, memory)
        state = outcome.state
        yield sample, outcome


def samples(readings: Iterable[tuple[int, Mapping[str, Any]]]) -> Iterator[Sample]:
    """Yield readings of one device, as (time in microseconds, metrics) in order of time, as a step is shown them.

    What a sample says of other values holds until the next one is taken.
    """
    newest: dict[str, Newest] = {}
    before: dict[str, Newest] = {}
    for ts, metrics in readings:
        before = {name: newest[name] for name in metrics if name in newest}
        newest.update((name, Newest(value, ts)) for name, value in metrics.items())
        yield Sample(ts, metrics, newest.get, _before(before, metrics, newest))


def _before(before: Mapping[str, Newest], brought: Mapping[str, Any], newest: Mapping[str, Newest]) -> Any:
    return lambda name: before.get(name) if name in brought else newest.get(name)
