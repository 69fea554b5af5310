"""Windows in words."""

from datetime import date

import pytest

from appliance.alerts.maintenance.occurrences import changed_nights
from appliance.alerts.maintenance.window import Coverage, Schedule, Weekday
from appliance.local_time import DAY, zone_of
from appliance.web.maintenance import labels
from tests.alerts.maintenance.test_occurrences import at
from tests.alerts.maintenance.windows import EVERY_DAY, once, weekly

TODAY = date(2026, 11, 23)
OSLO = zone_of("Europe/Oslo")


@pytest.mark.parametrize(
    ("schedule", "text"),
    [
        (weekly("sat sun", "22:00", 480), "Every Sat and Sun, 22:00 to 06:00"),
        (weekly("sun", "22:00", 240), "Every Sun, 22:00 to 02:00"),
        (weekly(EVERY_DAY, "07:15", 30), "Every day, 07:15 to 07:45"),
        (weekly("mon tue wed thu fri", "05:30", 45), "Mon to Fri, 05:30 to 06:15"),
        (weekly("mon wed fri", "05:30", 45), "Every Mon, Wed and Fri, 05:30 to 06:15"),
        (weekly("sat sun", "00:00", 1440), "Every Sat and Sun, 00:00 to 00:00 the next day"),
        (weekly("fri", "22:00", 3360), "Every Fri 22:00 to Mon 06:00"),
        (weekly("mon thu", "22:00", 1800), "Every Mon and Thu from 22:00, for 1 d 6 h"),
        (weekly("sun", "22:00", 240, until="2027-03-01"), "Every Sun, 22:00 to 02:00, until Mon 1 Mar 2027"),
        (once("2026-11-23T13:00", "2026-11-23T16:00"), "Mon 23 Nov 13:00 to 16:00"),
        (once("2026-12-02T08:00", "2026-12-04T16:00"), "Wed 2 Dec 08:00 to Fri 4 Dec 16:00"),
        (once("2026-12-31T22:00", "2027-01-01T02:00"), "Thu 31 Dec 22:00 to Fri 1 Jan 2027 02:00"),
    ],
)
def test_when_a_window_is_active(schedule: Schedule, text: str) -> None:
    assert labels.when(schedule, TODAY) == text


def test_what_a_window_covers() -> None:
    names = {"quay": "Bergen Quay"}
    assert labels.covers(Coverage(), names) == "The whole tenant"
    assert labels.covers(Coverage(("quay",), ("wash",)), names) == "Bergen Quay, tag wash"
    assert labels.covers(Coverage(("roof",), (), ("d-1", "d-2", "d-3")), names) == "roof, d-1 and 2 more"


def test_times_are_near_or_have_a_day() -> None:
    now = at("2026-11-23T12:00+01:00")
    assert labels.near(now + 3600, OSLO, now) == "today, 13:00"
    assert labels.near(now + DAY, OSLO, now) == "tomorrow, 12:00"
    assert labels.near(now - DAY, OSLO, now) == "yesterday, 12:00"
    assert labels.near(now + 6 * DAY, OSLO, now) == "Sun 29 Nov, 12:00"
    assert [labels.until(now + hours * 3600, OSLO, now) for hours in (4, 16)] == ["16:00", "Tue 24 Nov, 04:00"]
    assert [labels.lasting(minutes) for minutes in (0, 45, 60, 270, 1440, 3360)] == [
        "0 min", "45 min", "1 h", "4 h 30 min", "1 d", "2 d 8 h",
    ]  # fmt: skip


def test_every_day_of_the_week_has_a_label() -> None:
    assert [labels.weekdays([day]) for day in Weekday] == [f"Every {day.capitalize()}" for day in Weekday]


def nights(schedule: Schedule, zone: str = "Europe/Oslo") -> list[tuple[str, bool, float]]:
    first = at("2026-11-23T12:00+01:00")
    found = changed_nights(schedule, zone_of(zone), first, first + 370 * DAY)
    return [(f"{night.day}", night.forward, (night.end - night.start) / 60) for night in found]


def test_the_nights_on_which_the_clock_changes_are_named() -> None:
    spring, autumn = ("2027-03-28", True), ("2027-10-31", False)
    assert nights(weekly("sat sun", "23:00", 270)) == [(*spring, 210.0), (*autumn, 330.0)]
    assert nights(weekly("sun", "02:10", 40)) == [(*spring, 40.0), (*autumn, 100.0)], "moved whole; longer"
    assert nights(weekly("sun", "02:30", 40)) == [(*spring, 40.0), (*autumn, 100.0)]
    assert nights(weekly("sun", "03:30", 60)) == [], "right after it"
    assert nights(weekly("sat", "22:00", 240)) == [(*spring, 240.0), (*autumn, 300.0)], "its end moves"
    assert nights(weekly(EVERY_DAY, "12:00", 60)) == []
    assert nights(once("2027-03-26T12:00", "2027-03-29T12:00")) == [(*spring, 71 * 60.0)]
    assert nights(weekly("sun", "00:00", 180), "America/St_Johns") == [
        ("2027-03-14", True, 120.0),
        ("2027-11-07", False, 240.0),
    ]
    assert nights(weekly("sun", "00:00", 180), "Asia/Tokyo") == []
