"""The labels of the Overview's chart."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from appliance.web.live.rates import RatePoint
from appliance.web.overview.choice import OverviewChoice, OverviewRange
from appliance.web.overview.message_rates import Flow, chart
from tests.support.zones import YEAR, ZONES, changes_of

WEEK = 7 * 86_400


@pytest.mark.parametrize("zone", ZONES)
def test_the_last_seven_days_are_each_named_once(zone: str) -> None:
    where, choice = ZoneInfo(zone), OverviewChoice(None, range=OverviewRange.WEEK)
    for change in changes_of(zone, YEAR) or [datetime(YEAR, 6, 1, tzinfo=UTC).timestamp()]:
        for hours in range(-30, 200, 5):
            ended = (change // 3600 + hours) * 3600
            times = chart(Flow(ended - WEEK, ended, [RatePoint(1, 0)] * 168), choice, where).times
            last = datetime.fromtimestamp(ended, where).date()
            assert [tick.text for tick in times] == [
                f"{last - timedelta(days=days):%a %-d}" for days in range(7, -1, -1)
            ]
            assert [tick.at for tick in times] == sorted(tick.at for tick in times)
            assert 0 <= times[0].at < 2
            assert times[-1].at == 100
