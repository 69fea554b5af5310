"""Local time: days and steps in forty zones over both changes of the clock, and where a zone is peculiar."""

import os
import time
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from appliance import local_time
from appliance.local_time import DAY, HOUR
from tests.support.zones import CHANGES, YEAR, ZONES, changes_of

STEPS = [2 * HOUR, 3 * HOUR, 6 * HOUR, 12 * HOUR, DAY, 2 * DAY, 7 * DAY]


def at(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def shown(edges: list[float], zone: str) -> list[str]:
    return [datetime.fromtimestamp(edge, ZoneInfo(zone)).strftime("%d %H:%M %z") for edge in edges]


def edges(first: str, last: str, step: int, zone: str) -> list[str]:
    return shown(list(local_time.edges(at(first), at(last), step, ZoneInfo(zone))), zone)


def begins(day: str, zone: str) -> str:
    start = local_time.start_of_day(date.fromisoformat(day), ZoneInfo(zone))
    return datetime.fromtimestamp(start, ZoneInfo(zone)).isoformat()


def test_there_are_forty_zones_most_of_which_change_their_clock_twice_a_year() -> None:
    assert len(ZONES) == 40
    assert {zone for zone, _ in CHANGES} < set(ZONES)
    assert len([zone for zone in ZONES if len(changes_of(zone, YEAR)) == 2]) >= 25


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("zone", ZONES)
def test_steps_are_round_on_the_wall_clock_and_leave_out_nothing(zone: str, step: int) -> None:
    where = ZoneInfo(zone)
    for change in changes_of(zone, YEAR) or [at("2026-06-01T00:00Z")]:
        first, last = change - 9.4 * DAY, change + 8.6 * DAY
        found = list(local_time.edges(first, last, step, where))
        assert found[0] <= first < found[1]
        assert found[-2] < last <= found[-1]
        for earlier, later in pairwise(found):
            assert earlier < later
        for edge in found:
            wall = local_time.wall_clock(edge, where)
            if step >= DAY:
                assert local_time.wall_clock(edge - 1, where).date() < wall.date(), "the first instant of its day"
            elif local_time.wall_clock(edge - 1, where) + timedelta(seconds=1) == wall:
                assert (wall.hour * HOUR + wall.minute * 60 + wall.second) % step == 0
            else:
                assert edge == change, "a time that does not exist: the step begins when the clock is moved"


@example("Africa/Cairo", 535809599.99999976, 7200)
@given(st.sampled_from(ZONES), st.floats(at("1972-01-01T00Z"), at("2037-12-01T00Z")), st.sampled_from(STEPS))
def test_every_instant_of_any_year_is_in_one_step(zone: str, first: float, step: int) -> None:
    found = list(local_time.edges(first, first + 12 * step + 1, step, ZoneInfo(zone)))
    assert found == sorted(set(found))
    assert found[0] <= first < found[1]
    assert found[-2] < first + 12 * step + 1 <= found[-1]


@pytest.mark.parametrize("zone", ZONES)
def test_a_day_has_its_hours_and_the_nth_day_back_has_the_same_time(zone: str) -> None:
    where = ZoneInfo(zone)
    first, lengths = date(YEAR, 1, 1), []
    for day in (first + timedelta(days=number) for number in range(365)):
        begin = local_time.start_of_day(day, where)
        lengths.append(local_time.start_of_day(day + timedelta(days=1), where) - begin)
        assert local_time.wall_clock(begin, where).date() == day
        for inside in (begin, begin + 12.3 * HOUR, begin + lengths[-1] - 1e-3):
            assert local_time.midnight(inside, where) == begin
    now = local_time.start_of_day(date(YEAR + 1, 1, 1), where) + 15.25 * HOUR
    for days in range(365):
        earlier = local_time.days_later(now, -days, where)
        assert local_time.wall_clock(earlier, where) == local_time.wall_clock(now, where) - timedelta(days=days)
        assert local_time.whole_days(earlier, now, where) == days
        assert local_time.whole_days(earlier + 1, now, where) == max(days - 1, 0)
    assert len([length for length in lengths if length != DAY]) == len(changes_of(zone, YEAR))


def test_the_day_of_a_change_has_23_hours_or_25() -> None:
    assert edges("2026-10-31T12:00-04:00", "2026-11-03T00:00-05:00", DAY, "America/New_York") == [
        "31 00:00 -0400", "01 00:00 -0400", "02 00:00 -0500", "03 00:00 -0500",
    ]  # fmt: skip


def test_a_midnight_that_does_not_exist_is_when_the_clock_is_moved() -> None:
    assert begins("2026-03-08", "America/Havana") == "2026-03-08T01:00:00-04:00"
    assert begins("2026-03-29", "Asia/Beirut") == "2026-03-29T01:00:00+03:00"
    assert begins("2018-11-04", "America/Sao_Paulo") == "2018-11-04T01:00:00-02:00"
    assert begins("1919-03-31", "America/Toronto") == "1919-03-31T00:30:00-04:00"


def test_a_midnight_that_comes_twice_means_the_first() -> None:
    havana = ZoneInfo("America/Havana")
    assert begins("2026-11-01", "America/Havana") == "2026-11-01T00:00:00-04:00"
    assert local_time.midnight(at("2026-11-01T00:30-05:00"), havana) == at("2026-11-01T00:00-04:00")
    assert edges("2026-11-01T00:30-05:00", "2026-11-02T00:00-05:00", DAY, "America/Havana") == [
        "01 00:00 -0400", "02 00:00 -0500",
    ]  # fmt: skip
    # St. John's moved its clock at one minute past midnight until 2011.
    assert edges("2010-11-06T23:30-03:30", "2010-11-08T00:00-03:30", DAY, "America/St_Johns") == [
        "07 00:00 -0230", "08 00:00 -0330",
    ]  # fmt: skip


def test_a_day_that_a_zone_skipped_is_no_step() -> None:
    assert edges("2011-12-29T12:00-10:00", "2012-01-01T00:00+14:00", DAY, "Pacific/Apia") == [
        "29 00:00 -1000", "31 00:00 +1400", "01 00:00 +1400",
    ]  # fmt: skip
    assert begins("2011-12-30", "Pacific/Apia") == "2011-12-31T00:00:00+14:00"


def test_half_an_hour_of_change_is_half_an_hour() -> None:
    assert edges("2026-10-04T00:00+10:30", "2026-10-04T06:00+11:00", 2 * HOUR, "Australia/Lord_Howe") == [
        "04 00:00 +1030", "04 02:30 +1100", "04 04:00 +1100", "04 06:00 +1100",
    ]  # fmt: skip


def test_steps_of_an_hour_and_less_are_elapsed_time_and_round_in_the_hour() -> None:
    assert edges("2026-11-01T00:30-04:00", "2026-11-01T02:00-05:00", HOUR, "America/New_York") == [
        "01 00:00 -0400", "01 01:00 -0400", "01 01:00 -0500", "01 02:00 -0500",
    ]  # fmt: skip
    assert edges("2026-06-01T10:07+05:45", "2026-06-01T10:59:59.5+05:45", 1800, "Asia/Kathmandu") == [
        "01 10:00 +0545", "01 10:30 +0545", "01 11:00 +0545",
    ]  # fmt: skip


def test_the_newest_steps_end_with_the_present_one() -> None:
    new_york, now = ZoneInfo("America/New_York"), at("2026-11-03T14:20-05:00")
    found = local_time.newest_edges(now, 6 * HOUR, 28, new_york)
    assert len(found) == 29
    assert shown([found[0], found[-2], found[-1]], "America/New_York") == [
        "27 18:00 -0400", "03 12:00 -0500", "03 18:00 -0500",
    ]  # fmt: skip
    assert local_time.newest_edges(at("2026-11-03T18:00-05:00"), 6 * HOUR, 1, new_york)[0] == found[-1]


def test_a_time_that_does_not_exist_moves_forward_and_one_that_comes_twice_is_the_first() -> None:
    new_york = ZoneInfo("America/New_York")
    missing, twice = datetime.fromisoformat("2026-03-08T02:30"), datetime.fromisoformat("2026-11-01T01:30")
    assert local_time.instant(missing, new_york) == at("2026-03-08T03:30-04:00")
    assert local_time.instant(twice.replace(fold=1), new_york) == at("2026-11-01T01:30-04:00")


def test_whole_days_are_those_of_the_calendar() -> None:
    new_york = ZoneInfo("America/New_York")
    first = at("2026-10-20T00:30-04:00")
    assert local_time.whole_days(first, at("2026-11-20T00:00-05:00"), new_york) == 30
    assert local_time.whole_days(first, at("2026-11-20T00:30-05:00"), new_york) == 31


@pytest.fixture
def machine_in_havana() -> Iterator[None]:
    before = os.environ.get("TZ")
    os.environ["TZ"] = "America/Havana"
    time.tzset()
    yield
    if before is None:
        del os.environ["TZ"]
    else:
        os.environ["TZ"] = before
    time.tzset()


@pytest.mark.usefixtures("machine_in_havana")
def test_the_machines_own_zone_changes_its_clock_too() -> None:
    havana = ZoneInfo("America/Havana")
    for day in ("2026-03-07", "2026-03-08", "2026-03-09", "2026-11-01", "2026-11-02"):
        start = local_time.start_of_day(date.fromisoformat(day), None)
        assert start == local_time.start_of_day(date.fromisoformat(day), havana)
        assert local_time.midnight(start + 20 * HOUR, None) == start
    for change in changes_of("America/Havana", 2026):
        for step in (HOUR, 6 * HOUR, DAY):
            own, named = (list(local_time.edges(change - 2 * DAY, change + 2 * DAY, step, z)) for z in (None, havana))
            assert own == named


def test_a_zone_that_the_machine_lacks_is_the_machines_own() -> None:
    assert local_time.zone_of("Europe/Oslo") == ZoneInfo("Europe/Oslo")
    for name in (None, "Europe/Atlantis", "", "../etc/passwd", "\0", "Europe", "right/Europe/Oslo", "localtime"):
        assert local_time.zone_of(name) is None


def test_an_old_name_is_the_zone_of_the_present_one() -> None:
    assert local_time.zone_of("US/Eastern") == ZoneInfo("America/New_York")


@pytest.mark.parametrize("fault", [ZoneInfoNotFoundError("gone"), ValueError("damaged"), PermissionError("no")])
def test_a_zone_that_disappears_is_logged_once_and_utc_needs_no_data(
    fault: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lost(_name: str) -> ZoneInfo:
        raise fault

    monkeypatch.setattr(local_time, "ZoneInfo", lost)
    local_time._warn_of.cache_clear()
    with capture_logs() as logged:
        assert [local_time.zone_of("Europe/Oslo") for _ in range(3)] == [None, None, None]
        assert local_time.zone_of("UTC") == UTC
    assert [(line["event"], line["zone"]) for line in logged] == [
        ("time zone unknown to this machine, its own is used", "Europe/Oslo")
    ]
