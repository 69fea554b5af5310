"""The outlook of the disk: growth of complete days, what goes by age, and when the free space is used up."""

from datetime import date, timedelta

from hypothesis import given
from hypothesis import strategies as st

from appliance.db.partitions import DayPartition
from appliance.ingest.telemetry.disk_outlook import disk_outlook

TODAY = date(2026, 11, 23)
GB = 10**9
BYTES = st.integers(0, 100)


def partitions(sizes: list[int], *, today: int = 0) -> list[DayPartition]:
    """Return complete days of these sizes until yesterday, and the present one."""
    first = TODAY - timedelta(days=len(sizes))
    return [
        DayPartition(first + timedelta(days=n), size, empty=size == 0, pending_hours=0)
        for n, size in enumerate([*sizes, today])
    ]


def test_growth_is_the_mean_of_the_last_complete_days_quiet_ones_included() -> None:
    found = disk_outlook(partitions([900, 7, 7, 0, 0, 7, 7, 7], today=3), TODAY, 30, 10**6, None)
    assert found is not None
    assert (found.growth, found.measured_days, found.at_most) == (5, 7, 5 * 31)
    assert disk_outlook(partitions([], today=3), TODAY, 30, 10**6, None) is None


def test_days_of_the_future_are_not_counted() -> None:
    ahead = DayPartition(date(2036, 1, 1), 10**9, empty=False, pending_hours=0)
    without = disk_outlook(partitions([5, 5]), TODAY, 30, 100, None)
    assert disk_outlook([*partitions([5, 5]), ahead], TODAY, 30, 100, None) == without


def test_a_disk_that_has_room_for_the_whole_retention_lasts() -> None:
    days = partitions([GB] * 10)  # 21 more complete days come before as much goes as comes
    lasting, short = (disk_outlook(days, TODAY, 30, free, None) for free in (21 * GB, 21 * GB - 1))
    assert lasting is not None
    assert short is not None
    assert (lasting.full_in, short.full_in) == (None, 20)


def test_with_the_retention_reached_the_disk_lasts_however_little_is_free() -> None:
    found = disk_outlook(partitions([GB] * 30, today=GB), TODAY, 30, 0, None)
    assert found is not None
    assert found.full_in is None


def test_a_rate_that_has_grown_fills_the_disk_although_days_go() -> None:
    found = disk_outlook(partitions([1] * 23 + [100] * 7, today=100), TODAY, 30, 500, None)
    assert found is not None
    assert found.full_in == 6  # 99 more a day than goes


def test_an_unknown_disk_has_growth_and_no_end() -> None:
    found = disk_outlook(partitions([5, 5]), TODAY, 30, None, None)
    assert found is not None
    assert (found.growth, found.free, found.full_in) == (5, None, None)


@given(sizes=st.lists(BYTES, min_size=1, max_size=50), today=BYTES, keep=st.integers(1, 40), free=st.integers(0, 3000))
def test_the_end_is_that_of_a_count_day_by_day(sizes: list[int], today: int, keep: int, free: int) -> None:
    """Against a count that keeps every day apart, for longer than any of them stays."""
    found = disk_outlook(partitions(sizes, today=today), TODAY, keep, free, None)
    if found is None:
        assert not any(sizes)
        return
    first = TODAY - timedelta(days=len(sizes))
    there = {first + timedelta(days=n): size for n, size in enumerate(sizes)}
    before = sum(there.values()) + today
    expected = None
    for n in range(200):
        day = TODAY + timedelta(days=n)
        there[day] = max(found.growth, today) if n == 0 else found.growth
        if n:
            there = {one: size for one, size in there.items() if one + timedelta(days=keep) >= day}
        if sum(there.values()) - before > free:
            expected = n
            break
    assert found.full_in == expected


def test_where_the_oldest_goes_for_room_the_disk_lasts_and_keeps_fewer_days() -> None:
    days = partitions([GB] * 5, today=0)
    found = disk_outlook(days, TODAY, 30, 10 * GB, 8 * GB)
    assert found is not None
    assert (found.full_in, found.drops_in, found.keeps) == (None, 3, 7)
    reached = disk_outlook(days, TODAY, 30, GB // 2, 5 * GB)
    assert reached is not None
    assert (reached.full_in, reached.drops_in, reached.keeps) == (None, 0, 4)


def test_a_budget_that_all_days_fit_in_changes_nothing() -> None:
    days = partitions([GB] * 10)
    assert disk_outlook(days, TODAY, 30, 21 * GB, 31 * GB) == disk_outlook(days, TODAY, 30, 21 * GB, None)


def test_a_budget_beyond_what_the_disk_has_keeps_no_disk_from_being_full() -> None:
    found = disk_outlook(partitions([GB] * 5), TODAY, 30, 3 * GB, 20 * GB)
    assert found is not None
    assert (found.full_in, found.drops_in, found.keeps) == (3, 15, 19)


def test_where_not_even_one_day_has_room_nothing_that_goes_helps() -> None:
    found = disk_outlook(partitions([GB] * 5), TODAY, 30, GB // 2, GB)
    assert found is not None
    assert (found.full_in, found.drops_in, found.keeps) == (0, 0, 0)


@given(
    sizes=st.lists(BYTES, min_size=1, max_size=50),
    today=BYTES,
    keep=st.integers(1, 40),
    free=st.integers(0, 3000),
    room=st.integers(0, 6000),
)
def test_the_days_that_go_are_those_of_a_count_day_by_day(
    sizes: list[int], today: int, keep: int, free: int, room: int
) -> None:
    """Against a count that drops the oldest day whenever there is no room, and keeps every day apart."""
    found = disk_outlook(partitions(sizes, today=today), TODAY, keep, free, room)
    if found is None or found.keeps is None:
        return
    there = {TODAY - timedelta(days=len(sizes) - n): size for n, size in enumerate(sizes)}
    first = None
    for n in range(200):
        day = TODAY + timedelta(days=n)
        there[day] = max(found.growth, today) if n == 0 else found.growth
        if n:
            there = {one: size for one, size in there.items() if one + timedelta(days=keep) >= day}
        while sum(there.values()) > room and min(there) < day:
            first = n if first is None else first
            there.pop(min(there))
    assert found.drops_in == first
    if found.keeps == 0:
        assert 2 * found.growth > room
        return
    assert len(there) - 1 == found.keeps, "complete days, once all are as large"
