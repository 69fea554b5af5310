"""The history of subscriptions in words."""

from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from appliance.subscriptions.history import SubscriptionEvent, TermRecord
from appliance.web.subscriptions.history_labels import entry_of, term_entry

OSLO = ZoneInfo("Europe/Oslo")
AT = datetime(2026, 11, 23, 12, tzinfo=UTC)
SOLD = {"subscription_type": "ADDON", "device_limit": 50, "term_end": "2026-12-05T23:00:00Z", "status": "ACTIVE"}


def event(kind: str, old: dict[str, Any] | None, new: dict[str, Any], details: dict[str, Any] | None = None,
          actor: str = "kim@example.org") -> SubscriptionEvent:  # fmt: skip
    return SubscriptionEvent("acme", 1, "SUB-1", AT, kind, actor, old, new, details, None)


@pytest.mark.parametrize(
    ("one", "what", "before", "after"),
    [
        (event("add", None, SOLD), "Add-on began", "", "50 seats, until 5 Dec 2026"),
        (event("change", {"device_limit": 1}, {"device_limit": 2}), "Edited", "1 seat", "2 seats"),
        (event("hold", {"hold_reason": None}, {"hold_reason": "unpaid"}), "Put on hold", "", "hold: unpaid"),
        (event("lift_hold", {"hold_reason": "unpaid"}, {"hold_reason": None}), "Hold lifted", "hold: unpaid", ""),
        (event("status", {"status": "TRIAL"}, {"status": "EXPIRED"}), "Expired", "Trial", "Expired"),
        (
            event("RENEWED", {"device_limit": 350, "term_end": "2025-12-05T23:00:00Z"},
                  {"device_limit": 400, "term_end": "2026-12-05T23:00:00Z"}, {"term_days": 365}),
            "Renewed, 365 days", "350 seats, until 5 Dec 2025", "400 seats, until 5 Dec 2026",
        ),
        (
            event("RENEWED", {"term_end": "2025-12-05T23:00:00Z"}, {"term_end": "2026-12-05T23:00:00Z"},
                  {"renewed_with": "SUB-0"}),
            "Renewed with the main one", "until 5 Dec 2025", "until 5 Dec 2026",
        ),
        (event("of_tomorrow", {"plan_id": "a"}, {"plan_id": "b", "odd": 1}), "Of tomorrow", "plan a", "plan b"),
    ],
)  # fmt: skip
def test_an_event_says_what_was_and_what_became(one: SubscriptionEvent, what: str, before: str, after: str) -> None:
    entry = entry_of(one, "Base", OSLO, "/here")
    assert (entry.what, entry.before, entry.after) == (what, before, after)


def test_the_worker_is_called_the_appliance() -> None:
    status = event("status", {"status": "TRIAL"}, {"status": "EXPIRED"}, actor="subscriptions")
    assert entry_of(status, "Base", OSLO, "/").who == "Appliance"
    assert entry_of(event("change", {}, {}), "Base", OSLO, "/").who == "kim@example.org"


def test_a_term_shows_its_first_and_last_full_day_in_the_tenants_zone() -> None:
    midnight = datetime.fromisoformat("2026-12-06T00:00+01:00")
    term = TermRecord(
        "acme", 1, "SUB-1", "RENEWED", None, AT.replace(hour=23), midnight.astimezone(UTC), 5, None, "kim", AT
    )
    entry = term_entry(term, OSLO)
    assert (entry.kind, f"{entry.first_day}", f"{entry.last_day}") == ("Renewed", "2026-11-24", "2026-12-05")
