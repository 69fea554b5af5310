"""What people say of a device, and its own limits."""

import pytest

from appliance.devices.description import Description, OwnLimits, describe, set_limits
from appliance.devices.device import NewDevice
from appliance.devices.seats import changes
from appliance.errors import Conflict, Invalid, NotFound
from tests.support.postgres_server import Database
from tests.support.tenants import BY, GRACE, LATER, TENANT, add_tenant, customer, ingest, rows, sell

STATED = "SELECT name, place, tags, site_id, interval_seconds FROM device_registry WHERE device_id = 'd'"
AUDIT = "SELECT action, before, after FROM audit_log WHERE object_id = 'd' AND action <> 'device.create' ORDER BY id"


async def prepare(database: Database) -> None:
    async with ingest(database) as connection:
        await add_tenant(connection)
        await sell(connection, 5)
        await changes.create(
            connection, TENANT, NewDevice("d", name="One", site_id="roof", tags=("a",)), BY, grace=GRACE
        )


async def test_a_description_replaces_all_of_the_one_before(database: Database) -> None:
    await prepare(database)
    async with customer(database, TENANT) as web:
        new = Description("Freezer", "back wall", ("cold", "b"), "cellar", 10.0)
        await describe(web, TENANT, "d", new, BY)
        assert await rows(web, STATED) == [("Freezer", "back wall", ["cold", "b"], "cellar", 10.0)]
        await describe(web, TENANT, "d", Description(), BY)
        assert await rows(web, STATED) == [(None, None, [], None, None)]
        # the site was made at its mention, and what differs stands in the audit
        assert await rows(web, "SELECT site_id FROM sites ORDER BY 1") == [("cellar",), ("roof",)]
        first = (await rows(web, AUDIT))[0]
        assert first == (
            "device.describe",
            {"site_id": "roof", "name": "One", "place": None, "tags": ["a"], "interval": None},
            {"site_id": "cellar", "name": "Freezer", "place": "back wall", "tags": ["cold", "b"], "interval": 10.0},
        )


async def test_the_second_of_two_editors_is_told(database: Database) -> None:
    await prepare(database)
    async with ingest(database) as connection:
        ((version,),) = await rows(connection, "SELECT updated_at FROM device_registry")
        await describe(connection, TENANT, "d", Description("Two"), LATER, version=version)
        with pytest.raises(Conflict):
            await describe(connection, TENANT, "d", Description("Three"), BY, version=version)
        with pytest.raises(Conflict):
            await set_limits(connection, TENANT, "d", OwnLimits(1), BY, version=version)
        assert (await rows(connection, STATED))[0][0] == "Two"


async def test_nothing_new_leaves_no_trace(database: Database) -> None:
    await prepare(database)
    async with ingest(database) as connection:
        await describe(connection, TENANT, "d", Description("One", tags=("a",), site_id="roof"), BY)
        await set_limits(connection, TENANT, "d", OwnLimits(), BY)
        assert await rows(connection, AUDIT) == []


@pytest.mark.parametrize(
    ("description", "field"),
    [
        (Description("x" * 257), "name"),
        (Description(place="\0"), "place"),
        (Description(tags=("x" * 257,)), "tags"),
        (Description(tags=("x",) * 65), "tags"),
        (Description(site_id="a:b"), "site_id"),
        (Description(interval=0), "interval"),
        (Description(interval=float("nan")), "interval"),
        (Description(interval=1e9), "interval"),
    ],
)
async def test_what_cannot_be_names_its_field(database: Database, description: Description, field: str) -> None:
    await prepare(database)
    async with ingest(database) as connection:
        with pytest.raises(Invalid) as refused:
            await describe(connection, TENANT, "d", description, BY)
        assert refused.value.field == field


async def test_operators_set_and_lift_the_limits_of_a_device(database: Database) -> None:
    await prepare(database)
    async with ingest(database) as connection:
        await set_limits(connection, TENANT, "d", OwnLimits(2.5, 7), BY)
        assert await rows(connection, "SELECT rate, burst FROM device_registry") == [(2.5, 7.0)]
        await set_limits(connection, TENANT, "d", OwnLimits(), BY)
        assert await rows(connection, AUDIT) == [
            ("device.limit", {"rate": None, "burst": None}, {"rate": 2.5, "burst": 7}),
            ("device.limit", {"rate": 2.5, "burst": 7}, {"rate": None, "burst": None}),
        ]


@pytest.mark.parametrize(
    ("limits", "field"),
    [
        (OwnLimits(0), "rate"),
        (OwnLimits(float("nan")), "rate"),
        (OwnLimits(float("inf")), "rate"),
        (OwnLimits(None, 0), "burst"),
        (OwnLimits(None, 10**7), "burst"),
    ],
)
async def test_limits_that_are_none_name_their_field(database: Database, limits: OwnLimits, field: str) -> None:
    async with ingest(database) as connection:
        with pytest.raises(Invalid) as refused:
            await set_limits(connection, TENANT, "d", limits, BY)
        assert refused.value.field == field


async def test_what_is_deleted_or_anothers_is_not_there(database: Database) -> None:
    await prepare(database)
    async with ingest(database) as connection:
        await add_tenant(connection, "rival")
        await changes.delete(connection, TENANT, "d", BY, keep_history=True)
        for device in ("d", "none"):
            with pytest.raises(NotFound):
                await describe(connection, TENANT, device, Description("x"), BY)
            with pytest.raises(NotFound):
                await set_limits(connection, TENANT, device, OwnLimits(1), BY)
    async with customer(database, "rival") as web:
        with pytest.raises(NotFound):
            await describe(web, TENANT, "d", Description("x"), BY)
