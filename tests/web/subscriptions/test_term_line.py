"""The line of a term as a picture."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from appliance.subscriptions.lifecycle import Subscription, SubscriptionStatus, SubscriptionType
from appliance.web.subscriptions.term_line import Span, TermLine, scale_at, term_line

OSLO = ZoneInfo("Europe/Oslo")
NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
DAY = timedelta(days=1)
GRACE = 14 * DAY
MAIN = Subscription(
    "SUB-1", "acme", SubscriptionType.MAIN, None, 10, 4, NOW - 200 * DAY, NOW + 60 * DAY, SubscriptionStatus.ACTIVE
)


def drawn(row: Subscription, began: datetime | None = None, now: datetime = NOW) -> TermLine:
    return term_line(row, scale_at(now, OSLO), now, OSLO, grace=GRACE, began=began)


def kinds(line: TermLine) -> list[str]:
    return [span.kind for span in line.spans]


def test_the_scale_has_two_years_in_thirds_around_today() -> None:
    scale = scale_at(NOW, OSLO)
    assert [text for _, text in scale.ticks] == ["2026", "May", "Sep", "2027", "May", "Sep"]
    assert scale.began == datetime.fromisoformat("2026-01-01T00:00+01:00")
    assert scale.ends == datetime.fromisoformat("2028-01-01T00:00+01:00")
    assert scale.today == pytest.approx(44.75, abs=0.1)


@pytest.mark.parametrize("month", range(1, 13))
def test_today_is_never_at_an_edge(month: int) -> None:
    assert 35 < scale_at(datetime(2027, month, 28, tzinfo=UTC), OSLO).today < 56


def test_a_running_term_shows_what_is_used_and_left_and_what_follows() -> None:
    line = drawn(MAIN)
    assert kinds(line) == ["susp", "grace", "", "done"]
    _, grace, term, done = line.spans
    scale = scale_at(NOW, OSLO)
    assert done.x + done.width == pytest.approx(scale.today)
    assert term.x + term.width == pytest.approx(grace.x)
    assert line.label == (
        "The term ends after 21 January 2027, then grace until 4 February 2027, then suspended until 5 May 2027"
    )


def test_a_term_renewed_early_shows_the_one_that_runs_and_the_next() -> None:
    renewed = replace(MAIN, term_start=NOW + 10 * DAY, term_end=NOW + 100 * DAY)
    line = drawn(renewed, began=NOW - 100 * DAY)
    assert kinds(line) == ["susp", "grace", "next", "", "done"]
    spans: dict[str, Span] = {span.kind: span for span in line.spans}
    assert spans[""].x + spans[""].width == pytest.approx(spans["next"].x)
    assert spans["done"].x == spans[""].x


def test_what_is_over_is_grey_and_has_no_grace() -> None:
    trial = replace(
        MAIN, subscription_type=SubscriptionType.TRIAL, term_end=NOW - 9 * DAY, status=SubscriptionStatus.EXPIRED
    )
    line = drawn(trial)
    assert kinds(line) == ["", "done old"]
    assert line.label == "The term ended after 13 November 2026, expired"


def test_a_trial_has_no_grace() -> None:
    assert drawn(replace(MAIN, subscription_type=SubscriptionType.TRIAL)).label == "The term ends after 21 January 2027"


def test_what_lies_outside_the_scale_is_left_out() -> None:
    far = replace(MAIN, term_start=NOW - 4000 * DAY, term_end=NOW + 4000 * DAY)
    line = drawn(far)
    assert kinds(line) == ["", "done"]
    assert all(span.x >= 0 and span.x + span.width <= 100.001 for span in line.spans)
