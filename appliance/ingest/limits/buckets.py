"""All buckets of a process: their tables, the time they count by, and the limits in force for each.

Enters: monotonic time, limits, and the absences of the appliance. Leaves: the bucket that a message is charged to.
Never: a decision about a message (that is the limiter's), I/O, or work that grows with the number of buckets.
"""

from math import nan

import msgspec

from appliance.ingest.limits.bucket import NEVER, SECOND, Bucket, BucketLimits, BucketTable, Sweep, bucket_limits
from appliance.ingest.limits.terms import (
    AllowanceLookup,
    BucketOverride,
    EffectiveLimits,
    NotedAllowance,
    OverrideLookup,
    bucket_key,
)

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

CLOCK_DOUBT = 600 * SECOND
"""By so much two clocks that are right may differ. An allowance full later than it can be was noted by a wrong one.
No note is later than the depth of an allowance, whatever the limits were: see ``Limiter.note``."""


class Buckets:
    """Holds the buckets. ``now`` is monotonic time in seconds; an earlier one than before counts as the latest.

    ``rate`` and ``burst`` (messages a second, messages) hold for a device. A tenant may send ``tenant_rate`` messages a
    second, 0 being unlimited, and at once as many as that rate brings in the time a device's burst stands for:
    ``tenant_rate`` x ``burst`` / ``rate``, at least 1. ``backlog``, the time that an allowance holds, and
    ``bucket_ttl`` are in seconds. Raises ValueError for invalid limits.
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
        backlog: float,
        allowances: AllowanceLookup,
    ) -> None:
        self._configured = EffectiveLimits(rate, burst, tenant_rate).under(BucketOverride(rate, burst, tenant_rate))
        self._ttl = round(bucket_ttl * SECOND)
        self._overrides = overrides
        self._depth = round(backlog * SECOND)
        self._allowances = allowances
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
        self._tick = self._floor = self._changed_at = self._drained_at = NEVER
        self._credit_from: int | None = None

    @property
    def tracked(self) -> int:
        """Return the number of buckets in memory, including those of tenants and overflow buckets."""
        return sum(table.size for table in self._tables)

    def limits_changed(self, now: float, tenant_id: str | None = None, device_id: str | None = None) -> None:
        """Look up overrides anew: of one device (give both ids), of a tenant and its devices, or of all.

        Call it once the new limits can be asked for. Buckets keep what was spent from them. Of two changes, a bucket
        that was neither used nor swept in between adopts the second only.
        """
        self._advance(now)
        if tenant_id is not None and device_id is not None:
            bucket = self._devices.get(bucket_key(tenant_id, device_id))
            if bucket is not None:
                bucket.adopt(self._device_limits(tenant_id, device_id), self._tick)
            return
        # For one tenant too: to list its devices costs memory always, to ask once more a microsecond a bucket.
        self._version += 1
        self._changed_at = self._tick
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

    def _tenant_bucket(self, tenant_id: str) -> Bucket | None:
        """Return the bucket of the tenant's limit, or None without one."""
        bucket = self._tenants.get(tenant_id)
        if bucket is None:
            limits = self._tenant_limits(tenant_id)
            if limits is None:  # it went, and only a device of the tenant was asked for anew
                return None
            bucket = self._of_tenant(self._tenants, tenant_id, limits)
        if bucket.lent < 0:
            self._read(bucket)
        return bucket

    def _of_tenant(self, table: BucketTable, tenant_id: str, limits: BucketLimits) -> Bucket:
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

    def _full(self, key: str, limits: BucketLimits) -> Bucket:
        """Return a bucket that was not used yet, and whose allowance is not read."""
        return Bucket(key, limits, self._floor)

    def _read(self, bucket: Bucket) -> bool:
        """Read the allowance of ``bucket`` if it is not read yet; return whether it is read, or there is none."""
        limits = bucket.limits
        if bucket.lent >= 0 or limits.depth == 0:
            return True
        tenant_id, _, device_id = bucket.key.partition("/")
        noted = self._allowances(tenant_id, device_id or None)
        if noted is None:
            return False
        self._take_over(bucket, noted)
        return True

    def _take_over(self, bucket: Bucket, noted: NotedAllowance) -> None:
        """Set the allowance of ``bucket`` to what was noted."""
        limits = bucket.limits
        full_in = noted.full_in
        if full_in is None or full_in > limits.depth + CLOCK_DOUBT:
            full_in = limits.depth - noted.age
            if full_in > limits.depth + CLOCK_DOUBT:
                full_in = 0  # registered by a wrong clock: nothing is known, and nobody is refused for that
        bucket.read(self._tick + full_in - self._floor)

    def _device_limits(self, tenant_id: str, device_id: str) -> BucketLimits:
        of_tenant = self._overrides(tenant_id, None)
        of_device = self._overrides(tenant_id, device_id)
        if of_tenant is None and of_device is None:
            return self._default
        limits = self._configured.under(of_tenant)
        return self._of_devices(limits.under(of_device), limits)

    def _overflow_limits(self, tenant_id: str) -> BucketLimits:
        """Return the limits of an overflow bucket. It has no allowance: nobody knows whose it would be."""
        limits = self._configured.under(self._overrides(tenant_id, None))
        limited = limits.tenant_rate > 0
        rate, burst = OVERFLOW * limits.rate, OVERFLOW * limits.burst
        return bucket_limits(rate, burst, tenant_limited=limited, version=self._version)

    def _of_devices(self, limits: EffectiveLimits, of_tenant: EffectiveLimits) -> BucketLimits:
        limited = of_tenant.tenant_rate > 0
        return bucket_limits(
            limits.rate, limits.burst, depth=self._depth, tenant_limited=limited, version=self._version
        )

    def _tenant_limits(self, tenant_id: str) -> BucketLimits | None:
        rate, burst, tenant_rate = self._configured.under(self._overrides(tenant_id, None))
        if tenant_rate == 0:
            return None
        most = max(1, int(min(tenant_rate * burst / rate, MOST)))
        return bucket_limits(tenant_rate, most, depth=self._depth, version=self._version)

    def _renew_device(self, bucket: Bucket) -> None:
        tenant_id, _, device_id = bucket.key.partition("/")
        bucket.adopt(self._device_limits(tenant_id, device_id), self._changed_at)

    def _renew_tenant(self, bucket: Bucket) -> None:
        # A tenant that is unlimited now keeps its last limit, unused, in case it comes back.
        kept = msgspec.structs.replace(bucket.limits, version=self._version)
        bucket.adopt(self._tenant_limits(bucket.key) or kept, self._changed_at)

    def _renew_overflow(self, bucket: Bucket) -> None:
        bucket.adopt(self._overflow_limits(bucket.key), self._changed_at)
