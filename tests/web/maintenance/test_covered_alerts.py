"""Alerts that an active window covers: silenced in lists, tabs and numbers, marked on pages, and not changed."""

import re
from typing import Any

import psycopg
import pytest

from appliance.alerts import store
from appliance.alerts.maintenance.book import ActiveScopes
from appliance.alerts.store import AlertFilter, AlertSort, AlertTab
from appliance.local_time import HOUR
from appliance.people.role import Role
from appliance.service_clock.service_time import Cause, Doubt
from tests.support.alerts import OPENED_AT, add_alert
from tests.support.clock import StubServiceClock
from tests.support.postgres_server import Database
from tests.support.tenants import customer, ingest
from tests.support.web.accounts import client, signed_in
from tests.support.web.api_caller import dashboard
from tests.support.web.serving import over
from tests.web.maintenance.test_api import furnish, here
from tests.web.maintenance.test_views import NEW, send, shown

WINDOWS = ActiveScopes(["acme", "acme", "rival"], ["site", "tag", "all"], ["quay", "wash", ""])


async def ids(database: Database, tab: AlertTab, tenant_id: str | None = "acme") -> list[int]:
    async with ingest(database) as connection:
        page = await store.page(
            connection,
            AlertFilter(tenant_id, tab),
            settled=OPENED_AT,
            maintenance=WINDOWS,
            sort=AlertSort.OLDEST,
            limit=99,
        )
    return [one.alert.alert_id for one in page.alerts]


async def test_an_alert_that_a_window_covers_is_in_the_silenced_tab_and_counted_there(database: Database) -> None:
    furnish(database)
    with psycopg.connect(database.conninfo()) as connection:
        connection.execute("UPDATE device_registry SET tags = '{wash}'")
    free = add_alert(database, device_id="other", site_id="roof")
    of_site = add_alert(database, device_id="other", site_id="quay", status="ACKNOWLEDGED")
    of_tag = add_alert(database, device_id="d-1", site_id=None)
    inhibited = add_alert(database, device_id="d-1", inhibited_by=free)
    closed = add_alert(database, device_id="d-1", status="CLOSED")
    rival = add_alert(database, "rival")
    assert await ids(database, AlertTab.SILENCED) == [of_site, of_tag]
    assert await ids(database, AlertTab.OPEN) == [free]
    assert await ids(database, AlertTab.ACKNOWLEDGED) == []
    assert await ids(database, AlertTab.INHIBITED) == [inhibited]
    assert await ids(database, AlertTab.CLOSED) == [closed]
    assert await ids(database, AlertTab.SILENCED, None) == [of_site, of_tag, rival]
    async with ingest(database) as asking:
        counts = await store.counts(asking, "acme", settled=OPENED_AT, maintenance=WINDOWS)
    assert (counts.open, counts.of(AlertTab.SILENCED), counts.of(AlertTab.ACKNOWLEDGED)) == (1, 2, 0)
    async with customer(database, "acme") as walled:
        walled_counts = await store.counts(walled, None, settled=OPENED_AT, maintenance=WINDOWS)
    assert (walled_counts.open, walled_counts.of(AlertTab.SILENCED)) == (1, 2)


@pytest.mark.parametrize("role", [Role.ADMIN, Role.OPERATOR])
async def test_pages_say_until_when_an_alert_is_in_maintenance(database: Database, role: Role) -> None:
    furnish(database)
    covered, free = add_alert(database, device_id="d-1"), add_alert(database, device_id="other")
    before = row_of(database, covered)
    person = signed_in(database.conninfo(), role, email="ada@acme.example")
    window: dict[str, Any] = {
        "name": "Belt", "reason": "Belt of dock 7", "kind": "once", "starts": here(-26), "ends": here(26),
        "time_zone": "UTC", "which": "some", "device_ids": "d-1",
    }  # fmt: skip
    tenant = "?tenant=acme" if role is Role.OPERATOR else ""
    async with dashboard(database) as served, client(served.url, person) as browser:
        assert (await send(browser, f"{NEW}{tenant}", window)).status_code == 303
        await served.platform.maintenance.refresh()
        silenced = await browser.get("/alerts?tab=silenced")
        assert f'id="a-{covered}"' in silenced.text
        assert f'id="a-{free}"' not in silenced.text
        assert "In maintenance until" in silenced.text
        assert "Belt of dock 7" in silenced.text
        opened = await browser.get("/alerts?tab=open")
        assert f'id="a-{free}"' in opened.text
        assert f'id="a-{covered}"' not in opened.text
        assert "1 open" in shown(opened), "the number of the navigation"
        assert "In maintenance until" in (await browser.get(f"/alerts/{covered}{tenant}")).text
        assert "In maintenance until" not in (await browser.get(f"/alerts/{free}{tenant}")).text
        listed = (await browser.get(f"/customer/alerts?tab=silenced{tenant.replace('?', '&')}")).json()
        assert [one["alert_id"] for one in listed["items"]] == [covered]
        [page] = re.findall(
            r'href="(/maintenance/[0-9a-f-]{36}[^"]*)"', (await browser.get(f"/maintenance{tenant}")).text
        )[:1]
        ended = page.replace("?", "/end?") if "?" in page else f"{page}/end"
        assert (await send(browser, ended, {}, page)).status_code == 303
        await served.platform.maintenance.refresh()
        assert f'id="a-{covered}"' in (await browser.get("/alerts?tab=open")).text
    assert row_of(database, covered) == before, "a window changes no alert"


class LeapingClock(StubServiceClock):
    """A clock that jumps."""

    leap = 0.0

    def now(self) -> float:
        return super().now() + self.leap


async def test_no_window_begins_or_ends_while_the_clock_is_in_doubt(database: Database) -> None:
    furnish(database)
    covered, later = add_alert(database, device_id="d-1"), add_alert(database, device_id="d-2", site_id="quay")
    person = signed_in(database.conninfo(), Role.ADMIN, email="ada@acme.example")
    times = {"kind": "once", "time_zone": "UTC", "which": "some"}
    clock = LeapingClock()
    async with over(database, service_clock=clock) as served, client(served.url, person) as browser:
        present = {"name": "Now", "starts": here(-26), "ends": here(26), "device_ids": "d-1"}
        coming = {"name": "Soon", "starts": here(30), "ends": here(90), "site_ids": "quay"}
        for window in (present, coming):
            assert (await send(browser, NEW, times | window)).status_code == 303
        await served.platform.maintenance.refresh()

        async def silenced() -> list[int]:
            listed = (await browser.get("/customer/alerts?tab=silenced")).json()
            return [one["alert_id"] for one in listed["items"]]

        assert await silenced() == [covered]
        clock.doubt, clock.leap = Doubt(Cause.AHEAD, clock.now()), 60 * HOUR
        served.platform.maintenance.forget()
        await served.platform.maintenance.refresh()
        assert await silenced() == [covered]
        assert "Active 1" in shown(await browser.get("/maintenance"))
        clock.doubt = None
        assert await silenced() == [later]


def row_of(database: Database, alert_id: int) -> Any:
    with psycopg.connect(database.conninfo()) as connection:
        return connection.execute("SELECT to_jsonb(a) FROM fleet_alert AS a WHERE id = %s", [alert_id]).fetchone()
