"""The limiter against exact arithmetic: every verdict of any history equals that of buckets counted in fractions.

The model knows nothing of instants at which a bucket is full, of forgetting, or of shards: it counts tokens. It may
keep every bucket for ever, because forgetting one must make no difference.
"""

from dataclasses import dataclass
from fractions import Fraction

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from appliance.ingest.limits.terms import BucketOverride, LimitScope, bucket_key
from tests.support import soak
from tests.support.limiter import limiter_of

TENANTS = ("t1", "t2")
DEVICES = ("d1", "d2", "d3", "d4")
MILLISECOND = Fraction(1, 1000)
NOTHING = Fraction(1, 1_000_000)
"""Tokens by which the two may differ: changing limits rounds to a nanosecond. Nothing else does."""

ids = st.sampled_from(TENANTS)
device_ids = st.sampled_from(DEVICES)
rates = st.sampled_from([0.5, 1.0, 2.0, 4.0, 5.0, 8.0, 10.0, 20.0])  # whole nanoseconds a token
bursts = st.integers(1, 12)
tenant_rates = st.sampled_from([0.0, 0.0, 0.5, 2.0, 10.0])
overrides = st.builds(
    BucketOverride, rate=st.none() | rates, burst=st.none() | bursts, tenant_rate=st.none() | tenant_rates
)


@dataclass
class Tokens:
    """A bucket as people think of it."""

    rate: Fraction
    burst: int
    level: Fraction
    since: Fraction

    def most(self, now: Fraction, credit_from: Fraction | None) -> Fraction:
        """What one holds that nobody used."""
        return self.burst + (Fraction(0) if credit_from is None else self.rate * (now - credit_from))

    def at(self, now: Fraction, credit_from: Fraction | None) -> "Tokens":
        """The same bucket at ``now``."""
        capped_until = now if credit_from is None else max(self.since, credit_from)
        capped = min(Fraction(self.burst), self.level + self.rate * (capped_until - self.since))
        if capped_until == self.since:  # all of the time since then is credited, and what was above the burst too
            capped = self.level
        return Tokens(self.rate, self.burst, capped + self.rate * (now - capped_until), now)

    def full(self, now: Fraction, credit_from: Fraction | None) -> bool:
        """Whether it is as one that nobody used."""
        return self.at(now, credit_from).level >= self.most(now, credit_from)

    def change(self, rate: Fraction, burst: int, now: Fraction, credit_from: Fraction | None) -> None:
        """Other limits; what was spent of the burst stays spent, and credit is so much time at any rate."""
        over = self.at(now, credit_from).level - self.burst
        self.level = burst + (over / self.rate * rate if over > 0 else over)
        self.rate, self.burst, self.since = rate, burst, now


class LimiterMachine(RuleBasedStateMachine):
    """Any history of takes, time, overrides, outages, drains and sweeps."""

    @initialize(rate=rates, burst=bursts, tenant_rate=tenant_rates, bound=st.integers(1, 8))
    def build(self, rate: float, burst: int, tenant_rate: float, bound: int) -> None:
        self.table: dict[tuple[str, str | None], BucketOverride] = {}
        self.configured = BucketOverride(rate, burst, tenant_rate)
        self.bound = bound
        self.limiter = limiter_of(
            rate=rate,
            burst=burst,
            tenant_rate=tenant_rate,
            bucket_ttl=1,
            max_tracked_devices=bound,
            overrides=lambda tenant_id, device_id: self.table.get((tenant_id, device_id)),
        )
        self.now = Fraction(1000)
        self.event = self.now  # the latest take, change of limits or draining: an outage begins after it
        self.credit_from: Fraction | None = None
        self.devices: dict[tuple[str, str], Tokens] = {}
        self.tenants: dict[str, Tokens] = {}
        self.overflows: dict[str, Tokens] = {}
        self.rounded = False

    # The model.

    def limits(self, tenant_id: str, device_id: str | None) -> tuple[Fraction, int, Fraction]:
        found = [self.configured, self.table.get((tenant_id, None)), self.table.get((tenant_id, device_id))]
        rate, burst = self.configured.rate, self.configured.burst
        for override in found:
            rate = rate if override is None or override.rate is None else override.rate
            burst = burst if override is None or override.burst is None else override.burst
        of_tenant = self.table.get((tenant_id, None))
        wide = self.configured if of_tenant is None or of_tenant.tenant_rate is None else of_tenant
        assert rate is not None
        assert burst is not None
        assert wide.tenant_rate is not None
        return Fraction(rate), burst, Fraction(wide.tenant_rate)

    def tenant_limits(self, tenant_id: str) -> tuple[Fraction, int] | None:
        rate, burst, tenant_rate = self.limits(tenant_id, None)
        return (tenant_rate, max(1, int(tenant_rate * burst / rate))) if tenant_rate else None

    def present(self, bucket: Tokens | None, rate: Fraction, burst: int) -> Tokens:
        """The bucket as it is now, or a new one."""
        if bucket is None:
            bucket = Tokens(rate, burst, Fraction(burst), self.now if self.credit_from is None else self.credit_from)
        return bucket.at(self.now, self.credit_from)

    def device(self, tenant_id: str, device_id: str) -> tuple[Tokens, bool]:
        """The bucket that counts for the device, and whether it is its own."""
        rate, burst, _ = self.limits(tenant_id, device_id)
        own = self.present(self.devices.get((tenant_id, device_id)), rate, burst)
        in_use = [key for key, bucket in self.devices.items() if not bucket.full(self.now, self.credit_from)]
        if (tenant_id, device_id) in in_use or len(in_use) < self.bound:
            return own, True
        rate, burst, _ = self.limits(tenant_id, None)
        return self.present(self.overflows.get(tenant_id), 10 * rate, 10 * burst), False

    def everybody_adopts(self) -> None:
        for (tenant_id, device_id), bucket in self.devices.items():
            rate, burst, _ = self.limits(tenant_id, device_id)
            bucket.change(rate, burst, self.now, self.credit_from)
        for tenant_id, bucket in self.overflows.items():
            rate, burst, _ = self.limits(tenant_id, None)
            bucket.change(10 * rate, 10 * burst, self.now, self.credit_from)
        for tenant_id, bucket in self.tenants.items():
            limits = self.tenant_limits(tenant_id)
            if limits is not None:
                bucket.change(*limits, self.now, self.credit_from)

    def close(self, bucket: Tokens) -> bool:
        """Whether the model may not decide, because limits were changed and a token is all but there."""
        return self.rounded and abs(bucket.level - 1) < NOTHING

    # What can happen.

    @rule(tenant_id=ids, device_id=device_ids, tries=st.integers(1, 15))
    def take(self, tenant_id: str, device_id: str, tries: int) -> None:
        self.event = self.now
        for _ in range(tries):
            bucket, own = self.device(tenant_id, device_id)
            limits = self.tenant_limits(tenant_id)
            tenant = None if limits is None else self.present(self.tenants.get(tenant_id), *limits)
            verdict = self.limiter.take(bucket_key(tenant_id, device_id), float(self.now))
            refused = LimitScope.DEVICE if own else LimitScope.OVERFLOW
            expected = refused if bucket.level < 1 else LimitScope.TENANT if tenant and tenant.level < 1 else None
            if not (self.close(bucket) or (tenant and self.close(tenant))):
                assert verdict is expected
            if verdict is not None:
                continue
            bucket.level -= 1
            if own:
                self.devices[tenant_id, device_id] = bucket
            else:
                self.overflows[tenant_id] = bucket
            if tenant is not None:
                tenant.level -= 1
                self.tenants[tenant_id] = tenant

    @rule(milliseconds=st.integers(0, 3000) | st.integers(0, 100_000))
    def time_passes(self, milliseconds: int) -> None:
        self.now += milliseconds * MILLISECOND

    @rule(tenant_id=ids, device_id=st.none() | device_ids, override=st.none() | overrides, wide=st.booleans())
    def limits_change(self, tenant_id: str, device_id: str | None, override: BucketOverride | None, wide: bool) -> None:
        self.the_janitor_passes()  # of two changes, a bucket nobody comes to in between hears of the last only
        self.event = self.now
        self.rounded = True
        if override is None:
            self.table.pop((tenant_id, device_id), None)
        else:
            self.table[tenant_id, device_id] = override
        if wide:
            self.limiter.limits_changed(float(self.now))
        else:
            self.limiter.limits_changed(float(self.now), tenant_id, device_id)
        self.everybody_adopts()

    @rule(share=st.integers(0, 1000))
    def an_outage_ends(self, share: int) -> None:
        """It began somewhere between the latest event and now."""
        seconds = (self.now - self.event) * share / 1000
        seconds -= seconds % MILLISECOND
        self.limiter.credit(float(seconds), float(self.now))
        start = self.now - seconds
        self.credit_from = start if self.credit_from is None else min(start, self.credit_from)

    @rule()
    def backlog_drained(self) -> None:
        self.limiter.sweep(float(self.now), 0)  # the limiter learns the time from its calls
        self.limiter.backlog_drained()
        for bucket in (*self.devices.values(), *self.tenants.values(), *self.overflows.values()):
            bucket.level = min(bucket.at(self.now, self.credit_from).level, Fraction(bucket.burst))
            bucket.since = self.now
        self.credit_from = None
        self.event = self.now

    @rule()
    def the_janitor_passes(self) -> None:
        self.event = self.now  # it rests while we are away (see Janitor), so no outage reaches back past its pass
        while not self.limiter.sweep(float(self.now), 500).done:
            pass

    @rule(tenant_id=ids, device_id=device_ids)
    def somebody_looks(self, tenant_id: str, device_id: str) -> None:
        bucket, own = self.device(tenant_id, device_id)
        state = self.limiter.effective(tenant_id, device_id, float(self.now))
        if own and bucket.level < bucket.most(self.now, self.credit_from) - NOTHING:
            assert not state.overflow
            assert (Fraction(state.rate), state.burst) == (bucket.rate, bucket.burst)
            assert abs(Fraction(state.fill) - bucket.level) < NOTHING

    @invariant()
    def accounting_is_right(self) -> None:
        if not hasattr(self, "limiter"):
            return
        devices = self.limiter._devices
        assert devices.size == sum(len(devices._chain(index)) for index in range(len(devices.heads))) <= self.bound
        assert self.limiter.tracked <= self.bound + 2 * len(TENANTS)


TestLimiter = LimiterMachine.TestCase
TestLimiter.settings = settings(max_examples=soak.times(100), stateful_step_count=40, deadline=None)
