"""The time that a chart's address asks for."""

import contextlib
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.errors import Invalid
from appliance.web.page.time_range import RangeName, TimeRange, choose
from tests.support.zones import YEAR, ZONES, changes_of

OSLO = ZoneInfo("Europe/Oslo")
NOW = datetime(2026, 11, 24, 13, 32, tzinfo=UTC)


def chosen(**arguments: str) -> TimeRange:
    if "first" in arguments:
        arguments["from"] = arguments.pop("first")
    return choose(arguments, NOW, OSLO)


def ends(**arguments: str) -> tuple[str, str]:
    span = chosen(**arguments).span
    return span.first.isoformat(), span.last.isoformat()


def test_the_last_day_is_shown_unless_the_address_says_more() -> None:
    assert chosen().range is RangeName.DAY
    assert ends() == ("2026-11-23T14:32:00+01:00", "2026-11-24T14:32:00+01:00")


@pytest.mark.parametrize(("name", "days"), [("1h", 1 / 24), ("24h", 1), ("7d", 7), ("30d", 30), ("1y", 365)])
def test_a_range_ends_now(name: str, days: float) -> None:
    found = chosen(range=name)
    assert found.range == name
    assert found.span.last == NOW
    assert found.span.seconds == days * 86_400


def test_days_and_times_are_those_of_the_viewer_and_the_last_day_counts_whole() -> None:
    assert ends(first="2026-11-01", to="2026-11-03") == ("2026-11-01T00:00:00+01:00", "2026-11-04T00:00:00+01:00")
    assert ends(first="2026-07-01T08:30", to="2026-07-01T09:00") == (
        "2026-07-01T08:30:00+02:00",
        "2026-07-01T09:00:00+02:00",
    )
    assert chosen(first="2026-11-01").range is None


def test_instants_may_be_rfc_3339_or_seconds() -> None:
    assert ends(first="2026-11-01T00:00:00Z", to="2026-11-01T03:00:00+02:00") == (
        "2026-11-01T01:00:00+01:00",
        "2026-11-01T02:00:00+01:00",
    )
    assert ends(first="1793491200", to="1793494800.5")[0] == "2026-11-01T01:00:00+01:00"
    assert ends(first="2026-11-01T00:00:00 00:00", to="2026-11-02")[0] == "2026-11-01T01:00:00+01:00"


def test_a_day_on_which_the_clock_is_changed_has_its_own_length() -> None:
    assert chosen(first="2026-10-25", to="2026-10-25").span.seconds == 25 * 3600
    assert chosen(to="2026-10-25T12:00").span.seconds == 24 * 3600


@pytest.mark.parametrize(("name", "days"), [("7d", 7), ("30d", 30), ("1y", 365)])
@pytest.mark.parametrize("zone", ZONES)
def test_a_range_of_days_begins_when_it_ends_by_the_wall_clock(zone: str, name: str, days: int) -> None:
    where = ZoneInfo(zone)
    for change in changes_of(zone, YEAR) or [NOW.timestamp()]:
        for after in (0.3, 2.3, 6.8):
            now = datetime.fromtimestamp(change + after * 86_400, UTC)
            span = choose({"range": name}, now, where).span
            assert span.last == now
            missing = span.first.replace(tzinfo=None) + timedelta(days=days) - span.last.replace(tzinfo=None)
            assert missing in (timedelta(0), timedelta(hours=1), timedelta(minutes=30)), "a time that does not exist"
            assert choose({"range": "24h"}, now, where).span.seconds == 86_400


def test_a_day_whose_midnight_does_not_exist_begins_when_the_clock_is_moved() -> None:
    span = choose({"from": "2026-03-08", "to": "2026-03-08"}, NOW, ZoneInfo("America/Havana")).span
    assert (span.first.isoformat(), span.last.isoformat()) == ("2026-03-08T01:00:00-04:00", "2026-03-09T00:00:00-04:00")
    span = choose({"from": "2026-11-01", "to": "2026-11-01"}, NOW, ZoneInfo("America/Havana")).span
    assert (span.first.isoformat(), span.seconds) == ("2026-11-01T00:00:00-04:00", 25 * 3600)


def test_a_time_that_does_not_exist_moves_forward_and_one_that_comes_twice_means_the_first() -> None:
    assert ends(first="2026-03-29T02:30", to="2026-03-29T12:00")[0] == "2026-03-29T03:30:00+02:00"
    assert ends(first="2026-10-25T02:30", to="2026-10-25T12:00")[0] == "2026-10-25T02:30:00+02:00"


def test_one_end_is_enough() -> None:
    assert chosen(first="2026-11-01").span.last == NOW
    assert chosen(to="2026-11-11T00:00:00Z", range="7d").span.first == datetime(2026, 11, 4, tzinfo=UTC)


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"range": "2h"}, "range"),
        ({"first": "yesterday"}, "from"),
        ({"first": "2026-02-30"}, "from"),
        ({"first": "nan"}, "from"),
        ({"first": "1e300"}, "from"),
        ({"first": "0001-01-01"}, "from"),
        ({"first": "2026-11-02", "to": "2026-11-01"}, "from"),
        ({"to": "9999-12-31"}, "to"),
        ({"first": "2030-01-01"}, "from"),
        ({"to": "-5"}, "to"),
    ],
)
def test_what_is_no_time_is_refused_by_its_field(arguments: dict[str, str], field: str) -> None:
    with pytest.raises(Invalid) as raised:
        chosen(**arguments)
    assert raised.value.field == field


@given(st.text(max_size=30), st.text(max_size=30))
def test_nothing_that_is_typed_is_a_surprise(first: str, last: str) -> None:
    with contextlib.suppress(Invalid):
        assert choose({"from": first, "to": last}, NOW, OSLO).span.seconds > 0
