"""Labels of subscriptions, and the last full day of a term."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from appliance.renewals.policy import RenewalPolicy
from appliance.subscriptions.lifecycle import Subscription, SubscriptionStatus, SubscriptionType
from appliance.web.subscriptions import labels

POLICY = RenewalPolicy(timedelta(days=14), opens_days=30, plans={})
OSLO = ZoneInfo("Europe/Oslo")
NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
MAIN = Subscription(
    "SUB-1",
    "acme",
    SubscriptionType.MAIN,
    None,
    10,
    4,
    NOW - timedelta(days=9),
    NOW + timedelta(days=90),
    SubscriptionStatus.ACTIVE,
)


@pytest.mark.parametrize(
    ("change", "state", "colour", "end"),
    [
        ({}, "Active", "ok", "90 days left"),
        ({"term_end": NOW + timedelta(days=12)}, "Ends soon", "medium", "12 days left"),
        ({"term_end": NOW + timedelta(days=1)}, "Ends soon", "medium", "1 day left"),
        ({"term_end": NOW + timedelta(hours=3)}, "Ends soon", "medium", "less than a day left"),
        (
            {"term_end": NOW - timedelta(days=2), "status": SubscriptionStatus.GRACE},
            "In grace", "high", "in grace until 4 Dec",
        ),
        (
            {"term_end": NOW - timedelta(days=20), "status": SubscriptionStatus.SUSPENDED},
            "Suspended", "crit", "ended 20 days ago, messages held",
        ),
        ({"hold_reason": "unpaid", "status": SubscriptionStatus.SUSPENDED}, "On hold", "crit", "90 days left"),
        (
            {"subscription_type": SubscriptionType.ADDON, "parent_subscription_id": "SUB-0"},
            "Active", "ok", "ends with the main subscription",
        ),
    ],
)  # fmt: skip
def test_a_subscription_shows_its_status_and_its_end(
    change: dict[str, object], state: str, colour: str, end: str
) -> None:
    label = labels.subscription_label(replace(MAIN, **change), NOW, OSLO, POLICY)  # type: ignore[arg-type] # a test's table
    assert (label.state, label.colour, label.end) == (state, colour, end)


def test_a_subscription_is_called_by_its_description_or_its_id() -> None:
    assert labels.subscription_title(replace(MAIN, description="North plant")) == "North plant"
    assert labels.subscription_title(MAIN) == "SUB-1"


def test_add_ons_are_listed_behind_their_main_subscription() -> None:
    addon = replace(
        MAIN, subscription_id="SUB-0", subscription_type=SubscriptionType.ADDON, parent_subscription_id="SUB-1"
    )
    trial = replace(MAIN, subscription_id="SUB-2", subscription_type=SubscriptionType.TRIAL)
    ordered = labels.subscription_labels([addon, MAIN, trial], NOW, OSLO, POLICY)
    assert [label.row.subscription_id for label in ordered] == ["SUB-1", "SUB-0", "SUB-2"]


def test_days_left_are_days_of_the_calendar() -> None:
    new_york = ZoneInfo("America/New_York")
    row = replace(MAIN, term_end=datetime.fromisoformat("2026-11-20T00:00-05:00"))
    for now, left in (
        ("2026-10-20T00:00-04:00", 31),
        ("2026-10-20T00:30-04:00", 30),
        ("2026-11-19T12:00-05:00", 0),
        ("2026-11-21T12:00-05:00", 0),
    ):
        assert labels.days_left(row, datetime.fromisoformat(now), new_york) == left, now
