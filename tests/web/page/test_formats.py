"""Numbers and times as people read them."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from appliance.web.page import formats
from appliance.web.page.formats import MINUS

OSLO = ZoneInfo("Europe/Oslo")
MOMENT = 1_795_440_845.0
"""2026-11-23 13:34:05 UTC."""


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (0.04, "0.04"), (0.1, "0.1"), (38.44, "38.4"), (999.94, "999.9"), (1240.4, "1,240"), (72_000, "72,000")],
)
def test_rates(value: float, text: str) -> None:
    assert formats.rate(value) == text


@pytest.mark.parametrize(
    ("part", "whole", "text"),
    [
        (0, 0, "0"),
        (0, 100, "0"),
        (212, 138_240, "0.15"),
        (1, 1_000_000, "<0.01"),
        (5, 100, "5"),
        (1, 3, "33"),
        (100, 100, "100"),
        (999_999, 1_000_000, "100"),
    ],
)
def test_percents_never_call_something_nothing(part: int, whole: int, text: str) -> None:
    assert formats.percent(part, whole) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (21.5, "21.5"),
        (21.0, "21"),
        (-11.8, f"{MINUS}11.8"),
        (0.1 + 0.2, "0.30000000000000004"),
        (1e-9, f"1e{MINUS}09"),
        (1e300, "1e+300"),
        (2**53 + 1, "9007199254740993"),
        (-3, f"{MINUS}3"),
        (True, "true"),
        (False, "false"),
        ("open", "open"),
        ("x" * 256, "x" * 39 + "…"),
    ],
)
def test_metrics(value: object, text: str) -> None:
    assert formats.metric(value) == text


def test_a_list_shows_the_first_metrics() -> None:
    assert formats.metrics({"a": 1, "b": 2, "c": 3}, shown=2) == [("a", "1"), ("b", "2")]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-5, "now"),
        (0.9, "now"),
        (1, "1 s ago"),
        (59.9, "59 s ago"),
        (60, "1 min ago"),
        (3599, "59 min ago"),
        (3600, "1 h ago"),
        (86_399, "23 h ago"),
        (200_000, "2 d ago"),
    ],
)
def test_how_long_ago(seconds: float, text: str) -> None:
    assert formats.ago(MOMENT, MOMENT + seconds) == text


def test_absolute_times_stand_in_the_viewers_zone_with_its_name() -> None:
    assert formats.absolute(MOMENT, OSLO) == "Mon 23 Nov 2026, 14:34:05 CET"
    assert formats.clock_time(MOMENT, OSLO) == "14:34:05 CET"
    assert formats.short_time(MOMENT, OSLO) == "14:34"
    assert formats.iso(MOMENT, OSLO) == "2026-11-23T14:34:05+01:00"


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.5, "0.5 s"), (45, "45 s"), (90, "1.5 min"), (9000, "2.5 h"), (259_200, "3 d")]
)
def test_a_time_is_told_in_the_largest_unit_that_says_it_well(seconds: float, text: str) -> None:
    assert formats.lasting(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-0.0001, "0 ms"),
        (0.041, "41 ms"),
        (1.25, "1.25 s"),
        (7200, "2 h"),
        (-0.2, "\u2212200 ms"),
        (-90, "\u22121.5 min"),
    ],
)
def test_a_delay_may_be_ahead_of_time(seconds: float, text: str) -> None:
    assert formats.delay(seconds) == text


def test_a_time_in_a_list_has_its_day_unless_it_is_today() -> None:
    noon = datetime(2026, 11, 23, 12, tzinfo=UTC).timestamp()
    assert formats.moment_of(noon, noon + 60, UTC) == "12:00:00"
    assert formats.moment_of(noon, noon + 86_400, UTC) == "23 Nov 12:00:00"
    assert formats.day(noon, UTC) == "23 Nov 2026"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0 bytes"),
        (999, "999 bytes"),
        (4200, "4 kB"),
        (412_000_000, "412 MB"),
        (31.2e9, "31.2 GB"),
        (2e15, "2,000 TB"),
    ],
)
def test_sizes_read_well(value: float, text: str) -> None:
    assert formats.size(value) == text


@pytest.mark.parametrize(("seconds", "text"), [(0.0004, "0.4"), (0.0061, "6.1"), (0.084, "84"), (1.25, "1,250")])
def test_milliseconds_read_well(seconds: float, text: str) -> None:
    assert formats.milliseconds(seconds) == text
