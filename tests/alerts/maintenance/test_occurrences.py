"""When a window is active: both changes of the clock in forty zones, held against a scan of every minute."""

from collections import defaultdict
from datetime import datetime, time, timedelta
from functools import cache
from itertools import pairwise
from random import Random
from zoneinfo import ZoneInfo

import pytest

from appliance.alerts.maintenance import occurrences as reckoning
from appliance.alerts.maintenance.occurrences import Occurrence, active_at, next_after, next_two, occurrences
from appliance.alerts.maintenance.window import WEEKDAYS, Once, Schedule, Weekday, Weekly, Window
from appliance.local_time import DAY, HOUR, wall_clock
from tests.alerts.maintenance.windows import EVERY_DAY, once, weekly, window
from tests.support.zones import CHANGES, YEAR, ZONES, changes_of

MINUTE = 60
OSLO_SPRING, OSLO_AUTUMN = "2027-03-28", "2027-10-31"
ST_JOHNS_SPRING, ST_JOHNS_AUTUMN = "2027-03-14", "2027-11-07"


def at(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def shown(found: list[Occurrence], zone: str) -> list[str]:
    where = ZoneInfo(zone)
    return [
        " to ".join(f"{datetime.fromtimestamp(edge, where):%a %d %H:%M %z}" for edge in (one.start, one.end))
        for one in found
    ]


def around(schedule: Schedule, day: str, zone: str) -> list[str]:
    """The occurrences that have a part in the day and the next one, and how they begin and end."""
    first = datetime.fromisoformat(day).replace(tzinfo=ZoneInfo(zone)).timestamp()
    return shown(occurrences(window(schedule, zone), first, first + 1.5 * DAY), zone)


# A plain reference: it knows nothing but what a wall clock shows in each minute


class Minutes:
    """What the wall clock shows in each minute around an instant."""

    def __init__(self, zone: str, middle: float, days: int) -> None:
        where = ZoneInfo(zone)
        self.first = int(middle // MINUTE * MINUTE) - days * DAY
        self.last = self.first + 2 * days * DAY
        self.shown: dict[datetime, list[int]] = defaultdict(list)
        self.jumps: list[tuple[datetime, datetime]] = []
        """Of each time that was left out: what the clock would have shown, and what it showed."""
        before: datetime | None = None
        for minute in range(self.first, self.last, MINUTE):
            wall = datetime.fromtimestamp(minute, where).replace(tzinfo=None, fold=0)
            self.shown[wall].append(minute)
            if before is not None and wall > before + timedelta(minutes=1):
                self.jumps.append((before + timedelta(minutes=1), wall))
            before = wall
        self.days = sorted({wall.date() for wall in self.shown})

    def when(self, wall: datetime) -> list[int]:
        """Return the minutes that show a time; of one that does not exist, that to which it moves."""
        for missed, instead in self.jumps:
            if missed <= wall < instead:
                return self.shown[wall + (instead - missed)]
        return self.shown.get(wall, [])

    def active(self, schedule: Schedule) -> set[int]:
        """Return the minutes in which a window is active."""
        if isinstance(schedule, Once):
            return self._between(schedule.starts, schedule.ends)
        active: set[int] = set()
        for day in self.days:
            ended = schedule.until is not None and day > schedule.until
            if not ended and f"{day:%a}".lower() in schedule.weekdays:
                starts = datetime.combine(day, schedule.start_time)
                active |= self._between(starts, starts + timedelta(minutes=schedule.length))
        return active

    def _between(self, starts: datetime, ends: datetime) -> set[int]:
        begin, end = self.when(starts), self.when(ends)
        if not begin or not end:
            return set()
        first, last = begin[0], end[-1]
        if last <= first:
            last = first + int((ends - starts).total_seconds())
        return set(range(first, last, MINUTE))


@cache
def minutes_of(zone: str, change: float) -> Minutes:
    return Minutes(zone, change, 12)


def drawn(random: Random, zone: str, change: float) -> Schedule:
    """A schedule with an edge near a change of the clock, more often than not."""
    near = wall_clock(change, ZoneInfo(zone)).replace(second=0, microsecond=0)
    edge = near + timedelta(minutes=random.choice([*range(-150, 151, 15), random.randrange(-4 * 1440, 4 * 1440)]))
    length = random.choice([1, 15, 30, 45, 60, 90, 300, 480, 1440, 1500, 2 * 1440, random.randrange(1, 4 * 1440)])
    starts = edge if random.random() < 0.6 else edge - timedelta(minutes=length)
    if random.random() < 0.4:
        return Once(starts, starts + timedelta(minutes=length))
    days = {WEEKDAYS[starts.weekday()], *random.sample(WEEKDAYS, random.randrange(4))}
    while len(days) * length >= 7 * 1440:
        days.pop()
    until = starts.date() + timedelta(days=random.randrange(-2, 9)) if random.random() < 0.3 else None
    return Weekly(frozenset(days), starts.time(), length, until)


@pytest.mark.parametrize(("zone", "change"), CHANGES)
def test_a_window_is_active_in_the_minutes_that_the_wall_clock_says(zone: str, change: float) -> None:
    random, minutes = Random(f"{zone} {change}"), minutes_of(zone, change)
    for _ in range(25):
        tried = window(drawn(random, zone, change), zone)
        first, last = int(change // MINUTE * MINUTE) - 5 * DAY, int(change // MINUTE * MINUTE) + 5 * DAY
        expected = {minute for minute in minutes.active(tried.schedule) if first <= minute < last}
        found = occurrences(tried, first, last)
        spans = [range(max(int(one.start), first), min(int(one.end), last), MINUTE) for one in found]
        assert {minute for span in spans for minute in span} == expected, tried.schedule
        assert all(earlier.end < later.start for earlier, later in pairwise(found)), "those that touch are one"
        holds_by_instant(tried, first, last, expected, random)


def holds_by_instant(tried: Window, first: int, last: int, expected: set[int], random: Random) -> None:
    edges = [minute for minute in range(first, last, MINUTE) if (minute in expected) != (minute - MINUTE in expected)]
    for now in [*edges, *(edge - 0.5 for edge in edges), *(random.uniform(first, last - 1) for _ in range(5))]:
        if not first <= now < last:
            continue
        active = active_at(tried, now)
        assert (active is not None) == (now // MINUTE * MINUTE in expected), tried.schedule
        following = next_after(tried, now)
        starts = [edge for edge in edges if edge > now and edge in expected and edge > first]
        if starts:
            assert following is not None
            assert following.start == starts[0]
        elif following is not None:
            assert following.start >= last


@pytest.mark.parametrize("zone", ZONES)
def test_a_weekly_window_keeps_its_local_times_over_both_changes_of_a_year(zone: str) -> None:
    where = ZoneInfo(zone)
    first, last = (datetime(year, 1, 1, tzinfo=where).timestamp() for year in (YEAR, YEAR + 1))
    found = [
        one for one in occurrences(window(weekly("sat sun", "22:00", 480), zone), first, last) if one.start >= first
    ]
    assert len(found) == 104, "every Saturday and Sunday of the year, one by one"
    for one in found:
        assert wall_clock(one.start, where).time() == time(22)
        assert wall_clock(one.end, where).time() == time(6)
    crossed = [change for change in changes_of(zone, YEAR) if any(one.start < change < one.end for one in found)]
    assert len([one for one in found if one.end - one.start != 8 * HOUR]) == len(crossed)


def test_a_window_past_midnight_ends_on_the_next_day() -> None:
    assert around(weekly("sun", "22:00", 240), "2026-11-29", "Europe/Oslo") == [
        "Sun 29 22:00 +0100 to Mon 30 02:00 +0100"
    ]
    monday = at("2026-11-30T01:59:59+01:00")
    assert active_at(window(weekly("sun", "22:00", 240)), monday) is not None
    assert active_at(window(weekly("sun", "22:00", 240)), monday + 1) is None
    assert active_at(window(weekly("mon", "22:00", 240)), monday) is None


@pytest.mark.parametrize(
    ("zone", "spring", "autumn", "winter", "summer"),
    [
        ("Europe/Oslo", OSLO_SPRING, OSLO_AUTUMN, "+0100", "+0200"),
        ("America/St_Johns", ST_JOHNS_SPRING, ST_JOHNS_AUTUMN, "-0330", "-0230"),
    ],
)
def test_the_nights_on_which_the_clock_changes(zone: str, spring: str, autumn: str, winter: str, summer: str) -> None:
    """In Oslo the clock is moved at 02:00 and at 03:00, in St. John's at 02:00 and at 02:00."""
    forward, back = spring[-2:], autumn[-2:]
    missing, twice = ("02:30", "02:30") if zone == "Europe/Oslo" else ("02:30", "01:30")
    for schedule in (weekly("sun", missing, 120), once(f"{spring}T{missing}", f"{spring}T04:30")):
        assert around(schedule, spring, zone) == [f"Sun {forward} 03:30 {summer} to Sun {forward} 04:30 {summer}"]
    for schedule in (weekly("sun", "00:30", 120), once(f"{spring}T00:30", f"{spring}T02:30")):
        assert around(schedule, spring, zone) == [f"Sun {forward} 00:30 {winter} to Sun {forward} 03:30 {summer}"]
    for schedule in (weekly("sun", twice, 120), once(f"{autumn}T{twice}", f"{autumn}T0{int(twice[1]) + 2}:30")):
        [found] = around(schedule, autumn, zone)
        assert found.startswith(f"Sun {back} {twice} {summer} to "), "the first of the two"
    ends = int(twice[1]) * 60 + 30
    for schedule in (weekly("sun", "00:10", ends - 10), once(f"{autumn}T00:10", f"{autumn}T{twice}")):
        assert around(schedule, autumn, zone) == [f"Sun {back} 00:10 {summer} to Sun {back} {twice} {winter}"]
    for schedule in (weekly("sun", twice, 10), once(f"{autumn}T{twice}", f"{autumn}T{twice[:3]}40")):
        [one] = occurrences(window(schedule, zone), at(f"{autumn}T00:00Z"), at(f"{autumn}T12:00Z"))
        assert one.end - one.start == 70 * MINUTE, "from the first start to the last end"


def test_a_window_of_which_no_time_exists_moves_forward_whole() -> None:
    for schedule in (weekly("sun", "02:10", 40), once("2027-03-28T02:10", "2027-03-28T02:50")):
        assert around(schedule, OSLO_SPRING, "Europe/Oslo") == ["Sun 28 03:10 +0200 to Sun 28 03:50 +0200"]


def test_a_window_whose_start_moves_past_its_end_keeps_its_length() -> None:
    for schedule in (weekly("sun", "02:30", 40), once("2027-03-28T02:30", "2027-03-28T03:10")):
        assert around(schedule, OSLO_SPRING, "Europe/Oslo") == ["Sun 28 03:30 +0200 to Sun 28 04:10 +0200"]


def test_whole_days_of_a_weekend_are_one_occurrence() -> None:
    assert around(weekly("sat sun", "00:00", 1440), "2026-11-29", "Europe/Oslo") == [
        "Sat 28 00:00 +0100 to Mon 30 00:00 +0100"
    ]
    weekend = next_two(window(weekly("sat sun", "00:00", 1440)), at("2026-11-29T12:00+01:00"))
    assert shown(weekend, "Europe/Oslo") == [
        "Sat 28 00:00 +0100 to Mon 30 00:00 +0100", "Sat 05 00:00 +0100 to Mon 07 00:00 +0100",
    ]  # fmt: skip


def test_a_start_belongs_to_a_window_and_an_end_does_not() -> None:
    for tried in (window(weekly("sat", "22:00", 480)), window(once("2026-11-28T22:00", "2026-11-29T06:00"))):
        start, end = at("2026-11-28T22:00+01:00"), at("2026-11-29T06:00+01:00")
        held = Occurrence(start, end)
        assert [active_at(tried, now) for now in (start - 0.001, start, end - 0.001, end)] == [None, held, held, None]
        assert next_after(tried, start - 1) == held
        assert next_after(tried, start) != held
        assert occurrences(tried, end, end + HOUR) == []
        assert occurrences(tried, start - HOUR, start) == []


def test_the_last_day_is_the_last_on_which_a_window_starts() -> None:
    tried = window(weekly("sat sun", "22:00", 480, until="2026-11-29"))
    assert reckoning.over_at(tried.schedule, "Europe/Oslo", None) == at("2026-11-30T06:00+01:00")
    assert active_at(tried, at("2026-11-30T05:00+01:00")) is not None
    assert next_after(tried, at("2026-11-29T23:00+01:00")) is None
    assert reckoning.over_at(weekly("sat sun", "22:00", 480), "Europe/Oslo", None) is None
    assert reckoning.over_at(weekly("wed", "22:00", 480, until="2026-11-29"), "Europe/Oslo", None) == at(
        "2026-11-26T06:00+01:00"
    )


def test_one_that_a_person_ended_is_over_and_a_weekly_one_starts_again() -> None:
    ended = at("2026-11-28T23:15+01:00")
    for schedule in (weekly("sat sun", "22:00", 480), once("2026-11-28T22:00", "2026-11-29T06:00")):
        tried = window(schedule, ended_at=ended)
        assert active_at(tried, ended - 1) == Occurrence(at("2026-11-28T22:00+01:00"), ended)
        assert active_at(tried, ended) is None
    following = next_after(window(weekly("sat sun", "22:00", 480), ended_at=ended), ended)
    assert following == Occurrence(at("2026-11-29T22:00+01:00"), at("2026-11-30T06:00+01:00"))
    assert next_after(window(once("2026-11-28T22:00", "2026-11-29T06:00"), ended_at=ended), ended) is None
    assert reckoning.over_at(once("2026-11-28T22:00", "2026-11-29T06:00"), "Europe/Oslo", ended) == ended
    at_its_start = window(once("2026-11-28T22:00", "2026-11-29T06:00"), ended_at=at("2026-11-28T22:00+01:00"))
    assert occurrences(at_its_start, 0, ended + DAY) == [], "nothing is left of it"


def test_an_occurrence_is_found_from_any_instant_in_it() -> None:
    long = weekly("mon", "00:00", 6 * 1440)
    for hour in range(6 * 24):
        now = at("2026-11-23T00:00+01:00") + hour * HOUR
        assert active_at(window(long), now) == Occurrence(at("2026-11-23T00:00+01:00"), at("2026-11-29T00:00+01:00"))
    shutdown = window(once("2026-07-01T08:00", "2026-08-15T16:00"))
    assert active_at(shutdown, at("2026-08-01T00:00Z")) is not None
    assert next_after(shutdown, at("2026-01-01T00:00Z")) is not None


def test_a_gap_that_the_clock_fills_makes_two_weeks_one() -> None:
    """All of the week but half an hour on Sunday night, which comes twice when the clock is set back."""
    nearly = window(Weekly(frozenset({Weekday.SUN}), time(2, 50), 7 * 1440 - 30))
    active = active_at(nearly, at("2027-10-31T12:00+01:00"))
    assert active == Occurrence(at("2027-10-24T02:50+02:00"), at("2027-11-07T02:20+01:00"))
    assert [next_after(nearly, active.start), next_after(nearly, active.end)] == [
        Occurrence(at("2027-11-07T02:50+01:00"), at("2027-11-14T02:20+01:00"))
    ] * 2


def test_every_day_is_every_day() -> None:
    found = occurrences(
        window(weekly(EVERY_DAY, "07:15", 30)), at("2026-11-23T00:00+01:00"), at("2026-11-30T00:00+01:00")
    )
    assert len(found) == 7
