"""Labels of the audit: actions, fields and values as people read them. Codes stay in tooltips, the API and CSV."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, tzinfo
from types import MappingProxyType
from typing import Any

import msgspec

from appliance.people.audit_query import AuditRow
from appliance.web.page import formats

CODES = frozenset({"status", "subscription_type"})
"""Fields whose values are codes of the product."""
MOMENTS = ("_at", "_start", "_end")
"""Ends of the names of fields whose values are times of the product."""

FAMILIES = (
    ("alert.", "Alerts"),
    ("device.", "Devices"),
    ("credential.", "Credentials"),
    ("site.", "Sites"),
    ("metric.", "Metrics"),
    ("rule.", "Alert rules"),
    ("maintenance.", "Maintenance"),
    ("integration.", "Integrations"),
    ("route.", "Routes"),
    ("delivery.", "Deliveries"),
    ("quarantine.", "Quarantine"),
    ("telemetry.", "Readings"),
    ("subscription.", "Subscriptions"),
    ("user.", "Users"),
    ("user.sign_", "Sign-ins"),
    ("session.", "Sessions"),
    ("token.", "Tokens"),
    ("tenant.", "Tenants"),
    ("peer.", "Appliances"),
    ("clock.", "Clock"),
    ("backup.", "Backups"),
    ("restore.", "Restores"),
)
"""Prefixes of actions and their labels: the choices of the filter."""

ACTIONS: Mapping[str, str] = MappingProxyType(
    {
        "alert.acknowledge": "Acknowledged an alert",
        "alert.unacknowledge": "Undid the acknowledgement of an alert",
        "alert.close": "Closed an alert",
        "alert.silence": "Silenced an alert",
        "alert.unsilence": "Ended the silence of an alert",
        "alert.note": "Wrote a note on an alert",
        "alert.delete": "Deleted an alert",
        "device.create": "Registered a device",
        "device.announce": "Registered itself",
        "device.describe": "Edited a device",
        "device.limit": "Changed a device's limits",
        "device.approve": "Approved a device",
        "device.reject": "Rejected a device",
        "device.deactivate": "Deactivated a device",
        "device.reactivate": "Reactivated a device",
        "device.move": "Moved a device to another subscription",
        "device.revoke": "Revoked a device",
        "device.delete": "Deleted a device",
        "credential.create": "Created a credential",
        "credential.rotate": "Rotated a credential",
        "credential.switch": "Switched to a new credential",
        "credential.revoke": "Revoked a credential",
        "site.create": "Added a site",
        "site.update": "Edited a site",
        "site.delete": "Removed a site",
        "metric.create": "Added a metric",
        "metric.update": "Edited a metric",
        "metric.delete": "Removed a metric",
        "rule.create": "Added an alert rule",
        "rule.update": "Edited an alert rule",
        "rule.enable": "Enabled an alert rule",
        "rule.disable": "Disabled an alert rule",
        "rule.delete": "Deleted an alert rule",
        "maintenance.create": "Added a maintenance window",
        "maintenance.update": "Edited a maintenance window",
        "maintenance.end": "Ended a maintenance window",
        "maintenance.delete": "Deleted a maintenance window",
        "integration.create": "Added an integration",
        "integration.update": "Edited an integration",
        "integration.enable": "Enabled an integration",
        "integration.disable": "Disabled an integration",
        "integration.test": "Sent a sample to an integration",
        "integration.try": "Sent a sample by settings that are not saved, to",
        "integration.delete": "Deleted an integration",
        "route.create": "Added a route",
        "route.update": "Edited a route",
        "route.enable": "Enabled a route",
        "route.disable": "Disabled a route",
        "route.delete": "Deleted a route",
        "delivery.retry": "Sent a delivery again",
        "delivery.cancel": "Cancelled a delivery",
        "quarantine.replay": "Started a replay",
        "quarantine.cancel_replay": "Cancelled a replay",
        "quarantine.dismiss": "Dismissed messages",
        "clock.confirm": "Confirmed the clock",
        "backup.make": "Began a backup",
        "backup.request": "Asked for a backup",
        "restore.apply": "Restored the appliance from a backup",
        "restore.confirm": "Confirmed that the old machine is off",
        "peer.remove": "Removed an appliance",
        "peer.mend": "Mended an appliance",
        "telemetry.drop": "Dropped a day of readings",
        "subscription.add": "Added a subscription",
        "subscription.change": "Edited a subscription",
        "subscription.status": "Recorded the status of a subscription",
        "subscription.hold": "Put a subscription on hold",
        "subscription.renew": "Renewed a subscription",
        "subscription.lift_hold": "Lifted a hold on a subscription",
        "user.add": "Added a user",
        "user.invite": "Invited a user",
        "user.reset": "Created a password link",
        "user.set_role": "Changed a role",
        "user.disable": "Disabled a user",
        "user.enable": "Enabled a user",
        "user.set_profile": "Edited a profile",
        "user.set_password": "Set a password",
        "user.set_second_factor": "Set a second factor",
        "user.drop_second_factor": "Removed a second factor",
        "user.sign_in": "Signed in",
        "user.sign_out": "Signed out",
        "user.sign_in_failed": "Failed to sign in",
        "user.sign_in_throttled": "Throttled sign-ins",
        "session.end": "Ended a session",
        "session.end_others": "Ended all other sessions",
        "token.add": "Created an API token",
        "token.revoke": "Revoked an API token",
        "tenant.create": "Added a tenant",
        "tenant.describe": "Edited a tenant",
        "tenant.limit": "Changed a tenant's limits",
        "tenant.provisioning": "Changed how new devices are handled",
        "tenant.suspend": "Suspended a tenant",
        "tenant.resume": "Resumed a tenant",
        "tenant.claim": "Opened or closed the claim user",
        "tenant.rotate_claim": "Rotated the claim password",
        "tenant.export": "Exported all data of a tenant",
        "tenant.delete": "Began to delete a tenant",
        "tenant.deleted": "Deleted a tenant with all of its rows",
    }
)
"""The label of each action; an action of a newer version is shown by its code."""

VALUES: Mapping[tuple[str, str], Mapping[str, str]] = MappingProxyType(
    {
        ("telemetry.drop", "cause"): MappingProxyType(
            {
                "age": "older than retention.days",
                "ahead": "empty, and made by a wrong clock",
                "max_bytes": "more data than retention.max_bytes",
                "disk": "disk nearly full",
                "budget": "no room",
            }
        ),
    }
)
"""The labels of values of a field of an action. "budget": before the audit said which limit it was."""


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """A change as people read it."""

    row: AuditRow
    action: str
    object: str
    changed: list[tuple[str, str, str]]
    """The labels of a field and of its values before and after; an empty text where there is no value."""


def entry_of(row: AuditRow, zone: tzinfo | None, names: Mapping[str, str] = MappingProxyType({})) -> AuditEntry:
    """Return a change as people read it, times in ``zone``; ``names`` maps ids of objects to their names."""
    before, after = row.before or {}, row.after or {}
    shown_beside = {"tenant_id", f"{row.object_type}_id"}
    fields = dict.fromkeys(name for name in (*before, *after) if name not in shown_beside)
    changed = [
        (
            _field_label(name),
            _value_label(row.action, name, before.get(name), zone),
            _value_label(row.action, name, after.get(name), zone),
        )
        for name in fields
    ]
    return AuditEntry(
        row,
        ACTIONS.get(row.action, row.action),
        names.get(row.object_id, row.object_id),
        [change for change in changed if change[1] != change[2]],
    )


def _field_label(name: str) -> str:
    spaced = name.replace("_", " ")
    return spaced[:1].upper() + spaced[1:]


def _value_label(action: str, name: str, value: Any, zone: tzinfo | None) -> str:
    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else "no"
        case list():
            return ", ".join(map(str, value))
        case dict():
            return msgspec.json.encode(value).decode()
        case str() if (action, name) in VALUES:
            return VALUES[action, name].get(value, value)
        case str() if name in CODES:
            return value.replace("_", " ").capitalize()
        case str() if name.endswith(MOMENTS):
            return formats.absolute(datetime.fromisoformat(value).timestamp(), zone)
    return str(value)
