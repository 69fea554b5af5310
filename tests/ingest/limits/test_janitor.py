"""The janitor: what it forgets, what it must not, and that nobody waits for it."""

import gc
import tracemalloc
from itertools import pairwise

import pytest
import trio
from trio.testing import MockClock

from appliance.ingest.limits.buckets import SWEEP_ENTRIES
from appliance.ingest.limits.janitor import Janitor
from appliance.ingest.limits.limiter import Limiter
from appliance.ingest.limits.terms import BucketOverride, NotedAllowance, bucket_key
from tests.support.limiter import limiter_of

DEVICE = bucket_key("acme", "d1")
START = 1000.0
SECOND = 1_000_000_000


class LoopClock:
    """The test's own time, which jumps."""

    trusted = True

    def __init__(self, clock: MockClock) -> None:
        self.now = self.settled = self.wall = self.monotonic = clock.current_time


def sweep_all(limiter: Limiter, now: float) -> int:
    cleared = 0
    while True:
        swept = limiter.sweep(now, 100)
        cleared += swept.cleared
        if swept.done:
            return cleared


def test_a_bucket_goes_when_it_was_idle_for_the_ttl_and_not_before() -> None:
    limiter = limiter_of(rate=10, burst=50, bucket_ttl=3600)
    limiter.take(DEVICE, START)
    assert sweep_all(limiter, START + 3599.999) == 0
    assert sweep_all(limiter, START + 3600) == 1
    assert limiter.tracked == 0


def test_a_bucket_stays_until_its_allowance_is_full_or_noted() -> None:
    allowances = {"d1": NotedAllowance(0, 0), "d2": NotedAllowance(0, 0)}
    limiter = limiter_of(
        rate=10,
        burst=50,
        bucket_ttl=60,
        backlog=3600,
        allowances=lambda *ids: allowances[ids[1] or ""],
    )
    for device in allowances:
        for _ in range(1000):
            assert limiter.draw(bucket_key("acme", device), START) is None
    assert sweep_all(limiter, START + 60) == 0, "what was spent would be forgotten with them"
    assert limiter.note(DEVICE, START + 60) == 40 * SECOND
    assert sweep_all(limiter, START + 60) == 1, "it is kept elsewhere now"
    assert sweep_all(limiter, START + 99) == 0
    assert sweep_all(limiter, START + 100) == 1, "it is full"
    allowances["d1"] = NotedAllowance(0, 0)
    limiter.draw(DEVICE, START + 100)
    assert limiter.effective("acme", "d1", START + 100).allowance == 36_000 - 1


def test_past_the_bound_a_bucket_whose_allowance_is_not_noted_stays() -> None:
    limiter = limiter_of(
        rate=10, burst=50, backlog=3600, max_tracked_devices=1, allowances=lambda *_: NotedAllowance(0, 0)
    )
    for _ in range(1000):
        limiter.draw(DEVICE, START)
    assert limiter.take(bucket_key("acme", "d2"), START + 60) is None
    assert limiter.effective("acme", "d2", START + 60).overflow
    limiter.note(DEVICE, START + 60)
    assert limiter.take(bucket_key("acme", "d2"), START + 60) is None
    assert not limiter.effective("acme", "d2", START + 60).overflow


def test_a_bucket_never_goes_before_it_is_full_again() -> None:
    limiter = limiter_of(rate=0.01, burst=50, bucket_ttl=60)
    while limiter.take(DEVICE, START) is None:
        pass
    assert sweep_all(limiter, START + 4999) == 0
    assert limiter.effective("acme", "d1", START + 4999).fill == pytest.approx(49.99)
    assert sweep_all(limiter, START + 5060) == 1


def test_under_credit_no_bucket_that_was_used_is_forgotten() -> None:
    limiter = limiter_of(rate=10, burst=50, bucket_ttl=60)
    limiter.credit(1000, START)
    for _ in range(10_050):
        assert limiter.take(DEVICE, START) is None
    assert sweep_all(limiter, START + 900) == 0
    limiter.backlog_drained()
    assert sweep_all(limiter, START + 1100) == 1


def test_buckets_of_tenants_and_overflows_go_the_same_way() -> None:
    limiter = limiter_of(rate=1, burst=5, tenant_rate=100, bucket_ttl=60, max_tracked_devices=1)
    while limiter.take(DEVICE, START) is None:
        pass
    limiter.take(bucket_key("acme", "d2"), START)
    assert limiter.tracked == 3
    assert sweep_all(limiter, START + 70) == 3
    assert limiter.tracked == 0


def test_the_janitor_knows_limits_that_were_lowered_meanwhile() -> None:
    table: dict[tuple[str, str | None], BucketOverride] = {}
    limiter = limiter_of(rate=10, burst=50, bucket_ttl=1, overrides=lambda *ids: table.get(ids))
    while limiter.take(DEVICE, START) is None:
        pass
    table["acme", None] = BucketOverride(rate=0.01)
    limiter.limits_changed(START, "acme")
    assert sweep_all(limiter, START + 100) == 0
    assert limiter.effective("acme", "d1", START + 100).fill == 1


def test_takes_may_come_between_slices() -> None:
    count = 8192
    limiter = limiter_of(rate=1, burst=5, bucket_ttl=10, max_tracked_devices=count)
    for number in range(count):
        limiter.take(bucket_key("old", str(number)), START)
    cleared, slices, done = 0, 0, False
    while not done:
        swept = limiter.sweep(START + 60, 1024)
        cleared, slices, done = cleared + swept.cleared, slices + 1, swept.done
        for number in range(50):
            assert limiter.take(bucket_key("new", f"{slices}-{number}"), START + 60) is None
    assert slices >= 8
    assert sweep_all(limiter, START + 60) == 0
    assert limiter.tracked == 50 * slices
    for slice_ in range(1, slices + 1):
        assert limiter.effective("new", f"{slice_}-0", START + 60).fill == 4


def test_a_slice_looks_at_no_more_than_it_was_told_to() -> None:
    count = 20_000
    limiter = limiter_of(rate=1, burst=5, bucket_ttl=10, max_tracked_devices=count)
    for number in range(count):
        limiter.take(bucket_key("old", str(number)), START)
    most, cleared, done = 0, 0, False
    while not done:
        swept = limiter.sweep(START + 60, 1024)
        most, cleared, done = max(most, swept.cleared), cleared + swept.cleared, swept.done
    assert cleared == count
    assert 256 <= most <= 1024


def test_memory_is_given_back_and_the_cyclic_collector_has_nothing_to_walk() -> None:
    count = 20_000
    limiter = limiter_of(rate=10, burst=50, bucket_ttl=10, max_tracked_devices=count)
    limiter.take(DEVICE, START)
    assert sweep_all(limiter, START + 60) == 1
    gc.collect()
    tracemalloc.start()
    try:
        before, walked = tracemalloc.get_traced_memory()[0], len(gc.get_objects())
        for number in range(count):
            limiter.take(bucket_key("many", str(number)), START + 60)
        assert len(gc.get_objects()) < walked + 10
        assert tracemalloc.get_traced_memory()[0] > before + 100 * count
        done = False
        while not done:
            full = tracemalloc.get_traced_memory()[0]
            done = limiter.sweep(START + 120, 100).done
            assert full - tracemalloc.get_traced_memory()[0] < 100 * 250
        assert limiter.tracked == 0
        assert tracemalloc.get_traced_memory()[0] < before + count
    finally:
        tracemalloc.stop()


async def test_the_task_sweeps_every_interval_and_says_how_many(autojump_clock: MockClock) -> None:
    reports: list[tuple[int, int]] = []
    limiter = limiter_of(rate=10, burst=50, bucket_ttl=3600)
    janitor = Janitor(
        limiter,
        LoopClock(autojump_clock),
        interval=300,
        report=lambda cleared, left: reports.append((cleared, left)),
        resting=lambda: False,
    )
    for number in range(3):
        limiter.take(bucket_key("acme", str(number)), trio.current_time())
    async with trio.open_nursery() as nursery:
        await nursery.start(janitor.run)
        await trio.sleep(3000)
        limiter.take(bucket_key("acme", "0"), trio.current_time())
        await trio.sleep(601)
        nursery.cancel_scope.cancel()
    assert reports == [(0, 3)] * 11 + [(2, 1)]


async def test_others_run_between_the_slices_of_a_pass(autojump_clock: MockClock) -> None:
    count = 20_000
    limiter = limiter_of(rate=10, burst=50, bucket_ttl=0, max_tracked_devices=count)
    janitor = Janitor(
        limiter,
        LoopClock(autojump_clock),
        interval=300,
        report=lambda _cleared, _left: None,
        resting=lambda: False,
    )
    now = trio.current_time() - 60
    for number in range(count):
        limiter.take(bucket_key("many", str(number)), now)
    left: list[int] = []

    async def other() -> None:
        while limiter.tracked:
            left.append(limiter.tracked)
            await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(other)
        await trio.lowlevel.checkpoint()
        assert await janitor.sweep() == count
    # Trio runs each task once a turn, in any order: between two looks are two slices at most.
    assert all(one - two <= 2 * SWEEP_ENTRIES for one, two in pairwise([*left, 0]))
