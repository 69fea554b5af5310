"""Sites that devices call by a name: their devices stand there, and people can open and edit them."""

from urllib.parse import quote

import pytest

from appliance.devices.site_ids import mentioned_site
from appliance.ingest.batch import Accepted
from appliance.reading import Reason, Refusal
from tests.support.pipeline import TENANT, furnish, look, open_ingest, telemetry
from tests.support.postgres_server import Database
from tests.support.web.api_caller import calling, dashboard

NAMES = ["Halle 1", "café", "Werk/Nord", ".."]


def reading(site: str) -> bytes:
    return f'{{"site_id":"{site}","a":1}}'.encode()


@pytest.mark.parametrize("name", NAMES)
async def test_a_site_that_a_device_names_can_be_opened_and_edited(database: Database, name: str) -> None:
    await furnish(database)
    async with open_ingest(database) as stack:
        assert (
            await stack.send(telemetry("d-1", reading(name)), telemetry("d-1", reading(name))) == [Accepted.STORED] * 2
        )
    site_id = mentioned_site(name).site_id
    async with dashboard(database) as served, calling(served, database) as admin:
        found = await admin.ask("GET", f"/customer/sites/{site_id}", 200)
        assert (found["name"], found["devices"]) == (name, 1)
        await admin.ask("PATCH", f"/customer/sites/{site_id}", 200, json={"name": "The hall"})
        listed = await admin.ask("GET", f"/customer/devices?site={quote(name)}", 200)
        assert [one["device_id"] for one in listed["items"]] == ["d-1"]
        assert (await admin.ask("GET", f"/customer/sites/{site_id}", 200))["name"] == "The hall"
    assert look(database, "SELECT DISTINCT site_id FROM telemetry") == [(site_id,)]


async def test_a_device_without_a_site_takes_one_by_its_name_and_no_other_then(database: Database) -> None:
    await furnish(database)
    async with open_ingest(database) as stack:
        await stack.send(telemetry("d-1", b'{"a":1}'))
        assert await stack.send(telemetry("d-1", reading("Halle 1"))) == [Accepted.STORED]
        [refused] = await stack.send(telemetry("d-1", reading("Halle/1")))
        assert isinstance(refused, Refusal)
        assert refused.reason is Reason.SITE_MISMATCH
        assert await stack.send(telemetry("d-1", reading("Halle 1"))) == [Accepted.STORED]
    assert look(database, "SELECT name FROM sites WHERE tenant_id = %s", TENANT) == [("Halle 1",)]


async def test_a_name_that_people_gave_is_kept(database: Database) -> None:
    await furnish(database)
    async with open_ingest(database) as stack:
        await stack.send(telemetry("d-1", reading("Halle 1")))
        async with dashboard(database) as served, calling(served, database) as admin:
            path = f"/customer/sites/{mentioned_site('Halle 1').site_id}"
            await admin.ask("PATCH", path, 200, json={"name": "Hall of fame"})
        await stack.send(telemetry("d-2", reading("Halle 1")))
    assert look(database, "SELECT name FROM sites") == [("Hall of fame",)]
