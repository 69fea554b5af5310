"""A device of the registry, its statuses, and the transitions between them.

Theory. A device takes a seat of a subscription exactly while it is ACTIVE; every other status has none:

    (new) --announced, the tenant approves by hand--> PENDING --approve--> ACTIVE
    (new) --created, imported, announced----------------------------------> ACTIVE
    PENDING --reject--> REVOKED       a rejected device stays known, or its next message would announce it again
    ACTIVE --deactivate--> INACTIVE --reactivate--> ACTIVE         its messages are held meanwhile
    PENDING, ACTIVE, INACTIVE --revoke--> REVOKED --reactivate--> ACTIVE
    any --delete--> DECOMMISSIONED --create--> ACTIVE

DECOMMISSIONED is a tombstone: for people the device is gone, and it does not come back by itself.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from appliance.errors import Invalid
from appliance.plain_text import is_plain

MAX_INTERVAL = 31_536_000
"""Seconds: a year, as the database has it."""
MAX_TEXT = 256
"""Characters of a name or a place, and of a tag."""
MAX_TAGS = 64

IDENTIFIER = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,63}", re.ASCII)
"""What tenants, devices and sites may be called. No colon: the broker's password file cannot hold it."""


class DeviceStatus(StrEnum):
    """The status of a device; only an ACTIVE one has a seat."""

    PENDING = "PENDING"
    ACTIVE = "ACTIVE"
    INACTIVE = "INACTIVE"
    REVOKED = "REVOKED"
    DECOMMISSIONED = "DECOMMISSIONED"


class Event(StrEnum):
    """An action of a person on a device; the values are the verbs of the audit log."""

    CREATE = "create"
    APPROVE = "approve"
    REJECT = "reject"
    DEACTIVATE = "deactivate"
    REACTIVATE = "reactivate"
    MOVE = "move"
    REVOKE = "revoke"
    DELETE = "delete"


TRANSITIONS: Mapping[tuple[DeviceStatus, Event], DeviceStatus] = {
    (DeviceStatus.PENDING, Event.APPROVE): DeviceStatus.ACTIVE,
    (DeviceStatus.PENDING, Event.REJECT): DeviceStatus.REVOKED,
    (DeviceStatus.PENDING, Event.REVOKE): DeviceStatus.REVOKED,
    (DeviceStatus.PENDING, Event.DELETE): DeviceStatus.DECOMMISSIONED,
    (DeviceStatus.ACTIVE, Event.DEACTIVATE): DeviceStatus.INACTIVE,
    (DeviceStatus.ACTIVE, Event.MOVE): DeviceStatus.ACTIVE,
    (DeviceStatus.ACTIVE, Event.REVOKE): DeviceStatus.REVOKED,
    (DeviceStatus.ACTIVE, Event.DELETE): DeviceStatus.DECOMMISSIONED,
    (DeviceStatus.INACTIVE, Event.REACTIVATE): DeviceStatus.ACTIVE,
    (DeviceStatus.INACTIVE, Event.REVOKE): DeviceStatus.REVOKED,
    (DeviceStatus.INACTIVE, Event.DELETE): DeviceStatus.DECOMMISSIONED,
    (DeviceStatus.REVOKED, Event.REACTIVATE): DeviceStatus.ACTIVE,
    (DeviceStatus.REVOKED, Event.DELETE): DeviceStatus.DECOMMISSIONED,
    (DeviceStatus.DECOMMISSIONED, Event.CREATE): DeviceStatus.ACTIVE,
}
"""Any other transition is a conflict, or NotFound for a DECOMMISSIONED device, which people no longer see."""


@dataclass(frozen=True, slots=True)
class Device:
    """One row of ``device_registry``, as far as seats, admission and people's descriptions go."""

    tenant_id: str
    device_id: str
    status: DeviceStatus
    subscription_id: str | None
    """The subscription whose seat it has: set exactly while it is ACTIVE."""
    site_id: str | None = None
    name: str | None = None
    place: str | None = None
    tags: tuple[str, ...] = ()
    interval: float | None = None
    """Seconds between its messages, as far as is known."""


@dataclass(frozen=True, slots=True)
class NewDevice:
    """A device as a person describes it; None and empty are left open."""

    device_id: str
    site_id: str | None = None
    name: str | None = None
    place: str | None = None
    tags: tuple[str, ...] = ()
    interval: float | None = None
    subscription_id: str | None = None
    """The subscription whose seat it takes; None is the preferred one of the tenant."""
    stated_tenant: str | None = None
    """The tenant that an imported row names: a row of another tenant is not taken."""
    stated_status: DeviceStatus | None = None
    """The status that an imported row names: only ACTIVE devices are registered anew."""


@dataclass(frozen=True, slots=True)
class DeviceFault:
    """The part of a description that is wrong, and what is wrong with it."""

    field: str
    words: str

    def error(self) -> Invalid:
        """Return the same as an error for the caller."""
        return Invalid(f"{self.words[:1].upper()}{self.words[1:]}.", self.field)


def device_fault(new: NewDevice) -> DeviceFault | None:
    """Return why such a device can never be registered; None if it can."""
    if not IDENTIFIER.fullmatch(new.device_id):
        return DeviceFault("device_id", "a device id has 1 to 64 of A-Z a-z 0-9 . _ - and does not start with a dot")
    if new.site_id is not None and not IDENTIFIER.fullmatch(new.site_id):
        return DeviceFault("site_id", "a site id has 1 to 64 of A-Z a-z 0-9 . _ - and does not start with a dot")
    for field, text in (("name", new.name), ("place", new.place), *(("tags", tag) for tag in new.tags)):
        if text is not None and (len(text) > MAX_TEXT or not is_plain(text)):
            kinds = "a name, a place or a tag"
            return DeviceFault(
                field, f"{kinds} has at most {MAX_TEXT} characters on one line, all of which can be seen"
            )
    if len(new.tags) > MAX_TAGS:
        return DeviceFault("tags", f"a device has at most {MAX_TAGS} tags")
    if new.interval is not None and not 0 < new.interval <= MAX_INTERVAL:
        return DeviceFault("interval", "an interval is a number of seconds, above 0 and at most a year")
    return None
