"""Every reason of refusal as a scene: the message that gets it, and the tenant and device that send it. Pure data.

The tenants are the simulator's own, called ``sim-...``; ``DEMO_TENANTS`` describes each of them. A scene is one
message. Most reasons depend on the message alone and come from the catalogue of what malformed devices send; the others
need a tenant, a subscription or a device in the state that ``how`` names.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from appliance.broker.accounts import device_user
from appliance.failpoints import FAULTY_DEVICE
from appliance.reading import Reason
from appliance.simulate.refused import CATALOGUE, Speaker

SHOW = "sim-show"
SUSPENDED = "sim-suspended"
APPROVE = "sim-approve"
OFF = "sim-off"
FULL = "sim-full"
HELD = "sim-held"
EXPIRED = "sim-expired"
NOBODY = "sim-nobody"
"""The one that is never created."""

DEMO_TENANTS: Mapping[str, str] = {
    SHOW: "Simulator: devices in every state",
    SUSPENDED: "Simulator: a suspended tenant",
    APPROVE: "Simulator: new devices wait for approval",
    OFF: "Simulator: no new devices",
    FULL: "Simulator: one seat, and it is taken",
    HELD: "Simulator: a subscription on hold",
    EXPIRED: "Simulator: a subscription that has expired",
}
"""The tenants that are created, and their names, by which the simulator recognises them as its own."""

OWN = "own"
"""A device of SHOW with a credential of its own, located at SITE."""
SITE = "hall"
PLAIN = "plain"
"""One without."""
HASTY = "hasty"
"""One with a rate limit near zero."""
INACTIVE, REVOKED, DELETED = "inactive", "revoked", "deleted"
SEATED = "seated"
"""The one device of FULL, HELD and EXPIRED."""
WRONG = "wrong"
"""A token that no device has."""
REFUSED_METRIC = "sim_refused"
"""The metric that a constraint on the table refuses while the scenes are shown."""


@dataclass(frozen=True, slots=True)
class Props:
    """What the messages depend on: the time, the token of OWN, and limits of the configuration."""

    now: float
    """Seconds since 1970."""
    seq: int
    token: str
    max_payload_bytes: int
    retention_days: int

    @property
    def ts(self) -> int:
        """Now, in milliseconds."""
        return round(self.now * 1000)

    def speaker(self, tenant: str, device: str) -> Speaker:
        """Return a device of one of the tenants."""
        return Speaker(tenant, device, self.seq, self.ts)


Script = Callable[[Props], tuple[str, bytes]]
"""Topic and payload."""


@dataclass(frozen=True, slots=True)
class Scene:
    """One reason, how it comes about, the broker user that provokes it, and the message."""

    reason: Reason
    how: str
    user: str
    script: Script
    times: int = 1
    """How often it must be sent."""


def says(tenant: str, device: str, **keys: object) -> Script:
    """Return a reading of that device with these keys beside a temperature."""

    def script(props: Props) -> tuple[str, bytes]:
        speaker = props.speaker(tenant, device)
        return speaker.topic(), speaker.body(temperature=21.5, **keys)

    return script


def own(**keys: object) -> Script:
    """Return a reading of OWN, with its token."""

    def script(props: Props) -> tuple[str, bytes]:
        return says(SHOW, OWN, **{"provision_token": props.token, **keys})(props)

    return script


def _too_large(props: Props) -> tuple[str, bytes]:
    speaker = props.speaker(SHOW, "malformed")
    return speaker.topic(), speaker.body(note="x" * props.max_payload_bytes)


def _too_old(props: Props) -> tuple[str, bytes]:
    return own(ts=round(props.now - 86_400 * (props.retention_days + 1)))(props)


def _catalogued(reason: Reason) -> Script:
    """Return the message of a malformed device."""
    example = next(example for example in CATALOGUE if example.reason is reason)
    return lambda props: example.message(props.speaker(SHOW, "malformed"))


OWN_USER = device_user(SHOW, OWN)

BY_ITSELF: Mapping[Reason, str] = {
    Reason.BAD_TOPIC_FORMAT: "write the device id with colons",
    Reason.INVALID_ENCODING: "send text in Latin-1",
    Reason.INVALID_JSON: "leave out the closing brace",
    Reason.INVALID_PAYLOAD: "send an array",
    Reason.INVALID_METRIC: "name a metric `2nd floor`",
    Reason.TOO_MANY_METRICS: "send 65 metrics in a message",
    Reason.INVALID_TIMESTAMP: "write `yesterday` as `ts`",
    Reason.TENANT_MISMATCH: "name another tenant in `tenant_id` than in the topic",
    Reason.DEVICE_MISMATCH: "name another device in `device_id` than in the topic",
}
"""Reasons that depend on the message alone, whoever sends it."""

SCENES: tuple[Scene, ...] = (
    *(Scene(reason, how, SHOW, _catalogued(reason)) for reason, how in BY_ITSELF.items()),
    Scene(Reason.PAYLOAD_TOO_LARGE, "send more than ingest.max_payload_bytes", SHOW, _too_large),
    Scene(Reason.RATE_LIMITED, "send twice at once with a limit of 1", SHOW, says(SHOW, HASTY), times=2),
    Scene(Reason.UNKNOWN_TENANT, "send as a tenant that does not exist", NOBODY, says(NOBODY, "somebody")),
    Scene(Reason.TENANT_SUSPENDED, "suspend the tenant", SUSPENDED, says(SUSPENDED, "somebody")),
    Scene(Reason.UNREGISTERED_DEVICE, "announce a device where provisioning is off", OFF, says(OFF, "unknown")),
    Scene(Reason.PENDING_APPROVAL, "announce a device where a person approves", APPROVE, says(APPROVE, "waiting")),
    Scene(Reason.NO_SUBSCRIPTION_CAPACITY, "announce one device more than there are seats", FULL, says(FULL, "new")),
    Scene(Reason.DEVICE_INACTIVE, "deactivate the device", SHOW, says(SHOW, INACTIVE)),
    Scene(Reason.DEVICE_REVOKED, "revoke the device, which knows the claim password", SHOW, says(SHOW, REVOKED)),
    Scene(Reason.DEVICE_DECOMMISSIONED, "delete the device, which keeps sending", SHOW, says(SHOW, DELETED)),
    Scene(Reason.SUBSCRIPTION_SUSPENDED, "put the subscription on hold", HELD, says(HELD, SEATED)),
    Scene(Reason.SUBSCRIPTION_EXPIRED, "let its term, grace and lapse pass", EXPIRED, says(EXPIRED, SEATED)),
    Scene(Reason.TOKEN_MISSING, "leave out `provision_token` where it is required", OWN_USER, says(SHOW, OWN)),
    Scene(Reason.TOKEN_INVALID, "send a wrong `provision_token`", OWN_USER, own(provision_token=WRONG)),
    Scene(Reason.TOKEN_NOT_SET, "send one for a device that has none", SHOW, says(SHOW, PLAIN, provision_token=WRONG)),
    Scene(Reason.SITE_MISMATCH, "name another site than the device's", OWN_USER, own(site_id="yard")),
    Scene(Reason.TIMESTAMP_TOO_OLD, "send a `ts` older than retention.days", OWN_USER, _too_old),
    Scene(Reason.STORE_REFUSED, "have Postgres refuse the row, by a constraint", OWN_USER, own(**{REFUSED_METRIC: 1})),
    Scene(Reason.INTERNAL_ERROR, "make a check fail, by a failpoint", SUSPENDED, says(SUSPENDED, FAULTY_DEVICE)),
)  # fmt: skip
"""One for each reason, in the order of the checks except those of the message alone."""
