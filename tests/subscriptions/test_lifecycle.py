"""The life of a subscription: the table at its exact instants, and what must hold for every row and every instant."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from itertools import pairwise, product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.subscriptions.lifecycle import (
    LAPSE,
    TRANSITIONS,
    Mark,
    Subscription,
    SubscriptionStatus,
    SubscriptionType,
    changes_at,
    instant_of,
    preferred,
    status_at,
    usable,
)
from tests.support.tenants import GRACE

TERM_START = datetime(2026, 1, 1, tzinfo=UTC)
TERM_END = datetime(2026, 7, 1, 12, tzinfo=UTC)
GRACE_END = TERM_END + GRACE
LAPSE_END = GRACE_END + LAPSE
TICK = timedelta(microseconds=1)
AGE = {
    SubscriptionStatus.TRIAL: 0,
    SubscriptionStatus.ACTIVE: 0,
    SubscriptionStatus.GRACE: 1,
    SubscriptionStatus.SUSPENDED: 2,
    SubscriptionStatus.EXPIRED: 3,
}

MAIN = Subscription(
    subscription_id="SUB-20260101-00001",
    tenant_id="acme",
    subscription_type=SubscriptionType.MAIN,
    parent_subscription_id=None,
    device_limit=10,
    active_device_count=3,
    term_start=TERM_START,
    term_end=TERM_END,
    status=SubscriptionStatus.ACTIVE,
)
TRIAL = replace(MAIN, subscription_id="SUB-20260101-00002", subscription_type=SubscriptionType.TRIAL)
TEMPORARY = replace(MAIN, subscription_id="SUB-20260101-00003", subscription_type=SubscriptionType.TEMPORARY)
ADDON = replace(
    MAIN,
    subscription_id="SUB-20260101-00004",
    subscription_type=SubscriptionType.ADDON,
    parent_subscription_id=MAIN.subscription_id,
)

instants = st.datetimes(datetime(2025, 1, 1), datetime(2028, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
graces = st.timedeltas(timedelta(0), timedelta(days=40))


@st.composite
def rows(draw: st.DrawFn) -> Subscription:
    """Any row there may be; marks are drawn from few days so that they often coincide."""
    kind = draw(st.sampled_from(SubscriptionType))
    days = st.integers(0, 60).map(lambda n: TERM_START + timedelta(days=n))
    return Subscription(
        subscription_id=f"SUB-20260101-{draw(st.integers(0, 99999)):05}",
        tenant_id="acme",
        subscription_type=kind,
        parent_subscription_id="SUB-parent" if kind is SubscriptionType.ADDON else None,
        device_limit=draw(st.integers(1, 3)),
        active_device_count=draw(st.integers(0, 3)),
        term_start=draw(days),
        term_end=draw(days),
        status=draw(st.sampled_from(SubscriptionStatus)),
        grace_end=draw(st.none() | days),
        hold_reason=draw(st.none() | st.just("unpaid")),
    )


@pytest.mark.parametrize(
    ("row", "instant", "before", "after"),
    [
        (MAIN, TERM_END, SubscriptionStatus.ACTIVE, SubscriptionStatus.GRACE),
        (MAIN, GRACE_END, SubscriptionStatus.GRACE, SubscriptionStatus.SUSPENDED),
        (MAIN, LAPSE_END, SubscriptionStatus.SUSPENDED, SubscriptionStatus.EXPIRED),
        (TRIAL, TERM_END, SubscriptionStatus.TRIAL, SubscriptionStatus.EXPIRED),
        (TEMPORARY, TERM_END, SubscriptionStatus.ACTIVE, SubscriptionStatus.EXPIRED),
        (ADDON, TERM_END, SubscriptionStatus.ACTIVE, SubscriptionStatus.GRACE),
        (ADDON, GRACE_END, SubscriptionStatus.GRACE, SubscriptionStatus.SUSPENDED),
        (ADDON, LAPSE_END, SubscriptionStatus.SUSPENDED, SubscriptionStatus.EXPIRED),
    ],
)
def test_a_phase_ends_exactly_at_its_mark(
    row: Subscription, instant: datetime, before: SubscriptionStatus, after: SubscriptionStatus
) -> None:
    assert status_at(row, instant - TICK, grace=GRACE) is before
    assert status_at(row, instant, grace=GRACE) is after
    assert changes_at(row, instant - TICK, grace=GRACE) == instant


def test_the_lengths_are_those_people_were_told() -> None:
    assert timedelta(days=14) == GRACE
    assert timedelta(days=90) == LAPSE


def test_the_instant_counts_and_not_the_zone_it_is_written_in() -> None:
    tokyo = timezone(timedelta(hours=9))
    assert status_at(MAIN, TERM_END.astimezone(tokyo), grace=GRACE) is SubscriptionStatus.GRACE
    assert (
        status_at(replace(MAIN, term_end=TERM_END.astimezone(tokyo)), TERM_END - TICK, grace=GRACE)
        is SubscriptionStatus.ACTIVE
    )


def test_grace_end_of_the_row_wins_over_the_setting() -> None:
    chosen = TERM_END + timedelta(days=3)
    row = replace(MAIN, grace_end=chosen)
    assert status_at(row, chosen - TICK, grace=GRACE) is SubscriptionStatus.GRACE
    assert status_at(row, chosen, grace=GRACE) is SubscriptionStatus.SUSPENDED
    assert changes_at(row, chosen, grace=GRACE) == chosen + LAPSE
    assert status_at(MAIN, chosen, grace=timedelta(days=3)) is SubscriptionStatus.SUSPENDED


def test_a_grace_end_left_over_from_before_never_shortens_the_paid_term() -> None:
    row = replace(MAIN, grace_end=TERM_START)
    assert status_at(row, TERM_END - TICK, grace=GRACE) is SubscriptionStatus.ACTIVE
    assert status_at(row, TERM_END, grace=GRACE) is SubscriptionStatus.SUSPENDED


def test_no_grace_at_all_goes_straight_to_suspended() -> None:
    assert status_at(MAIN, TERM_END, grace=timedelta(0)) is SubscriptionStatus.SUSPENDED
    assert changes_at(MAIN, TERM_START, grace=timedelta(0)) == TERM_END


@pytest.mark.parametrize("row", [MAIN, TRIAL, TEMPORARY, ADDON])
def test_a_renewal_ahead_of_time_does_not_interrupt_service(row: Subscription) -> None:
    renewed = replace(row, term_start=TERM_END, term_end=TERM_END + timedelta(days=365))
    assert usable(status_at(renewed, TERM_END - timedelta(days=20), grace=GRACE))


@pytest.mark.parametrize("row", [MAIN, TRIAL, TEMPORARY, ADDON])
def test_a_hold_suspends_at_once_and_what_is_expired_stays_expired(row: Subscription) -> None:
    held = replace(row, hold_reason="fraud check")
    assert status_at(held, TERM_START, grace=GRACE) is SubscriptionStatus.SUSPENDED
    expired = changes_at(held, TERM_START, grace=GRACE)
    assert expired is not None
    assert status_at(held, expired - TICK, grace=GRACE) is SubscriptionStatus.SUSPENDED
    assert status_at(held, expired, grace=GRACE) is status_at(row, expired, grace=GRACE) is SubscriptionStatus.EXPIRED
    assert changes_at(held, expired, grace=GRACE) is None


def test_an_addon_follows_its_main() -> None:
    for main in (MAIN, replace(MAIN, term_end=TERM_START), replace(MAIN, hold_reason="x"), TRIAL):
        addon = replace(ADDON, parent_subscription_id=main.subscription_id)
        assert status_at(addon, TERM_START, parent=main, grace=GRACE) is status_at(main, TERM_START, grace=GRACE)
        assert changes_at(addon, TERM_START, parent=main, grace=GRACE) == changes_at(main, TERM_START, grace=GRACE)


def test_an_addon_can_be_held_by_itself() -> None:
    assert (
        status_at(replace(ADDON, hold_reason="x"), TERM_START, parent=MAIN, grace=GRACE) is SubscriptionStatus.SUSPENDED
    )
    assert status_at(MAIN, TERM_START, grace=GRACE) is SubscriptionStatus.ACTIVE


@pytest.mark.parametrize("ask", [status_at, changes_at])
def test_an_unrelated_subscription_is_no_parent(ask: Callable[..., object]) -> None:
    with pytest.raises(ValueError, match="is not the parent"):
        ask(ADDON, TERM_START, parent=TRIAL, grace=GRACE)


def test_usable_are_trial_active_and_grace() -> None:
    assert {status for status in SubscriptionStatus if usable(status)} == {
        SubscriptionStatus.TRIAL,
        SubscriptionStatus.ACTIVE,
        SubscriptionStatus.GRACE,
    }


def test_the_table_is_a_chain_that_ends_expired() -> None:
    for kind in SubscriptionType:
        phases = TRANSITIONS[kind]
        assert phases[-1].after is SubscriptionStatus.EXPIRED
        assert all(one.after is two.before for one, two in pairwise(phases))


@given(rows(), instants, instants, graces)
def test_without_a_renewal_a_subscription_only_gets_older(
    row: Subscription, one: datetime, two: datetime, grace: timedelta
) -> None:
    early, late = sorted((one, two))
    assert AGE[status_at(row, early, grace=grace)] <= AGE[status_at(row, late, grace=grace)]


@given(rows(), instants, graces)
def test_a_late_worker_changes_no_answer(row: Subscription, now: datetime, grace: timedelta) -> None:
    answers = {
        (status_at(recorded, now, grace=grace), changes_at(recorded, now, grace=grace))
        for recorded in (replace(row, status=status) for status in SubscriptionStatus)
    }
    assert len(answers) == 1


@given(rows(), instants, instants, graces)
def test_a_status_holds_until_changes_at_and_not_at_it(
    row: Subscription, now: datetime, other: datetime, grace: timedelta
) -> None:
    present, change = status_at(row, now, grace=grace), changes_at(row, now, grace=grace)
    if change is not None:
        assert change > now
        assert status_at(row, change - TICK, grace=grace) is present
        assert status_at(row, change, grace=grace) is not present
    if now <= other and (change is None or other < change):
        assert status_at(row, other, grace=grace) is present


@given(rows(), instants, graces)
def test_following_changes_at_ends_expired_in_at_most_three_steps(
    row: Subscription, now: datetime, grace: timedelta
) -> None:
    for _ in range(3):
        now = changes_at(row, now, grace=grace) or now
    assert changes_at(row, now, grace=grace) is None
    assert status_at(row, now, grace=grace) is SubscriptionStatus.EXPIRED


@given(rows(), graces)
def test_marks_are_in_the_order_of_time(row: Subscription, grace: timedelta) -> None:
    marks = [instant_of(mark, row, grace=grace) for mark in Mark]
    assert marks == sorted(marks)


@given(st.lists(rows(), max_size=6), instants, graces)
def test_the_preferred_seat_is_the_first_of_all_that_could_be_given(
    subscriptions: list[Subscription], now: datetime, grace: timedelta
) -> None:
    unique = list({row.subscription_id: row for row in subscriptions}.values())
    chosen = preferred(unique, now, grace=grace)
    could = [
        row for row in unique if usable(status_at(row, now, grace=grace)) and row.active_device_count < row.device_limit
    ]
    assert (chosen is None) == (not could)
    if chosen is not None:
        order = ["MAIN", "ADDON", "TRIAL", "TEMPORARY"]
        ranks = [(order.index(row.subscription_type), row.term_start, row.subscription_id) for row in could]
        mine = (order.index(chosen.subscription_type), chosen.term_start, chosen.subscription_id)
        assert mine == min(ranks)


def test_seats_go_main_first_then_addon_trial_temporary_oldest_first() -> None:
    older = replace(MAIN, subscription_id="SUB-20250101-00009", term_start=TERM_START - timedelta(days=1))
    twin = replace(older, subscription_id="SUB-20250101-00010")
    waiting = [TEMPORARY, TRIAL, ADDON, MAIN, twin, older]
    given_out = []
    while waiting:
        chosen = preferred(waiting, TERM_START, grace=GRACE)
        assert chosen is not None
        given_out.append(chosen)
        waiting = [row for row in waiting if row != chosen]
    assert given_out == [older, twin, MAIN, ADDON, TRIAL, TEMPORARY]


def test_a_full_or_lapsed_subscription_gives_no_seat() -> None:
    full = replace(MAIN, active_device_count=MAIN.device_limit)
    assert preferred([full], TERM_START, grace=GRACE) is None
    assert preferred([MAIN], GRACE_END - TICK, grace=GRACE) == MAIN
    assert preferred([MAIN], GRACE_END, grace=GRACE) is None
    assert preferred([], TERM_START, grace=GRACE) is None


def test_an_addon_gives_no_seat_once_its_main_is_held_or_over() -> None:
    full = replace(MAIN, active_device_count=MAIN.device_limit)
    for broken in (replace(full, hold_reason="x"), replace(full, term_end=TERM_START - GRACE)):
        assert preferred([broken, ADDON], TERM_START, grace=GRACE) is None
    assert preferred([full, ADDON], TERM_START, grace=GRACE) == ADDON


def test_every_pair_of_hold_and_phase_is_one_of_the_five() -> None:
    for row, hold, now in product(
        (MAIN, TRIAL, TEMPORARY, ADDON), (None, "x"), (TERM_START, TERM_END, GRACE_END, LAPSE_END)
    ):
        status = status_at(replace(row, hold_reason=hold), now, grace=GRACE)
        assert hold is None or status in {SubscriptionStatus.SUSPENDED, SubscriptionStatus.EXPIRED}
