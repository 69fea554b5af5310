"""What a notice says, in words that all types share: a title, facts, links. Types only lay them out and escape them."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, TypeGuard

from appliance.delivery.notices.body import url_of
from appliance.delivery.notices.notice import AlertFacts, Notice
from appliance.delivery.outbox.job import JobEvent
from appliance.local_time import zone_of
from appliance.severity import Severity

SEVERITIES: Mapping[Severity, str] = MappingProxyType({one: one.value.capitalize() for one in Severity})
LINK = "Open the alert"
ACKNOWLEDGE = "Acknowledge"
MINUS = "\N{MINUS SIGN}"
DASH = "\N{EN DASH}"
_OPERATORS = {"GT": "above", "GTE": "at or above", "LT": "below", "LTE": "at or below", "EQ": "", "NE": "other than"}
_AGGREGATES = {"avg": "average", "min": "lowest", "max": "highest"}
_SILENCES = frozenset({"NO_HEARTBEAT", "NO_DATA"})
"""Types whose value is a silence in seconds."""
_ENDS = {
    "cleared": "the condition ended",
    "closed": "by a person",
    "superseded": "the next warning took its place",
    "rule_changed": "the rule was changed",
    "rule_disabled": "the rule was switched off",
    "rule_deleted": "the rule was deleted",
    "device_deactivated": "the device was deactivated",
    "device_deleted": "the device was deleted",
    "out_of_scope": "the rule no longer covers the device",
}
_VALUE_CHARACTERS = 200
"""Of a value that is text."""
_JOINERS = "\N{ZERO WIDTH JOINER}\N{ZERO WIDTH NON-JOINER}"
"""Part of words in several scripts, and harmless."""
_GAPS = re.compile(r"\s+")


@dataclass(frozen=True, slots=True)
class NoticeText:
    """A notice in words. No text holds a line end or another control character."""

    title: str
    """Severity or event, what, and where: for subjects and headings."""
    facts: Sequence[tuple[str, str]]
    """Label and value, the most important first."""
    url: str
    others: Sequence[tuple[str, str]]
    """Of a notice that tells several: the further ones, each with its page."""
    more: int
    """How many further ones are not listed."""
    acknowledge_url: str | None = field(repr=False)


def text_of(notice: Notice) -> NoticeText:
    """Return a notice in words."""
    ended = ", closed" if notice.event is not JobEvent.CLOSED else ""
    others = [
        (_clean(_line(alert) + (ended if alert.closed_at is not None else "")), url_of(notice, alert))
        for alert in notice.merged
    ]
    return NoticeText(
        _clean(_title(notice)),
        [(label, _clean(value)) for label, value in _facts(notice)],
        notice.url,
        others,
        notice.merged_count - len(others),
        notice.acknowledge_url if notice.event in {JobEvent.OPEN, JobEvent.REMINDER} else None,
    )


def plain(text: NoticeText) -> str:
    """Return a notice as lines of plain text, without the title and the links."""
    lines = [f"{label}: {value}" for label, value in text.facts]
    if text.others:
        lines += ["", "And:", *(line for line, _ in text.others)]
    if text.more > 0:
        lines.append(and_more(text.more))
    return "\n".join(lines)


def and_more(count: int) -> str:
    """Return the line that stands for alerts that are not listed."""
    return f"and {count:,} more"


def cut(text: str, most: int) -> str:
    """Return at most ``most`` characters; what is cut ends with an ellipsis."""
    return text if len(text) <= most else f"{text[: most - 1].rstrip()}…"


def cut_bytes(text: str, most: int) -> str:
    """Return a text of at most ``most`` bytes of UTF-8, cut at a character."""
    data = text.encode()
    return text if len(data) <= most else f"{data[: most - 3].decode(errors='ignore').rstrip()}…"


def _title(notice: Notice) -> str:
    alert = notice.alert
    what = alert.summary if not _where(alert) else f"{alert.summary} {DASH} {_where(alert)}"
    if notice.merged_count:
        count = notice.merged_count + 1
        head = {
            JobEvent.ACKNOWLEDGED: f"{count:,} alerts acknowledged",
            JobEvent.CLOSED: f"{count:,} alerts closed",
        }.get(notice.event, f"{count:,} alerts")
        title = f"{head}: {what} and {notice.merged_count:,} more"
    else:
        head = {
            JobEvent.REMINDER: f"Still open ({SEVERITIES[alert.severity]})",
            JobEvent.ACKNOWLEDGED: "Acknowledged",
            JobEvent.CLOSED: "Closed",
        }.get(notice.event, SEVERITIES[alert.severity])
        title = f"{head}: {what}"
    return f"Test: {title}" if notice.test else title


def _where(alert: AlertFacts) -> str:
    return alert.device_name or alert.device_id or alert.site_name or alert.site_id or ""


def _line(alert: AlertFacts) -> str:
    """Return one alert on one line."""
    where = _where(alert)
    site = alert.site_name or alert.site_id
    place = where if not site or site == where else f"{where}, {site}"
    line = f"{SEVERITIES[alert.severity]}: {alert.summary}"
    return f"{line} {DASH} {place}" if place else line


def _facts(notice: Notice) -> Iterator[tuple[str, str]]:
    alert = notice.alert
    if notice.test:
        yield "Test", "A sample that a person sent. Nothing is wrong."
    yield "Severity", SEVERITIES[alert.severity]
    yield "What", alert.summary
    if alert.device_id:
        named = f"{alert.device_name} ({alert.device_id})" if alert.device_name else alert.device_id
        yield "Device", f"{named}, {alert.place}" if alert.place else named
    if alert.site_id:
        yield "Site", alert.site_name or alert.site_id
    value = _value(alert)
    if value:
        yield value
    yield "Since", local(alert.started_at, alert.zone)
    if notice.event is JobEvent.REMINDER:
        yield "Reminder", f"{notice.occurrence}"
    yield "Status", _status(alert)
    if alert.rule_name and alert.rule_name != alert.summary:
        yield "Rule", alert.rule_name


def _status(alert: AlertFacts) -> str:
    """Return what was done about an alert."""
    if alert.closed_at is not None:
        by = f" by {alert.closed_by}" if alert.closed_by else ""
        why = _ENDS.get(alert.close_reason or "", "")
        words = f"Closed{by}, {local(alert.closed_at, alert.zone)}"
        if why and not (by and alert.close_reason == "closed"):
            words += f": {why}"
        return f"{words}. It ended before it could be delivered" if alert.past else words
    if alert.acknowledged_at is not None:
        by = f" by {alert.acknowledged_by}" if alert.acknowledged_by else ""
        return f"Acknowledged{by}, {local(alert.acknowledged_at, alert.zone)}"
    return "Open, not acknowledged"


def _value(alert: AlertFacts) -> tuple[str, str] | None:
    """Return the value that opened an alert, with its unit and limit; None where there is none."""
    details = alert.details
    value, limit = details.get("value"), details.get("threshold")
    if alert.alert_type in _SILENCES:
        if not _is_number(value):
            return None
        allowed = f" (limit {lasting(limit)})" if _is_number(limit) else ""
        return "Silent for", f"{lasting(value)}{allowed}"
    if value is None or not isinstance(details.get("metric"), str):
        return None
    label = alert.metric_label or details["metric"]
    aggregate = _AGGREGATES.get(str(details.get("aggregate")))
    over = f", {aggregate} of {lasting(details['window_seconds'])}" if aggregate and "window_seconds" in details else ""
    shown = quantity(value, alert)
    if limit is None:
        return label, f"{shown}{over}"
    operator = _OPERATORS.get(str(details.get("operator")), "")
    return label, f"{shown}{over} (limit: {operator} {quantity(limit, alert)})".replace("  ", " ")


def quantity(value: Any, alert: AlertFacts) -> str:
    """Return a value with the decimals and the unit of its metric."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if not _is_number(value):
        return cut(str(value), _VALUE_CHARACTERS)
    if alert.decimals is not None and abs(value) < 1e15:
        text = f"{value:,.{alert.decimals}f}"
        text = text if text.strip("-0.,") else text.removeprefix("-")
    else:
        text = f"{value:.0f}" if isinstance(value, float) and value.is_integer() and abs(value) < 1e15 else repr(value)
    return f"{text.replace('-', MINUS)} {alert.unit}" if alert.unit else text.replace("-", MINUS)


def _is_number(value: Any) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def lasting(seconds: float) -> str:
    """Return a duration in the largest suitable unit: ``45 s``, ``5 min``, ``2.5 h``, ``3 d``."""
    for size, unit in ((86_400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds:.3g} s"


def local(at: datetime, zone: str) -> str:
    """Return a time as a wall clock of a zone shows it, with the zone: ``30 Nov 2026, 15:05 CET``."""
    shown = at.astimezone(zone_of(zone) or UTC)
    return f"{shown.day} {shown:%b %Y, %H:%M} {shown:%Z}"


def _clean(text: str) -> str:
    """Return a text on one line, without signs that cannot be seen."""
    return "".join(sign if sign.isprintable() or sign in _JOINERS else " " for sign in _GAPS.sub(" ", text)).strip()
