"""Bucket and allowance against exact arithmetic: whole nanoseconds, restarts, forged times, registration in between.

The model holds two levels and lets time flow into them, drop by drop: it knows nothing of the instants at which the
limiter reckons, of reading, noting or forgetting.
"""

from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.ingest.limits.limiter import Limiter
from appliance.ingest.limits.terms import BucketOverride, NotedAllowance, bucket_key
from tests.ingest.limits.test_backlog import kept_to_its_rate
from tests.support import soak
from tests.support.limiter import limiter_of

SECOND = 1_000_000_000
STEP = SECOND // 1000
"""What limiters are told in seconds, as floats, is exact to a nanosecond only for so round times."""
DEVICE = bucket_key("acme", "d")
FIRST = 1000 * SECOND
"""The monotonic time at which the first process starts."""


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

    def full_in(self) -> int:
        """Return the nanoseconds until both are full."""
        return self.capacity + self.depth - self.bucket - self.allowance

    def change(self, interval: int, capacity: int) -> None:
        """Set other limits; what was spent stays spent, token for token, rounded up."""
        owed = self.capacity + self.credited - self.bucket
        lent = min(self.depth, _scaled(self.depth - self.allowance, interval, self.interval))
        self.bucket = capacity + self.credited - _scaled(owed, interval, self.interval)
        self.interval, self.capacity, self.allowance = interval, capacity, self.depth - lent


def _scaled(span: int, new: int, old: int) -> int:
    return -(-span * new // old)


@dataclass
class World:
    """Processes one after another, what is kept between them, and the model that they must agree with."""

    rate: int
    burst: int
    backlog: int
    age: int
    greedy: bool
    now: int = FIRST
    kept: int | None = None
    """When both are full, as it is kept; None: nothing was noted yet."""
    taken: list[tuple[int, int]] = field(default_factory=list)
    """Of each token that this process gave: when, and the start of the credit then in force, if there was one."""

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
        self.taken.clear()
        if away:
            self.limiter.credit(away / SECOND, self.now / SECOND)
            self.levels.away(away)
        if self.greedy:
            # What is kept is read with the first message. With one that comes later, the allowance would still owe what
            # the bucket owed at the end of the last process.
            self.offer(None)

    def limiter_of_this_process(self) -> Limiter:
        return limiter_of(
            rate=self.rate, burst=self.burst, backlog=self.backlog, bucket_ttl=1, max_tracked_devices=1,
            overrides=lambda _tenant_id, device_id: self.override if device_id else None,
            allowances=lambda _tenant_id, _device_id: NotedAllowance(
                None if self.kept is None else self.kept - self.now, self.now - self.registered
            ),
        )  # fmt: skip

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
            self.taken.append((self.now, self.now - self.levels.credited))
        return empty is None

    def note(self) -> None:
        """Keep the level, as the next write does."""
        full_in = self.limiter.note(DEVICE, self.now / SECOND)
        if full_in is not None:
            assert full_in == self.levels.full_in()
            self.kept = self.now + full_in

    def change_limits(self, rate: int, burst: int) -> None:
        """Set other limits. The spans of the bound begin anew: no single rate holds for those across the change."""
        self.offer(
            None
        )  # of a bucket in memory tokens are kept; what is noted of one is an instant, whatever the limits
        self.override = BucketOverride(rate, burst)
        self.limiter.limits_changed(self.now / SECOND)
        self.levels.change(SECOND // rate, burst * (SECOND // rate))
        self.taken.clear()

    def check(self) -> None:
        """Compare the levels, and hold the bound over every span of this process, absences included."""
        levels = self.levels
        state = self.limiter.effective("acme", "d", self.now / SECOND)
        assert state.fill == levels.bucket / levels.interval
        assert state.allowance == levels.allowance / levels.interval
        until = self.now
        for count, (_, since) in enumerate(reversed(self.taken), 1):
            assert count * levels.interval <= until - since + levels.depth + levels.capacity


spans = st.sampled_from([0, 1, 7, 99, 100, 101, 5000, 60_000, 3_600_000]) | st.integers(0, 200_000)
HAPPENINGS = ["wait", "wait", "wait", "away", "drained", "note", "sweep", "stop", "crash", "limits"]
ages = st.none() | st.integers(0, 40_000) | st.just(-5) | st.just(10**9)


@settings(max_examples=soak.times(300), deadline=None)
@given(
    rate=st.sampled_from([1, 2, 5, 10]),
    burst=st.integers(1, 20),
    backlog=st.sampled_from([0, 1, 20, 600]),
    registered_ago=spans,
    steps=st.lists(
        st.tuples(st.sampled_from(HAPPENINGS), spans, ages),
        min_size=5,
        max_size=40,
    ),
    data=st.data(),
)
def test_every_history_is_that_of_two_levels_and_keeps_to_the_bound(
    rate: int,
    burst: int,
    backlog: int,
    registered_ago: int,
    steps: list[tuple[str, int, int | None]],
    data: st.DataObject,
) -> None:
    """A greedy device takes what it can get at every occasion, with whatever times it likes."""
    world = World(rate, burst, backlog, registered_ago * STEP, greedy=True)
    for what, milliseconds, age in steps:
        span = milliseconds * STEP
        if what == "wait":
            world.now += span
            world.levels.pass_time(span)
        elif what == "away":
            world.now += span
            world.limiter.credit(span / SECOND, world.now / SECOND)
            world.levels.away(span)
        elif what == "drained":
            world.check()
            world.limiter.backlog_drained()
            world.levels.drained()
        elif what == "note":
            world.note()
        elif what == "sweep":
            while not world.limiter.sweep(world.now / SECOND).done:
                pass
        elif what in {"stop", "crash"}:
            if what == "stop":
                world.note()
            world.start(span)
        else:
            world.change_limits(data.draw(st.sampled_from([1, 2, 5, 10])), data.draw(st.integers(1, 20)))
        for _ in range(data.draw(st.sampled_from([0, 0, 1, 3, 10_000]))):
            if not world.offer(None if age is None else age * STEP):
                break
        world.check()


@settings(max_examples=soak.times(100), deadline=None)
@given(
    data=st.data(),
    rate=st.sampled_from([1, 2, 5, 10]),
    spare=st.integers(0, 20),
    own_burst=st.integers(1, 5),
    gaps=st.lists(st.just(0) | st.sampled_from([1, 7]) | st.integers(0, 20_000), min_size=40, max_size=120),
)
def test_a_device_that_kept_to_its_rate_is_never_refused_however_late_its_readings_come(
    data: st.DataObject, rate: int, spare: int, own_burst: int, gaps: list[int]
) -> None:
    """Readings with their own time come at once or later, up to the whole backlog, in any order; what is sent
    while the link is down comes when it is up again, all at once.

    Meanwhile the appliance is away, stops, crashes and forgets. What a full bucket does not hold of its first second,
    beside the device's own burst, is nobody's promise.
    """
    interval, backlog = SECOND // rate, 30
    burst = rate + own_burst + spare
    patience = max(SECOND, min(10 * SECOND, (burst - 1) * interval))
    kept = min(own_burst, burst - patience // interval)
    sent = kept_to_its_rate([gap * STEP for gap in gaps], interval, max(1, kept))
    delays = st.just(0) | st.sampled_from([0, 1]) | st.integers(0, backlog * 1000)
    aways = sorted(data.draw(st.sets(st.integers(1, 60), max_size=3)))
    absences = [(FIRST + start * SECOND, FIRST + start * SECOND + SECOND // 2) for start in aways]

    cuts = data.draw(st.lists(st.tuples(st.integers(0, 20_000), st.integers(0, backlog * 1000)), max_size=2))
    down = [(FIRST + start * STEP, FIRST + (start + span) * STEP) for start, span in cuts]

    def arrival(at: int) -> int:
        cut = next((end for start, end in down if start <= at < end), None)
        came = cut if cut is not None else at + data.draw(delays) * STEP
        return next((end for start, end in absences if start <= came < end), came)

    world = World(rate, burst, backlog, 0, greedy=False)
    arrivals = sorted((arrival(FIRST + at), FIRST + at) for at in sent)
    for came, at in arrivals:
        while absences and absences[0][0] <= came:
            start, end = absences.pop(0)
            world.levels.pass_time(start - world.now)
            world.now = start
            how = data.draw(st.sampled_from(["away", "stop", "crash"]))
            if how == "away":
                world.now = end
                world.limiter.credit((end - start) / SECOND, end / SECOND)
                world.levels.away(end - start)
            else:
                if how == "stop":
                    world.note()
                world.start(end - start)
        if came > world.now:
            world.levels.pass_time(came - world.now)
            world.now = came
        if data.draw(st.booleans()):
            world.note()
            world.limiter.sweep(world.now / SECOND)
        age = came - at
        assert world.offer(age if age <= backlog * SECOND else None), f"refused at the age of {age / SECOND} s"
