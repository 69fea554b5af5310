"""Bucket and allowance against exact arithmetic: whole nanoseconds, restarts, forged times, registration in between."""

from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.ingest.limits.test_backlog import kept_to_its_rate
from tests.support import soak
from tests.support.allowance import FIRST, SECOND, STEP, Happening, World

spans = st.sampled_from([0, 1, 7, 99, 100, 101, 5000, 60_000, 3_600_000]) | st.integers(0, 200_000)
ages = st.none() | st.integers(0, 40_000) | st.just(-5) | st.just(10**9)
rates = st.sampled_from([1, 2, 5, 10])
bursts = st.integers(1, 20)
waits = st.builds(Happening, st.just("wait"), spans, st.sampled_from([0, 0, 1, 3, 10_000]), ages)
changes = st.builds(
    Happening, st.sampled_from(["limits", "limits while waiting", "limits while stopped"]), spans,
    st.sampled_from([0, 0, 1, 10_000]), ages, rates, bursts,
)  # fmt: skip
others = st.builds(
    Happening, st.sampled_from(["away", "drained", "note", "sweep", "stop", "crash"]), spans,
    st.sampled_from([0, 0, 1, 3, 10_000]), ages,
)  # fmt: skip

DELAYED_BY = 20_000
"""Milliseconds ago: a message from then is delayed, whatever the limits."""
ALL = 10_000
"""More messages than pass in any of the cases below."""


@settings(max_examples=soak.times(300), deadline=None)
@given(
    rate=rates,
    burst=bursts,
    backlog=st.sampled_from([0, 1, 20, 600]),
    registered_ago=spans,
    of_tenant=st.booleans(),
    happenings=st.lists(waits | changes | others, min_size=5, max_size=40),
)
@example(  # the rate falls after a backlog of ours was taken; then a restart
    rate=2, burst=1, backlog=1, registered_ago=0, of_tenant=False,
    happenings=[
        Happening("away", 3_600_000, offers=ALL), Happening("limits", rate=1, burst=1), Happening("stop"),
    ],
)  # fmt: skip
@example(  # the rate falls while all of a burst is owed, so that it is owed for much longer; then a restart
    rate=10, burst=20, backlog=600, registered_ago=0, of_tenant=False,
    happenings=[Happening("wait", offers=ALL), Happening("limits", rate=1, burst=1), Happening("stop")],
)  # fmt: skip
@example(  # the rate falls and rises again: no allowance comes of that
    rate=10, burst=1, backlog=600, registered_ago=3_600_000, of_tenant=True,
    happenings=[
        Happening("wait", offers=ALL, age=DELAYED_BY),
        Happening("limits", rate=1, burst=1),
        Happening("limits", rate=10, burst=1, offers=ALL, age=DELAYED_BY),
    ],
)  # fmt: skip
@example(  # the rate rises, and the bucket is forgotten before what was noted of it would be full
    rate=1, burst=20, backlog=20, registered_ago=3_600_000, of_tenant=False,
    happenings=[
        Happening("wait", offers=20), Happening("wait", offers=1, age=DELAYED_BY), Happening("note"),
        Happening("limits", rate=10, burst=20), Happening("wait", 4000), Happening("sweep"), Happening("wait"),
    ],
)  # fmt: skip
@example(  # what was noted of a tenant is not heard of, so its bucket is not forgotten
    rate=1, burst=1, backlog=20, registered_ago=3_600_000, of_tenant=True,
    happenings=[
        Happening("wait", offers=ALL, age=DELAYED_BY), Happening("wait", 5000), Happening("note"), Happening("sweep"),
        Happening("wait", offers=ALL, age=DELAYED_BY),
    ],
)  # fmt: skip
@example(  # the rate rises as above, with another note in between
    rate=1, burst=20, backlog=20, registered_ago=3_600_000, of_tenant=False,
    happenings=[
        Happening("wait", offers=20), Happening("wait", offers=1, age=DELAYED_BY), Happening("note"),
        Happening("limits", rate=10, burst=20), Happening("note"), Happening("wait", 4000), Happening("sweep"),
        Happening("wait"),
    ],
)  # fmt: skip
def test_every_history_is_that_of_two_levels_and_keeps_to_the_bound(
    rate: int, burst: int, backlog: int, registered_ago: int, *, of_tenant: bool, happenings: list[Happening]
) -> None:
    """A greedy device takes what it can get at every occasion, with whatever times it likes."""
    world = World(rate, burst, backlog, registered_ago * STEP, greedy=True, of_tenant=of_tenant)
    for happening in happenings:
        world.let(happening)


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
