"""The live view in memory."""

import trio
import trio.testing

from appliance.ingest.summary import BatchSummary, Counts, LastReading
from appliance.reading import Kind
from appliance.web.live.feed import MAX_TENANTS, READINGS, LiveFeed, MinuteCount
from tests.support.web.live import Steady


def reading(device: str, tenant: str = "acme") -> LastReading:
    return LastReading(tenant, device, 99_999.0, 99_999.5, Kind.TELEMETRY, {"t": 1})


def batch(*readings: LastReading, stored: int = 1, refused: int = 0, tenant: str = "acme") -> BatchSummary:
    total = stored + refused
    return BatchSummary(
        100_000.0, total, stored, refused, 0, 0, {}, readings, {tenant: Counts(total, stored, refused, 0)}
    )


def test_the_newest_reading_stands_first() -> None:
    feed = LiveFeed(Steady())
    feed.publish(batch(reading("a"), reading("b")))
    feed.publish(batch(reading("c")))
    assert [shown.device_id for shown in feed.readings(2, None)] == ["c", "b"]


def test_only_so_many_readings_are_kept() -> None:
    feed = LiveFeed(Steady())
    feed.publish(batch(*(reading(str(number)) for number in range(3 * READINGS))))
    assert len(feed.readings(10_000, None)) == READINGS


def test_a_tenant_sees_only_its_own() -> None:
    clock = Steady()
    feed = LiveFeed(clock)
    feed.publish(batch(reading("a", "acme"), stored=30, tenant="acme"))
    feed.publish(batch(reading("b", "bolt"), stored=10, tenant="bolt"))
    clock.passed = 1.0
    assert [shown.device_id for shown in feed.readings(10, "acme")] == ["a"]
    assert (feed.rate("acme"), feed.rate("bolt"), feed.rate(None)) == (30, 10, 40)
    assert feed.readings(10, "nobody") == []
    assert feed.rate("nobody") == 0
    assert feed.series(20, 3, "nobody")[0].accepted is None


def test_of_a_tenant_that_was_removed_the_next_of_its_id_sees_nothing() -> None:
    feed = LiveFeed(Steady())
    feed.publish(batch(reading("a", "acme"), reading("b", "bolt")))
    feed.forget_tenant("acme")
    assert (feed.readings(10, "acme"), feed.rate("acme")) == ([], 0)
    assert [shown.device_id for shown in feed.readings(10, None)] == ["b"]
    assert feed.readings(10, "bolt")


def test_tenants_are_bounded_and_the_longest_silent_leaves() -> None:
    feed = LiveFeed(Steady())
    for number in range(MAX_TENANTS):
        feed.publish(batch(reading("d", f"t{number}"), tenant=f"t{number}"))
    feed.publish(batch(reading("d", "t0"), tenant="t0"))
    feed.publish(batch(reading("d", "new"), tenant="new"))
    assert feed.readings(1, "t0")
    assert feed.readings(1, "new")
    assert not feed.readings(1, "t1")


def test_refused_messages_count_in_the_rate_and_stand_apart_in_the_series() -> None:
    clock = Steady()
    feed = LiveFeed(clock)
    feed.publish(batch(stored=40, refused=20))
    clock.passed = 20.0
    (point,) = feed.series(20, 1, None)
    assert (point.accepted, point.refused) == (2.0, 1.0)


def test_a_series_ends_at_a_whole_step_of_the_wall_clock() -> None:
    clock = Steady()
    feed = LiveFeed(clock)
    clock.passed = 33.5
    assert feed.series_end(20) == 100_020.0


def test_memory_of_the_last_hour_fills_an_empty_view() -> None:
    clock = Steady()
    feed = LiveFeed(clock)
    feed.remember([reading("old"), reading("new")], [MinuteCount(99_880.0, 600, 60), MinuteCount(99_940.0, 61, 0)])
    assert [shown.device_id for shown in feed.readings(5, None)] == ["new", "old"]
    series = feed.series(20, 6, None)
    assert [point.accepted for point in series[:3]] == [10.0] * 3
    assert sum((point.accepted or 0) * 20 for point in series[3:]) == 61
    assert [point.refused for point in series] == [1.0] * 3 + [0.0] * 3


def test_each_tenant_finds_its_own_hour_again() -> None:
    feed = LiveFeed(Steady())
    feed.remember([], [MinuteCount(99_880.0, 600, 60, "acme"), MinuteCount(99_880.0, 60, 0, "other")])
    assert feed.series(60, 2, "acme")[0].accepted == 10.0
    assert feed.series(60, 2, "other")[0].accepted == 1.0
    assert feed.series(60, 2, None)[0].accepted == 11.0


def test_a_running_minute_is_laid_over_the_seconds_that_have_passed() -> None:
    clock = Steady()
    feed = LiveFeed(clock)
    clock.passed = 19.0
    feed.remember([], [MinuteCount(100_000.0, 100, 0)])
    clock.passed = 20.0
    (point,) = feed.series(20, 1, None)
    assert point.accepted == 5.0


async def test_waiting_ends_with_the_next_batch() -> None:
    feed = LiveFeed(Steady())
    seen: list[int] = []

    async def watch() -> None:
        await feed.changed(feed.version)
        seen.append(feed.version)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch)
        nursery.start_soon(watch)
        await trio.testing.wait_all_tasks_blocked()
        assert seen == []
        feed.publish(batch())
    assert seen == [1, 1]


async def test_a_change_that_was_missed_is_not_waited_for() -> None:
    feed = LiveFeed(Steady())
    before = feed.version
    feed.publish(batch())
    with trio.fail_after(10):
        await feed.changed(before)
