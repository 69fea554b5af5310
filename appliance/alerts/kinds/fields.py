"""Reads the parameters of a rule from JSON, field by field. Whatever does not fit raises Invalid with its field."""

import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

from appliance.alerts.kinds.comparison import DOWNWARD, ORDERED, UPWARD, MetricValue, Operator, is_number
from appliance.devices.metrics.metric import NAME
from appliance.errors import Invalid

WEEK = 604_800
"""The longest duration that a breach or the way back may have to last, in seconds."""
MOST_READINGS = 1000
"""The most readings in a row that a breach may need."""
MAX_TEXT = 256
"""The longest text that a metric can have, in characters."""
INTEGERS = range(-(2**63), 2**63)
"""The whole numbers that a metric can have."""
UNSTORABLE = re.compile("[\0\ud800-\udfff]")
"""Characters that neither JSON nor the database holds."""


class Fields:
    """The fields of one JSON object. ``prefix`` stands before their names in errors, such as ``conditions[0].``."""

    def __init__(self, given: Mapping[str, Any], known: Iterable[str], prefix: str = "") -> None:
        """Raises Invalid for a field that is not among the ``known``."""
        self._prefix = prefix
        self._given = {name: value for name, value in given.items() if value is not None}
        known = tuple(known)
        for name in given:
            if name not in known:
                raise self.fault(name, f"there is no such field; there are {', '.join(known)}")

    def fault(self, name: str, mend: str) -> Invalid:
        """Return the error for a field: what is wrong with it, and what to write."""
        return Invalid(f"`{self._prefix}{name}`: {mend}.", f"{self._prefix}{name}")

    def get(self, name: str) -> Any:
        """Return a field as it was given; None if it was not."""
        return self._given.get(name)

    def metric(self, name: str = "metric") -> str:
        """Return the name of a metric."""
        found = self.optional_metric(name)
        if found is None:
            raise self.fault(name, "name the metric that the rule is about")
        return found

    def optional_metric(self, name: str = "metric") -> str | None:
        """Return the name of a metric, or None."""
        value = self._given.get(name)
        if value is not None and not (isinstance(value, str) and NAME.fullmatch(value)):
            raise self.fault(name, "a metric's name has 1 to 64 of A-Z a-z 0-9 _ . - and starts with a letter or _")
        return value

    def operator(self, name: str = "operator") -> Operator:
        """Return the comparison."""
        return Operator(self.choice(name, tuple(Operator)))

    def choice(self, name: str, choices: tuple[str, ...]) -> str:
        """Return one of ``choices``."""
        value = self._given.get(name)
        if not isinstance(value, str) or value not in choices:
            raise self.fault(name, f"choose one of {', '.join(choices)}")
        return value

    def number(self, name: str) -> float:
        """Return a finite number."""
        found = self.optional_number(name)
        if found is None:
            raise self.fault(name, "write a number")
        return found

    def optional_number(self, name: str) -> float | None:
        """Return a finite number, or None."""
        value = self._given.get(name)
        if value is None:
            return None
        if not is_number(value):
            raise self.fault(name, "write a number, such as 8 or -4.5")
        number: float = value
        if isinstance(value, int) and value not in INTEGERS:
            number = float(value) if abs(value) < 10**308 else math.inf  # jsonb writes 1e20 as a whole number
        if not math.isfinite(number):
            raise self.fault(name, "write a finite number; NaN and infinity are none")
        return number

    def optional_value(self, name: str) -> MetricValue | None:
        """Return a number, a boolean or text, or None."""
        value = self._given.get(name)
        if isinstance(value, bool):
            return value
        if isinstance(value, str):
            if len(value) > MAX_TEXT or UNSTORABLE.search(value):
                raise self.fault(name, f"a text has at most {MAX_TEXT} characters, and U+0000 is none of them")
            return value
        if value is not None and not isinstance(value, int | float):
            raise self.fault(name, "write a number, true, false or text")
        return self.optional_number(name)

    def compared_value(self, operator: Operator, name: str = "value") -> MetricValue:
        """Return what ``operator`` compares with: a number, for EQ and NE a boolean or text as well."""
        if operator in ORDERED:
            if isinstance(self._given.get(name), str | bool):
                raise self.fault(name, f"{operator} compares numbers; for text, true and false choose EQ or NE")
            return self.number(name)
        found = self.optional_value(name)
        if found is None:
            raise self.fault(name, "write a number, true, false or text")
        return found

    def clear_value(self, operator: Operator, limit: MetricValue, name: str = "clear_value") -> float | None:
        """Return the value that hysteresis ends at, or None. It is on the side of ``limit`` that does not breach."""
        found = self.optional_number(name)
        if found is None:
            return None
        if operator not in ORDERED:
            raise self.fault(name, f"leave it out: {operator} has no other side; it belongs to GT, GTE, LT and LTE")
        assert not isinstance(limit, str), "ordered comparisons are of numbers"  # noqa: S101 - narrows the type
        if operator in UPWARD and found > limit:
            raise self.fault(name, f"write {limit} or less: the alert opens above and closes below")
        if operator in DOWNWARD and found < limit:
            raise self.fault(name, f"write {limit} or more: the alert opens below and closes above")
        return found

    def whole(self, name: str, most: int, unit: str) -> int:
        """Return a whole number from 1 to ``most``."""
        found = self.optional_whole(name, most, unit)
        if found is None:
            raise self.fault(name, f"write a whole number of {unit} from 1 to {most}")
        return found

    def optional_whole(self, name: str, most: int, unit: str) -> int | None:
        """Return a whole number from 1 to ``most``, or None."""
        value = self._given.get(name)
        if value is None:
            return None
        if not is_number(value) or not 1 <= value <= most or value != int(value):
            raise self.fault(name, f"write a whole number of {unit} from 1 to {most}")
        return int(value)
