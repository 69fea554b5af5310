"""The chart of a device's page, as it is drawn without script."""

import re
from datetime import timedelta
from zoneinfo import ZoneInfo

import pytest

from appliance.assets import asset
from appliance.devices.metrics.metric import Metric
from appliance.errors import Invalid
from appliance.web.devices.views.chart import DeviceChart, chart_of, metric_of, number
from appliance.web.http.files import StaticFiles
from appliance.web.page import formats
from appliance.web.page.formats import MINUS
from appliance.web.page.templating import Templates
from tests.support.postgres_server import Database
from tests.support.tenants import TENANT, customer
from tests.web.devices.test_telemetry_api import BEGIN, prepare

OSLO = ZoneInfo("Europe/Oslo")
TEMPERATURE = Metric("temperature", "Temperature", "°C", 1)
NOW = BEGIN + timedelta(hours=1)


async def chart(database: Database, arguments: dict[str, str], metric: Metric = TEMPERATURE) -> DeviceChart:
    async with customer(database, TENANT) as connection:
        return await chart_of(
            connection,
            TENANT,
            "d-1",
            metric,
            arguments,
            now=NOW,
            zone=OSLO,
            oldest_reading=NOW - timedelta(days=30),
        )


def drawn(shown: DeviceChart) -> str:
    return Templates(StaticFiles(asset("static")), "test", lambda: False).render("devices/chart.html", chart=shown)


async def test_it_shows_line_labels_statistics_and_ranges(database: Database) -> None:
    await prepare(database)
    shown = await chart(database, {"range": "1h"})
    assert shown.facts == [
        ("Lowest", f"{MINUS}10.0"),
        ("Mean", "19.5"),
        ("Highest", "49.0"),
        ("Readings", "60"),
        ("Gaps", "none"),
    ]
    assert shown.note == "°C, each reading"
    assert [link.title for link in shown.ranges if link.current] == ["1 h"]
    text = drawn(shown)
    assert len(re.findall(r'<path class="ln thick" d="M', text)) == 1
    assert f"Between {MINUS}10.0 and 49.0 °C" in text
    assert text.count('class="ax y"') == 5
    assert 'href="?m=temperature&amp;range=7d#chart"' in text
    assert "/customer/devices/d-1/telemetry?metric=temperature" in text


async def test_what_the_address_says_beside_stays(database: Database) -> None:
    await prepare(database)
    shown = await chart(database, {"tenant": TENANT, "range": "7d"})
    assert shown.ranges[0].address == f"?tenant={TENANT}&m=temperature&range=1h"
    assert ("tenant", TENANT) in shown.kept
    assert f"tenant={TENANT}" in shown.csv
    assert "range=" not in shown.csv


async def test_free_dates_stand_in_the_form_as_they_were_given(database: Database) -> None:
    await prepare(database)
    shown = await chart(database, {"from": "2026-11-01T08:00", "to": "2026-11-02T20:30"})
    assert (shown.first, shown.last) == ("2026-11-01T08:00", "2026-11-02T20:30")
    assert not any(link.current for link in shown.ranges)


async def test_without_readings_it_says_so_and_leads_on(database: Database) -> None:
    await prepare(database)
    shown = await chart(database, {}, Metric("nothing"))
    assert shown.plot is None
    assert "No readings of nothing in this time." in drawn(shown)


async def test_a_span_that_is_none_is_refused_by_its_field(database: Database) -> None:
    with pytest.raises(Invalid):
        await chart(database, {"from": "2026-11-02", "to": "2026-11-01"})


def test_the_address_picks_the_metric() -> None:
    shown = {"temperature": TEMPERATURE, "humidity": Metric("humidity")}
    assert metric_of({}, shown) is TEMPERATURE
    assert metric_of({"m": "humidity"}, shown) is shown["humidity"]
    assert metric_of({"m": "old"}, shown) == Metric("old")
    assert metric_of({}, {}) is None
    with pytest.raises(Invalid):
        metric_of({"m": "<script>"}, shown)


def test_numbers_have_the_decimals_of_their_metric() -> None:
    assert number(-11.84, TEMPERATURE) == f"{MINUS}11.8"
    assert number(1 / 3, Metric("x")) == "0.333333"
    assert number(1e300, TEMPERATURE) == "1e+300"


def test_durations_are_told_in_the_largest_unit() -> None:
    assert [formats.lasting(seconds) for seconds in (45, 300, 9000, 86_400, 7 * 86_400)] == [
        "45 s",
        "5 min",
        "2.5 h",
        "1 d",
        "7 d",
    ]
