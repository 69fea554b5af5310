"""The nouns that cross package borders: a message as received, a reading, a refusal and its reason.

Enters: nothing. Leaves: frozen values. Never: I/O, time, or knowledge of where a message came from.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol


class Kind(StrEnum):
    """The last level of a device topic."""

    TELEMETRY = "telemetry"
    HEARTBEAT = "heartbeat"
    STATUS = "status"


class Reason(StrEnum):
    """Why a message was not accepted. The codes are the contract: metrics, pages, the API and CSV show them."""

    BAD_TOPIC_FORMAT = "BAD_TOPIC_FORMAT"
    PAYLOAD_TOO_LARGE = "PAYLOAD_TOO_LARGE"
    RATE_LIMITED = "RATE_LIMITED"
    INVALID_ENCODING = "INVALID_ENCODING"
    INVALID_JSON = "INVALID_JSON"
    INVALID_PAYLOAD = "INVALID_PAYLOAD"
    INVALID_METRIC = "INVALID_METRIC"
    TOO_MANY_METRICS = "TOO_MANY_METRICS"
    INVALID_TIMESTAMP = "INVALID_TIMESTAMP"
    TENANT_MISMATCH = "TENANT_MISMATCH"
    DEVICE_MISMATCH = "DEVICE_MISMATCH"
    UNKNOWN_TENANT = "UNKNOWN_TENANT"
    TENANT_SUSPENDED = "TENANT_SUSPENDED"
    UNREGISTERED_DEVICE = "UNREGISTERED_DEVICE"
    PENDING_APPROVAL = "PENDING_APPROVAL"
    NO_SUBSCRIPTION_CAPACITY = "NO_SUBSCRIPTION_CAPACITY"
    DEVICE_INACTIVE = "DEVICE_INACTIVE"
    DEVICE_REVOKED = "DEVICE_REVOKED"
    DEVICE_DECOMMISSIONED = "DEVICE_DECOMMISSIONED"
    SUBSCRIPTION_SUSPENDED = "SUBSCRIPTION_SUSPENDED"
    SUBSCRIPTION_EXPIRED = "SUBSCRIPTION_EXPIRED"
    TOKEN_MISSING = "TOKEN_MISSING"  # noqa: S105 - a reason code, not a secret
    TOKEN_INVALID = "TOKEN_INVALID"  # noqa: S105 - a reason code, not a secret
    TOKEN_NOT_SET = "TOKEN_NOT_SET"  # noqa: S105 - a reason code, not a secret
    SITE_MISMATCH = "SITE_MISMATCH"
    TIMESTAMP_TOO_OLD = "TIMESTAMP_TOO_OLD"
    STORE_REFUSED = "STORE_REFUSED"
    INTERNAL_ERROR = "INTERNAL_ERROR"


HELD_REASONS = frozenset(
    {
        Reason.UNREGISTERED_DEVICE,
        Reason.PENDING_APPROVAL,
        Reason.NO_SUBSCRIPTION_CAPACITY,
        Reason.DEVICE_INACTIVE,
        Reason.SUBSCRIPTION_SUSPENDED,
        Reason.SUBSCRIPTION_EXPIRED,
        Reason.SITE_MISMATCH,
        Reason.INTERNAL_ERROR,
    }
)
"""Reasons whose messages are kept in full for replay; of all others a sample is kept and every one is counted."""


HOP_COUNT = "hop-count"
"""The user property (MQTT 5 §3.3.2.3.7) by which whoever passes on what an appliance published counts that."""
MAX_HOPS = 3
"""How often a message may have been passed on: one that goes in a circle ends there."""
_HOP_DIGITS = 9
"""Of a number that is read; more are more than we take, whatever they are."""


def hops(properties: Sequence[tuple[str, str]]) -> int:
    """Return how often the user properties say that a message was passed on; 0 if they do not."""
    return max([_count(value) for name, value in properties if name == HOP_COUNT], default=0)


def _count(value: str) -> int:
    return int(value[:_HOP_DIGITS]) if value.isascii() and value.isdigit() else 0


class Inbound(Protocol):
    """A message as it came in, over MQTT or HTTP; ``mqtt5.PublishPacket`` is one as it stands."""

    @property
    def topic(self) -> str:
        """The full topic, not yet checked."""
        ...

    @property
    def payload(self) -> bytes:
        """The bytes as received."""
        ...

    @property
    def retain(self) -> bool:
        """Whether it was published as a retained message: an empty one then clears its topic (MQTT 5 §3.3.1.3)."""
        ...

    @property
    def user_properties(self) -> Sequence[tuple[str, str]]:
        """Names and values that MQTT carries beside the payload."""
        ...


@dataclass(frozen=True, slots=True)
class Refusal:
    """Expected bad input, as a value: the first check that failed, and what exactly was wrong."""

    reason: Reason
    detail: str
