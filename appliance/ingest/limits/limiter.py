"""The rate limiter: a token bucket and an allowance for each device and each tenant that has a limit, backlog credit.

Enters: the key of a message's device and the monotonic time, one for a batch. Leaves: None, or the scope of the empty
bucket. Never: I/O, waiting, a clock of its own, or work in the message path that grows with the number of buckets.

Backlog credit. While the appliance took no messages, devices went on, and what they sent comes later, in any order. So
from the start of an outage until the backlog is drained no bucket overflows: each goes on filling at its rate from
``burst``, as though the device had been heard all the time. A device then never gets more than ``burst`` + ``rate`` x
(outage + time since), and one that kept to its rate never less than it needs, however late its messages come.

The allowance. A device may be away by itself. What its full bucket cannot hold flows into its allowance, which holds
``rate`` x ``backlog`` at most, and delayed messages are paid of it first: those that carry their own time and were held
back. Every message is charged to the buckets when it comes (``take``), since the usual one can be judged before it is
decoded. One that turns out to be delayed is charged to the allowances afterwards (``shift``), and one that found a
bucket empty may pass as a delayed one (``draw``). What an allowance holds outlives the process: it is read once, when
it is first needed, and kept elsewhere (``note``).
"""

from appliance.ingest.limits.bucket import DELAYED, LEAST_DELAYED, SECOND, Bucket
from appliance.ingest.limits.buckets import Buckets
from appliance.ingest.limits.terms import BucketState, LimitScope, NotedAllowance, bucket_key, split_key


class Limiter(Buckets):
    """Decides on messages. ``now`` is monotonic time in seconds; an earlier one than before counts as the latest."""

    _taken: Bucket | None = None
    """The bucket that ``take`` has charged last; None after one that it had to make."""

    def take(self, key: str, now: float) -> LimitScope | None:
        """Spend a token for one message of the device with this ``bucket_key``.

        Return None if it may pass, otherwise the scope of the empty bucket; then no token was spent anywhere.
        """
        if now != self._now:
            self._advance(now)
        # BucketTable.get, Bucket.take and Bucket.overflow, written out, with the tenant's in the middle: the path of
        # every message.
        bucket = self._heads[hash(key) & self._mask]
        while bucket is not None and bucket.key != key:
            bucket = bucket.next
        if bucket is None:
            return self._take_anew(key)
        limits = bucket.limits
        if limits.version != self._version:
            self._renew_device(bucket)
            limits = bucket.limits
        spent = bucket.full_at
        floor = self._floor
        if spent < floor:
            lent = bucket.lent
            if lent > 0:
                spare = floor - spent
                bucket.lent = lent - spare if lent > spare else 0
                bucket.full_at = floor
            spent = floor
        spent += limits.interval
        if spent > self._tick + limits.capacity:
            return LimitScope.DEVICE
        if limits.tenant_limited and not self._take_of_tenant(key.partition("/")[0]):
            return LimitScope.TENANT
        bucket.full_at = spent
        self._taken = bucket
        return None

    def delayed(self, key: str, age: int) -> bool:
        """Return whether a message of the device that carries its own time, ``age`` nanoseconds ago, was delayed."""
        if not LEAST_DELAYED <= age <= self._depth:
            return False
        if age >= DELAYED:
            return True
        bucket = self._devices.get(key)
        limits = self._device_limits(*split_key(key)) if bucket is None else bucket.limits
        return age >= limits.delayed_after

    def shift_taken(self, age: int) -> bool:
        """Do what ``delayed``, ``knows`` and ``shift`` do together, for the message that ``take`` has just let pass.

        ``age`` is as in ``delayed``. Return False, with nothing done, where more than the device's own bucket must be
        looked at.
        """
        # Bucket.shift, written out: the path of every message of a backlog. The bucket has just been charged, so
        # nothing of it waits to flow over.
        bucket = self._taken
        if bucket is None:
            return False
        limits, lent = bucket.limits, bucket.lent
        if not limits.delayed_after <= age <= self._depth:
            return True
        if lent < 0 or limits.tenant_limited:
            return False
        interval = limits.interval
        if lent + interval <= limits.depth:
            bucket.full_at -= interval
            bucket.lent = lent + interval
        else:
            bucket.shift(self._floor)
        return True

    def knows(self, key: str) -> bool:
        """Return whether the allowances that a delayed message of this device is charged to are read.

        Without room for a bucket of its own, or with no allowances at all, there is nothing to read.
        """
        bucket = self._devices.get(key)
        if bucket is None:
            tenant_id, device_id = split_key(key)
            return self._depth == 0 or self._allowances(tenant_id, device_id) is not None or self._devices.at_bound()
        of_tenant = self._tenant_bucket(key.partition("/")[0]) if bucket.limits.tenant_limited else None
        return self._read(bucket) and (of_tenant is None or self._read(of_tenant))

    def may_draw(self, key: str) -> bool:
        """Return whether a delayed message may pass where ``take`` has just refused one of this device.

        False is sure, True is not.
        """
        if self._depth == 0:
            return False
        bucket = self._devices.get(key)
        if bucket is None:
            return not self._devices.at_bound()
        of_tenant = self._tenants.get(key.partition("/")[0]) if bucket.limits.tenant_limited else None
        return self._may_hold(bucket) and (of_tenant is None or self._may_hold(of_tenant))

    def draw(self, key: str, now: float) -> LimitScope | None:
        """Spend a token for one delayed message of the device: of its allowance first, then of its bucket.

        The same holds for the tenant's limit. Returns as ``take`` does.
        """
        self._advance(now)
        tenant_id, device_id = split_key(key)
        bucket = self._devices.get(key)
        if bucket is None:
            if not self._devices.has_room(self._floor):
                return LimitScope.OVERFLOW
            bucket = self._full(key, self._device_limits(tenant_id, device_id))
            self._devices.add(bucket)
        self._read(bucket)
        if bucket.wait_delayed(self._tick, self._floor) > 0:
            return LimitScope.DEVICE
        if bucket.limits.tenant_limited:
            of_tenant = self._tenant_bucket(tenant_id)
            if of_tenant is not None:
                if of_tenant.wait_delayed(self._tick, self._floor) > 0:
                    return LimitScope.TENANT
                of_tenant.draw(self._floor)
        bucket.draw(self._floor)
        return None

    def shift(self, key: str, now: float) -> None:
        """Charge the token that ``take`` took for a message of the device to the allowances, where they hold one."""
        self._advance(now)
        bucket = self._devices.get(key)
        if bucket is None:
            return
        self._read(bucket)
        bucket.shift(self._floor)
        if bucket.limits.tenant_limited:
            of_tenant = self._tenant_bucket(key.partition("/")[0])
            if of_tenant is not None:
                of_tenant.shift(self._floor)

    def note(self, key: str, now: float) -> int | None:
        """Return the nanoseconds until bucket and allowance of this device are both full, which the caller keeps.

        None: there is nothing to keep. What is kept must be what ``allowances`` answers, or the bucket is forgotten
        with what was spent of it; of two notes the later instant is kept. No note is further ahead than an allowance
        takes to fill: a bucket can owe any time after a limit was lowered, but a new process starts with a full one,
        and must tell the note from that of a wrong clock, whatever its limits. ``note_tenant`` is the same for a
        tenant's limit.
        """
        self._advance(now)
        return self._note(self._devices.get(key))

    def note_tenant(self, tenant_id: str, now: float) -> int | None:
        """Return the same of a tenant's limit. Its bucket stays until its allowance is full."""
        self._advance(now)
        return self._note(self._tenants.get(tenant_id), forget=False)

    def retry_after(self, key: str, now: float, messages: int = 1, delayed: int = 0) -> float:
        """Return the seconds until ``messages`` and ``delayed`` ones of this device can pass, if no others come before.

        Of more messages than a full bucket holds, as many as that count. 0 is now.
        """
        self._advance(now)
        tenant_id = key.partition("/")[0]
        limited = self._tenant_limits(tenant_id) is not None
        buckets = (self._charged(key), self._found(self._tenants, tenant_id) if limited else None)
        return max(0 if bucket is None else self._wait(bucket, messages, delayed) for bucket in buckets) / SECOND

    def effective(self, tenant_id: str, device_id: str, now: float, noted: NotedAllowance | None = None) -> BucketState:
        """Return the limits in force for a device and its present fill.

        ``noted`` is what is kept of its allowance, for a device that was not heard since the start.
        """
        self._advance(now)
        key = bucket_key(tenant_id, device_id)
        bucket = self._charged(key)
        if bucket is None:
            bucket = self._full(key, self._device_limits(tenant_id, device_id))
            if not self._read(bucket) and noted is not None:
                self._take_over(bucket, noted)
            return self._state(bucket, overflow=False)
        return self._state(bucket, overflow=self._devices.get(key) is None)

    def effective_of_tenant(self, tenant_id: str, now: float) -> BucketState | None:
        """Return the limit in force for a tenant as a whole and its present fill, or None without a limit."""
        self._advance(now)
        limits = self._tenant_limits(tenant_id)
        if limits is None:
            return None
        bucket = self._found(self._tenants, tenant_id)
        if bucket is None:
            bucket = self._full(tenant_id, limits)
            self._read(bucket)
        return self._state(bucket, overflow=False)

    def _may_hold(self, bucket: Bucket) -> bool:
        """Return whether there may be a token for a delayed message; there may be while the allowance is not read."""
        return bucket.lent < 0 or bucket.wait_delayed(self._tick, self._floor) == 0

    def _take_anew(self, key: str) -> LimitScope | None:
        """Take for a device without a bucket: from a new, full one, or its tenant's overflow bucket without room."""
        self._taken = None
        tenant_id, _, device_id = key.partition("/")
        room = self._devices.has_room(self._floor)
        if room:
            bucket = self._full(key, self._device_limits(tenant_id, device_id))
            self._read(bucket)
        else:
            bucket = self._of_tenant(self._overflows, tenant_id, self._overflow_limits(tenant_id))
            if bucket.wait(self._tick, self._floor) > 0:
                return LimitScope.OVERFLOW
        if bucket.limits.tenant_limited and not self._take_of_tenant(tenant_id):
            return LimitScope.TENANT
        bucket.take(self._tick, self._floor)
        if room:
            self._devices.add(bucket)
        return None

    def _take_of_tenant(self, tenant_id: str) -> bool:
        bucket = self._tenants.get(tenant_id)
        if bucket is None or (bucket.lent < 0 < self._depth):
            bucket = self._tenant_bucket(tenant_id)
        return bucket is None or bucket.take(self._tick, self._floor)

    def _note(self, bucket: Bucket | None, *, forget: bool = True) -> int | None:
        if bucket is None:
            return None
        self._read(bucket)
        if bucket.lent <= max(0, self._floor - bucket.full_at):
            return None
        full_at = max(bucket.noted, min(bucket.total_full_at(), self._tick + bucket.limits.depth))
        if forget:
            bucket.noted = full_at
        return full_at - self._tick

    def _wait(self, bucket: Bucket, messages: int, delayed: int) -> int:
        limits = bucket.limits
        most = limits.burst
        together = most + (limits.depth // limits.interval if bucket.lent >= 0 else 0)
        messages = min(messages, most)
        return max(
            bucket.wait(self._tick, self._floor, messages),
            bucket.wait_delayed(self._tick, self._floor, min(messages + delayed, together)),
        )

    def _state(self, bucket: Bucket, *, overflow: bool) -> BucketState:
        limits = bucket.limits
        allowance = None if bucket.lent < 0 < limits.depth else bucket.left(self._floor) / limits.interval
        most = 0.0 if overflow else limits.depth / limits.interval
        return BucketState(limits.rate, limits.burst, bucket.tokens(self._tick, self._floor), overflow, allowance, most)
