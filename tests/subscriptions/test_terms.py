"""Terms in days of the calendar: the last full day, and how a longer term moves it."""

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.subscriptions import terms
from tests.support.zones import YEAR, ZONES, changes_of

OSLO = ZoneInfo("Europe/Oslo")
DAYS = (30, 90, 180, 365, 730, 1095)


@given(st.dates(date(2000, 1, 2), date(2900, 1, 1)), st.sampled_from(["Europe/Oslo", "America/New_York", "UTC"]))
def test_a_day_chosen_as_the_last_is_the_last_that_is_shown(day: date, zone: str) -> None:
    assert terms.last_full_day(terms.end_after(day, ZoneInfo(zone)), ZoneInfo(zone)) == day


def test_a_day_that_is_cut_short_is_not_the_last_full_one() -> None:
    assert terms.last_full_day(datetime(2026, 12, 6, 12, tzinfo=UTC), OSLO) == date(2026, 12, 5)
    assert terms.last_full_day(datetime(2026, 12, 5, 23, tzinfo=UTC), OSLO) == date(2026, 12, 5), "midnight in Oslo"
    with pytest.raises(OverflowError):
        terms.end_after(date.max, OSLO)


@pytest.mark.parametrize("zone", ZONES)
def test_over_both_changes_the_last_day_that_is_chosen_is_the_one_that_is_shown(zone: str) -> None:
    where = ZoneInfo(zone)
    for day in (date(YEAR, 1, 1) + timedelta(days=number) for number in range(365)):
        assert terms.last_full_day(terms.end_after(day, where), where) == day


def test_no_day_is_lost_over_a_change_of_the_clock() -> None:
    end = terms.end_after(date(2026, 6, 30), OSLO)
    assert terms.last_full_day(terms.extended(end, 180, OSLO), OSLO) == date(2026, 12, 27)


@pytest.mark.parametrize("zone", ZONES)
def test_in_every_zone_a_renewal_moves_the_last_full_day_by_exactly_its_days(zone: str) -> None:
    where = ZoneInfo(zone)
    day = timedelta(days=1)
    for days in DAYS:
        ends = [terms.end_after(date(YEAR, 1, 1) + number * day, where) for number in range(0, 365, 13)]
        # An end that is itself at a change of the clock, and one that lands in a change of the clock.
        ends += [datetime.fromtimestamp(at + by, UTC) for at in changes_of(zone, YEAR) for by in (-1800, 0, 1800)]
        landing = [datetime.fromtimestamp(at + by, UTC) for at in changes_of(zone, YEAR) for by in (-1800, 0, 1800)]
        ends += [terms.extended(at, -days, where) for at in landing]
        for end in ends:
            moved = terms.last_full_day(terms.extended(end, days, where), where)
            assert moved == terms.last_full_day(end, where) + days * day, (end, days)


@given(
    st.integers(0, 7 * 365 * 86_400).map(lambda seconds: datetime(2025, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)),
    st.sampled_from(ZONES),
    st.lists(st.sampled_from(DAYS), min_size=1, max_size=5),
)
def test_renewed_again_and_again_the_last_full_day_never_moves_back_or_too_far(
    end: datetime, zone: str, bought: list[int]
) -> None:
    where = ZoneInfo(zone)
    first = terms.last_full_day(end, where)
    for number, days in enumerate(bought, start=1):
        longer = terms.extended(end, days, where)
        assert longer > end
        end = longer
        assert terms.last_full_day(end, where) == first + timedelta(days=sum(bought[:number]))


def test_an_end_that_is_not_at_midnight_keeps_its_local_time_of_day() -> None:
    noon = datetime(2026, 6, 30, 10, tzinfo=UTC)  # 12:00 in Oslo
    assert terms.extended(noon, 180, OSLO) == datetime(2026, 12, 27, 11, tzinfo=UTC)
    assert terms.extended(noon, 0, OSLO) == noon


def test_whole_days_are_those_of_the_calendar_and_none_are_left_after_the_end() -> None:
    end = terms.end_after(date(2026, 10, 31), OSLO)
    assert terms.whole_days_left(end, terms.end_after(date(2026, 10, 21), OSLO), OSLO) == 10
    assert terms.whole_days_left(end, end, OSLO) == 0
    assert terms.whole_days_left(end, end + timedelta(days=3), OSLO) == 0


def test_a_time_of_day_that_the_clock_skips_into_the_next_day_stays_on_its_day() -> None:
    nuuk = ZoneInfo("America/Nuuk")  # on Saturday, 28 March 2026, the clock goes from 23:00 to midnight
    for days in DAYS:
        end = datetime(2026, 3, 28, 23, 30, tzinfo=nuuk) - timedelta(days=days)
        moved = terms.extended(end, days, nuuk)
        assert terms.last_full_day(moved, nuuk) == date(2026, 3, 27)
        assert terms.last_full_day(moved, nuuk) == terms.last_full_day(end, nuuk) + timedelta(days=days)
