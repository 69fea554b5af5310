"""The disk budget: which limit holds, and which day goes."""

from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.db.partitions import DayPartition
from appliance.ingest.telemetry.budget import (
    BudgetState,
    BudgetTerms,
    Limit,
    Source,
    Usage,
    limit_of,
    next_to_go,
)
from appliance.ingest.telemetry.expiry import midnight

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
GB = 10**9
SIZES = st.integers(0, 100)


def partition(day: date, *, empty: bool = False) -> DayPartition:
    return DayPartition(day, 0 if empty else 8192, empty, 0)


@pytest.mark.parametrize(
    ("usage", "terms", "limit"),
    [
        (Usage(5 * GB, 100 * GB, 50 * GB, 7 * GB), BudgetTerms(0, by_disk=False), None),
        (Usage(5 * GB, 100 * GB, 50 * GB, 7 * GB), BudgetTerms(3 * GB, by_disk=False), (3 * GB, Source.MAX_BYTES)),
        # most of what is taken is ours: we may have all but what is to be free
        (Usage(50 * GB, 100 * GB, 10 * GB, 7 * GB), BudgetTerms(0, by_disk=True), (53 * GB, Source.DISK)),
        (Usage(50 * GB, 100 * GB, 2 * GB, 7 * GB), BudgetTerms(0, by_disk=True), (45 * GB, Source.DISK)),
        # most is somebody else's: readings that go would make room for more of that
        (Usage(44 * GB, 100 * GB, 2 * GB, 7 * GB), BudgetTerms(0, by_disk=True), None),
        (Usage(44 * GB, 100 * GB, 2 * GB, 7 * GB), BudgetTerms(40 * GB, by_disk=True), (40 * GB, Source.MAX_BYTES)),
        # what a restore set aside is no reading's
        (Usage(50 * GB, 100 * GB, 2 * GB, 7 * GB, 2 * GB), BudgetTerms(0, by_disk=True), None),
        # the smaller one
        (Usage(50 * GB, 100 * GB, 2 * GB, 7 * GB), BudgetTerms(60 * GB, by_disk=True), (45 * GB, Source.DISK)),
        (Usage(50 * GB, 100 * GB, 2 * GB, 7 * GB), BudgetTerms(60 * GB, by_disk=False), (60 * GB, Source.MAX_BYTES)),
    ],
)
def test_the_smaller_limit_holds(usage: Usage, terms: BudgetTerms, limit: tuple[int, Source] | None) -> None:
    assert limit_of(usage, terms) == (None if limit is None else Limit(*limit))


@given(own=SIZES, others=SIZES, free=SIZES, spare=SIZES, gone=SIZES)
def test_the_limit_of_the_disk_does_not_move_with_what_goes(
    own: int, others: int, free: int, spare: int, gone: int
) -> None:
    """As much as goes is free then: who is over by so many bytes is within once they have gone, and not before."""
    terms, total = BudgetTerms(0, by_disk=True), own + others + free
    before = Usage(own, total, free, spare)
    limit = limit_of(before, terms)
    gone = min(gone, own)
    after = Usage(own - gone, total, free + gone, spare)
    if limit is None:
        assert 2 * own < own + others
        return
    over = BudgetState(before, limit).over
    if limit_of(after, terms) is not None and own + free >= spare:
        assert (BudgetState(after, limit_of(after, terms)).over == 0) is (gone >= over)


@given(days=st.dictionaries(st.integers(-40, 40), st.booleans()), hour=st.integers(0, 23), minute=st.integers(0, 59))
def test_the_oldest_day_goes_that_has_readings_and_is_over_for_an_hour(
    days: dict[int, bool], hour: int, minute: int
) -> None:
    now = NOON.replace(hour=hour, minute=minute)
    found = next_to_go([partition(now.date() + timedelta(days=n), empty=days[n]) for n in sorted(days)], now)
    latest = -1 if hour else -2  # within its first hour, the day before is still written to
    may_go = [n for n, empty in days.items() if n <= latest and not empty]
    assert (None if found is None else found.day) == (now.date() + timedelta(days=min(may_go)) if may_go else None)
    assert found is None or midnight(found.day) + timedelta(days=1, hours=1) <= now


def test_what_readings_may_take_is_what_the_rest_leaves() -> None:
    usage = Usage(own=700, total=2000, free=900, spare=0)
    assert BudgetState(usage, Limit(1000, Source.MAX_BYTES)).room_for(400) == 700
    assert BudgetState(usage, Limit(200, Source.MAX_BYTES)).room_for(400) == 0
    assert BudgetState(usage, None).room_for(400) is None
    aside = Usage(own=700, total=2000, free=900, spare=0, aside=200)
    assert BudgetState(aside, Limit(1000, Source.MAX_BYTES)).room_for(400) == 900
    assert BudgetState().room_for(400) is None
