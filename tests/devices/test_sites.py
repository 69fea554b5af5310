"""Sites: mentioned by devices, named by people."""

import pytest

from appliance.devices import sites
from appliance.devices.device import NewDevice
from appliance.devices.seats import changes
from appliance.devices.sites import Site
from appliance.errors import Conflict, Invalid, NotFound
from tests.support.postgres_server import Database
from tests.support.tenants import BY, GRACE, LATER, TENANT, add_tenant, customer, ingest, rows, sell

AUDIT = "SELECT action, object_id, before, after FROM audit_log WHERE object_type = 'site' ORDER BY id"


async def test_a_site_is_there_at_its_first_mention_in_the_zone_of_its_tenant(database: Database) -> None:
    async with ingest(database) as connection:
        await add_tenant(connection)
        await connection.execute("UPDATE tenants SET time_zone = 'Europe/Oslo' WHERE tenant_id <> 'appliance'")
        await sell(connection, 2)
        await changes.create(connection, TENANT, NewDevice("d", site_id="roof"), BY, grace=GRACE)
        placed = await sites.get(connection, TENANT, "roof")
        assert (placed.site, placed.zone, placed.devices) == (Site("roof"), "Europe/Oslo", 1)
        assert placed.site.title == "roof"


async def test_a_site_has_its_own_zone_once_somebody_says_so(database: Database) -> None:
    async with ingest(database) as connection:
        await add_tenant(connection)
        await sites.create(connection, TENANT, Site("quay", "Bergen Quay"), BY)
        changed = await sites.change(connection, TENANT, Site("quay", "Bergen Quay", "Asia/Tokyo", 60.4, 5.3), BY)
        assert (changed.zone, changed.site.title) == ("Asia/Tokyo", "Bergen Quay")
        empty = {"time_zone": None, "lat": None, "lng": None}
        placed = {"time_zone": "Asia/Tokyo", "lat": 60.4, "lng": 5.3}
        assert await rows(connection, AUDIT) == [
            ("site.create", "quay", None, {"name": "Bergen Quay", **empty}),
            ("site.update", "quay", empty, placed),
        ]


async def test_a_site_where_devices_stand_stays(database: Database) -> None:
    async with ingest(database) as connection:
        await add_tenant(connection)
        await sell(connection, 2)
        await changes.create(connection, TENANT, NewDevice("d", site_id="roof"), BY, grace=GRACE)
        with pytest.raises(Conflict, match="1 device is at site roof"):
            await sites.delete(connection, TENANT, "roof", BY)
        await changes.delete(connection, TENANT, "d", BY, keep_history=True)
        await sites.delete(connection, TENANT, "roof", BY)
        with pytest.raises(NotFound):
            await sites.get(connection, TENANT, "roof")


async def test_the_second_of_two_editors_is_told(database: Database) -> None:
    async with ingest(database) as connection:
        await add_tenant(connection)
        made = await sites.create(connection, TENANT, Site("a"), BY)
        await sites.change(connection, TENANT, Site("a", "One"), LATER, version=made.version)
        with pytest.raises(Conflict):
            await sites.change(connection, TENANT, Site("a", "Two"), BY, version=made.version)


@pytest.mark.parametrize(
    ("site", "field"),
    [
        (Site("../x"), "site_id"),
        (Site("a:b"), "site_id"),
        (Site("a", ""), "name"),
        (Site("a", "x" * 257), "name"),
        (Site("a", "x\0"), "name"),
        (Site("a", time_zone="Mars/Olympus"), "time_zone"),
        (Site("a", time_zone="../../etc/passwd"), "time_zone"),
        (Site("a", lat=1.0), "lng"),
        (Site("a", lng=1.0), "lat"),
        (Site("a", lat=90.1, lng=0), "lat"),
        (Site("a", lat=0, lng=float("nan")), "lng"),
    ],
)
async def test_what_cannot_be_names_its_field(database: Database, site: Site, field: str) -> None:
    async with ingest(database) as connection:
        await add_tenant(connection)
        with pytest.raises(Invalid) as refused:
            await sites.create(connection, TENANT, site, BY)
        assert refused.value.field == field


async def test_a_customer_sees_and_changes_its_own_only(database: Database) -> None:
    async with ingest(database) as connection:
        for tenant in (TENANT, "rival"):
            await add_tenant(connection, tenant)
            await sites.create(connection, tenant, Site("a"), BY)
    async with customer(database, TENANT) as web:
        assert [placed.tenant_id for placed in await sites.list_page(web, None, limit=9)] == [TENANT]
        await sites.change(web, TENANT, Site("a", "Mine"), BY)
        for act in (
            sites.get(web, "rival", "a"),
            sites.change(web, "rival", Site("a", "Mine"), BY),
            sites.delete(web, "rival", "a", BY),
            sites.create(web, "rival", Site("b"), BY),
        ):
            with pytest.raises(NotFound):
                await act
        await sites.delete(web, TENANT, "a", BY)


async def test_what_is_there_is_a_conflict_and_pages_have_no_gap(database: Database) -> None:
    async with ingest(database) as connection:
        for tenant in ("a", "b"):
            await add_tenant(connection, tenant)
            for name in ("x", "y", "z"):
                await sites.create(connection, tenant, Site(name), BY)
        with pytest.raises(Conflict):
            await sites.create(connection, "a", Site("x"), BY)
        first = await sites.list_page(connection, None, limit=4)
        rest = await sites.list_page(connection, None, limit=4, after=(first[-1].tenant_id, first[-1].site.site_id))
        assert [(one.tenant_id, one.site.site_id) for one in (*first, *rest)] == [(t, s) for t in "ab" for s in "xyz"]
