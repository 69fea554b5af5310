"""Imports: an outcome a row, can be run again, ten thousand devices in one command."""

import re
from dataclasses import replace

import pytest

from appliance.devices.device import DeviceStatus, NewDevice
from appliance.devices.seats import changes
from appliance.devices.seats.imports import ImportLine, ImportOutcome, import_many
from appliance.errors import NotFound
from appliance.subscriptions.lifecycle import SubscriptionType
from tests.support.postgres_server import Database
from tests.support.tenants import (
    BY,
    GRACE,
    TENANT,
    add_tenant,
    announce,
    check_seats,
    ingest,
    many,
    rows,
    seats_taken,
    sell,
)

DEVICES = 10_000
MAX_TRIGGER_MS = 2_000

_TRIGGER = re.compile(r"Trigger (?P<name>\S+).*: time=(?P<ms>[\d.]+) calls=(?P<calls>\d+)")


def outcomes(lines: list[ImportLine]) -> list[tuple[str, ImportOutcome]]:
    """Which row became what."""
    return [(line.new.device_id, line.outcome) for line in lines]


async def test_ten_thousand_devices_are_imported_in_one_command(database: Database) -> None:
    async with ingest(database) as connection:
        await add_tenant(connection)
        await sell(connection, DEVICES - 1)
        lines = await import_many(connection, TENANT, many(DEVICES), BY, grace=GRACE)
        assert [line.outcome for line in lines].count(ImportOutcome.CREATED) == DEVICES - 1
        assert lines[-1].outcome is ImportOutcome.NO_CAPACITY
        assert await seats_taken(connection) == [DEVICES - 1]
        assert await rows(connection, "SELECT count(*) FROM audit_log WHERE action = 'device.create'") == [
            (DEVICES - 1,)
        ]
    check_seats(database)


async def test_the_triggers_of_ten_thousand_devices_take_less_than_two_seconds(database: Database) -> None:
    async with ingest(database) as connection:
        await add_tenant(connection)
        sold = await sell(connection, DEVICES)
        plan = await rows(
            connection,
            "EXPLAIN (ANALYZE, COSTS OFF) INSERT INTO device_registry"
            " (created_at, updated_at, tenant_id, device_id, status, subscription_id, site_id)"
            " SELECT now(), now(), %s, 'd' || n, 'ACTIVE', %s, 's' || n %% 100 FROM generate_series(1, %s) AS n",
            TENANT,
            sold.subscription_id,
            DEVICES,
        )
        times = {match["name"]: float(match["ms"]) for (line,) in plan if (match := _TRIGGER.search(line))}
        assert {"seats_taken", "sites_mentioned_insert", "device_registry_tell_registry_insert"} <= times.keys()
        assert sum(times.values()) < MAX_TRIGGER_MS
        assert sum(ms for name, ms in times.items() if name != "for") < MAX_TRIGGER_MS / 4  # foreign keys aside
        assert await seats_taken(connection) == [DEVICES]


async def test_each_row_has_its_outcome_and_a_dry_run_says_the_same_and_writes_nothing(database: Database) -> None:
    async with ingest(database) as connection:
        await add_tenant(connection, strategy="approve")
        main = await sell(connection, 4)
        extra = await sell(connection, 1, SubscriptionType.TEMPORARY)
        await changes.create(
            connection, TENANT, NewDevice("known", name="old", subscription_id=main.subscription_id), BY, grace=GRACE
        )
        await changes.create(
            connection, TENANT, NewDevice("deleted", subscription_id=main.subscription_id), BY, grace=GRACE
        )
        await changes.delete(connection, TENANT, "deleted", BY, keep_history=True)
        await announce(connection, "pending")
        wanted = [
            NewDevice("known", name="new", tags=("x", "y")),
            NewDevice("fresh", site_id="roof", interval=60.0, subscription_id=extra.subscription_id),
            NewDevice("second", subscription_id=extra.subscription_id),
            NewDevice("deleted"),
            NewDevice("pending", place="by the door"),
            NewDevice("fresh"),
            NewDevice("no good"),
            NewDevice("lost", subscription_id="SUB-19700101-00001"),
            NewDevice("b"),
            NewDevice("a"),
            NewDevice("c"),
        ]
        expected = [
            ("known", ImportOutcome.UPDATED),
            ("fresh", ImportOutcome.CREATED),
            ("second", ImportOutcome.NO_CAPACITY),
            ("deleted", ImportOutcome.CREATED),
            ("pending", ImportOutcome.UPDATED),
            ("fresh", ImportOutcome.REFUSED),
            ("no good", ImportOutcome.REFUSED),
            ("lost", ImportOutcome.REFUSED),
            ("b", ImportOutcome.CREATED),
            ("a", ImportOutcome.CREATED),
            ("c", ImportOutcome.NO_CAPACITY),
        ]
        before = await rows(connection, "SELECT * FROM device_registry ORDER BY device_id")
        dry = await import_many(connection, TENANT, wanted, BY, dry_run=True, grace=GRACE)
        assert outcomes(dry) == expected
        assert await rows(connection, "SELECT * FROM device_registry ORDER BY device_id") == before
        assert await import_many(connection, TENANT, wanted, BY, grace=GRACE) == dry
        check_seats(database)
        described = await rows(
            connection,
            "SELECT device_id, status, site_id, name, place, tags, interval_seconds FROM device_registry ORDER BY 1",
        )
        assert described == [
            ("a", "ACTIVE", None, None, None, [], None),
            ("b", "ACTIVE", None, None, None, [], None),
            ("deleted", "ACTIVE", None, None, None, [], None),
            ("fresh", "ACTIVE", "roof", None, None, [], 60.0),
            ("known", "ACTIVE", None, "new", None, ["x", "y"], None),
            ("pending", "PENDING", None, None, "by the door", [], None),
        ]
        again = await import_many(connection, TENANT, wanted, BY, grace=GRACE)
        done = (ImportOutcome.CREATED, ImportOutcome.UPDATED)
        changed = [replace(line, outcome=ImportOutcome.UNCHANGED) if line.outcome in done else line for line in dry]
        assert outcomes(again) == outcomes(changed)


async def test_a_move_is_not_hidden_in_an_import(database: Database) -> None:
    async with ingest(database) as connection:
        await add_tenant(connection)
        main = await sell(connection, 4)
        other = await sell(connection, 4, SubscriptionType.TEMPORARY)
        await changes.create(connection, TENANT, NewDevice("a"), BY, grace=GRACE)
        lines = await import_many(
            connection, TENANT, [NewDevice("a", subscription_id=other.subscription_id)], BY, grace=GRACE
        )
        assert outcomes(lines) == [("a", ImportOutcome.REFUSED)]
        assert main.subscription_id in lines[0].detail
        assert await seats_taken(connection) == [1, 0]


async def test_a_row_names_its_tenant_and_takes_no_seat_for_a_device_out_of_service(database: Database) -> None:
    async with ingest(database) as connection:
        await add_tenant(connection)
        await sell(connection, 4)
        await changes.create(connection, TENANT, NewDevice("off"), BY, grace=GRACE)
        await changes.deactivate(connection, TENANT, "off", BY, revoke_credential=False)
        off = NewDevice("off", name="Off", stated_tenant=TENANT, stated_status=DeviceStatus.INACTIVE)
        wanted = [
            off,
            replace(off, device_id="gone"),
            NewDevice("theirs", stated_tenant="rival"),
            NewDevice("new", stated_tenant=TENANT, stated_status=DeviceStatus.ACTIVE),
        ]
        for dry_run in (True, False):
            lines = await import_many(connection, TENANT, wanted, BY, dry_run=dry_run, grace=GRACE)
            assert outcomes(lines) == [
                ("off", ImportOutcome.UPDATED),
                ("gone", ImportOutcome.REFUSED),
                ("theirs", ImportOutcome.REFUSED),
                ("new", ImportOutcome.CREATED),
            ]
            assert lines[1].detail == (
                "the row says it is INACTIVE; take the column status out to register it as ACTIVE"
            )
            assert lines[2].detail == "the row is of tenant rival; take the column tenant_id out to register it here"
        assert await seats_taken(connection) == [1]


@pytest.mark.parametrize("dry_run", [True, False])
async def test_an_import_for_nobody_is_not_found(database: Database, dry_run: bool) -> None:
    async with ingest(database) as connection:
        with pytest.raises(NotFound):
            await import_many(connection, "nobody", many(1), BY, dry_run=dry_run, grace=GRACE)
