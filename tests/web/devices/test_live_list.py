"""The live parts of the list of devices."""

import pytest

from appliance.devices.device import NewDevice
from appliance.people.role import Role
from appliance.web.devices.views import listing
from tests.support.pipeline import TENANT, arrange
from tests.support.postgres_server import Database
from tests.support.web.api_caller import dashboard
from tests.support.web.serving import over
from tests.support.web.stand_ins import OPERATOR
from tests.web.alerts.test_live import page_name, parts
from tests.web.devices.test_views import person, prepare, text


async def test_a_device_that_sends_changes_in_place_and_stays_in_its_row(database: Database) -> None:
    await prepare(database, NewDevice("d1", interval=60.0), NewDevice("d2"))
    async with over(database) as served:
        name = await page_name(database, served, "/devices?presence=NEW&sort=device")
        assert name == f"device-list/{TENANT}/d1,d2"
        before = await parts(served, name)
        assert before[f"presence-{TENANT}:d1"] == "Never heard"
        assert before[f"seen-{TENANT}:d1"] == "never"
        arrange(
            database,
            "INSERT INTO device_state (tenant_id, device_id, last_seen_at, last_heard_at, last_ts, latest) VALUES"
            f" ('{TENANT}', 'd1', now(), now(), now(), '{{\"temperature\": 21.5}}')",
        )
        after = await parts(served, name)
        assert after[f"presence-{TENANT}:d1"] == "Online"
        assert "21.5" in after[f"values-{TENANT}:d1"]
        assert after[f"presence-{TENANT}:d2"] == "Never heard"


async def test_a_live_list_shows_nobody_elses_devices(database: Database) -> None:
    await prepare(database, NewDevice("d1"))
    await prepare(database, NewDevice("d2"), tenant="rival")
    async with over(database) as served:
        assert "presence-rival:d2" in await parts(served, f"device-list//{TENANT}:d1,rival:d2", OPERATOR)
        for name in ("device-list/rival/d2", "device-list//rival:d2", "device-list/rival/rival:d2"):
            assert [part for part in await parts(served, name) if part.startswith("presence-")] == [], name
        for name in (
            "device-list/rival/../x",
            "device-list//d2",
            "device-list/\0/d",
            "device-list/rival/" + "d," * 2000,
        ):
            assert await parts(served, name, OPERATOR) == {}, name


async def test_a_list_of_too_long_a_name_says_as_of_when_it_is(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listing, "MAX_LIVE_NAME", len(f"device-list/{TENANT}/d1"))
    await prepare(database, NewDevice("d1"), NewDevice("d2"))
    async with dashboard(database) as served, person(served, database, Role.VIEWER) as viewer:
        short, long = await viewer.get("/devices?q=d2"), await viewer.get("/devices")
        assert ("data-page" in short.text, "data-page" in long.text) == (True, False)
        assert "As of" in text(long)


@pytest.mark.parametrize("role", [Role.VIEWER, Role.OPERATOR])
async def test_the_page_names_its_live_list(database: Database, role: Role) -> None:
    await prepare(database, NewDevice("d1"))
    async with dashboard(database) as served, person(served, database, role) as asking:
        page = await asking.get("/devices")
        assert f'data-page="device-list/{"/acme:d1" if role is Role.OPERATOR else "acme/d1"}"' in page.text
        assert "As of" in text(page)
