"""The history of subscriptions as people read it: who did what, and what was there before and after.

Pure. An event of a newer version is shown by its code.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, tzinfo
from enum import StrEnum
from types import MappingProxyType
from typing import Any

from appliance.counted import counted
from appliance.subscriptions.history import SubscriptionEvent, TermRecord
from appliance.subscriptions.lifecycle import SubscriptionStatus, SubscriptionType
from appliance.subscriptions.statuses import SUBSCRIPTION_SCHEDULER
from appliance.subscriptions.terms import last_full_day
from appliance.web.subscriptions.labels import TYPES

APPLIANCE = "Appliance"
BEGAN = {
    SubscriptionType.MAIN: "Main subscription began",
    SubscriptionType.ADDON: "Add-on began",
    SubscriptionType.TRIAL: "Trial began",
    SubscriptionType.TEMPORARY: "Temporary subscription began",
}
STATUS_WORDS = {
    SubscriptionStatus.TRIAL: "Trial",
    SubscriptionStatus.ACTIVE: "Active",
    SubscriptionStatus.GRACE: "In grace",
    SubscriptionStatus.SUSPENDED: "Suspended",
    SubscriptionStatus.EXPIRED: "Expired",
}
STATUS_EVENTS = {
    SubscriptionStatus.TRIAL: "Trial runs",
    SubscriptionStatus.ACTIVE: "Active again",
    SubscriptionStatus.GRACE: "Term ended, grace began",
    SubscriptionStatus.SUSPENDED: "Suspended",
    SubscriptionStatus.EXPIRED: "Expired",
}
TERM_KINDS = {"SOLD": "Sold", "RENEWED": "Renewed", "CORRECTED": "Corrected"}
"""The kinds of terms in words."""


@dataclass(frozen=True, slots=True)
class HistoryEntry:
    """One event as people read it."""

    event: SubscriptionEvent
    who: str
    what: str
    title: str
    """What the subscription is called."""
    before: str
    after: str
    href: str
    """The subscription."""


@dataclass(frozen=True, slots=True)
class TermEntry:
    """One term as people read it."""

    term: TermRecord
    kind: str
    first_day: date
    last_day: date


def entry_of(event: SubscriptionEvent, title: str, zone: tzinfo | None, href: str) -> HistoryEntry:
    """Return an event as people read it; ``zone``: its tenant's, in which terms are reckoned."""
    old, new = dict(event.previous_state or {}), dict(event.new_state or {})
    if not old:  # a subscription that was added: its kind and id stand beside
        new = {name: new[name] for name in ("device_limit", "term_end", "plan_id") if name in new}
    return HistoryEntry(
        event, actor_label(event.actor), _what(event), title, _fields(old, zone), _fields(new, zone), href
    )


def term_entry(term: TermRecord, zone: tzinfo | None) -> TermEntry:
    """Return a term as people read it: its first day is that of its start, the last one is full."""
    return TermEntry(
        term,
        TERM_KINDS.get(term.kind, term.kind),
        term.term_start.astimezone(zone).date(),
        last_full_day(term.term_end, zone),
    )


def actor_label(actor: str) -> str:
    """Return who did something; the worker that records statuses is the appliance."""
    return APPLIANCE if actor == SUBSCRIPTION_SCHEDULER.name else actor


def _what(event: SubscriptionEvent) -> str:
    details, new = event.details or {}, event.new_state or {}
    match event.event_type:
        case "add":
            return _of(SubscriptionType, BEGAN, new.get("subscription_type"), "Began")
        case "change":
            return "Edited"
        case "hold":
            return "Put on hold"
        case "lift_hold":
            return "Hold lifted"
        case "status":
            return _of(SubscriptionStatus, STATUS_EVENTS, new.get("status"), "Status changed")
        case "RENEWED":
            if "renewed_with" in details:
                return "Renewed with the main one"
            days = details.get("term_days")
            return f"Renewed, {counted(days, 'day')}" if isinstance(days, int) else "Renewed"
    return event.event_type.replace("_", " ").capitalize()


def _of(kind: type[StrEnum], words: Mapping[Any, str], value: Any, otherwise: str) -> str:
    return words[kind(value)] if value in set(kind) else otherwise


def _seats(value: Any) -> str:
    return f"{value:,} seat{'s' if value != 1 else ''}" if isinstance(value, int) else ""


FIELDS: Mapping[str, Callable[[Any], str]] = MappingProxyType(
    {
        "subscription_type": lambda value: _of(SubscriptionType, TYPES, value, str(value)),
        "device_limit": _seats,
        "active_device_count": lambda value: f"{value:,} in use",
        "status": lambda value: _of(SubscriptionStatus, STATUS_WORDS, value, str(value)),
        "hold_reason": lambda value: f"hold: {value}",
        "plan_id": lambda value: f"plan {value}",
        "description": lambda value: f"“{value}”",
    }
)
"""The fields in the order in which they are shown, and their values in words."""


def _fields(state: Mapping[str, Any], zone: tzinfo | None) -> str:
    """Return the values of a state in words; nothing where there is none."""
    texts = [word(state[name]) for name, word in FIELDS.items() if state.get(name) not in (None, "")]
    end = state.get("term_end")
    if isinstance(end, str):
        texts.append(f"until {last_full_day(datetime.fromisoformat(end), zone):%-d %b %Y}")
    return ", ".join(texts)
