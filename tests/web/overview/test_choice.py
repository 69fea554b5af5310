"""What an Overview is asked to show, and what its chart is drawn from: plain values."""

from datetime import UTC

import pytest

from appliance.errors import Invalid
from appliance.web.live.feed import LiveFeed
from appliance.web.overview import message_rates
from appliance.web.overview.choice import OverviewChoice, OverviewRange
from appliance.web.overview.query import AccountingStep, OverviewData
from tests.support.web.live import Steady

NOW = 1_795_700_000.0
"""Thu 26 Nov 2026, 13:33:20 UTC."""


@pytest.mark.parametrize(
    ("choice", "name"),
    [
        (OverviewChoice(None), "overview"),
        (OverviewChoice("acme"), "overview/acme"),
        (OverviewChoice(None, None, OverviewRange.WEEK), "overview//7d"),
        (OverviewChoice("acme", "hall"), "overview/acme/1h/hall"),
        (OverviewChoice("acme", "", OverviewRange.DAY), "overview/acme/24h/.none"),
    ],
)
def test_a_choice_is_found_again_by_the_name_of_its_live_page(choice: OverviewChoice, name: str) -> None:
    assert choice.live_page == name
    assert OverviewChoice.of_live_page(name.partition("/")[2], None) == choice


def test_whoever_has_a_tenant_chooses_no_other() -> None:
    assert OverviewChoice.of_live_page("rival/24h/hall", "acme") == OverviewChoice("acme", "hall", OverviewRange.DAY)


@pytest.mark.parametrize("which", ["a b", "acme/2h", "acme/1h/../x", "acme/1h/h/x", "/1h/hall", "acme/1h/\0"])
def test_what_cannot_be_chosen_is_no_live_page(which: str) -> None:
    assert OverviewChoice.of_live_page(which, None) is None


@pytest.mark.parametrize(
    ("tenant", "arguments", "field"),
    [(None, {"range": "1y"}, "range"), ("acme", {"site": "a b"}, "site"), (None, {"site": "hall"}, "site")],
)
def test_what_cannot_be_chosen_is_named(tenant: str | None, arguments: dict[str, str], field: str) -> None:
    with pytest.raises(Invalid) as wrong:
        OverviewChoice.of(tenant, arguments)
    assert wrong.value.field == field


def test_a_span_is_cut_into_whole_steps_and_the_one_that_runs_is_not_drawn() -> None:
    week = OverviewChoice("acme", None, OverviewRange.WEEK)
    since = week.since(NOW)
    assert (since % 3600, NOW - since) == (0, 7 * 86_400 + 2000)
    accounting = [AccountingStep(since + hour * 3600, 7200, 3600, 3600, 0) for hour in (0, 167, 168)]
    data = OverviewData(since, NOW, [], [], {}, 1, 0, None, {}, accounting)
    assert data.received == 3 * 7200
    drawn = message_rates.flow(LiveFeed(Steady()), data, week)
    assert [(point.accepted, point.refused) for point in drawn.points] == [(1, 1), *[(0, 0)] * 166, (1, 1)]
    chart = message_rates.chart(drawn, week, UTC)
    assert [tick.text for tick in chart.times] == [
        "Thu 19",
        "Fri 20",
        "Sat 21",
        "Sun 22",
        "Mon 23",
        "Tue 24",
        "Wed 25",
        "Thu 26",
    ]
    columns = message_rates.refused_columns(LiveFeed(Steady()), data, week)
    assert [(column.x, column.height) for column in columns] == [(0, 100), (96.43, 100)]
