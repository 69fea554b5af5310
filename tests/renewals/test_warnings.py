"""The life of a subscription as its worker makes it of rows and instants, without a database."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.renewals.warnings import STEPS, Circumstances, changes, fingerprint, reached
from appliance.severity import Severity
from appliance.subscriptions import terms
from appliance.subscriptions.lifecycle import Subscription, SubscriptionStatus, SubscriptionType, passed, status_at
from tests.support.tenants import GRACE
from tests.support.zones import ZONES

OSLO = ZoneInfo("Europe/Oslo")
DAY, HOUR = timedelta(days=1), timedelta(hours=1)
START = datetime(2026, 1, 31, 23, tzinfo=UTC)
"""Midnight in Oslo."""
END = terms.extended(START, 181, OSLO)
"""Midnight in Oslo, on the other side of a change of the clock."""
MAIN = Subscription(
    "SUB-1", "acme", SubscriptionType.MAIN, None, 10, 3, START, END, SubscriptionStatus.ACTIVE, description="Hall 3"
)


@dataclass
class Diary:
    """A subscription, its worker's memory, and everything that becomes of it."""

    row: Subscription = MAIN
    zone: tzinfo | None = OSLO
    renewed_at: datetime | None = None
    served: bool = True
    given: set[int] = field(default_factory=set)
    kept: dict[str, tuple[str, Any] | None] = field(default_factory=dict)
    severities: dict[str, Severity] = field(default_factory=dict)
    entries: list[str] = field(default_factory=list)

    def tick(self, now: datetime) -> None:
        """Make one round of the worker."""
        for status, _ in passed(self.row, now, grace=GRACE):
            self.row = replace(self.row, status=status)
            self.entries.append(status.value)
        renewed = {} if self.renewed_at is None else {self.row.subscription_id: self.renewed_at}
        about = Circumstances(
            now, self.zone, self.served, GRACE, {self.row.subscription_id: self.given}, renewed, self.kept
        )
        found = changes([self.row], about)
        for one in [*found.superseded, *found.ended]:
            how = "superseded" if one in found.superseded else "cleared"
            self.entries.append(f"{how} {one.rpartition(':')[2]}")
            del self.kept[one]
        for _, ahead in found.forgotten:
            self.given.difference_update(ahead)
        for _, days in found.given:
            assert days not in self.given
            self.given.add(days)
            self.entries.append(f"warned {days}")
        for wanted in found.raised:
            self.kept[wanted.fingerprint] = (wanted.summary, wanted.details)
            self.severities[wanted.fingerprint] = wanted.severity

    def renew(self, now: datetime, days: int) -> None:
        """Give it the next term, as a renewal does."""
        start = max(now, self.row.term_end)
        self.row = replace(self.row, term_start=start, term_end=terms.extended(start, days, self.zone))
        self.row = replace(self.row, status=status_at(self.row, now, grace=GRACE))
        self.renewed_at, self.given = now, set()

    @property
    def open(self) -> list[int]:
        """Return the steps whose alerts are open."""
        return [int(one.rpartition(":")[2]) for one, shown in self.kept.items() if shown is not None]

    @property
    def summary(self) -> str:
        """Return what the one alert says that is open."""
        [shown] = [shown for shown in self.kept.values() if shown is not None]
        return shown[0]


def lived(ticks: Iterable[datetime], row: Subscription = MAIN) -> Diary:
    diary = Diary(row)
    for now in ticks:
        diary.tick(now)
    return diary


def every(step: timedelta, days: int = 400, odd: timedelta = timedelta()) -> list[datetime]:
    return [START + odd + number * step for number in range(int(days * DAY / step))]


LIFE = [
    *("warned 90", "superseded 90", "warned 60", "superseded 60", "warned 30", "superseded 30", "warned 14"),
    *("superseded 14", "warned 7", "superseded 7", "warned 1", "GRACE", "SUSPENDED", "EXPIRED", "cleared 1"),
]
ROUNDS = {
    "every hour": every(HOUR),
    "every minute around the end": [
        *every(DAY, 180),
        *(START + 180 * DAY + number * timedelta(minutes=1) for number in range(3000)),
        *every(DAY, 400)[184:],
    ],
    "once a day at an odd time": every(DAY, odd=timedelta(hours=13, minutes=37, microseconds=1)),
}


@pytest.mark.parametrize("ticks", ROUNDS.values(), ids=ROUNDS.keys())
def test_400_days_give_each_transition_and_each_warning_once(ticks: list[datetime]) -> None:
    assert lived(ticks).entries == LIFE


def test_after_40_days_without_a_worker_the_nearest_warning_is_given_and_every_transition_recorded() -> None:
    ticks = [now for now in every(DAY) if not START + 140 * DAY <= now < START + 180 * DAY]
    assert lived(ticks).entries == [*LIFE[:3], "superseded 60", "warned 1", *LIFE[-4:]]
    ticks = [now for now in every(DAY) if not START + 179 * DAY <= now < START + 219 * DAY]
    assert lived(ticks).entries == [*LIFE[:9], "GRACE", "SUSPENDED", "superseded 7", "warned 1", *LIFE[-2:]]


def test_steps_are_days_of_the_tenants_calendar() -> None:
    for days in STEPS:
        instant = terms.extended(END, -days, OSLO)
        assert (terms.last_full_day(END, OSLO) - terms.last_full_day(instant, OSLO)).days == days
        before, at = lived([instant - timedelta(microseconds=1)]), lived([instant])
        assert days not in before.open
        assert at.open == [days]


@given(
    zone=st.sampled_from(ZONES),
    end=st.integers(0, 2 * 365 * 24 * 60).map(lambda minutes: START + timedelta(minutes=minutes)),
    days=st.sampled_from(list(STEPS)),
)
def test_in_every_zone_a_step_is_reached_when_that_day_of_its_calendar_comes(
    zone: str, end: datetime, days: int
) -> None:
    where = ZoneInfo(zone)
    instant = terms.extended(end, -days, where)
    row, tick = replace(MAIN, term_start=end - 400 * DAY, term_end=end), timedelta(seconds=1)
    assert reached(row, instant, where, None) == days
    assert reached(row, instant - tick, where, None) == min((step for step in STEPS if step > days), default=None)


def test_each_step_has_its_severity() -> None:
    diary = lived(every(DAY))
    assert [diary.severities[fingerprint(MAIN, days)] for days in STEPS] == [
        "info",
        "low",
        "low",
        "medium",
        "high",
        "critical",
    ]


@given(
    ticks=st.lists(st.timedeltas(timedelta(), 400 * DAY), min_size=1, max_size=30).map(sorted),
    kind=st.sampled_from([SubscriptionType.MAIN, SubscriptionType.TRIAL, SubscriptionType.TEMPORARY]),
)
def test_the_life_is_the_same_whether_the_worker_ran_never_late_or_often(
    ticks: list[timedelta], kind: SubscriptionType
) -> None:
    status = SubscriptionStatus.TRIAL if kind is SubscriptionType.TRIAL else SubscriptionStatus.ACTIVE
    row = replace(MAIN, subscription_type=kind, status=status)
    now = START + ticks[-1]
    often, late = lived([START + tick for tick in ticks], row), lived([now], row)
    assert status_at(row, now, grace=GRACE) is often.row.status is late.row.status
    assert status_at(often.row, now, grace=GRACE) is often.row.status, "the record decides nothing"
    words = [status.value for status in SubscriptionStatus]
    transitions = [[entry for entry in diary.entries if entry in words] for diary in (often, late)]
    assert transitions[0] == transitions[1]
    assert often.open == late.open or (often.row.term_end <= now and not late.open)
    assert len(often.open) <= 1


def test_a_shorter_end_does_not_warn_twice() -> None:
    diary = lived([END - 25 * DAY])
    assert diary.entries == ["warned 30"]
    for _ in range(4):
        diary.row = replace(diary.row, term_end=diary.row.term_end - DAY)
        diary.tick(END - 25 * DAY)
    assert diary.entries == ["warned 30"]
    assert diary.summary == "The last full day of subscription Hall 3 is 27 Jul 2026"
    diary.row = replace(diary.row, term_end=END - 15 * DAY)
    diary.tick(END - 25 * DAY)
    assert diary.entries == ["warned 30", "superseded 30", "warned 14"], "the nearest step, once"


def test_an_end_that_is_moved_away_is_warned_of_again_when_it_is_near() -> None:
    diary = lived([END - 6 * DAY])
    diary.row = replace(diary.row, term_end=END + 100 * DAY)
    diary.tick(END - 5 * DAY)
    assert (diary.entries, diary.open) == (["warned 7", "cleared 7"], [])
    diary.tick(END + 94 * DAY)
    assert diary.entries[2:] == ["warned 7"]


def test_a_clock_that_is_put_back_by_hours_warns_of_nothing_twice() -> None:
    diary = lived([END - 14 * DAY])
    for hours in range(23):
        diary.tick(END - 14 * DAY - hours * HOUR)
    diary.tick(END - 14 * DAY + HOUR)
    assert diary.entries == ["warned 14"]


def test_a_renewal_ends_the_warning_and_the_next_term_has_its_own() -> None:
    diary = lived([END - 6 * DAY])
    diary.renew(END - 5 * DAY, 30)
    diary.tick(END - 5 * DAY)
    assert (diary.entries, diary.open) == (["warned 7", "cleared 7"], []), "who renews knows the new end"
    for number in range(60):
        diary.tick(END - 5 * DAY + number * DAY)
    assert [entry for entry in diary.entries[2:] if "warned" in entry] == ["warned 14", "warned 7", "warned 1"]


@pytest.mark.parametrize("status", [SubscriptionStatus.GRACE, SubscriptionStatus.SUSPENDED])
def test_after_the_end_the_last_warning_says_what_becomes_of_the_devices_until_it_is_renewed(
    status: SubscriptionStatus,
) -> None:
    after = END + (5 if status is SubscriptionStatus.GRACE else 20) * DAY
    diary = lived([END - HOUR, after])
    assert (diary.row.status, diary.open) == (status, [1])
    words = {
        SubscriptionStatus.GRACE: "was 31 Jul 2026: its devices work until 14 Aug 2026",
        SubscriptionStatus.SUSPENDED: "was 31 Jul 2026: messages of its devices are held",
    }
    assert diary.summary == f"The last full day of subscription Hall 3 {words[status]}"
    diary.renew(after, 365)
    diary.tick(after)
    assert diary.entries[-1] == "cleared 1"


def test_held_and_addon_rows_and_those_of_a_suspended_tenant_are_not_warned_of() -> None:
    near = [END - number * DAY for number in range(100, 0, -1)]
    addon = replace(MAIN, subscription_type=SubscriptionType.ADDON, parent_subscription_id="SUB-0")
    held = replace(MAIN, hold_reason="unpaid")
    for row in (addon, held):
        assert not [entry for entry in lived(near, row).entries if entry.startswith("warned")]
    diary = Diary(served=False)
    for now in near:
        diary.tick(now)
    assert diary.entries == []


def test_a_hold_ends_the_warning_and_the_same_step_is_not_told_again_after_it() -> None:
    diary = lived([END - 20 * DAY])
    diary.row = replace(diary.row, hold_reason="unpaid")
    diary.tick(END - 19 * DAY)
    diary.row = replace(diary.row, hold_reason=None)
    diary.tick(END - 18 * DAY)
    assert diary.entries == ["warned 30", "SUSPENDED", "cleared 30", "ACTIVE"]
    diary.tick(END - 13 * DAY)
    assert diary.entries[4:] == ["warned 14"]


def test_what_a_person_has_closed_stays_closed_until_the_next_step() -> None:
    diary = lived([END - 20 * DAY])
    diary.kept = dict.fromkeys(diary.kept)
    for number in range(6):
        diary.tick(END - 20 * DAY + number * DAY)
    assert (diary.entries, diary.open) == (["warned 30"], [])
    diary.tick(END - 14 * DAY)
    assert diary.open == [14]


def test_a_term_that_begins_with_an_early_step_is_not_warned_of_at_once() -> None:
    for days, first in ((30, []), (60, []), (90, []), (7, [7]), (5, [7]), (20, [30]), (365, [])):
        row = replace(MAIN, term_end=terms.extended(START, days, OSLO))
        assert lived([START + timedelta(seconds=1)], row).open == first
