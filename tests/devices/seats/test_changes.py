"""Seats: each change with its count, its audit row and its refusals."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import psycopg
import pytest
import trio

from appliance.db.trio_psycopg import Connection, connect
from appliance.devices.device import TRANSITIONS, Device, DeviceStatus, Event, NewDevice
from appliance.devices.seats import changes
from appliance.errors import Conflict, Invalid, NoCapacity, NotFound
from appliance.subscriptions import store
from appliance.subscriptions.lifecycle import SubscriptionType
from tests.support.postgres_server import Database
from tests.support.tenants import (
    ALICE,
    BY,
    GRACE,
    NOW,
    TENANT,
    add_tenant,
    announce,
    check_seats,
    customer,
    ingest,
    rows,
    seats_taken,
    sell,
)

ROLES = ["appliance_owner", "appliance_ingest", "appliance_web", "appliance_backup", "postgres"]

Act = Callable[[Connection[Any], str, str], Awaitable[Device]]

ACTS: dict[Event, Act] = {
    Event.APPROVE: lambda connection, tenant, device: changes.approve(connection, tenant, device, BY, grace=GRACE),
    Event.REJECT: lambda connection, tenant, device: changes.reject(connection, tenant, device, BY),
    Event.DEACTIVATE: lambda connection, tenant, device: changes.deactivate(connection, tenant, device, BY),
    Event.REACTIVATE: lambda connection, tenant, device: changes.reactivate(
        connection, tenant, device, BY, grace=GRACE
    ),
    Event.REVOKE: lambda connection, tenant, device: changes.revoke(connection, tenant, device, BY),
    Event.DELETE: lambda connection, tenant, device: changes.delete(connection, tenant, device, BY, keep_history=True),
}

WAY_TO: dict[DeviceStatus, list[Event]] = {
    DeviceStatus.ACTIVE: [],
    DeviceStatus.INACTIVE: [Event.DEACTIVATE],
    DeviceStatus.REVOKED: [Event.REVOKE],
    DeviceStatus.DECOMMISSIONED: [Event.DELETE],
}


async def test_a_created_device_takes_one_seat_and_leaves_an_audit_row(database: Database) -> None:
    async with ingest(database) as connection:
        await add_tenant(connection)
        sold = await sell(connection, 2)
        device = await changes.create(
            connection, TENANT, NewDevice("one", site_id="roof", tags=("a", "b")), BY, grace=GRACE
        )
        assert device == Device(
            TENANT, "one", DeviceStatus.ACTIVE, sold.subscription_id, "roof", None, None, ("a", "b"), None
        )
        assert await seats_taken(connection) == [1]
        audit = await rows(
            connection,
            "SELECT actor, actor_kind, action, object_id, before, after, address FROM audit_log"
            " WHERE object_type = 'device'",
        )
        after = {"status": "ACTIVE", "subscription_id": sold.subscription_id, "site_id": "roof"}
        assert audit == [(ALICE.name, "user", "device.create", "one", None, after, "192.0.2.7")]
        assert await rows(connection, "SELECT site_id FROM sites WHERE tenant_id = %s", TENANT) == [("roof",)]


async def test_seats_are_taken_in_the_order_of_preference_and_then_there_are_none(database: Database) -> None:
    async with ingest(database) as connection:
        await add_tenant(connection)
        trial = await sell(connection, 1, SubscriptionType.TRIAL)
        main = await sell(connection, 1)
        addon = await sell(connection, 1, SubscriptionType.ADDON)
        order = [
            (await changes.create(connection, TENANT, NewDevice(name), BY, grace=GRACE)).subscription_id
            for name in "abc"
        ]
        assert order == [main.subscription_id, addon.subscription_id, trial.subscription_id]
        with pytest.raises(NoCapacity, match="the only seat of"):
            await changes.create(connection, TENANT, NewDevice("d"), BY, grace=GRACE)
        with pytest.raises(NoCapacity):
            await changes.move(connection, TENANT, "a", trial.subscription_id, BY, grace=GRACE)
        await changes.deactivate(connection, TENANT, "c", BY)
        moved = await changes.move(connection, TENANT, "a", trial.subscription_id, BY, grace=GRACE)
        assert moved.subscription_id == trial.subscription_id
    check_seats(database)


async def test_a_lapsed_or_held_subscription_gives_no_seat(database: Database) -> None:
    async with ingest(database) as connection:
        await add_tenant(connection)
        with pytest.raises(NoCapacity, match="no subscription"):
            await changes.create(connection, TENANT, NewDevice("a"), BY, grace=GRACE)
        sold = await sell(connection, 5, term=timedelta(days=1))
        late = replace(BY, now=NOW + timedelta(days=16), settled=NOW + timedelta(days=16))
        with pytest.raises(NoCapacity, match="is SUSPENDED"):
            await changes.create(connection, TENANT, NewDevice("a"), late, grace=GRACE)
        held = store.Changes(hold_reason="unpaid")
        await store.change(connection, TENANT, sold.subscription_id, held, BY, grace=GRACE)
        with pytest.raises(NoCapacity, match="is SUSPENDED"):
            await changes.create(
                connection, TENANT, NewDevice("a", subscription_id=sold.subscription_id), BY, grace=GRACE
            )


@pytest.mark.parametrize("status", list(DeviceStatus))
async def test_every_event_in_every_status_does_what_the_table_says(database: Database, status: DeviceStatus) -> None:
    async with ingest(database) as connection:
        await add_tenant(connection, strategy="approve")
        await sell(connection, 10)
        for event, act in ACTS.items():
            name = f"for-{event}"
            if status is DeviceStatus.PENDING:
                await announce(connection, name)
            else:
                await changes.create(connection, TENANT, NewDevice(name), BY, grace=GRACE)
                for step in WAY_TO[status]:
                    await ACTS[step](connection, TENANT, name)
            after = TRANSITIONS.get((status, event))
            if after is not None:
                assert (await act(connection, TENANT, name)).status is after
            elif status is DeviceStatus.DECOMMISSIONED:
                with pytest.raises(NotFound):
                    await act(connection, TENANT, name)
            else:
                with pytest.raises(Conflict, match=str(status)):
                    await act(connection, TENANT, name)
    check_seats(database)


@pytest.mark.parametrize("event", list(ACTS))
async def test_what_is_not_there_or_is_another_tenants_is_not_found(database: Database, event: Event) -> None:
    async with ingest(database) as connection:
        for tenant in (TENANT, "other"):
            await add_tenant(connection, tenant)
            await sell(connection, 1, tenant_id=tenant)
        await changes.create(connection, "other", NewDevice("theirs"), BY, grace=GRACE)
        for tenant, device in ((TENANT, "nobody"), (TENANT, "theirs"), ("nowhere", "theirs")):
            with pytest.raises(NotFound):
                await ACTS[event](connection, tenant, device)
        assert await seats_taken(connection, "other") == [1]
        assert await rows(connection, "SELECT 1 FROM audit_log WHERE action = %s", f"device.{event}") == []


async def test_a_device_is_created_once_and_only_as_what_a_device_can_be(database: Database) -> None:
    async with ingest(database) as connection:
        await add_tenant(connection)
        await sell(connection, 5)
        await changes.create(connection, TENANT, NewDevice("a"), BY, grace=GRACE)
        with pytest.raises(Conflict, match="already exists"):
            await changes.create(connection, TENANT, NewDevice("a"), BY, grace=GRACE)
        with pytest.raises(NotFound):
            await changes.create(
                connection, TENANT, NewDevice("b", subscription_id="SUB-19700101-00001"), BY, grace=GRACE
            )
        for wrong in (
            NewDevice("a:b"),
            NewDevice(".a"),
            NewDevice("b", interval=float("nan")),
            NewDevice("b", name="\0"),
        ):
            with pytest.raises(Invalid):
                await changes.create(connection, TENANT, wrong, BY, grace=GRACE)
        assert await seats_taken(connection) == [1]


async def test_a_deleted_device_stays_away_until_a_person_creates_it_again(database: Database) -> None:
    async with ingest(database) as connection:
        await add_tenant(connection)
        await sell(connection, 1)
        await announce(connection, "a")
        await changes.delete(connection, TENANT, "a", BY, keep_history=True)
        assert await seats_taken(connection) == [0]
        verdict = (await announce(connection, "a"))["a"]
        assert not isinstance(verdict, Device)
        assert verdict.reason == "DEVICE_DECOMMISSIONED"
        assert await seats_taken(connection) == [0]
        assert (await changes.create(connection, TENANT, NewDevice("a"), BY, grace=GRACE)).status is DeviceStatus.ACTIVE
        assert await seats_taken(connection) == [1]


async def test_revoking_and_deleting_take_the_credential_along(database: Database) -> None:
    async with ingest(database) as connection:
        await add_tenant(connection)
        await sell(connection, 5)
        for name in "abcd":
            await changes.create(connection, TENANT, NewDevice(name), BY, grace=GRACE)
            await connection.execute(
                "INSERT INTO device_credentials (created_at, tenant_id, device_id, mqtt_hash, token_hash)"
                " VALUES (now(), %s, %s, '$7$', %s)",
                [TENANT, name, bytes(32)],
            )
        await changes.revoke(connection, TENANT, "a", BY)
        await changes.delete(connection, TENANT, "b", BY, keep_history=True)
        await changes.deactivate(connection, TENANT, "c", BY)
        await changes.deactivate(connection, TENANT, "d", BY, revoke_credential=True)
        assert await rows(connection, "SELECT device_id FROM device_credentials") == [("c",)]


@pytest.mark.parametrize("role", ROLES)
async def test_nobody_writes_the_count_by_hand(database: Database, role: str) -> None:
    async with ingest(database) as connection:
        await add_tenant(connection)
        await sell(connection, 5)
        await announce(connection, "a")
    async with await connect(database.conninfo(role)) as connection:
        await connection.execute("SELECT set_config('appliance.tenant_id', %s, false)", [TENANT])
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            await connection.execute("UPDATE subscriptions SET active_device_count = 0")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            await connection.execute(
                "INSERT INTO subscriptions (created_at, subscription_id, tenant_id, subscription_type, device_limit,"
                " active_device_count, term_start, term_end, status)"
                " VALUES (now(), 'SUB-' || nextval('subscription_numbers'), %s, 'TRIAL', 5, 1, now(),"
                " now() + interval '1 day', 'TRIAL')",
                [TENANT],
            )
    check_seats(database)


async def test_the_database_holds_the_limit_against_a_hand_on_psql(database: Database) -> None:
    async with ingest(database) as connection:
        await add_tenant(connection)
        sold = await sell(connection, 2)
        insert = (
            "INSERT INTO device_registry"
            " (created_at, updated_at, tenant_id, device_id, status, subscription_id)"
            " SELECT now(), now(), %s, 'h' || n, 'ACTIVE', %s FROM generate_series(1, %s) AS n"
        )
        with pytest.raises(psycopg.errors.CheckViolation) as caught:
            await connection.execute(insert, [TENANT, sold.subscription_id, 3])
        assert caught.value.diag.constraint_name == changes.LIMIT_CONSTRAINT
        await connection.execute(insert, [TENANT, sold.subscription_id, 2])
        assert await seats_taken(connection) == [2]
        with pytest.raises(psycopg.errors.CheckViolation):
            await connection.execute("UPDATE device_registry SET status = 'INACTIVE'")
        await connection.execute("UPDATE device_registry SET status = 'INACTIVE', subscription_id = NULL")
        assert await seats_taken(connection) == [0]
        await connection.execute(
            "UPDATE device_registry SET status = 'ACTIVE', subscription_id = %s", [sold.subscription_id]
        )
        await connection.execute("DELETE FROM device_registry WHERE device_id = 'h1'")
        assert await seats_taken(connection) == [1]
    async with await connect(database.conninfo()) as superuser:
        await superuser.execute("TRUNCATE device_registry CASCADE")
    check_seats(database)


async def test_a_customer_changes_its_own_seats_and_no_others(database: Database) -> None:
    async with ingest(database) as connection:
        for tenant in (TENANT, "other"):
            await add_tenant(connection, tenant)
            await sell(connection, 2, tenant_id=tenant)
        await announce(connection, "theirs", tenant_id="other")
    async with customer(database, TENANT) as connection:
        await changes.create(connection, TENANT, NewDevice("mine", site_id="hall"), BY, grace=GRACE)
        await changes.deactivate(connection, TENANT, "mine", BY, revoke_credential=True)
        await changes.reactivate(connection, TENANT, "mine", BY, grace=GRACE)
        await changes.delete(connection, TENANT, "mine", BY, keep_history=False)
        with pytest.raises(NotFound):
            await changes.deactivate(connection, "other", "theirs", BY)
        assert await rows(connection, "SELECT tenant_id FROM subscriptions GROUP BY 1") == [(TENANT,)]
        assert await rows(connection, "SELECT tenant_id FROM audit_log GROUP BY 1") == [(TENANT,)]
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            async with connection.transaction():
                await connection.execute(
                    "INSERT INTO audit_log (at, tenant_id, actor, actor_kind, action, object_type, object_id)"
                    " VALUES (now(), 'other', 'x', 'user', 'x', 'x', 'x')"
                )
        for statement in (b"UPDATE audit_log SET actor = 'nobody'", b"DELETE FROM audit_log"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                async with connection.transaction():
                    await connection.execute(statement)
    check_seats(database)


async def test_changes_in_opposite_orders_never_deadlock(database: Database) -> None:
    """Seat functions do not try again: a deadlock would end the test."""
    async with ingest(database) as connection:
        await add_tenant(connection)
        one = await sell(connection, 10)
        two = await sell(connection, 10, SubscriptionType.ADDON)
        await changes.create(connection, TENANT, NewDevice("a", subscription_id=one.subscription_id), BY, grace=GRACE)
        await changes.create(connection, TENANT, NewDevice("b", subscription_id=two.subscription_id), BY, grace=GRACE)

    async def to_and_fro(device: str, first: str, second: str) -> None:
        async with ingest(database) as connection:
            for _ in range(15):
                await changes.move(connection, TENANT, device, first, BY, grace=GRACE)
                await changes.move(connection, TENANT, device, second, BY, grace=GRACE)

    async def by_hand(device: str, first: str, second: str) -> None:
        """Without the locks of the product: the triggers have an order of their own."""
        async with ingest(database) as connection:
            for subscription in (first, second) * 15:
                await connection.execute(
                    "INSERT INTO device_registry"
                    " (created_at, updated_at, tenant_id, device_id, status, subscription_id)"
                    " VALUES (now(), now(), %s, %s, 'ACTIVE', %s), (now(), now(), %s, %s, 'ACTIVE', %s)",
                    [TENANT, f"{device}1", subscription, TENANT, f"{device}2", first],
                )
                await connection.execute(
                    "DELETE FROM device_registry WHERE device_id = ANY(%s)", [[f"{device}1", f"{device}2"]]
                )

    async with trio.open_nursery() as nursery:
        nursery.start_soon(to_and_fro, "a", two.subscription_id, one.subscription_id)
        nursery.start_soon(to_and_fro, "b", one.subscription_id, two.subscription_id)
        nursery.start_soon(by_hand, "x", one.subscription_id, two.subscription_id)
        nursery.start_soon(by_hand, "y", two.subscription_id, one.subscription_id)
    check_seats(database)
    async with ingest(database) as connection:
        assert await seats_taken(connection) == [1, 1]
