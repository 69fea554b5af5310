"""Labels of routes: their events, and each condition with what it came to. The API and CSV show codes."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from appliance.delivery.routes.matching import Condition, Reason
from appliance.delivery.routes.route import DeliverOn

EVENTS: Mapping[DeliverOn, str] = MappingProxyType(
    {DeliverOn.OPEN: "Opened", DeliverOn.ACKNOWLEDGED: "Acknowledged", DeliverOn.CLOSED: "Closed"}
)
"""What of an alert a route tells."""
EVERY: Mapping[Condition, str] = MappingProxyType(
    {Condition.ALERT_TYPE: "", Condition.SITE: "All sites", Condition.TAGS: "", Condition.DEVICE_PREFIX: ""}
)
"""A condition that everything meets; without a text it is not worth a word."""
FAILED: Mapping[Condition, str] = MappingProxyType(
    {
        Condition.ENABLED: "Route is off",
        Condition.INTEGRATION: "Integration is off",
        Condition.ANOTHER: "Leads to the integration that fails",
        Condition.STOPPED: "An earlier route stops",
        Condition.TOLD: "Did not deliver the opening",
    }
)
"""Conditions that are worth a word only if they are not met."""
SHOWN_OF_MANY = 2
"""Values of a list that are named; of more, how many there are."""


def condition_text(
    reason: Reason, *, alert_types: Mapping[str, str], sites: Mapping[str, str], tense: str = " only"
) -> str:
    """Return a condition in words: what met it, or what it would take; empty if there is nothing to say.

    ``alert_types`` and ``sites``: their labels by code and id. ``tense`` follows what would have met it.
    """
    condition = reason.condition
    if condition in FAILED:
        return "" if reason.matches else FAILED[condition]
    if not reason.wanted:
        return EVERY[condition]
    labels = _labels(condition, alert_types, sites)
    if not reason.matches:
        return _as_sentence(condition, [labels.get(one, one) for one in map(str, reason.wanted)]) + tense
    found = list(map(str, reason.found))
    if condition is Condition.DEVICE_PREFIX:
        met = [prefix for prefix in reason.wanted if any(one.startswith(prefix) for one in found)]
    else:
        met = [one for one in map(str, reason.wanted) if one in found]
    return _as_sentence(condition, [labels.get(one, one) for one in met])


def _as_sentence(condition: Condition, names: Sequence[str]) -> str:
    """Return values in a line; words, but no names, are written as in a sentence."""
    text = _listed(names)
    if condition in (Condition.SEVERITY, Condition.DELIVER_ON, Condition.ALERT_TYPE):
        return text[:1].upper() + text[1:].lower()
    return text


def _labels(condition: Condition, alert_types: Mapping[str, str], sites: Mapping[str, str]) -> Mapping[str, str]:
    if condition is Condition.SEVERITY:
        return {}
    if condition is Condition.DELIVER_ON:
        return {event.value: label for event, label in EVENTS.items()}
    return {Condition.ALERT_TYPE: alert_types, Condition.SITE: sites}.get(condition, {})


def _listed(names: Sequence[str]) -> str:
    """Return ``Medium, low``, or of many values how many there are beside the first ones."""
    shown = names[:SHOWN_OF_MANY] if len(names) > SHOWN_OF_MANY + 1 else names
    text = ", ".join(shown)
    return text if len(shown) == len(names) else f"{text} and {len(names) - len(shown)} more"
