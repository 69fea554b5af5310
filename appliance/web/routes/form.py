"""The form of a route: what was typed, what is filled in, and the route that it stands for."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import time
from types import MappingProxyType
from uuid import UUID

from appliance.delivery.routes.route import DeliverOn, Route
from appliance.delivery.routes.validation import QuietDraft, RouteDraft
from appliance.errors import Invalid
from appliance.severity import Severity
from appliance.web.page.forms import WHOLE, Fields

UNITS: Mapping[str, int] = MappingProxyType({"s": 1, "min": 60, "h": 3600})
"""The units of times, in seconds."""
DURATIONS: Mapping[str, str] = MappingProxyType(
    {"delay_seconds": "s", "throttle_seconds": "s", "remind_minutes": "min"}
)
"""The controls with a unit, and the unit that their field has."""
TEXTS = ("name", "integration_id", "device_prefixes", "tags", "priority", "burst", *DURATIONS, "version")
QUIET = ("quiet_from", "quiet_until", "quiet_zone")
LISTS = ("severities", "alert_types", "site_ids", "deliver_on")
FLAGS = ("enabled", "stop", "spares_critical")
MAX_LIST = 100_000
"""Characters of all tags, or of all starts of ids."""
MAX_DIGITS = 9
PLACES: Mapping[str, str] = MappingProxyType(
    {"quiet_hours.begins": "quiet_from", "quiet_hours.ends": "quiet_until", "quiet_hours.zone": "quiet_zone"}
)
"""The controls of fields that are called otherwise."""


@dataclass(frozen=True, slots=True)
class Given:
    """The form as it is filled in."""

    texts: Mapping[str, str] = field(default_factory=dict)
    lists: Mapping[str, Sequence[str]] = field(default_factory=dict)
    flags: frozenset[str] = frozenset()

    def get(self, name: str) -> str:
        """Return a text; empty if there is none."""
        return self.texts.get(name, "")

    def all(self, name: str) -> Sequence[str]:
        """Return what is ticked of a list."""
        return self.lists.get(name, ())

    def having(self, name: str, values: Sequence[str]) -> "Given":
        """Return the form with other ticks in a list."""
        return Given(self.texts, {**self.lists, name: values}, self.flags)


def blank(integration_id: str) -> Given:
    """Return the form of a new route."""
    texts = {"integration_id": integration_id, "priority": "100", "burst": "10"}
    lists = {
        "severities": [Severity.CRITICAL.value, Severity.HIGH.value],
        "deliver_on": [DeliverOn.OPEN.value, DeliverOn.CLOSED.value],
    }
    return Given(texts, lists, frozenset({"enabled", "spares_critical"}))


def filled(route: Route) -> Given:
    """Return the form of a route as it is kept."""
    quiet = route.quiet
    texts = {
        "name": route.name,
        "integration_id": str(route.integration_id),
        "device_prefixes": ", ".join(route.device_prefixes),
        "tags": ", ".join(route.tags),
        "priority": str(route.priority),
        "burst": str(route.burst),
        "version": str(route.version),
        "quiet_from": "" if quiet is None else quiet.begins.isoformat("minutes"),
        "quiet_until": "" if quiet is None else quiet.ends.isoformat("minutes"),
        "quiet_zone": "" if quiet is None else quiet.zone,
    }
    for name in DURATIONS:
        texts |= _duration(name, getattr(route, name))
    lists = {name: [str(one) for one in getattr(route, name)] for name in LISTS}
    flags = {"enabled": route.enabled, "stop": route.stop, "spares_critical": quiet is None or quiet.spares_critical}
    return Given(texts, lists, frozenset(name for name, on in flags.items() if on))


def typed(fields: Fields) -> Given:
    """Return the form as it was sent, valid or not."""
    names = (*TEXTS, *QUIET, *(f"{name}_unit" for name in DURATIONS))
    return Given(
        {name: fields.typed(name) for name in names},
        {name: fields.many(name) for name in LISTS},
        frozenset(name for name in FLAGS if fields.typed(name) == "on"),
    )


def draft_of(given: Given) -> RouteDraft:
    """Return the route that was typed. Raises Invalid with the control."""
    try:
        integration_id = UUID(given.get("integration_id"))
    except ValueError:
        raise Invalid("Choose where the notices go.", "integration_id") from None
    return RouteDraft(
        name=given.get("name"),
        integration_id=integration_id,
        severities=given.all("severities"),
        enabled="enabled" in given.flags,
        alert_types=given.all("alert_types"),
        site_ids=given.all("site_ids"),
        tags=_separated(given.get("tags"), "tags"),
        device_prefixes=_separated(given.get("device_prefixes"), "device_prefixes"),
        deliver_on=given.all("deliver_on"),
        priority=_whole(given.get("priority"), "priority", 100),
        stop="stop" in given.flags,
        delay_seconds=_time(given, "delay_seconds"),
        remind_minutes=_time(given, "remind_minutes"),
        throttle_seconds=_time(given, "throttle_seconds"),
        burst=_whole(given.get("burst"), "burst", 10),
        quiet=_quiet(given),
    )


def version_of(given: Given) -> int | None:
    """Return the version that an edit started from, None if the form has none. Raises Invalid."""
    text = given.get("version")
    return _whole(text, "version", 0) if text else None


def place_of(name: str) -> str:
    """Return the control of a field."""
    return PLACES.get(name, name)


def _quiet(given: Given) -> QuietDraft | None:
    begins, ends = (given.get(name).strip() for name in ("quiet_from", "quiet_until"))
    if not begins and not ends:
        return None
    moments = (_moment(begins, "quiet_from"), _moment(ends, "quiet_until"))
    return QuietDraft(*moments, given.get("quiet_zone") or None, "spares_critical" in given.flags)


def _moment(text: str, name: str) -> time:
    try:
        return time.fromisoformat(text)
    except ValueError:
        raise Invalid("Write a local time, such as 22:00; leave both empty for no quiet hours.", name) from None


def _whole(text: str, name: str, otherwise: int) -> int:
    text = text.strip()
    if not text:
        return otherwise
    if not WHOLE.fullmatch(text) or len(text) > MAX_DIGITS:
        raise Invalid("Write a whole number.", name)
    return int(text)


def _time(given: Given, name: str) -> int:
    """Return a time in the unit of its field; 0 if none was typed."""
    unit, own = UNITS.get(given.get(f"{name}_unit")), UNITS[DURATIONS[name]]
    seconds = _whole(given.get(name), name, 0) * (own if unit is None else unit)
    if seconds % own:
        raise Invalid("Write whole minutes.", name)
    return seconds // own


def _duration(name: str, value: int) -> dict[str, str]:
    """Return a time in the largest unit of which it is a whole number; nothing for 0."""
    if value == 0:
        return {}
    seconds = value * UNITS[DURATIONS[name]]
    unit = next(unit for unit in reversed(list(UNITS)) if seconds % UNITS[unit] == 0)
    return {name: str(seconds // UNITS[unit]), f"{name}_unit": unit}


def _separated(text: str, name: str) -> tuple[str, ...]:
    """Return the parts between commas, each once, in their order. Raises Invalid for too many characters."""
    if len(text) > MAX_LIST:
        raise Invalid("This is too long.", name)
    return tuple(dict.fromkeys(part for part in map(str.strip, re.split(r"[,;\n]", text)) if part))
