"""Compares what devices send with what a rule names. Values of metrics are numbers, booleans and text."""

import operator
from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Any

MetricValue = int | float | bool | str


class Operator(StrEnum):
    """The comparisons, as the API calls them."""

    GT = "GT"
    GTE = "GTE"
    LT = "LT"
    LTE = "LTE"
    EQ = "EQ"
    NE = "NE"


UPWARD = frozenset({Operator.GT, Operator.GTE})
"""Those that breach above their value."""
DOWNWARD = frozenset({Operator.LT, Operator.LTE})
"""Those that breach below their value."""
ORDERED = UPWARD | DOWNWARD
"""Those that compare numbers only."""

_COMPARE: Mapping[Operator, Callable[[Any, Any], bool]] = {
    Operator.GT: operator.gt,
    Operator.GTE: operator.ge,
    Operator.LT: operator.lt,
    Operator.LTE: operator.le,
}


def is_number(value: Any) -> bool:
    """Return whether a value is a number; a boolean is none."""
    kind = type(value)
    return kind is float or kind is int


def same(first: Any, second: Any) -> bool:
    """Return whether two values are equal. A boolean equals no number: ``True`` is not 1."""
    return bool(first == second) and isinstance(first, bool) is isinstance(second, bool)


def compare(how: Operator, value: Any, limit: Any) -> bool | None:
    """Return whether the comparison holds; None if the two cannot be compared, such as text by GT."""
    ordered = _COMPARE.get(how)
    if ordered is None:
        return same(value, limit) is (how is Operator.EQ)
    if not (is_number(value) and is_number(limit)):
        return None
    return ordered(value, limit)
