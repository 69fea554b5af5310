"""What callers of the limiter say and hear: limits, scopes, and levels for people."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from math import isfinite
from typing import NamedTuple


class LimitScope(Enum):
    """The scope of the bucket that was empty."""

    DEVICE = "device"
    TENANT = "tenant"
    OVERFLOW = "overflow"


@dataclass(frozen=True, slots=True)
class BucketOverride:
    """EffectiveLimits set for one tenant or device in the database; None leaves the wider one in force.

    ``rate`` in messages a second, ``burst`` in messages; ``tenant_rate`` counts for tenants only, 0 is unlimited.
    Raises ValueError for invalid limits.
    """

    rate: float | None = None
    burst: int | None = None
    tenant_rate: float | None = None

    def __post_init__(self) -> None:
        if self.rate is not None and not (isfinite(self.rate) and self.rate > 0):
            raise ValueError(f"rate must be more than 0 a second, not {self.rate}")
        if self.burst is not None and self.burst < 1:
            raise ValueError(f"burst must be at least 1, not {self.burst}")
        if self.tenant_rate is not None and not (isfinite(self.tenant_rate) and self.tenant_rate >= 0):
            raise ValueError(f"tenant_rate must be 0 (unlimited) or more, not {self.tenant_rate}")


OverrideLookup = Callable[[str, str | None], BucketOverride | None]
"""Tenant id, device id or None for the tenant's own -> what is set there. Asked from memory in the message path, when a
bucket is made and after ``limits_changed``; it must know a device before its first message, or that is judged by the
wider limits."""


class NotedAllowance(NamedTuple):
    """What is kept of the allowance of a device or a tenant, in nanoseconds from now.

    ``full_in``: until it and its bucket are both full; None, nothing was noted yet. ``age``: since it was registered.
    """

    full_in: int | None
    age: int


def noted_allowance(now: float, full_at: float | None, registered_at: float) -> NotedAllowance:
    """Return what was noted by service time (seconds since 1970) as the limiter is told it at ``now``."""
    full_in = None if full_at is None else round((full_at - now) * 1e9)
    return NotedAllowance(full_in, round((now - registered_at) * 1e9))


AllowanceLookup = Callable[[str, str | None], NotedAllowance | None]
"""Tenant id, device id or None for the tenant's own -> what is kept, or None while that is not in memory. Asked from
memory in the message path, for a bucket whose allowance is not read yet."""


@dataclass(frozen=True, slots=True)
class BucketState:
    """The limits in force and the tokens present, for people. ``fill`` is above ``burst`` under backlog credit.

    ``overflow``: the device has no bucket of its own, for want of room, and shares its tenant's. ``allowance`` is what
    delayed messages may be sent beside it, ``allowance_limit`` at most; None while it is not read.
    """

    rate: float
    burst: int
    fill: float
    overflow: bool
    allowance: float | None = 0.0
    allowance_limit: float = 0.0


def bucket_key(tenant_id: str, device_id: str) -> str:
    """Return the key of a device's bucket. It is text and not a tuple, for the sake of the cyclic collector."""
    return f"{tenant_id}/{device_id}"


def split_key(key: str) -> tuple[str, str]:
    """Return the tenant and the device of a ``bucket_key``."""
    tenant_id, _, device_id = key.partition("/")
    return tenant_id, device_id


class EffectiveLimits(NamedTuple):
    """EffectiveLimits with nothing left open."""

    rate: float
    burst: int
    tenant_rate: float

    def under(self, override: BucketOverride | None) -> "EffectiveLimits":
        """Return these limits with those that ``override`` sets."""
        if override is None:
            return self
        return EffectiveLimits(
            self.rate if override.rate is None else override.rate,
            self.burst if override.burst is None else override.burst,
            self.tenant_rate if override.tenant_rate is None else override.tenant_rate,
        )
