"""The rate limiter: a token bucket for each device, one for each tenant that has a limit, and backlog credit.

Enters: the key of a message's device and the monotonic time, one for a batch. Leaves: None, or the scope of the empty
bucket. Never: I/O, waiting, a clock of its own, or work in the message path that grows with the number of buckets.

Backlog credit. While the appliance took no messages, devices went on, and what they sent comes later, in any order. So
from the start of an outage until the backlog is drained no bucket overflows: each goes on filling at its rate from
``burst``, as though the device had been heard all the time. A device then never gets more than ``burst`` + ``rate`` x
(outage + time since), and one that kept to its rate never less than it needs, however late its messages come.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from math import isfinite, nan
from typing import NamedTuple

import msgspec

from appliance.ingest.limits.bucket import SECOND, Allowance, Bucket, BucketTable, Sweep, allowance

MAX_TENANTS = 10_000
"""Tenant buckets and overflow buckets kept at most, each. Ids of tenants are not checked yet when the limiter is asked,
so their number needs a bound too; tenants beyond it share one."""

OVERFLOW = 10
"""An overflow bucket has so many times the rate and burst of a device."""

SWEEP_ENTRIES = 1024
"""Buckets that one slice of a sweep looks at: well under 2 ms."""

UNKNOWN_TENANTS = ""
"""The key they share; no tenant's id is empty."""

MOST = 1e15
"""Tokens a tenant's bucket holds at most."""

LONG_AGO = -(1 << 62)
"""Before any instant, in nanoseconds."""


class LimitScope(Enum):
    """The scope of the bucket that was empty."""

    DEVICE = "device"
    TENANT = "tenant"
    OVERFLOW = "overflow"


@dataclass(frozen=True, slots=True)
class BucketOverride:
    """Limits set for one tenant or device in the database; None leaves the wider one in force.

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


@dataclass(frozen=True, slots=True)
class BucketState:
    """The limits in force and the tokens present, for people. ``fill`` is above ``burst`` under backlog credit.

    ``overflow``: the device has no bucket of its own, for want of room, and shares its tenant's.
    """

    rate: float
    burst: int
    fill: float
    overflow: bool


def bucket_key(tenant_id: str, device_id: str) -> str:
    """Return the key of a device's bucket. It is text and not a tuple, for the sake of the cyclic collector."""
    return f"{tenant_id}/{device_id}"


class _Limits(NamedTuple):
    """Limits with nothing left open."""

    rate: float
    burst: int
    tenant_rate: float

    def under(self, override: BucketOverride | None) -> "_Limits":
        """Return these limits with those that ``override`` sets."""
        if override is None:
            return self
        return _Limits(
            self.rate if override.rate is None else override.rate,
            self.burst if override.burst is None else override.burst,
            self.tenant_rate if override.tenant_rate is None else override.tenant_rate,
        )


class Limiter:
    """All buckets of a process. ``now`` is monotonic time in seconds; an earlier one than before counts as the latest.

    ``rate`` and ``burst`` (messages a second, messages) hold for a device. A tenant may send ``tenant_rate`` messages a
    second, 0 being unlimited, and at once as many as that rate brings in the time a device's burst stands for:
    ``tenant_rate`` x ``burst`` / ``rate``, at least 1. ``bucket_ttl`` is in seconds.
    Raises ValueError for invalid limits.
    """

    def __init__(
        self,
        *,
        rate: float,
        burst: int,
        tenant_rate: float,
        bucket_ttl: float,
        max_tracked_devices: int,
        overrides: OverrideLookup,
    ) -> None:
        self._configured = _Limits(rate, burst, tenant_rate).under(BucketOverride(rate, burst, tenant_rate))
        self._ttl = round(bucket_ttl * SECOND)
        self._overrides = overrides
        self._devices = BucketTable(max_tracked_devices, self._renew_device)
        self._tenants = BucketTable(MAX_TENANTS, self._renew_tenant)
        self._overflows = BucketTable(MAX_TENANTS, self._renew_overflow)
        self._tables = (self._devices, self._tenants, self._overflows)
        self._heads = self._devices.heads
        self._mask = self._devices.mask
        self._sweeping = 0
        self._version = 0
        self._default = self._of_devices(self._configured, self._configured)
        self._now = nan
        self._tick = self._floor = self._changed_floor = self._drained_at = LONG_AGO
        self._credit_from: int | None = None

    @property
    def tracked(self) -> int:
        """Return the number of buckets in memory, including those of tenants and overflow buckets."""
        return sum(table.size for table in self._tables)

    def take(self, key: str, now: float) -> LimitScope | None:
        """Spend a token for one message of the device with this ``bucket_key``.

        Return None if it may pass, otherwise the scope of the empty bucket; then no token was spent anywhere.
        """
        if now != self._now:
            self._advance(now)
        # BucketTable.get and Bucket.take, written out, with the tenant's in the middle: the path of every message.
        bucket = self._heads[hash(key) & self._mask]
        while bucket is not None and bucket.key != key:
            bucket = bucket.next
        if bucket is None:
            return self._take_anew(key)
        limits = bucket.allowance
        if limits.version != self._version:
            self._renew_device(bucket)
            limits = bucket.allowance
        spent = bucket.full_at
        if spent < self._floor:
            spent = self._floor
        spent += limits.interval
        if spent > self._tick + limits.capacity:
            return LimitScope.DEVICE
        if limits.tenant_limited and not self._take_of_tenant(key.partition("/")[0]):
            return LimitScope.TENANT
        bucket.full_at = spent
        return None

    def retry_after(self, key: str, now: float) -> float:
        """Return the seconds until a message of this device can pass, if no other takes a token before; 0 is now."""
        self._advance(now)
        tenant_id = key.partition("/")[0]
        limited = self._tenant_limits(tenant_id) is not None
        buckets = (self._charged(key), self._found(self._tenants, tenant_id) if limited else None)
        return max(0 if bucket is None else bucket.wait(self._tick, self._floor) for bucket in buckets) / SECOND

    def effective(self, tenant_id: str, device_id: str, now: float) -> BucketState:
        """Return the limits in force for a device and its present fill."""
        self._advance(now)
        key = bucket_key(tenant_id, device_id)
        bucket = self._charged(key)
        if bucket is None:
            return self._state(self._full(key, self._device_limits(tenant_id, device_id)), overflow=False)
        return self._state(bucket, overflow=self._devices.get(key) is None)

    def effective_of_tenant(self, tenant_id: str, now: float) -> BucketState | None:
        """Return the limit in force for a tenant as a whole and its present fill, or None without a limit."""
        self._advance(now)
        limits = self._tenant_limits(tenant_id)
        if limits is None:
            return None
        return self._state(self._found(self._tenants, tenant_id) or self._full(tenant_id, limits), overflow=False)

    def limits_changed(self, now: float, tenant_id: str | None = None, device_id: str | None = None) -> None:
        """Look up overrides anew: of one device (give both ids), of a tenant and its devices, or of all.

        Call it once the new limits can be asked for. Buckets keep what was spent from them. Of two changes, a bucket
        that was neither used nor swept in between adopts the second only.
        """
        self._advance(now)
        if tenant_id is not None and device_id is not None:
            bucket = self._devices.get(bucket_key(tenant_id, device_id))
            if bucket is not None:
                bucket.adopt(self._device_limits(tenant_id, device_id), self._floor)
            return
        # For one tenant too: to list its devices costs memory always, to ask once more a microsecond a bucket.
        self._version += 1
        self._changed_floor = self._floor
        self._default = self._of_devices(self._configured, self._configured)
        for table in self._tables:
            table.version = self._version

    def credit(self, seconds: float, now: float) -> None:
        """Credit the ``seconds`` before ``now``, in which no messages were taken: no bucket overflows until
        ``backlog_drained``.

        Of several outages the earliest start counts, so they add up and may overlap; none reaches back beyond the
        last ``backlog_drained``. The caller bounds ``seconds`` where it comes from a wall clock.
        """
        self._advance(now)
        start = max(self._tick - round(max(0.0, seconds) * SECOND), self._drained_at)
        if self._credit_from is None or start < self._credit_from:
            self._credit_from = self._floor = start

    def backlog_drained(self) -> None:
        """End the credit, the backlog being taken: from now on no bucket holds more than its burst."""
        self._credit_from = None
        self._floor = self._drained_at = self._tick

    def sweep(self, now: float, budget: int = SWEEP_ENTRIES) -> Sweep:
        """Run one slice of a pass over all buckets: clear those that are full and were not used for ``bucket_ttl``.

        ``budget``: buckets to look at in this slice, more or less. The pass is over when the answer is ``done``.
        """
        self._advance(now)
        swept = self._tables[self._sweeping].sweep(self._tick - self._ttl, self._floor, budget)
        if swept.done:
            self._sweeping = (self._sweeping + 1) % len(self._tables)
        return Sweep(swept.cleared, swept.done and self._sweeping == 0)

    def _advance(self, now: float) -> None:
        self._now = now
        self._tick = max(self._tick, round(now * SECOND))
        self._floor = self._tick if self._credit_from is None else self._credit_from

    def _take_anew(self, key: str) -> LimitScope | None:
        """Take for a device without a bucket: from a new, full one, or its tenant's overflow bucket without room."""
        tenant_id, _, device_id = key.partition("/")
        room = self._devices.has_room(self._floor)
        if room:
            bucket = self._full(key, self._device_limits(tenant_id, device_id))
        else:
            bucket = self._of_tenant(self._overflows, tenant_id, self._overflow_limits(tenant_id))
            if bucket.wait(self._tick, self._floor) > 0:
                return LimitScope.OVERFLOW
        if bucket.allowance.tenant_limited and not self._take_of_tenant(tenant_id):
            return LimitScope.TENANT
        bucket.take(self._tick, self._floor)
        if room:
            self._devices.add(bucket)
        return None

    def _take_of_tenant(self, tenant_id: str) -> bool:
        bucket = self._tenants.get(tenant_id)
        if bucket is None:
            limits = self._tenant_limits(tenant_id)
            if limits is None:  # it went, and only a device of the tenant was asked for anew
                return True
            bucket = self._of_tenant(self._tenants, tenant_id, limits)
        return bucket.take(self._tick, self._floor)

    def _of_tenant(self, table: BucketTable, tenant_id: str, limits: Allowance) -> Bucket:
        """Return the tenant's bucket in ``table``, made if need be; past the bound the one of all further tenants."""
        bucket = table.get(tenant_id)
        if bucket is None and not table.has_room(self._floor):
            tenant_id = UNKNOWN_TENANTS
            bucket = table.get(tenant_id)
        if bucket is None:
            bucket = self._full(tenant_id, limits)
            table.add(bucket)
        return bucket

    def _charged(self, key: str) -> Bucket | None:
        """Return the bucket that a message of the device is charged to, or None when that would be a new one."""
        bucket = self._devices.get(key)
        if bucket is None and self._devices.at_bound():
            return self._found(self._overflows, key.partition("/")[0])
        return bucket

    def _found(self, table: BucketTable, tenant_id: str) -> Bucket | None:
        """Return the bucket in ``table`` that serves the tenant: its own, or the one that unknown tenants share."""
        bucket = table.get(tenant_id)
        return table.get(UNKNOWN_TENANTS) if bucket is None and table.at_bound() else bucket

    def _full(self, key: str, limits: Allowance) -> Bucket:
        """Return a bucket that was not used yet."""
        return Bucket(key, limits, self._floor)

    def _state(self, bucket: Bucket, *, overflow: bool) -> BucketState:
        limits = bucket.allowance
        return BucketState(limits.rate, limits.burst, bucket.tokens(self._tick, self._floor), overflow)

    def _device_limits(self, tenant_id: str, device_id: str) -> Allowance:
        of_tenant = self._overrides(tenant_id, None)
        of_device = self._overrides(tenant_id, device_id)
        if of_tenant is None and of_device is None:
            return self._default
        limits = self._configured.under(of_tenant)
        return self._of_devices(limits.under(of_device), limits)

    def _overflow_limits(self, tenant_id: str) -> Allowance:
        limits = self._configured.under(self._overrides(tenant_id, None))
        return self._of_devices(limits._replace(rate=OVERFLOW * limits.rate, burst=OVERFLOW * limits.burst), limits)

    def _of_devices(self, limits: _Limits, of_tenant: _Limits) -> Allowance:
        limited = of_tenant.tenant_rate > 0
        return allowance(limits.rate, limits.burst, tenant_limited=limited, version=self._version)

    def _tenant_limits(self, tenant_id: str) -> Allowance | None:
        rate, burst, tenant_rate = self._configured.under(self._overrides(tenant_id, None))
        if tenant_rate == 0:
            return None
        return allowance(tenant_rate, max(1, int(min(tenant_rate * burst / rate, MOST))), version=self._version)

    def _renew_device(self, bucket: Bucket) -> None:
        tenant_id, _, device_id = bucket.key.partition("/")
        bucket.adopt(self._device_limits(tenant_id, device_id), self._changed_floor)

    def _renew_tenant(self, bucket: Bucket) -> None:
        # A tenant that is unlimited now keeps its last limit, unused, in case it comes back.
        kept = msgspec.structs.replace(bucket.allowance, version=self._version)
        bucket.adopt(self._tenant_limits(bucket.key) or kept, self._changed_floor)

    def _renew_overflow(self, bucket: Bucket) -> None:
        bucket.adopt(self._overflow_limits(bucket.key), self._changed_floor)
