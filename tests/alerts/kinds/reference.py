"""What the rules of alerts say, written down as plainly as possible: the whole history is looked at for each reading.

It shares no code with the product. A series is a list of readings, (time in microseconds, metrics), in order of time;
parameters are the JSON of a rule. The answer is a list of (time, "opened" | "triggered" | "closed").
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

SECOND = 1_000_000

Reading = tuple[int, Mapping[str, Any]]
Happened = tuple[int, str]
Verdict = str | None
"""``breach``, ``between`` or ``clear``; None says nothing."""


def threshold(rule: Mapping[str, Any], series: Sequence[Reading]) -> list[Happened]:
    """A limit of a metric, with further conditions."""

    def verdict(number: int) -> Verdict:
        value = series[number][1].get(rule["metric"])
        if value is None:
            return None
        said = _past(rule, value)
        if said is None:
            return None
        return said if all(_holds(one, series[: number + 1]) for one in rule.get("conditions", [])) else "clear"

    return _lasting(rule, series, verdict)


def window(rule: Mapping[str, Any], series: Sequence[Reading]) -> list[Happened]:
    """A limit of an aggregate of the last slots of time, 1,440 at most and a second at least."""
    span = rule["window_seconds"] * SECOND
    width = max(SECOND, (span + 1439) // 1440)
    slots = (span + width - 1) // width

    def verdict(number: int) -> Verdict:
        at, metrics = series[number]
        if not _is_number(metrics.get(rule["metric"])):
            return None
        values = [
            there[rule["metric"]]
            for ts, there in series[: number + 1]
            if _is_number(there.get(rule["metric"])) and ts // width > at // width - slots
        ]
        aggregate = {"avg": sum(values) / len(values), "min": min(values), "max": max(values)}[rule["aggregate"]]
        return _past(rule, aggregate)

    return _lasting(rule, series, verdict)


def change(rule: Mapping[str, Any], series: Sequence[Reading]) -> list[Happened]:
    """A change of a value, or a change to one."""
    told = [(ts, metrics[rule["metric"]]) for ts, metrics in series if rule["metric"] in metrics]
    happened: list[Happened] = []
    opened_at: int | None = None
    for number in range(1, len(told)):
        ts, value = told[number]
        is_change = not _same(value, told[number - 1][1])
        if "to" not in rule:
            changes = [told[n][0] for n in range(1, number + 1) if not _same(told[n][1], told[n - 1][1])]
            if is_change:
                happened.append((ts, "opened" if opened_at is None else "triggered"))
                opened_at = number if opened_at is None else opened_at
            elif opened_at is not None and ts - changes[-1] >= rule.get("clear_for_seconds", 0) * SECOND:
                happened.append((ts, "closed"))
                opened_at = None
            continue
        if opened_at is None:
            if is_change and _same(value, rule["to"]):
                happened.append((ts, "opened"))
                opened_at = number
            continue
        if _same(value, rule["to"]):
            happened.append((ts, "triggered"))
            continue
        away = _tail(told[opened_at : number + 1], lambda reading: not _same(reading[1], rule["to"]))
        if ts - away[0][0] >= rule.get("clear_for_seconds", 0) * SECOND:
            happened.append((ts, "closed"))
            opened_at = None
    return happened


def _lasting(rule: Mapping[str, Any], series: Sequence[Reading], verdict: Callable[[int], Verdict]) -> list[Happened]:
    """Openings and closings from the verdicts of all readings so far."""
    happened: list[Happened] = []
    since, is_open = 0, False  # the number of the reading after the last opening or closing
    for number in range(len(series)):
        said = verdict(number)
        if said is None:
            continue
        ts = series[number][0]
        judged = [(series[n][0], verdict(n)) for n in range(since, number + 1) if verdict(n) is not None]
        if not is_open:
            run = _tail(judged, lambda reading: reading[1] == "breach")
            lasted = bool(run) and ts - run[0][0] >= rule.get("for_seconds", 0) * SECOND
            if lasted and len(run) >= rule.get("for_count", 1):
                happened.append((ts, "opened"))
                since, is_open = number + 1, True
        elif said == "breach":
            happened.append((ts, "triggered"))
        else:
            run = _tail(judged, lambda reading: reading[1] == "clear")
            if run and ts - run[0][0] >= rule.get("clear_for_seconds", 0) * SECOND:
                happened.append((ts, "closed"))
                since, is_open = number + 1, False
    return happened


def _tail(readings: Sequence[Any], fits: Callable[[Any], bool]) -> list[Any]:
    """The last readings, in a row, that all fit."""
    tail: list[Any] = []
    for reading in reversed(readings):
        if not fits(reading):
            break
        tail.insert(0, reading)
    return tail


def _past(rule: Mapping[str, Any], value: Any) -> Verdict:
    breaches = _compare(rule["operator"], value, rule["value"])
    if breaches is None:
        return None
    if breaches:
        return "breach"
    return "between" if "clear_value" in rule and _compare(rule["operator"], value, rule["clear_value"]) else "clear"


def _holds(condition: Mapping[str, Any], history: Sequence[Reading]) -> bool:
    for ts, metrics in reversed(history):
        if condition["metric"] in metrics:
            young = history[-1][0] - ts <= condition["max_age_seconds"] * SECOND
            value = metrics[condition["metric"]]
            return young and _compare(condition["operator"], value, condition["value"]) is True
    return False


def _compare(operator: str, value: Any, limit: Any) -> bool | None:
    if operator == "EQ":
        return _same(value, limit)
    if operator == "NE":
        return not _same(value, limit)
    if not _is_number(value):
        return None
    return bool({"GT": value > limit, "GTE": value >= limit, "LT": value < limit, "LTE": value <= limit}[operator])


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _same(one: Any, other: Any) -> bool:
    return isinstance(one, bool) == isinstance(other, bool) and one == other
