"""Conversion between the forms of devices and the types of the domain."""

from collections.abc import Mapping

from appliance.devices.description import MAX_RATE, Description, OwnLimits
from appliance.devices.device import MAX_INTERVAL, MAX_TEXT, NewDevice
from appliance.devices.fleet import FleetDevice
from appliance.errors import Invalid
from appliance.web.page.forms import Fields

NAMES = ("device_id", "name", "place", "tags", "site_id", "interval", "subscription_id", "rate", "burst")
LABELS = {"device_id": "Id", "site_id": "Site", "subscription_id": "Subscription"}
"""Labels of fields that are not called by their name."""
MAX_TAGS_TEXT = 4000
"""Characters of all tags together."""
MIN_INTERVAL = 0.001
"""Seconds."""


def given(fields: Fields) -> dict[str, str]:
    """Return what was typed, to fill in the form again."""
    return {name: value for name in NAMES if (value := _typed(fields, name))}


def given_of(member: FleetDevice) -> dict[str, str]:
    """Return the fields of the form for a device as it is."""
    device, limits = member.device, member.limits
    texts: Mapping[str, object] = {
        "name": device.name,
        "place": device.place,
        "tags": ", ".join(device.tags),
        "site_id": device.site_id,
        "interval": None if device.interval is None else f"{device.interval:g}",
        "rate": None if limits.rate is None else f"{limits.rate:g}",
        "burst": limits.burst,
    }
    return {name: str(text) for name, text in texts.items() if text is not None}


def new_device(fields: Fields) -> NewDevice:
    """Return the new device of a form. Raises Invalid, naming the field."""
    stated = description(fields)
    return NewDevice(
        fields.needed("device_id", "Enter an id.", most=64),
        site_id=stated.site_id,
        name=stated.name,
        place=stated.place,
        tags=stated.tags,
        interval=stated.interval,
        subscription_id=fields.text("subscription_id", most=64) or None,
    )


def description(fields: Fields) -> Description:
    """Return the description of a device in a form. Raises Invalid, naming the field."""
    return Description(
        name=fields.text("name", most=MAX_TEXT) or None,
        place=fields.text("place", most=MAX_TEXT) or None,
        tags=tags(fields.text("tags", most=MAX_TAGS_TEXT)),
        site_id=fields.text("site_id", most=64) or None,
        interval=fields.number("interval", least=MIN_INTERVAL, most=MAX_INTERVAL),
    )


def own_limits(fields: Fields) -> OwnLimits:
    """Return the limits in a form. Raises Invalid, naming the field."""
    return OwnLimits(
        fields.number("rate", least=0.001, most=MAX_RATE), fields.whole("burst", least=1, most=int(MAX_RATE))
    )


def tags(text: str) -> tuple[str, ...]:
    """Return the tags of a text with commas, each once, in their order."""
    return tuple(dict.fromkeys(tag for tag in map(str.strip, text.split(",")) if tag))


def _typed(fields: Fields, name: str) -> str:
    try:
        return fields.raw(name)
    except Invalid:
        return ""
