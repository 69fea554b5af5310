"""The kind ``threshold``: a metric is past a limit, if asked for a while, and if asked while other conditions hold."""

from collections.abc import Mapping
from typing import Any

import msgspec

from appliance.alerts.alert import AlertType
from appliance.alerts.kinds.comparison import MetricValue, Operator, compare, is_number
from appliance.alerts.kinds.fields import MOST_READINGS, WEEK, Fields
from appliance.alerts.kinds.kind import Event, Kind, KindName, Memory, Parameters, RuleState, Sample, Step
from appliance.alerts.kinds.verdict import MICROSECONDS, Verdict, advance, judge, quiet_side

MOST_CONDITIONS = 3


class Condition(msgspec.Struct, frozen=True):
    """A further condition, on the newest value of another metric of the same device."""

    metric: str
    operator: Operator
    value: MetricValue
    max_age_seconds: int
    """How old that value may be, measured from the reading that is judged."""


class ThresholdParameters(Parameters, frozen=True, kw_only=True):
    """A limit of a metric."""

    metric: str
    operator: Operator
    value: MetricValue
    clear_value: float | None = None
    """Hysteresis: an open alert closes only past this value."""
    for_seconds: int | None = None
    """The breach must last."""
    for_count: int | None = None
    """The readings in a row that must breach."""
    clear_for_seconds: int | None = None
    """The way back must last."""
    conditions: tuple[Condition, ...] = ()
    """All of them must hold, or the reading is clear."""


def parse(given: Mapping[str, Any]) -> ThresholdParameters:
    """Return the parameters. Raises Invalid with the field."""
    fields = Fields(given, ThresholdParameters.__struct_fields__)
    operator = fields.operator()
    value = fields.compared_value(operator)
    return ThresholdParameters(
        metric=fields.metric(),
        operator=operator,
        value=value,
        clear_value=fields.clear_value(operator, value),
        for_seconds=fields.optional_whole("for_seconds", WEEK, "seconds"),
        for_count=fields.optional_whole("for_count", MOST_READINGS, "readings"),
        clear_for_seconds=fields.optional_whole("clear_for_seconds", WEEK, "seconds"),
        conditions=_conditions(fields),
    )


def _conditions(fields: Fields) -> tuple[Condition, ...]:
    given = fields.get("conditions") or ()
    if not isinstance(given, list | tuple) or not all(isinstance(one, Mapping) for one in given):
        raise fields.fault("conditions", "write a list of objects with metric, operator, value and max_age_seconds")
    if len(given) > MOST_CONDITIONS:
        raise fields.fault("conditions", f"a rule has at most {MOST_CONDITIONS} further conditions")
    return tuple(_condition(one, f"conditions[{number}].") for number, one in enumerate(given))


def _condition(given: Mapping[str, Any], prefix: str) -> Condition:
    fields = Fields(given, Condition.__struct_fields__, prefix)
    operator = fields.operator()
    return Condition(
        metric=fields.metric(),
        operator=operator,
        value=fields.compared_value(operator),
        max_age_seconds=fields.whole("max_age_seconds", WEEK, "seconds"),
    )


def step(parameters: ThresholdParameters, state: RuleState, sample: Sample, _memory: Memory | None) -> Step:
    """Judge one reading with the metric. A value that cannot be compared says nothing."""
    value = sample.metrics[parameters.metric]
    verdict = judge(parameters.operator, value, parameters.value, parameters.clear_value)
    if verdict is None:
        return Step(state, Event.NOTHING, value)
    if parameters.conditions and not all(_holds(condition, sample) for condition in parameters.conditions):
        verdict = Verdict.CLEAR
    after, event = advance(
        state,
        verdict,
        sample.ts,
        for_seconds=parameters.for_seconds,
        for_count=parameters.for_count,
        clear_for_seconds=parameters.clear_for_seconds,
    )
    return Step(after, event, value)


def _holds(condition: Condition, sample: Sample) -> bool:
    newest = sample.newest(condition.metric)
    if newest is None or newest.ts is None or sample.ts - newest.ts > condition.max_age_seconds * MICROSECONDS:
        return False
    return compare(condition.operator, newest.value, condition.value) is True


def quiet(parameters: ThresholdParameters) -> tuple[float, float] | None:
    """Return the bounds between which a number leaves a state at rest as it is."""
    value = parameters.value
    return quiet_side(parameters.operator, value) if is_number(value) and not isinstance(value, str) else None


def named(parameters: ThresholdParameters) -> frozenset[str]:
    """Return the metrics of the further conditions: their ages count."""
    return frozenset(condition.metric for condition in parameters.conditions)


THRESHOLD = Kind(
    name=KindName.THRESHOLD,
    alert_type=AlertType.THRESHOLD,
    parse=parse,
    step=step,
    memory=None,
    refill=None,
    quiet=quiet,
    named=named,
)
