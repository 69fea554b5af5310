"""The form of a rule: what was typed, as the flat object that the API takes, and such an object as a form shows it.

Durations are a number and a unit; numbers have a comma or a point. An error of the flat object's field is one of the
form's control that it came from.
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from appliance.alerts.kinds.comparison import Operator
from appliance.alerts.kinds.kind import KindName
from appliance.alerts.kinds.threshold import MOST_CONDITIONS
from appliance.errors import Invalid
from appliance.severity import Severity
from appliance.web.page.formats import MINUS
from appliance.web.page.forms import Fields

UNITS: dict[str, int] = {"s": 1, "min": 60, "h": 3600, "d": 86_400}
"""The units of durations, in seconds."""
DURATIONS: Mapping[str, str] = {
    "for_seconds": "for",
    "clear_for_seconds": "clear_for",
    "window_seconds": "window",
    "seconds": "seconds",
}
"""Fields of the flat object in seconds, and the controls that they are typed into."""
LABELS: Mapping[str, str] = {
    "value": "limit",
    "clear_value": "clear value",
    "for_seconds": "duration",
    "for_count": "readings in a row",
    "clear_for_seconds": "clear for",
    "window_seconds": "window",
    "seconds": "silence",
    "to": "new value",
    "conditions": "further conditions",
    "scope": "devices",
}
"""What fields of the flat object are called in a sentence."""
LISTS: Mapping[str, str] = {"tags": "tags", "device_prefixes": "prefixes", "device_ids": "devices"}
"""Lists of a scope that are typed with commas between them."""
CONDITION = re.compile(r"conditions\[(\d)\]\.(\w+)")
NUMBER = re.compile(r"[+-]?(\d+([.,]\d*)?|[.,]\d+)([eE][+-]?\d+)?", re.ASCII)
MAX_LIST = 20_000
"""Characters of a list."""
USUAL_AGE = {"age": "5", "age_unit": "min"}
TEXTS = frozenset({"string"})
BOOLEANS = frozenset({"boolean"})
MetricTypes = Mapping[str, Collection[str]]
"""Of each metric what devices send: number, boolean or string."""


@dataclass(slots=True)
class Given:
    """What a form shows: the text of each control, the rows of further conditions, the sites that are ticked."""

    texts: dict[str, str] = field(default_factory=dict)
    conditions: list[dict[str, str]] = field(default_factory=list)
    sites: list[str] = field(default_factory=list)

    def get(self, name: str, default: str = "") -> str:
        """Return the text of a control."""
        return self.texts.get(name, default)

    @property
    def kind(self) -> KindName:
        """Return the chosen kind."""
        chosen = self.get("kind")
        return KindName(chosen) if chosen in set(KindName) else KindName.THRESHOLD


CONTROLS = (
    "name", "description", "kind", "severity", "enabled", "metric", "operator", "value", "for", "for_unit", "for_count",
    "aggregate", "window", "window_unit", "clear_value", "clear_for", "clear_for_unit", "seconds", "seconds_unit", "to",
    "which", "tags", "prefixes", "devices", "version",
)  # fmt: skip
ROW = ("metric", "operator", "value", "age", "age_unit")
"""The controls of a further condition; their names begin with c0_, c1_ or c2_."""


def typed(fields: Fields) -> Given:
    """Return what was typed, valid or not."""
    rows = [
        {name: fields.typed(f"c{index}_{name}") for name in ROW}
        for index in range(MOST_CONDITIONS)
        if f"c{index}_metric" in fields
    ]
    return Given({name: fields.typed(name) for name in CONTROLS if name in fields}, rows, fields.many("site")[:1000])


def blank(metric: str = "", device: str = "") -> Given:
    """Return the form of a new rule, about a metric and a device if they are named."""
    texts = {"kind": KindName.THRESHOLD.value, "severity": Severity.MEDIUM.value, "enabled": "on", "operator": "GT"}
    texts |= {"metric": metric, "devices": device, "which": "some" if device else "all"}
    return Given(texts)


def shown(flat: Mapping[str, Any], version: str) -> Given:
    """Return the form of a rule; parameters that cannot be read any more are shown as far as they can."""
    scope = flat.get("scope", {})
    texts = {name: _text(flat[name]) for name in CONTROLS if name in flat and name not in DURATIONS}
    texts["enabled"] = "on" if flat.get("enabled") else ""
    for name, control in DURATIONS.items():
        texts |= _duration(control, flat.get(name))
    texts |= {control: ", ".join(scope.get(name, ())) for name, control in LISTS.items()}
    texts |= {"which": "some" if any(scope.values()) else "all", "version": version}
    conditions = flat.get("conditions")
    rows = [_row(one) for one in conditions if isinstance(one, Mapping)] if isinstance(conditions, list | tuple) else []
    return Given(texts, rows, list(scope.get("site_ids", ())))


def flat_of(given: Given, types: MetricTypes) -> tuple[dict[str, Any], dict[str, Invalid]]:
    """Return the flat object of what was typed, and what is wrong with the controls that cannot be read, by field.

    Fields that are wrong or empty are left out.
    """
    made = _Maker(given, types)
    for name in ("name", "description", "kind", "severity"):
        made.put(name, given.get(name).replace("\r\n", "\n").strip() or None)
    made.put("enabled", given.get("enabled") == "on")
    made.put("metric", given.get("metric") or None)
    {
        KindName.THRESHOLD: made.threshold,
        KindName.WINDOW: made.window,
        KindName.NO_DATA: lambda: made.duration("seconds"),
        KindName.CHANGE: made.change,
    }[given.kind]()
    made.flat["kind"] = given.kind.value
    made.flat["scope"] = _scope(given)
    if given.get("which") == "some" and not made.flat["scope"]:
        made.wrong["scope"] = Invalid("Choose a site, or write a tag, a beginning or a device.", "scope")
    return made.flat, made.wrong


def control_of(name: str | None) -> str:
    """Return the control that a field of the flat object was typed into."""
    if name is None:
        return ""
    row = CONDITION.fullmatch(name)
    if row is not None:
        return f"c{row[1]}_{'age' if row[2] == 'max_age_seconds' else row[2]}"
    name = name.removeprefix("scope.")
    return {**DURATIONS, **LISTS, "site_ids": "sites", "scope": "which"}.get(name, name)


def people_text(error: Invalid) -> str:
    """Return what is wrong without the name of the field, which the form shows beside it."""
    text = str(error)
    field_name, mark, rest = text.partition("`: ")
    text = rest if mark and field_name.startswith("`") else text
    return text[:1].upper() + text[1:]


class _Maker:
    """Makes the flat object field by field."""

    def __init__(self, given: Given, types: MetricTypes) -> None:
        self.flat: dict[str, Any] = {}
        self.wrong: dict[str, Invalid] = {}
        self._given = given
        self._types = types

    def put(self, name: str, value: Any) -> None:
        """Set a field, unless there is no value."""
        if value is not None:
            self.flat[name] = value

    def threshold(self) -> None:
        """Read the parameters of a threshold."""
        operator = self._operator()
        if operator in (Operator.EQ, Operator.NE):
            self.put("value", _value(self._given.get("value"), self._types.get(self._given.get("metric"), ())))
        else:
            self._number("value")
            self._number("clear_value")
        self._lasting()
        rows = [self._condition(index, row) for index, row in enumerate(self._given.conditions)]
        self.put("conditions", rows or None)

    def window(self) -> None:
        """Read the parameters of a window."""
        self._operator()
        self.put("aggregate", self._given.get("aggregate") or "avg")
        self.duration("window_seconds")
        self._number("value")
        self._number("clear_value")
        self._lasting()

    def change(self) -> None:
        """Read the parameters of a change."""
        self.put("to", _value(self._given.get("to"), self._types.get(self._given.get("metric"), ())))
        self.duration("clear_for_seconds")

    def duration(self, name: str) -> None:
        """Read a duration in seconds."""
        control = DURATIONS[name]
        self._read(name, self._given.get(control), UNITS.get(self._given.get(f"{control}_unit"), 1))

    def _lasting(self) -> None:
        self.duration("for_seconds")
        self._number("for_count")
        self.duration("clear_for_seconds")

    def _operator(self) -> str:
        operator = self._given.get("operator") or Operator.GT.value
        self.put("operator", operator)
        return operator

    def _number(self, name: str) -> None:
        self._read(name, self._given.get(name), None)

    def _read(self, name: str, text: str, unit: int | None) -> None:
        try:
            self.put(name, _number(text, name, unit))
        except Invalid as error:
            self.wrong[name] = error

    def _condition(self, index: int, row: Mapping[str, str]) -> dict[str, Any]:
        metric, path = row.get("metric", ""), f"conditions[{index}]."
        made: dict[str, Any] = {"metric": metric, "operator": row.get("operator") or "EQ"}
        value = _value(row.get("value", ""), self._types.get(metric, ()))
        if made["operator"] not in ("EQ", "NE"):
            try:
                value = _number(row.get("value", ""), f"{path}value", None)
            except Invalid as error:
                self.wrong[f"{path}value"] = error
        try:
            age = _number(row.get("age", ""), f"{path}max_age_seconds", UNITS.get(row.get("age_unit", ""), 1))
        except Invalid as error:
            self.wrong[f"{path}max_age_seconds"], age = error, None
        return {
            name: one
            for name, one in (made | {"value": value, "max_age_seconds": age}).items()
            if one not in (None, "")
        }


def _number(text: str, name: str, unit: int | None) -> int | float | None:
    """Return a number, or a duration in seconds if it has a unit; None if nothing was typed. Raises Invalid."""
    text = text.strip().replace(MINUS, "-").replace("\N{NO-BREAK SPACE}", "")
    if not text:
        return None
    if not NUMBER.fullmatch(text) or len(text) > 40:
        raise Invalid("Enter a number, such as 6.5." if unit is None else "Enter a number, such as 10.", name)
    plain = text.replace(",", ".")
    number = int(plain) if plain.lstrip("+-").isdigit() else float(plain)
    if unit is None:
        return number
    seconds = number * unit
    if not 1 <= seconds < 1e9:
        raise Invalid("Enter at least 1 s." if seconds < 1 else "This is too long.", name)
    return round(seconds)


def _value(text: str, types: Collection[str]) -> int | float | bool | str | None:
    """Return a value that a metric is compared with, of the type that devices send; None if nothing was typed."""
    text = text.strip()
    if not text:
        return None
    if set(types) == TEXTS:
        return text
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    try:
        return _number(text, "value", None)
    except Invalid:
        return text


def _scope(given: Given) -> dict[str, list[str]]:
    if given.get("which") != "some":
        return {}
    lists = {name: _listed(given.get(control)[:MAX_LIST]) for name, control in LISTS.items()}
    return {name: values for name, values in ({"site_ids": given.sites} | lists).items() if values}


def _listed(text: str) -> list[str]:
    return [one for one in (part.strip() for part in re.split(r"[,;\n]", text)) if one]


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return f"{value:.0f}"
    return str(value)


def _row(condition: Mapping[str, Any]) -> dict[str, str]:
    texts = {name: _text(condition.get(name, "")) for name in ("metric", "operator", "value")}
    return texts | _duration("age", condition.get("max_age_seconds"))


def _duration(control: str, seconds: Any) -> dict[str, str]:
    """Return a duration in the largest unit of which it is a whole number."""
    if not isinstance(seconds, int) or seconds < 1:
        return {}
    unit = next(unit for unit in reversed(UNITS) if seconds % UNITS[unit] == 0)
    return {control: str(seconds // UNITS[unit]), f"{control}_unit": unit}
