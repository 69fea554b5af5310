"""The devices as people look for them."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from appliance.db.trio_psycopg import Connection
from appliance.devices import fleet
from appliance.devices.credentials import credential
from appliance.devices.device import DeviceStatus, NewDevice
from appliance.devices.fleet import DeviceFilter, FleetPosition, Sort
from appliance.devices.live.presence import Presence
from appliance.devices.seats import changes
from appliance.errors import NotFound
from tests.support.postgres_server import Database
from tests.support.tenants import BY, GRACE, NOW, TENANT, add_tenant, announce, customer, ingest, rows, sell


async def prepare(connection: Connection[Any], *devices: NewDevice, tenant: str = TENANT) -> str:
    """A tenant with a subscription and these devices; the subscription's id."""
    await add_tenant(connection, tenant)
    sold = await sell(connection, 100, tenant_id=tenant)
    for place, new in enumerate(devices):  # one after the other: created_at is what a list is sorted by
        context = replace(BY, now=NOW + timedelta(milliseconds=place))
        await changes.create(connection, tenant, new, context, grace=GRACE)
    return sold.subscription_id


async def hear(connection: Connection[Any], device: str, ago: float, latest: str = "{}") -> None:
    """The device was accepted ``ago`` seconds before NOW, and somebody listens since long ago."""
    at = NOW - timedelta(seconds=ago)
    await connection.execute(
        "INSERT INTO device_state (tenant_id, device_id, last_ts, last_seen_at, last_heard_at, latest)"
        " VALUES (%s, %s, %s, %s, %s, %s::text::jsonb)",
        [TENANT, device, at, at, at, latest],
    )
    await connection.execute(
        "INSERT INTO listening VALUES ('one', %s, %s) ON CONFLICT DO NOTHING", [NOW - timedelta(days=9), NOW]
    )


async def ids(connection: Connection[Any], wanted: DeviceFilter, **how: Any) -> list[str]:
    page = await fleet.list_page(connection, wanted, **({"limit": 50} | how))
    return [member.device.device_id for member in page.members]


async def test_all_words_of_a_search_are_looked_for_in_id_name_place_and_tags(database: Database) -> None:
    async with ingest(database) as connection:
        await prepare(
            connection,
            NewDevice("frz-1", name="Freezer Nord", place="Aisle 4", tags=("cold", "Ødegård")),
            NewDevice("frz-2", name="Freezer South", place="100%_\\"),
            NewDevice("gate", place="aisle 4"),
        )
        for search, found in {
            "FREEZER": ["frz-1", "frz-2"],
            "aisle  4": ["frz-1", "gate"],
            "nord cold": ["frz-1"],
            "ødegård": ["frz-1"],
            "frz south": ["frz-2"],
            "%_\\": ["frz-2"],
            "%": ["frz-2"],
            "_": ["frz-2"],
            "\0": ["frz-1", "frz-2", "gate"],
            "nobody": [],
            " ".join(["frz"] * 1000): ["frz-1", "frz-2"],
        }.items():
            assert await ids(connection, DeviceFilter(TENANT, search)) == found, search


async def test_filters_narrow_and_values_of_one_add_up(database: Database) -> None:
    async with ingest(database) as connection:
        main = await prepare(
            connection,
            NewDevice("a", site_id="roof", tags=("x", "y")),
            NewDevice("b", site_id="cellar", tags=("y",)),
            NewDevice("c"),
        )
        await changes.deactivate(connection, TENANT, "c", BY)
        for wanted, found in (
            (DeviceFilter(TENANT, sites=["roof"]), ["a"]),
            (DeviceFilter(TENANT, sites=["roof", ""]), ["a", "c"]),
            (DeviceFilter(TENANT, subscriptions=[main]), ["a", "b"]),
            (DeviceFilter(TENANT, subscriptions=[""]), ["c"]),
            (DeviceFilter(TENANT, statuses=[DeviceStatus.INACTIVE]), ["c"]),
            (DeviceFilter(TENANT, statuses=[DeviceStatus.INACTIVE, DeviceStatus.ACTIVE], sites=["cellar"]), ["b"]),
            (DeviceFilter(TENANT, tags=["x", "z"]), ["a"]),
            (DeviceFilter(TENANT, tags=["y"], sites=["cellar"]), ["b"]),
        ):
            assert await ids(connection, wanted) == found, wanted


async def test_presence_is_derived_for_devices_that_should_talk(database: Database) -> None:
    async with ingest(database) as connection:
        await prepare(connection, *(NewDevice(name) for name in ("fresh", "stale", "gone", "never", "off")))
        for device, ago in (("fresh", 5.0), ("stale", 120.0), ("gone", 4000.0), ("off", 5.0)):
            await hear(connection, device, ago)
        await changes.deactivate(connection, TENANT, "off", BY)
        assert await ids(connection, DeviceFilter(TENANT, presences=[Presence.ONLINE])) == ["fresh"]
        assert await ids(connection, DeviceFilter(TENANT, presences=[Presence.STALE, Presence.OFFLINE])) == [
            "gone",
            "stale",
        ]
        assert await ids(connection, DeviceFilter(TENANT, presences=[Presence.NEW])) == ["never"]
        page = await fleet.list_page(connection, DeviceFilter(TENANT), limit=50)
        assert {member.device.device_id: member.presence for member in page.members}["stale"] is Presence.STALE
        census = await fleet.device_counts(connection, TENANT)
        expected = {Presence.ONLINE: 1, Presence.STALE: 1, Presence.OFFLINE: 1, Presence.REFUSED: 0, Presence.NEW: 1}
        assert census.presences == expected
        assert (census.statuses, census.total) == ({DeviceStatus.ACTIVE: 4, DeviceStatus.INACTIVE: 1}, 5)


@pytest.mark.parametrize("down", [False, True])
@pytest.mark.parametrize("sort", Sort)
async def test_pages_follow_one_another_whatever_they_are_sorted_by(
    database: Database, sort: Sort, *, down: bool
) -> None:
    async with ingest(database) as connection:
        await prepare(connection, *(NewDevice(f"d{n}", name=f"N{n % 3}", site_id=f"s{n % 2}") for n in range(9)))
        await prepare(connection, NewDevice("d1", name="N1"), tenant="rival")
        await connection.execute("UPDATE tenants SET provisioning = 'approve' WHERE tenant_id <> 'appliance'")
        await announce(connection, "new-1", "new-2")
        for device in ("d1", "d2", "d3"):
            await hear(connection, device, 10.0)  # the same instant
        whole = await fleet.list_page(connection, DeviceFilter(None), sort=sort, down=down, limit=100)
        assert (whole.total, whole.next) == (12, None)
        found: list[tuple[str, str]] = []
        after: FleetPosition | None = None
        while True:
            page = await fleet.list_page(connection, DeviceFilter(None), sort=sort, down=down, limit=2, after=after)
            assert page.total == 12
            found += [(member.device.tenant_id, member.device.device_id) for member in page.members]
            after = page.next
            if after is None:
                break
        assert found == [(member.device.tenant_id, member.device.device_id) for member in whole.members]
        assert {device for _, device in found[:2]} == {"new-1", "new-2"}, "those that wait stand first"
        assert len(set(found)) == 12


async def test_lists_are_sorted_as_asked(database: Database) -> None:
    async with ingest(database) as connection:
        await prepare(
            connection,
            NewDevice("a", name="zoo", site_id="x"),
            NewDevice("b"),
            NewDevice("c", name="Alpha", site_id="y"),
        )
        await hear(connection, "a", 10)
        await hear(connection, "b", 20)
        everything = DeviceFilter(TENANT)
        assert await ids(connection, everything, sort=Sort.NAME) == ["c", "b", "a"]
        assert await ids(connection, everything, sort=Sort.SITE, down=True) == ["c", "a", "b"]
        assert await ids(connection, everything, sort=Sort.LAST_SEEN) == ["c", "b", "a"]
        assert await ids(connection, everything, sort=Sort.LAST_SEEN, down=True) == ["a", "b", "c"]
        assert await ids(connection, everything, sort=Sort.CREATED, down=True) == ["c", "b", "a"]


async def test_a_device_is_shown_with_all_that_is_known_of_it(database: Database) -> None:
    async with ingest(database) as connection:
        main = await prepare(connection, NewDevice("d", site_id="roof", interval=10.0))
        await connection.execute("UPDATE sites SET name = 'The roof'")
        await hear(connection, "d", 2, '{"temperature": 4.5}')
        await connection.execute("UPDATE device_registry SET rate = 2.5, burst = 7")
        await credential.create(connection, TENANT, "d", BY)
        member = await fleet.get(connection, TENANT, "d")
        assert member.device.subscription_id == main
        assert (member.site_name, member.interval, member.own_credential) == ("The roof", 10.0, True)
        assert (member.limits.rate, member.limits.burst) == (2.5, 7)
        assert (member.presence, member.latest) == (Presence.ONLINE, {"temperature": 4.5})
        assert member.last_seen_at == NOW - timedelta(seconds=2)
        assert (await fleet.list_page(connection, DeviceFilter(TENANT), limit=50)).members == [member]
        assert await rows(connection, "SELECT updated_at FROM device_registry") == [(member.version,)]


async def test_what_is_deleted_or_anothers_is_not_there(database: Database) -> None:
    async with ingest(database) as connection:
        await prepare(connection, NewDevice("d"), NewDevice("gone"))
        await prepare(connection, NewDevice("theirs"), tenant="rival")
        await changes.delete(connection, TENANT, "gone", BY, keep_history=True)
        assert await ids(connection, DeviceFilter(TENANT), limit=50) == ["d"]
        assert await ids(connection, DeviceFilter(None)) == ["d", "theirs"]
        for device in ("gone", "theirs", "none"):
            with pytest.raises(NotFound):
                await fleet.get(connection, TENANT, device)
    async with customer(database, TENANT) as web:
        assert await ids(web, DeviceFilter(None)) == ["d"]
        assert await ids(web, DeviceFilter("rival")) == []
        assert (await fleet.device_counts(web, "rival")).total == 0
        assert await fleet.open_claim_users(web, "rival") == []
        with pytest.raises(NotFound):
            await fleet.get(web, "rival", "theirs")


async def test_open_claim_users_are_told(database: Database) -> None:
    async with ingest(database) as connection:
        await add_tenant(connection)
        await add_tenant(connection, "rival")
        assert await fleet.open_claim_users(connection, None) == []
        await connection.execute(
            "UPDATE tenants SET claim_mqtt_hash = 'x', claim_token_hash = sha256('x') WHERE tenant_id <> 'appliance'"
        )
        assert await fleet.open_claim_users(connection, None) == [TENANT, "rival"]
        await connection.execute("UPDATE tenants SET claim_enabled = false WHERE tenant_id = 'rival'")
        assert await fleet.open_claim_users(connection, None) == [TENANT]
