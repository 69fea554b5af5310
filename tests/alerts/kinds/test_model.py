"""Each kind against a plain reference, over random series, with restarts and failed tries at random places."""

import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
import pytest

from appliance.alerts.kinds.comparison import is_number
from appliance.alerts.kinds.kind import REST, Event, Kind, KindName, Memory, Newest, Parameters, RuleState, Sample
from appliance.alerts.kinds.table import KINDS
from tests.alerts.kinds import reference
from tests.alerts.kinds.driver import evaluate, samples
from tests.alerts.kinds.reference import SECOND, Happened, Reading
from tests.support.soak import times

START = 1_800_000_000 * SECOND
SERIES = times(200)
"""Random series a kind: 2,000 in the long version."""
RULES_OF_PLAN: Mapping[KindName, Callable[[Mapping[str, Any], Sequence[Reading]], list[Happened]]] = {
    KindName.THRESHOLD: reference.threshold,
    KindName.WINDOW: reference.window,
    KindName.CHANGE: reference.change,
}


def some(chance: random.Random, **fields: Callable[[], Any]) -> dict[str, Any]:
    """Return some of the fields."""
    return {name: make() for name, make in fields.items() if chance.random() < 0.5}


def random_threshold(chance: random.Random) -> dict[str, Any]:
    operator = chance.choice(["GT", "GTE", "LT", "LTE", "EQ", "NE"])
    value: Any = chance.randrange(3, 7)
    if operator in {"EQ", "NE"}:
        value = chance.choice([1, True, "on", 4, 4.0])
    rule = {"metric": "m", "operator": operator, "value": value} | some(
        chance,
        for_seconds=lambda: chance.randrange(1, 120),
        for_count=lambda: chance.randrange(1, 5),
        clear_for_seconds=lambda: chance.randrange(1, 120),
        conditions=lambda: [random_condition(chance) for _ in range(chance.randrange(1, 4))],
    )
    return rule | random_hysteresis(chance, operator, value)


def random_hysteresis(chance: random.Random, operator: str, value: Any) -> dict[str, Any]:
    if operator in {"EQ", "NE"}:
        return {}
    side = -1 if operator in {"GT", "GTE"} else 1
    return some(chance, clear_value=lambda: value + side * chance.randrange(3))


def random_condition(chance: random.Random) -> dict[str, Any]:
    metric, operator, value = chance.choice(
        [("hatch", "EQ", True), ("hatch", "NE", "x"), ("n", "GT", 2), ("m", "LT", 9)]
    )
    return {"metric": metric, "operator": operator, "value": value, "max_age_seconds": chance.randrange(1, 200)}


def random_window(chance: random.Random) -> dict[str, Any]:
    operator = chance.choice(["GT", "GTE", "LT", "LTE", "EQ", "NE"])
    value = chance.randrange(3, 7)
    rule = {
        "metric": "m",
        "operator": operator,
        "value": value,
        "aggregate": chance.choice(["avg", "min", "max"]),
        "window_seconds": chance.choice([1, 30, 120, 601, 1440, 2000, 5003, 86_400]),
    }
    return (
        rule
        | some(
            chance,
            for_seconds=lambda: chance.randrange(1, 60),
            for_count=lambda: chance.randrange(1, 3),
            clear_for_seconds=lambda: chance.randrange(1, 120),
        )
        | random_hysteresis(chance, operator, value)
    )


def random_change(chance: random.Random) -> dict[str, Any]:
    return {"metric": "m"} | some(
        chance, to=lambda: chance.choice([True, 1, "on", 5]), clear_for_seconds=lambda: chance.randrange(1, 120)
    )


MADE: Mapping[KindName, Callable[[random.Random], dict[str, Any]]] = {
    KindName.THRESHOLD: random_threshold,
    KindName.WINDOW: random_window,
    KindName.CHANGE: random_change,
}


def random_series(chance: random.Random) -> list[Reading]:
    """Return readings whose values go up and down, with gaps, other types, and metrics that are not always there."""
    ts, level = START + chance.randrange(SECOND), 5
    series: list[Reading] = []
    gap = chance.choice([1, 20, 400])
    odd = chance.choice([0.0, 0.1, 0.6])
    for _ in range(chance.randrange(1, 50)):
        ts += chance.randrange(1, gap * 2 * SECOND)
        level = min(9, max(0, level + chance.randrange(-2, 3)))
        metrics: dict[str, Any] = {}
        if chance.random() < 0.9:
            strange = chance.random() < odd
            metrics["m"] = chance.choice([True, False, "on", "x", 1, 1.0]) if strange else level
        if chance.random() < 0.3:
            metrics["hatch"] = chance.choice([True, True, False, 1])
        if chance.random() < 0.3:
            metrics["n"] = chance.choice([1, 3, 5, "x"])
        series.append((ts, metrics))
    return series


class Stream:
    """A rule and a device as the stream has them: with restarts, tries that fail, and readings that need no judging."""

    def __init__(self, kind: Kind, parameters: Parameters, chance: random.Random) -> None:
        assert kind.step is not None
        assert parameters.metric is not None
        self._metric = parameters.metric
        self._kind, self._step, self._parameters, self._chance = kind, kind.step, parameters, chance
        self._state = REST
        self._memory = self._empty()
        self.happened: list[Happened] = []

    def run(self, series: Sequence[Reading]) -> None:
        """Judge all readings with the metric."""
        for number, told in enumerate(samples(series)):
            sample = told._replace(newest=self._known(told, told.newest), before=self._known(told, told.before))
            if self._chance.random() < 0.1:
                self._restart(series[:number])
            if self._metric not in sample.metrics:
                continue
            before = None if self._memory is None else self._memory.state
            if self._chance.random() < 0.2:  # a try that fails leaves nothing behind
                self._step(self._parameters, self._state, sample, self._memory)
                if self._memory is not None:
                    self._memory.state = before
            if self._needs_no_judging(sample.ts, sample.metrics[self._metric]):
                continue
            outcome = self._step(self._parameters, self._state, sample, self._memory)
            assert (outcome.state == REST) is (outcome.state is REST), "at rest it is REST itself"
            assert not (outcome.event is Event.NOTHING and self._state == outcome.state is not self._state), "unchanged"
            self._state = outcome.state
            if outcome.event is not Event.NOTHING:
                self.happened.append((sample.ts, outcome.event.value))

    def _known(self, sample: Sample, look: Callable[[str], Newest | None]) -> Callable[[str], Newest | None]:
        """Of earlier values only those are known that the kind names."""
        known = self._kind.named(self._parameters)
        before = look is sample.before
        return lambda name: look(name) if name in known or (name in sample.metrics and not before) else None

    def _needs_no_judging(self, ts: int, value: Any) -> bool:
        between = self._kind.quiet(self._parameters)
        if not is_number(value):
            return False
        if self._memory is not None:
            value = self._memory.take(ts, value)
        return self._state is REST and between is not None and between[0] < value < between[1]

    def _empty(self) -> Memory | None:
        return None if self._kind.memory is None else self._kind.memory(self._parameters)

    def _restart(self, history: Sequence[Reading]) -> None:
        """Keep what the database keeps, and fill in the rest from the readings."""
        if self._state is not REST:
            self._state = msgspec.json.decode(msgspec.json.encode(self._state), type=RuleState)
        self._memory = self._empty()
        if self._memory is None or not history:
            return
        assert self._kind.refill is not None
        first = history[-1][0] - self._kind.refill(self._parameters) * SECOND
        for ts, metrics in history:
            if ts > first and is_number(metrics.get(self._metric)):
                self._memory.take(ts, metrics[self._metric])


@pytest.mark.parametrize("name", sorted(MADE))
def test_a_kind_opens_and_closes_as_the_plain_reference_does(name: KindName) -> None:
    kind, seen = KINDS[name], set[str]()
    for seed in range(SERIES):
        chance = random.Random(f"{name} {seed}")
        rule, series = MADE[name](chance), random_series(chance)
        parameters = kind.parse(rule)
        assert kind.parse(msgspec.json.decode(msgspec.json.encode(parameters))) == parameters
        stream = Stream(kind, parameters, chance)
        stream.run(series)
        wanted = RULES_OF_PLAN[name](rule, series)
        assert stream.happened == wanted, (seed, rule, series)
        at_once = [(sample.ts, outcome.event.value) for sample, outcome in evaluate(kind, parameters, samples(series))]
        assert [one for one in at_once if one[1] != "nothing"] == wanted, (seed, rule, series)
        seen |= {what for _, what in wanted}
    assert seen == {"opened", "triggered", "closed"}
