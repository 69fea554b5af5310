"""Where the lines, labels and gaps of a chart stand."""

import re
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.history.series import Point, Series, Source, TimeSpan
from appliance.web.page.axes import time_ticks
from appliance.web.page.formats import MINUS
from appliance.web.page.plot import Box, axis_of, plot
from tests.support.zones import YEAR, ZONES, changes_of

OSLO = ZoneInfo("Europe/Oslo")
START = datetime(2026, 11, 24, 12, tzinfo=UTC)
EPOCH = START.timestamp()


def point(at: float, mean: float, low: float | None = None, high: float | None = None, readings: int = 1) -> Point:
    began = EPOCH + at
    return Point(began, began + 60, readings, mean, mean if low is None else low, mean if high is None else high)


def series(*points: Point, step: int = 60, seconds: float = 600) -> Series:
    return Series(TimeSpan(START, START + timedelta(seconds=seconds)), step, Source.READINGS, points)


def axis(low: float, high: float) -> tuple[float, float, list[str]]:
    found = axis_of([Point(0, 60, 1, low, low, high)])
    return found.bottom, found.top, [tick.text for tick in found.ticks()]


def test_the_axis_is_round_and_holds_all_values() -> None:
    assert axis(-19.5, -11.8) == (-20, -10, [f"{MINUS}{number}" for number in (10, 12, 14, 16, 18, 20)])
    assert axis(71, 71.2)[2] == ["71.20", "71.15", "71.10", "71.05", "71.00"]


def test_values_that_are_all_alike_stand_in_the_middle() -> None:
    assert axis(20, 20)[:2] == (19, 21)
    assert axis(0, 0)[:2] == (-1, 1)


@given(st.floats(-1.7e308, 1.7e308), st.floats(-1.7e308, 1.7e308))
def test_any_two_numbers_have_an_axis_of_a_few_labels(one: float, other: float) -> None:
    low, high = min(one, other), max(one, other)
    found = axis_of([Point(0, 60, 1, low, low, high)])
    assert found.bottom < found.top
    assert 0 <= found.share(low) <= 1
    assert 2 <= len(found.ticks()) <= 8
    if abs(high) < 1e300 and abs(low) < 1e300:
        assert found.bottom <= low + found.step / 1e6
        assert found.top >= high - found.step / 1e6


def test_a_line_stands_in_the_middle_of_its_steps_and_is_open_at_gaps() -> None:
    minutes = [0, 60, 120, 420, 480, 540]
    shown = plot(series(*[point(at, at / 54, readings=6) for at in minutes]), OSLO)
    first, second = shown.line.split("M")[1:]
    assert first.split("L")[0] == "50 100"
    assert (first.count("L"), second.count("L")) == (2, 2)
    assert shown.gaps == [Box(30, 40)]
    assert shown.envelope == ""
    assert shown.newest is not None
    assert (shown.newest.x, shown.newest.y) == (95, 0)


def test_a_single_point_is_still_seen() -> None:
    assert plot(series(point(300, 1)), OSLO).line == "M550 50h.1"


def test_the_band_reaches_from_the_lowest_to_the_highest() -> None:
    shown = plot(series(point(0, 5, 0, 10, 6), point(60, 5, 2, 8, 6)), OSLO)
    assert shown.envelope == "M50 0L150 20L150 80L50 100Z"
    assert shown.area == "M50 50L150 50L150 100L50 100Z"


def test_nothing_is_an_empty_plot() -> None:
    shown = plot(series(), OSLO)
    assert (shown.line, shown.envelope, shown.newest) == ("", "", None)


@pytest.mark.parametrize(
    ("span", "labels"),
    [
        (timedelta(hours=1), ["Tue 12:00", "12:15", "12:30", "12:45", "Tue 13:00"]),
        (timedelta(hours=24), ["Mon 13:00", "18:00", "Tue 00:00", "06:00", "Tue 13:00"]),
        (timedelta(days=7), ["17 Nov", "Thu 19", "Sat 21", "Mon 23", "24 Nov"]),
        (timedelta(days=30), ["25 Oct", "1 Nov", "8 Nov", "15 Nov", "24 Nov"]),
        (timedelta(days=365), ["24 Nov 2025", "Apr 2026", "Jul 2026", "Oct 2026", "24 Nov 2026"]),
    ],
)
def test_times_are_round_in_the_zone_of_whoever_looks(span: timedelta, labels: list[str]) -> None:
    assert [tick.text for tick in time_ticks(TimeSpan(START - span, START), OSLO)] == labels


def test_round_times_stay_round_where_the_clock_is_changed() -> None:
    last = datetime(2026, 10, 25, 12, tzinfo=OSLO)
    labels = [tick.text for tick in time_ticks(TimeSpan((last.astimezone(UTC) - timedelta(hours=24)), last), OSLO)]
    assert labels == ["Sat 13:00", "18:00", "Sun 00:00", "06:00", "Sun 12:00"]


@pytest.mark.parametrize("zone", ZONES)
def test_labels_say_what_the_wall_clock_shows_there(zone: str) -> None:
    where = ZoneInfo(zone)
    for change in changes_of(zone, YEAR):
        for hours in (3, 12, 24, 30, 4 * 24, 9 * 24):
            first, last = change - hours * 1800.0, change + hours * 1800.0
            span = TimeSpan(datetime.fromtimestamp(first, where), datetime.fromtimestamp(last, where))
            inner = time_ticks(span, where)[1:-1]
            assert [tick.at for tick in inner] == sorted({tick.at for tick in inner})
            for tick in inner:
                at = datetime.fromtimestamp(round(first + tick.at / 100 * span.seconds, -1), where)
                at = at.astimezone(UTC).astimezone(where)
                begins = at.timestamp() - at.timestamp() % 900  # where labels stand is rounded
                shown = {f"{datetime.fromtimestamp(begins + off, where):%a %-d|%a %H:%M|%H:%M}" for off in (0, 900)}
                assert any(tick.text in texts.split("|") for texts in shown), (zone, tick)


def test_labels_of_a_midnight_that_does_not_exist_name_the_day() -> None:
    havana = ZoneInfo("America/Havana")
    span = TimeSpan(datetime(2026, 3, 7, 12, tzinfo=havana), datetime(2026, 3, 8, 12, tzinfo=havana))
    assert [tick.text for tick in time_ticks(span, havana)] == ["Sat 12:00", "18:00", "Sun 01:00", "06:00", "Sun 12:00"]


@given(st.integers(1, 100 * 366 * 86_400), st.integers(0, 10**9))
def test_every_span_has_few_labels_in_order(seconds: int, ago: int) -> None:
    last = START - timedelta(seconds=ago)
    ticks = time_ticks(TimeSpan(last - timedelta(seconds=min(seconds, int(last.timestamp()) - 86_400)), last), OSLO)
    assert 2 <= len(ticks) <= 8
    assert [tick.at for tick in ticks] == sorted(tick.at for tick in ticks)
    assert all(re.fullmatch(r"[A-Za-z0-9: ]+", tick.text) for tick in ticks)
