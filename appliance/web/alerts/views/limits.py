"""What opened an alert, in words: its value with its unit, its limit, when it opens and when it clears. Pure.

Details of alerts and parameters of rules are JSON that other versions may have written: what is missing or of another
type is left out.
"""

from collections.abc import Mapping
from typing import Any

from appliance.devices.metrics.metric import Metric
from appliance.web.page import formats

COMPARED = {
    "GT": "above",
    "GTE": "at or above",
    "LT": "below",
    "LTE": "at or below",
    "EQ": "equal to",
    "NE": "not",
}
BACK = {"GT": "at or below", "GTE": "below", "LT": "at or above", "LTE": "above", "EQ": "not", "NE": "equal to"}
"""Where a reading is clear again, without a clearing value of its own."""
AGGREGATES = {"avg": "mean", "min": "lowest", "max": "highest"}


def number_of(given: Any) -> float | None:
    """Return a finite number, or None for anything else: booleans and texts have no place on an axis."""
    if isinstance(given, bool) or not isinstance(given, int | float):
        return None
    return float(given) if abs(given) < float("inf") else None


def quantity(value: Any, metric: Metric | None, *, unit: bool = True) -> str:
    """Return a value with the decimals and the unit of its metric; empty for None."""
    if value is None or isinstance(value, Mapping | list):
        return ""
    if number_of(value) is None:
        return formats.metric(value)
    decimals = None if metric is None else metric.decimals
    given = float(f"{value:.6g}") if decimals is None and isinstance(value, float) else value
    text = formats.quantity(given, decimals)
    return f"{text} {metric.unit}" if unit and metric is not None and metric.unit else text


def condition(parameters: Mapping[str, Any], metric: Metric | None) -> str:
    """Return when a rule opens: ``above 8.0 °C for 5 min``, ``no reading for 30 min``; empty if it says nothing."""
    if "aggregate" in parameters:
        aggregate = AGGREGATES.get(str(parameters["aggregate"]), "value")
        return f"{aggregate} of {_lasting(parameters.get('window_seconds'))} {_compared(parameters, metric)}"
    if "operator" in parameters:
        return f"{_compared(parameters, metric)}{_lasts(parameters)}"
    if "metric" in parameters and "seconds" not in parameters:
        to = parameters.get("to")
        return "the value changes" if to is None else f"changes to {quantity(to, metric)}"
    if "seconds" in parameters:
        what = "no reading" if parameters.get("metric") is None else f"no {parameters['metric']}"
        return f"{what} for {_lasting(parameters['seconds'])}"
    return ""


def clearing(parameters: Mapping[str, Any], metric: Metric | None) -> str:
    """Return when an alert of the rule closes by itself: ``at or below 7.0 °C``; empty if a timer or nothing tells."""
    operator = str(parameters.get("operator", ""))
    if operator not in BACK:
        return ""
    clear = parameters.get("clear_value")
    upward = operator in ("GT", "GTE")
    text = (
        f"{BACK[operator]} {quantity(parameters.get('value'), metric)}"
        if clear is None
        else f"{'at or below' if upward else 'at or above'} {quantity(clear, metric)}"
    )
    lasts = parameters.get("clear_for_seconds")
    return f"{text} for {_lasting(lasts)}" if lasts else text


def _compared(parameters: Mapping[str, Any], metric: Metric | None) -> str:
    operator = COMPARED.get(str(parameters.get("operator")), "past")
    return f"{operator} {quantity(parameters.get('value'), metric)}"


def _lasts(parameters: Mapping[str, Any]) -> str:
    seconds, count = parameters.get("for_seconds"), parameters.get("for_count")
    parts = [f"for {_lasting(seconds)}"] if seconds else []
    parts += [f"{count} readings in a row"] if count else []
    return f" {' and '.join(parts)}" if parts else ""


def _lasting(seconds: Any) -> str:
    number = number_of(seconds)
    return "a while" if number is None else formats.lasting(number)
