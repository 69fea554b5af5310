"""The alerts of a device on its page."""

import re
from datetime import UTC, datetime, timedelta

from appliance.people.role import Role
from tests.support.alerts import add_alert
from tests.support.pipeline import arrange
from tests.support.postgres_server import Database
from tests.support.web.accounts import client, signed_in
from tests.support.web.serving import over


async def test_open_alerts_stand_on_top_and_those_of_thirty_days_in_a_card(database: Database) -> None:
    now = datetime.now(UTC)
    one = add_alert(database, severity="critical", summary="Far too warm", created_at=now)
    add_alert(database, status="CLOSED", summary="Over by now", created_at=now - timedelta(days=20))
    add_alert(database, status="CLOSED", summary="Long ago", created_at=now - timedelta(days=40))
    add_alert(database, device_id="d2", summary="Of another device", created_at=now)
    arrange(
        database,
        "INSERT INTO device_registry (created_at, updated_at, tenant_id, device_id, status)"
        " VALUES (now(), now(), 'acme', 'd1', 'INACTIVE')",
    )
    pages = {}
    async with over(database) as served:
        for role in (Role.VIEWER, Role.RESPONDER):
            async with client(served.url, signed_in(database.conninfo(), role)) as asking:
                pages[role] = (await asking.get("/devices/d1")).text
    top = {role: html.partition('id="device-alerts"')[2].partition("</div>\n</div>")[0] for role, html in pages.items()}
    assert "Far too warm" in top[Role.VIEWER]
    assert "Acknowledge" not in top[Role.VIEWER]
    assert f'action="/alerts/{one}/acknowledge"' in top[Role.RESPONDER]
    card = pages[Role.VIEWER].partition('id="device-recent-alerts"')[2][:4000]
    assert re.search("Far too warm.*Over by now", card, re.DOTALL)
    assert not re.search("Long ago|Of another device", pages[Role.VIEWER])


async def test_the_list_counts_the_open_alerts_of_each_device(database: Database) -> None:
    arrange(
        database,
        "INSERT INTO tenants (created_at, updated_at, tenant_id) VALUES (now(), now(), 'acme')",
        "INSERT INTO device_registry (created_at, updated_at, tenant_id, device_id, status)"
        " VALUES (now(), now(), 'acme', 'd1', 'INACTIVE'), (now(), now(), 'acme', 'd2', 'INACTIVE')",
    )
    for severity in ("low", "critical"):
        add_alert(database, severity=severity)
    add_alert(database, device_id="d2", status="CLOSED")
    async with (
        over(database) as served,
        client(served.url, signed_in(database.conninfo(), Role.VIEWER)) as viewer,
    ):
        html = (await viewer.get("/devices")).text
    found = re.findall(r'<a class="badge (\w+)" href="([^"]+)">.*?</svg>(\d+)<', html)
    assert found == [("crit", "/alerts?device_id=d1", "2")]


async def test_a_device_in_maintenance_says_so_on_its_page_and_in_the_list(database: Database) -> None:
    arrange(
        database,
        "INSERT INTO tenants (created_at, updated_at, tenant_id) VALUES (now(), now(), 'acme')",
        "INSERT INTO device_registry (created_at, updated_at, tenant_id, device_id, status)"
        " VALUES (now(), now(), 'acme', 'd1', 'INACTIVE'), (now(), now(), 'acme', 'd2', 'INACTIVE')",
        "INSERT INTO maintenance_windows (created_at, created_by, updated_at, tenant_id, name, kind, starts, ends,"
        " time_zone, device_ids) VALUES (now(), 'x', now(), 'acme', 'Defrost', 'once', now() - interval '2 days',"
        " now() + interval '2 days', 'UTC', '{d1}')",
    )
    badge = 'In maintenance<span class="vh">: Defrost, until '
    async with (
        over(database) as served,
        client(served.url, signed_in(database.conninfo(), Role.VIEWER)) as viewer,
    ):
        assert (await viewer.get("/devices")).text.count(badge) == 1
        assert badge in (await viewer.get("/devices/d1")).text.partition('id="device-state"')[2][:800]
        assert badge not in (await viewer.get("/devices/d2")).text
