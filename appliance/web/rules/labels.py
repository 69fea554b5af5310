"""Rules in words: "Temperature above 8.0 °C for 5 min". The one formatter of pages, exports and the API.

Metrics are called as people named them, with their units and decimals.
"""

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

from appliance.alerts.kinds.change import ChangeParameters
from appliance.alerts.kinds.comparison import ORDERED, Operator, is_number
from appliance.alerts.kinds.kind import KindName, Parameters
from appliance.alerts.kinds.no_data import NoDataParameters
from appliance.alerts.kinds.threshold import Condition, ThresholdParameters
from appliance.alerts.kinds.window import WindowParameters
from appliance.alerts.rules.rule import Scope
from appliance.devices.metrics.metric import Metric, described
from appliance.web.page import formats

KINDS: Mapping[KindName, str] = MappingProxyType(
    {
        KindName.THRESHOLD: "Threshold",
        KindName.WINDOW: "Window",
        KindName.NO_DATA: "No data",
        KindName.CHANGE: "Change",
    }
)
OPERATORS: Mapping[Operator, str] = MappingProxyType(
    {
        Operator.GT: "above",
        Operator.GTE: "at or above",
        Operator.LT: "below",
        Operator.LTE: "at or below",
        Operator.EQ: "is",
        Operator.NE: "is not",
    }
)
AGGREGATES: Mapping[str, str] = MappingProxyType({"avg": "average", "min": "lowest", "max": "highest"})
NO_METRICS: Mapping[str, Metric] = MappingProxyType({})
MOST_NAMED = 3
"""Sites, tags and devices of a scope that are named; more are counted."""


def limit(parameters: Parameters, metrics: Mapping[str, Metric] = NO_METRICS) -> str:
    """Return when a rule opens an alert; ``metrics`` are the tenant's. An unreadable rule has no words."""
    match parameters:
        case ThresholdParameters():
            return _threshold(parameters, metrics)
        case WindowParameters():
            aggregate = AGGREGATES[parameters.aggregate].capitalize()
            name = _inside(described(parameters.metric, metrics))
            compared = _compared(parameters.metric, parameters.operator, parameters.value, metrics)
            return f"{aggregate} {name} over {duration(parameters.window_seconds)} {compared}{_lasting(parameters)}"
        case NoDataParameters(seconds=None):
            return "Device turns offline"
        case NoDataParameters(metric=metric, seconds=int(seconds)):
            name = "reading" if metric is None else _inside(described(metric, metrics))
            return f"No {name} for {duration(seconds)}"
        case ChangeParameters(metric=metric, to=to):
            title = described(metric, metrics, to).title
            return f"{title} changes" if to is None else f"{title} changes to {value(metric, to, metrics)}"
    return ""


def clears(parameters: Parameters, metrics: Mapping[str, Metric] = NO_METRICS) -> str:
    """Return when a rule closes its alert, where that is not at once: "clears at 7.5 °C after 2 min"; else empty."""
    words = []
    if isinstance(parameters, ThresholdParameters | WindowParameters) and parameters.clear_value is not None:
        words.append(f"at {value(parameters.metric, parameters.clear_value, metrics)}")
    lasting = getattr(parameters, "clear_for_seconds", None)
    if lasting is not None:
        words.append(f"after {duration(lasting)}")
    return " ".join(["clears", *words]) if words else ""


def metrics_of(parameters: Parameters) -> set[str]:
    """Return the names of the metrics that the words of a rule name."""
    conditions = parameters.conditions if isinstance(parameters, ThresholdParameters) else ()
    return {name for name in (parameters.metric, *(one.metric for one in conditions)) if name is not None}


def value(metric: str, given: Any, metrics: Mapping[str, Metric] = NO_METRICS) -> str:
    """Return a value of a metric with its unit: ``8.0 °C``. A limit that needs more decimals has them."""
    if not is_number(given):
        return formats.metric(given)
    known = described(metric, metrics, given)
    text = formats.quantity(given, known.decimals)
    if known.decimals is not None and round(given, known.decimals) != given:
        text = formats.metric(given)
    return f"{text} {known.unit}" if known.unit else text


def duration(seconds: int) -> str:
    """Return a duration in full: ``45 s``, ``5 min``, ``1 h 30 min``, ``7 d``."""
    words = []
    for size, unit in ((86_400, "d"), (3600, "h"), (60, "min"), (1, "s")):
        whole, seconds = divmod(seconds, size)
        if whole:
            words.append(f"{whole} {unit}")
    return " ".join(words) or "0 s"


def scope(covered: Scope, sites: Mapping[str, str] = MappingProxyType({})) -> str:
    """Return the devices of a rule: "all devices", "tag freezer", "Bergen Quay, Drammen"; ``sites`` are their names."""
    parts = (
        _named(covered.site_ids, "sites", "", sites),
        _named(covered.tags, "tags", "tag "),
        _named([f"{prefix}…" for prefix in covered.device_prefixes], "prefixes", ""),
        _named(covered.device_ids, "devices", ""),
    )
    return ", ".join(filter(None, parts)) or "all devices"


def _threshold(parameters: ThresholdParameters, metrics: Mapping[str, Metric]) -> str:
    title = described(parameters.metric, metrics, parameters.value).title
    words = f"{title} {_compared(parameters.metric, parameters.operator, parameters.value, metrics)}"
    words += _lasting(parameters)
    for condition in parameters.conditions:
        words += f", and {_condition(condition, metrics)}"
    return words


def _lasting(parameters: ThresholdParameters | WindowParameters) -> str:
    words = "" if parameters.for_seconds is None else f" for {duration(parameters.for_seconds)}"
    if parameters.for_count is not None and parameters.for_count > 1:
        words += f", {parameters.for_count} readings in a row"
    return words


def _condition(condition: Condition, metrics: Mapping[str, Metric]) -> str:
    name = _inside(described(condition.metric, metrics, condition.value))
    verb = "is " if condition.operator in ORDERED else ""
    return f"{name} {verb}{_compared(condition.metric, condition.operator, condition.value, metrics)}"


def _compared(metric: str, operator: Operator, given: Any, metrics: Mapping[str, Metric]) -> str:
    return f"{OPERATORS[operator]} {value(metric, given, metrics)}"


def _inside(metric: Metric) -> str:
    """Return the title of a metric inside a sentence: ``temperature``, ``CO₂``, ``pH``."""
    title = metric.title
    return title[:1].lower() + title[1:] if title[1:2].islower() else title


def _named(values: Iterable[str], many: str, before: str, names: Mapping[str, str] = MappingProxyType({})) -> str:
    listed = list(values)
    if len(listed) > MOST_NAMED:
        return f"{len(listed)} {many}"
    return ", ".join(f"{before}{names.get(one, one)}" for one in listed)
