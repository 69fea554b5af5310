"""Bucket and allowance in exact arithmetic: whole nanoseconds, restarts, forged times, registration in between.

The model holds two levels and lets time flow into them, drop by drop: it knows nothing of the instants at which the
limiter reckons, of reading, noting or forgetting.
"""

from dataclasses import dataclass, field
from typing import NamedTuple

from appliance.ingest.limits.limiter import Limiter
from appliance.ingest.limits.terms import BucketOverride, NotedAllowance, bucket_key
from tests.support.limiter import limiter_of

SECOND = 1_000_000_000
STEP = SECOND // 1000
"""What limiters are told in seconds, as floats, is exact to a nanosecond only for so round times."""
DEVICE = bucket_key("acme", "d")
FIRST = 1000 * SECOND
"""The monotonic time at which the first process starts."""


ENDS = {"stop", "crash", "limits while stopped"}
"""What a process ends with."""


@dataclass
class Levels:
    """A bucket and its allowance as people think of them, in nanoseconds of waiting."""

    interval: int
    capacity: int
    depth: int
    bucket: int
    allowance: int
    credited: int = 0
    """Nanoseconds of the credit in force: by so much the bucket may hold more."""
    crediting: bool = False

    def pass_time(self, span: int) -> None:
        """Let ``span`` nanoseconds flow in."""
        self.bucket += span
        if self.crediting:
            self.credited += span
        else:
            self.spill()

    def spill(self) -> None:
        """Let the allowance have what the bucket cannot hold."""
        spare = max(0, self.bucket - self.capacity)
        self.bucket -= spare
        self.allowance = min(self.depth, self.allowance + spare)

    def away(self, span: int) -> None:
        """Let time pass in which the appliance took nothing."""
        self.crediting = True
        self.pass_time(span)

    def drained(self) -> None:
        """End the credit."""
        self.crediting, self.credited = False, 0
        self.spill()

    def take(self, *, delayed: bool) -> bool:
        """Spend a token, if there is one; of a delayed message the allowance pays what it can."""
        if self.bucket + (self.allowance if delayed else 0) < self.interval:
            return False
        lent = min(self.allowance, self.interval) if delayed else 0
        self.allowance -= lent
        self.bucket -= self.interval - lent
        return True

    def shift(self) -> None:
        """Let the allowance pay for a token of the bucket afterwards, at the interval that a token takes by then."""
        lent = min(self.allowance, self.interval)
        spare = max(0, self.bucket + lent - self.capacity - self.credited)
        self.bucket += lent - spare
        self.allowance = self.allowance - lent + spare

    def full_in(self) -> int:
        """Return the nanoseconds until both are full, as a note says it: never more than the allowance takes."""
        return min(self.capacity + self.depth - self.bucket - self.allowance, self.depth)

    def change(self, interval: int, capacity: int) -> None:
        """Set other limits: what was spent of the burst stays spent, token for token, rounded up; the rest is time."""
        owed = self.capacity - self.bucket
        self.bucket = capacity - (-(-owed * interval // self.interval) if owed > 0 else owed)
        self.interval, self.capacity = interval, capacity


class Happening(NamedTuple):
    """What happens next, the milliseconds it takes, and what the device does then."""

    what: str
    milliseconds: int = 0
    offers: int = 0
    """Messages that the device sends afterwards, until the first that is refused."""
    age: int | None = None
    """Milliseconds ago that they claim to be from, if they do."""
    rate: int = 1
    burst: int = 1
    """The new limits, where they change."""

    @property
    def claimed(self) -> int | None:
        """The age that they claim, in nanoseconds."""
        return None if self.age is None else self.age * STEP


class Entry(NamedTuple):
    """A token that this process gave, or a change of limits: when, the start of the credit in force, the limits."""

    at: int
    since: int
    interval: int
    burst: int
    tokens: int


@dataclass
class World:
    """Processes one after another, what is kept between them, and the model that they must agree with.

    ``of_tenant``: the limit is that of all devices of a tenant. The device's own is ten times as wide.
    """

    rate: int
    burst: int
    backlog: int
    age: int
    greedy: bool
    of_tenant: bool = False
    now: int = FIRST
    kept: int | None = None
    """When both are full, as it is kept; None: nothing was noted yet."""
    history: list[Entry] = field(default_factory=list)
    """What this process gave, and the limits it had."""

    def __post_init__(self) -> None:
        self.registered = self.now - self.age
        self.override: BucketOverride | None = None
        interval = SECOND // self.rate
        self.levels = Levels(interval, self.burst * interval, self.backlog * SECOND, 0, 0)
        self.start()

    def start(self, away: int = 0) -> None:
        """Begin a process, ``away`` nanoseconds after the last one ended: its bucket is full."""
        self.now += away
        self.limiter = self.limiter_of_this_process()
        levels = self.levels
        level = self.kept if self.kept is not None else self.registered + levels.depth
        self.levels = Levels(levels.interval, levels.capacity, levels.depth, levels.capacity, levels.depth)
        self.levels.allowance = levels.depth - min(max(0, level - (self.now - away)), levels.depth)
        self.history.clear()
        if away:
            self.limiter.credit(away / SECOND, self.now / SECOND)
            self.levels.away(away)
        if self.greedy:
            # What is kept is read with the first message. With one that comes later, the allowance would still owe what
            # the bucket owed at the end of the last process.
            self.offer(None)

    def limiter_of_this_process(self) -> Limiter:
        limits = self.override or self.overriding(self.rate, self.burst)
        assert limits.rate is not None
        assert limits.burst is not None
        read = self.kept  # of a tenant, what is kept is in memory as it was at first: no later note is heard of
        return limiter_of(
            rate=limits.rate, burst=limits.burst, tenant_rate=limits.tenant_rate or 0, bucket_ttl=1,
            max_tracked_devices=1,
            overrides=lambda _tenant_id, device_id: self.override if (device_id is None) is self.of_tenant else None,
            allowances=lambda _tenant_id, device_id: self.noted(self.kept if device_id else read),
            backlog=self.backlog,
        )  # fmt: skip

    def overriding(self, rate: int, burst: int) -> BucketOverride:
        return BucketOverride(10 * rate, 10 * burst, rate) if self.of_tenant else BucketOverride(rate, burst)

    def noted(self, kept: int | None) -> NotedAllowance:
        return NotedAllowance(None if kept is None else kept - self.now, self.now - self.registered)

    def offer(self, age: int | None) -> bool:
        """Let one message come, which claims an ``age`` or none; return whether it passed."""
        now = self.now / SECOND
        empty = self.limiter.take(DEVICE, now)
        delayed = age is not None and self.limiter.delayed(DEVICE, age)
        if delayed and empty is None:
            self.limiter.shift(DEVICE, now)
        elif delayed and self.limiter.may_draw(DEVICE):
            empty = self.limiter.draw(DEVICE, now)
        assert (empty is None) == self.levels.take(delayed=delayed)
        if empty is None:
            self.record(1)
        return empty is None

    def record(self, tokens: int) -> None:
        levels = self.levels
        burst = levels.capacity // levels.interval
        self.history.append(Entry(self.now, self.now - levels.credited, levels.interval, burst, tokens))

    def note(self) -> None:
        """Keep the level, as the next write does: of two notes the later."""
        now = self.now / SECOND
        full_in = self.limiter.note_tenant("acme", now) if self.of_tenant else self.limiter.note(DEVICE, now)
        if full_in is not None:
            noted = self.now + full_in
            assert self.now + self.levels.full_in() <= noted <= max(self.now + self.levels.full_in(), self.kept or 0)
            self.kept = max(noted, self.kept or 0)

    def change_limits(self, rate: int, burst: int) -> None:
        """Set other limits."""
        self.record(0)
        self.override = self.overriding(rate, burst)
        self.limiter.limits_changed(self.now / SECOND)
        self.levels.change(SECOND // rate, burst * (SECOND // rate))

    def change_limits_while_messages_wait(self, rate: int, burst: int, age: int | None) -> None:
        """Set other limits while three messages are taken and wait for their allowance to be read."""
        delayed = age is not None and self.limiter.delayed(DEVICE, age)
        waiting = sum(self.offer(None) for _ in range(3)) if delayed else 0
        self.change_limits(rate, burst)
        for _ in range(waiting):
            self.limiter.shift(DEVICE, self.now / SECOND)
            self.levels.shift()

    def check(self) -> None:
        """Compare the levels, and hold the bound over every span of this process, absences included.

        Over a span with several limits, the bound is that of the highest rate and the highest burst.
        """
        levels, now = self.levels, self.now / SECOND
        state = self.limiter.effective_of_tenant("acme", now) if self.of_tenant else None
        state = state or self.limiter.effective("acme", "d", now)
        assert state.fill == levels.bucket / levels.interval
        assert state.allowance == levels.allowance / levels.interval
        count, interval, burst = 0, levels.interval, levels.capacity // levels.interval
        for entry in reversed(self.history):
            count, interval, burst = count + entry.tokens, min(interval, entry.interval), max(burst, entry.burst)
            assert count * interval <= self.now - entry.since + levels.depth + burst * interval

    def let(self, happening: Happening) -> None:
        """Let it happen, and the device send what it sends then."""
        if happening.what in ENDS:
            self.ends(happening)
        else:
            self.goes_on(happening)
        for _ in range(happening.offers):
            if not self.offer(happening.claimed):
                break
        self.check()

    def ends(self, happening: Happening) -> None:
        """Let this process end, and another begin."""
        if happening.what != "crash":
            self.note()
        if happening.what == "limits while stopped":
            self.override = self.overriding(happening.rate, happening.burst)
            self.levels.interval = SECOND // happening.rate
            self.levels.capacity = happening.burst * self.levels.interval
        self.start(happening.milliseconds * STEP)

    def goes_on(self, happening: Happening) -> None:
        """Let something happen to this process."""
        span = happening.milliseconds * STEP
        match happening.what:
            case "wait":
                self.now += span
                self.levels.pass_time(span)
            case "away":
                self.now += span
                self.limiter.credit(span / SECOND, self.now / SECOND)
                self.levels.away(span)
            case "drained":
                self.check()
                self.limiter.backlog_drained()
                self.levels.drained()
            case "note":
                self.note()
            case "sweep":
                while not self.limiter.sweep(self.now / SECOND).done:
                    pass
            case "limits":
                self.change_limits(happening.rate, happening.burst)
            case "limits while waiting":
                self.change_limits_while_messages_wait(happening.rate, happening.burst, happening.claimed)
