"""The kind ``change``: the value of a metric changed, or it became a given value."""

from collections.abc import Mapping
from typing import Any

from appliance.alerts.alert import AlertType
from appliance.alerts.kinds.comparison import MetricValue, same
from appliance.alerts.kinds.fields import WEEK, Fields
from appliance.alerts.kinds.kind import REST, Event, Kind, KindName, Memory, Parameters, RuleState, Sample, Step
from appliance.alerts.kinds.verdict import MICROSECONDS, OPEN, Verdict, advance


class ChangeParameters(Parameters, frozen=True, kw_only=True):
    """A metric whose changes count."""

    metric: str
    to: MetricValue | None = None
    """Only a change to this value counts."""
    clear_for_seconds: int | None = None
    """Without ``to``: how long it must not change again. With ``to``: how long it must be something else."""


def parse(given: Mapping[str, Any]) -> ChangeParameters:
    """Return the parameters. Raises Invalid with the field."""
    fields = Fields(given, ChangeParameters.__struct_fields__)
    return ChangeParameters(
        metric=fields.metric(),
        to=fields.optional_value("to"),
        clear_for_seconds=fields.optional_whole("clear_for_seconds", WEEK, "seconds"),
    )


def step(parameters: ChangeParameters, state: RuleState, sample: Sample, _memory: Memory | None) -> Step:
    """Compare one reading with the last value. The first value ever is no change."""
    value = sample.metrics[parameters.metric]
    last = sample.before(parameters.metric)
    changed = last is not None and not same(last.value, value)
    if parameters.to is None:
        after, event = _any_change(state, sample.ts, parameters.clear_for_seconds, changed=changed)
    else:
        there = same(value, parameters.to)
        if not state.open and not (there and changed):
            return Step(REST, Event.NOTHING, value)
        verdict = Verdict.BREACH if there else Verdict.CLEAR
        after, event = advance(state, verdict, sample.ts, clear_for_seconds=parameters.clear_for_seconds)
    return Step(after, event, value)


def _any_change(state: RuleState, ts: int, clear_for_seconds: int | None, *, changed: bool) -> tuple[RuleState, Event]:
    """Open at a change. ``clear_since`` is the time of the last one: from there on the value has stayed."""
    if changed:
        after = RuleState(open=True, clear_since=ts) if clear_for_seconds else OPEN
        return after, Event.TRIGGERED if state.open else Event.OPENED
    if not state.open:
        return REST, Event.NOTHING
    if clear_for_seconds and ts - state.clear_since < clear_for_seconds * MICROSECONDS:
        return state, Event.NOTHING
    return REST, Event.CLOSED


def named(parameters: ChangeParameters) -> frozenset[str]:
    """Return the metric: its last value is what a reading is compared with."""
    return frozenset({parameters.metric})


CHANGE = Kind(
    name=KindName.CHANGE,
    alert_type=AlertType.CHANGE,
    parse=parse,
    step=step,
    memory=None,
    refill=None,
    quiet=lambda _: None,
    named=named,
)
