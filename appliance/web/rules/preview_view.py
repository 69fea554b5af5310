"""The preview as the editor shows it: counts, the chart of one device, what would have opened, and what was checked.

While a field is in error, the last valid value stands in for it, and the page says so. That value comes back with the
form, as a hidden field that is checked like all others.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import tzinfo
from typing import Any

import msgspec

from appliance.alerts.kinds.comparison import DOWNWARD, UPWARD
from appliance.alerts.kinds.kind import KindName
from appliance.alerts.kinds.table import KINDS
from appliance.alerts.rules.findings import MAX_READINGS, MAX_SECONDS, Opening, Preview, PreviewedRule, Stop
from appliance.alerts.rules.validation import draft_of
from appliance.devices.metrics.metric import Metric
from appliance.errors import Invalid
from appliance.web.access.auth import Viewer
from appliance.web.page import formats
from appliance.web.page.formats import count, local
from appliance.web.page.paths import to_device
from appliance.web.rules import labels
from appliance.web.rules.preview_chart import PreviewChart

MAX_ROWS = 12
"""Openings in the list."""
MAX_DEVICES = 50
"""Devices to choose from that would have opened an alert, and as many that would not."""
MAX_REPAIRS = 8
"""Fields in error for which others stand in."""
AROUND = 3 * 3600
"""Seconds before and after an opening that a link to the device's chart shows."""
STANDS_IN = {"name": "A rule", "severity": "medium"}
"""What a preview does not need."""


@dataclass(frozen=True, slots=True)
class Usable:
    """A rule that can be previewed, made of what was typed and what stands in for fields in error."""

    flat: Mapping[str, Any]
    rule: PreviewedRule
    repaired: Mapping[str, Any]
    """The fields in error, with what is used instead; None: nothing."""


@dataclass(frozen=True, slots=True)
class OpeningRow:
    """An alert that would have opened."""

    when: str
    at: float
    href: str
    device_id: str
    lasted: str
    value: str


@dataclass(frozen=True, slots=True)
class PreviewView:
    """Everything that the template shows."""

    title: str
    missing: str
    """Why there is no preview; empty if there is one."""
    device: str | None
    devices: Sequence[tuple[str, str]]
    metric: Metric | None
    chart: PreviewChart | None
    limits: Sequence[tuple[str, str]]
    """The lines of the chart: class and text."""
    rows: Sequence[OpeningRow]
    more: int
    """Further openings."""
    value_head: str
    match: str
    """How many devices the scope has."""
    covered: str
    notes: Sequence[str]
    valid: str
    """The rule that is previewed, as JSON: the last valid one."""
    waiting: bool = False
    """Whether the page asks for the preview itself, once it is shown."""


def waiting() -> PreviewView:
    """Return the view of a page that asks for its preview once it is shown."""
    return replace(nothing("It is not there yet."), title="Last 7 days", waiting=True)


def nothing(missing: str) -> PreviewView:
    """Return the view without a preview."""
    return PreviewView("Preview", missing, None, (), None, None, (), (), 0, "", "", "", (), "")


def usable(
    flat: Mapping[str, Any], wrong: Mapping[str, Invalid], valid: Mapping[str, Any] | None, built_in: str | None
) -> Usable:
    """Return the rule to preview: as typed, with ``valid``, the last valid one, for fields in error.

    Raises Invalid with the field that neither gives.
    """
    made = {**STANDS_IN, **flat}
    repaired: dict[str, Any] = {}
    for error in wrong.values():
        made, repaired = _repair(made, repaired, error, valid)
    for _ in range(MAX_REPAIRS):
        try:
            return Usable(made, previewed(made, built_in), repaired)
        except Invalid as error:
            made, repaired = _repair(made, repaired, error, valid)
    raise Invalid("Correct the form to see what the rule would have opened.")


def previewed(flat: Mapping[str, Any], built_in: str | None) -> PreviewedRule:
    """Return what of a flat rule decides what it opens. Raises Invalid with the field."""
    draft = draft_of(flat, built_in=built_in)
    return PreviewedRule(KINDS[draft.kind], draft.parameters, draft.scope)


def last_valid(text: str, built_in: str | None) -> dict[str, Any] | None:
    """Return the rule of the hidden field; None if it is none."""
    try:
        found = msgspec.json.decode(text, type=dict[str, Any])
        draft_of(found, built_in=built_in)
    except (msgspec.DecodeError, Invalid, RecursionError, UnicodeError):
        return None
    return found


def _repair(
    made: Mapping[str, Any], repaired: Mapping[str, Any], error: Invalid, valid: Mapping[str, Any] | None
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the rule with the last valid value of the field in error, and the fields that were mended so far.

    Raises the error itself if there is no such value.
    """
    field = (error.field or "").partition("[")[0].partition(".")[0]
    stand_in = STANDS_IN.get(field) or (valid or {}).get(field)
    if not field or field in repaired or (stand_in is None and valid is None):
        raise error
    others = {name: value for name, value in made.items() if name != field}
    mended = others if stand_in is None else {**others, field: stand_in}
    return mended, dict(repaired) if field in STANDS_IN else {**repaired, field: stand_in}


def title_of(found: Preview) -> str:
    """Return ``3 alerts in the last 7 days``."""
    least = "At least " if found.stopped else ""
    number = "No alerts" if not found.alerts and not least else count(found.alerts)
    text = f"{least}{number}{'' if number == 'No alerts' else ' alert' if found.alerts == 1 else ' alerts'}"
    return f"{text} in the last 7 days"


def covered_text(found: Preview, rule: PreviewedRule, saved: Preview | None) -> str:
    """Return what the preview covered, and what the saved rule opened in the same time."""
    unit = "message" if rule.kind.name is KindName.NO_DATA else "reading"
    read = f"{count(found.readings)} {unit}{'' if found.readings == 1 else 's'}"
    devices = len(found.reporting)
    if found.stopped is None:
        taken = f"{found.seconds:.1f} s" if found.seconds >= 0.05 else "less than 0.1 s"
        text = f"Checked {read} from {_devices(devices)} over the full 7 days in {taken}."
    else:
        bound = f"{MAX_SECONDS:g} s" if found.stopped is Stop.TIME else f"{count(MAX_READINGS)} {unit}s"
        text = (
            f"Stopped after {bound}: checked {read}, all of {count(found.checked)} of {_devices(devices)}."
            " Choose fewer devices to see the rest."
        )
    if saved is not None:
        least = "at least " if saved.stopped else ""
        text = f"The saved rule opened {least}{count(saved.alerts)} in the same time. {text}"
    if rule.kind.name is KindName.NO_DATA:
        text += " Times in which the appliance itself did not listen are left out."
    return text


def match_text(found: Preview, metric: Metric | None) -> str:
    """Return how many devices the scope has, and how many of them report the metric."""
    number = len(found.covered)
    if not number:
        return "No device matches now."
    matching = f"{_devices(number)} {'matches' if number == 1 else 'match'} now"
    if metric is None:
        return f"{matching}."
    reporting = len(found.reporting)
    name = metric.title[:1].lower() + metric.title[1:] if metric.label else metric.name
    share = "all" if reporting == number else "none" if not reporting else count(reporting)
    return f"{matching}, {share} {'reports' if share == '1' else 'report'} {name}."


def devices_of(found: Preview) -> list[tuple[str, str]]:
    """Return the devices to choose from, those with most alerts first, each as (id, label)."""
    named = list(found.by_device.items())[:MAX_DEVICES]
    silent = [device for device in found.reporting if device not in found.by_device][:MAX_DEVICES]
    alerting = [(device, f"{device}, {count(number)} alert{'' if number == 1 else 's'}") for device, number in named]
    return alerting + [(device, f"{device}, none") for device in silent]


def rows_of(found: Preview, metric: Metric | None, who: Viewer, tenant_id: str, now: float) -> list[OpeningRow]:
    """Return the newest openings as the list shows them."""
    return [_row(one, metric, who, tenant_id, now) for one in found.openings[:MAX_ROWS]]


def value_head(rule: PreviewedRule) -> str:
    """Return the head of the column of values; empty for silence, which has none."""
    if rule.kind.name is KindName.NO_DATA:
        return ""
    operator = getattr(rule.parameters, "operator", None)
    return "Highest" if operator in UPWARD else "Lowest" if operator in DOWNWARD else "Value"


def limits_of(rule: PreviewedRule, metric: Metric | None) -> list[tuple[str, str]]:
    """Return the legend of the limit and the clearing value."""
    operator, value = getattr(rule.parameters, "operator", None), getattr(rule.parameters, "value", None)
    clear = getattr(rule.parameters, "clear_value", None)
    if isinstance(value, bool | str) or value is None:
        return []
    words = {"GT": "above", "GTE": "at or above", "LT": "below", "LTE": "at or below", "EQ": "at", "NE": "at all but"}
    found = [("limit", f"Opens {words[str(operator)]} {shown(value, metric)}")]
    return found if clear is None else [*found, ("limit clear", f"Clears at {shown(clear, metric)}")]


def shown(value: Any, metric: Metric | None, *, unit: bool = False) -> str:
    """Return a value of a metric with its decimals, if asked with its unit."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        text = formats.quantity(float(f"{value:.6g}"), None if metric is None else metric.decimals)
        return f"{text} {metric.unit}" if unit and metric is not None and metric.unit else text
    return "" if value is None else formats.metric(value)


def when(at: float, now: float, zone: tzinfo | None) -> str:
    """Return ``Today 13:20`` or ``Thu 19 Nov 00:21``."""
    moment = local(at, zone)
    return f"{'Today' if moment.date() == local(now, zone).date() else f'{moment:%a %-d %b}'} {moment:%H:%M}"


def _row(one: Opening, metric: Metric | None, who: Viewer, tenant_id: str, now: float) -> OpeningRow:
    ended_at = now if one.ended_at is None else one.ended_at
    span = {"from": f"{one.started_at - AROUND:.0f}", "to": f"{min(ended_at + AROUND, now):.0f}"}
    asked = span | ({} if metric is None else {"m": metric.name})
    lasted = _lasted(max(ended_at - one.started_at, 0))
    return OpeningRow(
        when(one.started_at, now, who.zone),
        one.started_at,
        to_device(who, tenant_id, one.device_id, **asked) + "#chart",
        one.device_id,
        f"{lasted}, open" if one.ended_at is None else lasted,
        shown(one.extreme, metric, unit=True),
    )


def _lasted(seconds: float) -> str:
    """Return how long an alert lasts, to the second for up to two minutes, else to the minute."""
    return labels.duration(round(seconds) if seconds < 120 else round(seconds / 60) * 60)


def _devices(number: int) -> str:
    return f"{count(number)} device{'' if number == 1 else 's'}"
