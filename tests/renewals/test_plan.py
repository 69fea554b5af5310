"""What a renewal would do, from rows, request and instant alone."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.errors import Conflict, Invalid
from appliance.renewals.plan import TERM_DAYS, NotOpen, Plan, Refusal, Request, devices_refused, plan, version
from appliance.renewals.policy import RenewalPolicy
from appliance.subscriptions import terms
from appliance.subscriptions.lifecycle import Subscription, SubscriptionStatus, SubscriptionType
from tests.support.tenants import GRACE
from tests.support.zones import ZONES

DAY = timedelta(days=1)
NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
POLICY = RenewalPolicy(GRACE, opens_days=30, plans={})
PLANS = replace(POLICY, plans={"basic": 25, "pro": 200})
MAIN = Subscription(
    "SUB-1", "acme", SubscriptionType.MAIN, None, 10, 4, NOW - 340 * DAY, NOW + 12 * DAY, SubscriptionStatus.ACTIVE
)
ADDON = replace(MAIN, subscription_id="SUB-2", subscription_type=SubscriptionType.ADDON, parent_subscription_id="SUB-1")
TRIAL = replace(
    MAIN, subscription_id="SUB-3", subscription_type=SubscriptionType.TRIAL, status=SubscriptionStatus.TRIAL
)
TEMPORARY = replace(MAIN, subscription_id="SUB-4", subscription_type=SubscriptionType.TEMPORARY)


def planned(
    row: Subscription,
    request: Request | None = None,
    *,
    among: Iterable[Subscription] = (),
    policy: RenewalPolicy = POLICY,
    zone: str = "UTC",
) -> Plan | NotOpen | Refusal:
    request = request or Request(row.subscription_id, 365)
    return plan([row, *among], row, request, NOW, ZoneInfo(zone), policy=policy)


def renewed(row: Subscription, request: Request | None = None, *, among: Iterable[Subscription] = ()) -> Plan:
    outcome = planned(row, request, among=among)
    assert isinstance(outcome, Plan), outcome
    return outcome


def refused(
    row: Subscription,
    request: Request | None = None,
    *,
    among: Iterable[Subscription] = (),
    policy: RenewalPolicy = POLICY,
) -> Refusal:
    outcome = planned(row, request, among=among, policy=policy)
    assert isinstance(outcome, Refusal), outcome
    return outcome


def test_a_term_that_runs_is_continued_where_it_ends_and_keeps_its_paid_days() -> None:
    outcome = renewed(MAIN)
    assert (outcome.start, outcome.after.term_end) == (MAIN.term_end, MAIN.term_end + 365 * DAY)
    assert outcome.after.status is SubscriptionStatus.ACTIVE
    assert outcome.paid_days_kept == 12
    assert (outcome.last_day_before, outcome.last_day_after) == (date(2026, 12, 4), date(2027, 12, 4))


@pytest.mark.parametrize("ago", [1, 14, 15, 104, 105, 1000])
def test_a_term_that_has_ended_starts_anew_now(ago: int) -> None:
    lapsed = replace(MAIN, term_end=NOW - ago * DAY, grace_end=NOW - ago * DAY + GRACE)
    outcome = renewed(lapsed)
    assert (outcome.start, outcome.after.term_end) == (NOW, NOW + 365 * DAY)
    assert (outcome.after.status, outcome.after.grace_end) == (SubscriptionStatus.ACTIVE, None)
    assert outcome.paid_days_kept == 0


def test_add_ons_follow_with_their_own_seats() -> None:
    outcome = renewed(
        MAIN, Request("SUB-1", 90, new_device_limit=20), among=[replace(ADDON, device_limit=3), TEMPORARY]
    )
    ((_, addon),) = outcome.addons
    assert addon == replace(ADDON, device_limit=3, term_start=outcome.start, term_end=outcome.after.term_end)
    assert outcome.after.device_limit == 20


def test_an_add_on_is_renewed_with_its_main_one() -> None:
    refusal = refused(ADDON, among=[MAIN])
    assert isinstance(refusal.error(), Conflict)
    assert "SUB-1" in refusal.message


def test_a_trial_becomes_the_main_one_unless_there_is_one() -> None:
    outcome = renewed(TRIAL)
    assert (outcome.after.subscription_type, outcome.after.status) == (SubscriptionType.MAIN, SubscriptionStatus.ACTIVE)
    assert outcome.start == TRIAL.term_end
    far = replace(TRIAL, term_end=NOW + 400 * DAY)
    assert renewed(far).start == far.term_end, "a trial is renewed at any time"
    refusal = refused(TRIAL, among=[MAIN])
    assert isinstance(refusal.error(), Conflict)
    assert MAIN.subscription_id in refusal.message


def test_a_temporary_one_stays_what_it_is() -> None:
    assert renewed(TEMPORARY, among=[MAIN]).after.subscription_type is SubscriptionType.TEMPORARY


def test_a_hold_is_not_lifted() -> None:
    held = replace(MAIN, hold_reason="unpaid", status=SubscriptionStatus.SUSPENDED)
    outcome = renewed(held)
    assert (outcome.after.hold_reason, outcome.after.status) == ("unpaid", SubscriptionStatus.SUSPENDED)


@pytest.mark.parametrize(
    ("days", "request_", "open_"),
    [
        (30, Request("SUB-1", 30), True),
        (31, Request("SUB-1", 30), False),
        (31, Request("SUB-1", 30, new_device_limit=10), False),
        (31, Request("SUB-1", 30, new_device_limit=11), True),
        (31, Request("SUB-1", 30, plan_id="pro"), True),
        (31, Request("SUB-1", 30, again=True), True),
    ],
)
def test_it_is_renewed_in_its_last_days_or_on_purpose_or_to_change_it(
    days: int, request_: Request, open_: bool
) -> None:
    row = replace(MAIN, term_end=NOW + days * DAY)
    outcome = planned(row, request_)
    assert isinstance(outcome, Plan if open_ else NotOpen)
    held = planned(replace(row, hold_reason="unpaid"), request_)
    assert isinstance(held, Plan if open_ else NotOpen), "a hold makes no difference"


def test_the_day_on_which_renewing_opens_is_one_of_the_tenants_calendar() -> None:
    end = terms.end_after(date(2027, 4, 10), ZoneInfo("Europe/Oslo"))  # the clock is moved on 28 March
    outcome = planned(replace(MAIN, term_end=end), zone="Europe/Oslo")
    assert outcome == NotOpen(replace(MAIN, term_end=end), date(2027, 3, 12))


@pytest.mark.parametrize("days", [0, 1, 29, 31, 360, 366, -30, 10_000])
def test_a_term_has_one_of_the_lengths_that_are_sold(days: int) -> None:
    refusal = refused(MAIN, Request("SUB-1", days))
    assert refusal.field == "term_days"
    assert all(str(choice) in refusal.message for choice in TERM_DAYS)


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (Request("SUB-1", 30, new_device_limit=0), "new_device_limit"),
        (Request("SUB-1", 30, new_device_limit=-1), "new_device_limit"),
        (Request("SUB-1", 30, new_device_limit=2**31), "new_device_limit"),
        (Request("SUB-1", 30, plan_id=""), "plan_id"),
        (Request("SUB-1", 30, plan_id="a\nb"), "plan_id"),
        (Request("SUB-1", 30, plan_id="x" * 257), "plan_id"),
    ],
)
def test_what_no_subscription_can_have_is_refused_with_the_field(request_: Request, field: str) -> None:
    refusal = refused(MAIN, request_)
    assert refusal.field == field
    assert isinstance(refusal.error(), Invalid)


def test_a_term_does_not_end_in_another_century() -> None:
    refusal = refused(replace(MAIN, term_end=NOW + 36_000 * DAY), Request("SUB-1", 1095, again=True))
    assert "36,500" in refusal.message


@pytest.mark.parametrize(
    ("plan_id", "limit", "request_", "field"),
    [
        (None, 10, Request("SUB-1", 30), None),  # without a plan its seats stay
        (None, 10, Request("SUB-1", 30, new_device_limit=9), None),
        (None, 10, Request("SUB-1", 30, new_device_limit=11), "plan_id"),
        (None, 10, Request("SUB-1", 30, new_device_limit=25, plan_id="basic"), None),
        (None, 10, Request("SUB-1", 30, new_device_limit=26, plan_id="basic"), "new_device_limit"),
        (None, 10, Request("SUB-1", 30, plan_id="gold"), "plan_id"),
        ("basic", 10, Request("SUB-1", 30, new_device_limit=25), None),
        ("basic", 10, Request("SUB-1", 30, new_device_limit=26), "new_device_limit"),
        ("basic", 10, Request("SUB-1", 30, new_device_limit=26, plan_id="pro"), None),
        ("pro", 100, Request("SUB-1", 30, plan_id="basic"), "new_device_limit"),
        ("pro", 100, Request("SUB-1", 30, new_device_limit=25, plan_id="basic"), None),
        ("basic", 100, Request("SUB-1", 30), None),  # an operator sold more than the plan has
        ("basic", 100, Request("SUB-1", 30, new_device_limit=100), None),
        ("basic", 100, Request("SUB-1", 30, new_device_limit=50), "new_device_limit"),
        ("gone", 100, Request("SUB-1", 30), None),
        ("gone", 100, Request("SUB-1", 30, new_device_limit=101), "plan_id"),
    ],
)
def test_a_plan_caps_the_seats(plan_id: str | None, limit: int, request_: Request, field: str | None) -> None:
    row = replace(MAIN, plan_id=plan_id, device_limit=limit)
    outcome = planned(row, request_, policy=PLANS)
    assert (outcome.field if isinstance(outcome, Refusal) else None) == field, outcome
    assert isinstance(outcome, Refusal) == (field is not None)


def test_without_plans_there_is_no_cap() -> None:
    assert renewed(MAIN, Request("SUB-1", 30, new_device_limit=1_000_000)).after.device_limit == 1_000_000


@pytest.mark.parametrize(
    ("named", "active", "words"),
    [
        ((), (), "0 were named"),
        (("a",), ("a",), "1 was named"),
        (("a", "b", "c"), ("a", "b", "c"), "3 were named"),
        (("a", "a"), ("a",), "named twice"),
        (("a", "theirs"), ("a",), "'theirs'"),
    ],
)
def test_exactly_so_many_active_devices_must_be_named(
    named: tuple[str, ...], active: tuple[str, ...], words: str
) -> None:
    outcome = renewed(MAIN, Request("SUB-1", 30, new_device_limit=2))
    assert outcome.excess == 2
    refusal = devices_refused(outcome, named, active)
    assert refusal is not None
    assert (refusal.field, refusal.needed) == ("devices_to_deactivate", 2)
    assert words in refusal.message
    assert devices_refused(outcome, ("a", "b"), {"a", "b"}) is None


def test_naming_devices_when_none_need_to_stop_is_refused() -> None:
    outcome = renewed(MAIN)
    assert devices_refused(outcome, (), ()) is None
    refusal = devices_refused(outcome, ("a",), ("a",))
    assert refusal is not None
    assert refusal.needed is None


@given(st.sampled_from(ZONES), st.integers(-400, 400), st.lists(st.sampled_from(TERM_DAYS), min_size=1, max_size=6))
def test_terms_bought_one_after_the_other_have_no_gap_and_no_overlap(zone: str, days: int, bought: list[int]) -> None:
    row, now, where = replace(MAIN, term_end=NOW + days * DAY), NOW, ZoneInfo(zone)
    for number, length in enumerate(bought):
        outcome = plan([row], row, Request("SUB-1", length, again=True), now, where, policy=POLICY)
        assert isinstance(outcome, Plan)
        assert outcome.start == (max(now, row.term_end) if number == 0 else row.term_end)
        assert outcome.after.term_end > row.term_end
        moved = terms.last_full_day(outcome.after.term_end, where) - terms.last_full_day(outcome.start, where)
        assert moved == length * DAY
        row = outcome.after


def test_a_preview_is_stale_when_what_it_showed_has_changed() -> None:
    request = Request("SUB-1", 30, new_device_limit=2, devices_to_deactivate=("a", "b"))
    shown = version(renewed(MAIN, request, among=[ADDON]), request)
    assert version(renewed(MAIN, request, among=[ADDON]), request) == shown
    for changed, among in (
        (replace(MAIN, term_end=MAIN.term_end + DAY), [ADDON]),
        (replace(MAIN, active_device_count=5), [ADDON]),
        (replace(MAIN, hold_reason="unpaid"), [ADDON]),
        (MAIN, []),
        (MAIN, [replace(ADDON, device_limit=7)]),
    ):
        assert version(renewed(changed, request, among=among), request) != shown
    more_seats = Request("SUB-1", 30, new_device_limit=20)
    before = version(renewed(MAIN, more_seats), more_seats)
    busier = replace(MAIN, active_device_count=5)
    assert version(renewed(busier, more_seats), more_seats) == before, "a device that came in between changes nothing"


def test_a_preview_of_a_term_that_has_ended_holds_for_the_day_it_was_made_on() -> None:
    lapsed, request = replace(MAIN, term_end=NOW - DAY), Request("SUB-1", 30)
    shown, later, next_day = (
        plan([lapsed], lapsed, request, now, ZoneInfo("UTC"), policy=POLICY)
        for now in (NOW, NOW + timedelta(hours=11), NOW + timedelta(hours=13))
    )
    assert isinstance(shown, Plan)
    assert isinstance(later, Plan)
    assert isinstance(next_day, Plan)
    assert version(later, request) == version(shown, request)
    assert version(next_day, request) != version(shown, request), "its last day is another than the one that was shown"
