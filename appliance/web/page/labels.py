"""Labels of reason codes and tenants, for pages. Tooltips, the API, CSV and metrics show the codes themselves."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from appliance.devices.tenants import OWN_TENANT
from appliance.reading import Reason


@dataclass(frozen=True, slots=True)
class ReasonLabel:
    """A reason for people: its title, and what to do."""

    title: str
    advice: str


REASONS: Mapping[Reason, ReasonLabel] = MappingProxyType(
    {
        Reason.BAD_TOPIC_FORMAT: ReasonLabel(
            "Wrong topic", "The topic must be tenant/TENANT/device/DEVICE/KIND, with ids of A-Za-z0-9._- only."
        ),
        Reason.PAYLOAD_TOO_LARGE: ReasonLabel("Payload too large", "Send less in one message, or raise the limit."),
        Reason.RATE_LIMITED: ReasonLabel("Too many messages", "The device sends faster than its rate and burst allow."),
        Reason.INVALID_ENCODING: ReasonLabel("Not UTF-8", "The payload must be UTF-8 text."),
        Reason.INVALID_JSON: ReasonLabel("Not JSON", "The payload must be one JSON object, nested at most 32 deep."),
        Reason.INVALID_PAYLOAD: ReasonLabel("Wrong payload shape", "A known field has the wrong type or form."),
        Reason.INVALID_METRIC: ReasonLabel(
            "Invalid metric", "A metric must be a finite number, true or false, or a text of at most 256 characters."
        ),
        Reason.TOO_MANY_METRICS: ReasonLabel("Too many metrics", "A message may carry 64 metrics."),
        Reason.INVALID_TIMESTAMP: ReasonLabel(
            "Unreadable timestamp", "ts must be RFC 3339 with an offset, or seconds or milliseconds since 1970."
        ),
        Reason.TENANT_MISMATCH: ReasonLabel(
            "Wrong tenant in payload", "tenant_id in the payload is not that of the topic."
        ),
        Reason.DEVICE_MISMATCH: ReasonLabel(
            "Wrong device in payload", "device_id in the payload is not that of the topic."
        ),
        Reason.UNKNOWN_TENANT: ReasonLabel("Unknown tenant", "No tenant of that name exists: check the topic."),
        Reason.TENANT_SUSPENDED: ReasonLabel(
            "Tenant suspended", "No messages are accepted until the tenant is resumed."
        ),
        Reason.UNREGISTERED_DEVICE: ReasonLabel("Unregistered device", "Register the device; its messages are held."),
        Reason.PENDING_APPROVAL: ReasonLabel(
            "Pending approval", "Approve or reject the device; its messages are held."
        ),
        Reason.NO_SUBSCRIPTION_CAPACITY: ReasonLabel(
            "No free seat", "Every seat is in use; its messages are held. Free a seat or raise the limit."
        ),
        Reason.DEVICE_INACTIVE: ReasonLabel(
            "Device inactive", "The device is inactive; reactivate it. Its messages are held."
        ),
        Reason.DEVICE_REVOKED: ReasonLabel("Device revoked", "The device's credential was revoked."),
        Reason.DEVICE_DECOMMISSIONED: ReasonLabel(
            "Device deleted", "The device was deleted and is not registered again automatically."
        ),
        Reason.SUBSCRIPTION_SUSPENDED: ReasonLabel("Subscription suspended", "Messages are held until it is resumed."),
        Reason.SUBSCRIPTION_EXPIRED: ReasonLabel("Subscription expired", "Renew it; its devices' messages are held."),
        Reason.TOKEN_MISSING: ReasonLabel("Token missing", "The payload must carry the device's provision_token."),
        Reason.TOKEN_INVALID: ReasonLabel("Token invalid", "provision_token is not the device's token."),
        Reason.TOKEN_NOT_SET: ReasonLabel("No token to compare", "The device has no token yet: rotate its credential."),
        Reason.SITE_MISMATCH: ReasonLabel("Wrong site", "The payload names another site; its messages are held."),
        Reason.TIMESTAMP_TOO_OLD: ReasonLabel("Timestamp too old", "The reading is older than what is kept."),
        Reason.STORE_REFUSED: ReasonLabel("Refused by the database", "Postgres rejected the row; see the detail."),
        Reason.INTERNAL_ERROR: ReasonLabel(
            "Internal error", "A fault of the appliance; the message is held for replay."
        ),
    }
)


def reason_label(code: str) -> ReasonLabel:
    """Return the label of a code as stored; a code from a newer version is its own label."""
    try:
        return REASONS[Reason(code)]
    except ValueError:
        return ReasonLabel(code, "This version does not know the code.")


def tenant_title(tenant_id: str | None) -> str:
    """Return what operators call a tenant: its id, but for the appliance's own; None stands for all tenants."""
    if tenant_id is None:
        return "All tenants"
    return "This appliance" if tenant_id == OWN_TENANT else tenant_id
