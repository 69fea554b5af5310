"""A command knows whether the broker has its change, and waits for nobody who is not there."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest
import trio

from appliance.db.trio_psycopg import Connection
from appliance.devices import tenants
from appliance.devices.credentials import broker_sync
from appliance.devices.credentials import credential as credentials
from appliance.devices.credentials.broker_sync import SyncStatus, credential_change
from appliance.devices.credentials.credential import Rotation
from appliance.devices.device import NewDevice
from appliance.devices.seats import changes
from appliance.devices.tenants import TenantStatus
from appliance.errors import Conflict
from tests.support.busy import within
from tests.support.postgres_server import Database
from tests.support.tenants import BY, GRACE, NOW, TENANT, customer, ingest, issue_tenant, sell

KEYS = (2**62 + 12345, 77)


@asynccontextmanager
async def world(database: Database) -> AsyncIterator[Connection[Any]]:
    """Tenant ``acme`` with two devices, one of which has a credential."""
    async with ingest(database) as connection:
        await issue_tenant(connection)
        await sell(connection, 10)
        for device in ("d1", "d2"):
            await changes.create(connection, TENANT, NewDevice(device), BY, grace=GRACE)
        await credentials.create(connection, TENANT, "d1", BY)
        yield connection


async def change(connection: Connection[Any]) -> str:
    """Some change, committed."""
    async with connection.transaction():
        await tenants.rotate_claim(connection, TENANT, BY)
        return await broker_sync.this_change(connection)


@asynccontextmanager
async def transaction(connection: Connection[Any]) -> AsyncIterator[Connection[Any]]:
    """The connection in a transaction."""
    async with connection.transaction():
        yield connection


def writes(tenant: str) -> str:
    """The lines of a claim user: three kinds of message of any device, and no device named like the tenant."""
    kinds = "".join(f"topic write tenant/{tenant}/device/+/{kind}\n" for kind in ("telemetry", "heartbeat", "status"))
    return f"user {tenant}\n{kinds}topic deny tenant/{tenant}/+\n"


async def test_a_copy_holds_the_lines_of_both_files(database: Database) -> None:
    async with world(database) as connection:
        await issue_tenant(connection, "other")
        copy = await broker_sync.read(connection)
        names = [line.split(":")[0] for line in copy.passwords.splitlines()]
        assert names == ["acme/device/d1", "acme", "other"]
        assert copy.claims == writes("acme") + "topic deny tenant/acme/device/d1/#\n" + writes("other")
        assert "$7$" not in repr(copy)
        await tenants.set_claim(connection, TENANT, BY, enabled=False)
        await tenants.suspend(connection, "other", BY)
        copy = await broker_sync.read(connection)
        names = [line.split(":")[0] for line in copy.passwords.splitlines()]
        assert names == ["acme/device/d1", "other"], "a suspended tenant's messages are refused with a reason"
        assert copy.claims == writes("other")
        await changes.revoke(connection, TENANT, "d1", BY)
        copy = await broker_sync.read(connection)
        assert [line.split(":")[0] for line in copy.passwords.splitlines()] == ["other"]


async def test_an_empty_database_makes_an_empty_copy(database: Database) -> None:
    async with ingest(database) as connection:
        copy = await broker_sync.read(connection)
    assert (copy.passwords, copy.claims, copy.next_switch) == ("", "", None)


async def test_a_copy_says_when_something_is_due(database: Database) -> None:
    at = NOW + timedelta(hours=3)
    async with world(database) as connection:
        assert (await broker_sync.read(connection)).next_switch is None
        await credentials.rotate(connection, TENANT, "d1", BY, Rotation(at))
        assert (await broker_sync.read(connection)).next_switch == at


async def test_a_change_has_arrived_when_a_later_copy_has(database: Database) -> None:
    async with world(database) as connection, ingest(database) as keeper:
        await broker_sync.hold_lock(keeper, KEYS[0])
        early = await broker_sync.read(keeper)
        await broker_sync.record(keeper, "one", KEYS[0], early, now=BY.now)
        made = await change(connection)
        assert await broker_sync.wait(broker_sync.only(connection), made, patience=0.1) is SyncStatus.PENDING
        await broker_sync.record(keeper, "one", KEYS[0], await broker_sync.read(keeper), now=BY.now)
        assert (
            await broker_sync.wait(broker_sync.only(connection), made, patience=broker_sync.PATIENCE)
            is SyncStatus.APPLIED
        )


async def test_a_copy_read_before_the_commit_does_not_have_the_change(database: Database) -> None:
    async with world(database) as connection, ingest(database) as keeper:
        await broker_sync.hold_lock(keeper, KEYS[0])
        async with connection.transaction():
            await tenants.rotate_claim(connection, TENANT, BY)
            made = await broker_sync.this_change(connection)
            await broker_sync.record(keeper, "one", KEYS[0], await broker_sync.read(keeper), now=BY.now)
        assert await broker_sync.status_of(connection, made) is SyncStatus.PENDING


async def test_every_broker_that_is_served_counts(database: Database) -> None:
    async with world(database) as connection, ingest(database) as one, ingest(database) as two:
        for keeper, name, key in ((one, "one", KEYS[0]), (two, "two", KEYS[1])):
            await broker_sync.hold_lock(keeper, key)
            await broker_sync.record(keeper, name, key, await broker_sync.read(keeper), now=BY.now)
        made = await change(connection)
        await broker_sync.record(one, "one", KEYS[0], await broker_sync.read(one), now=BY.now)
        assert await broker_sync.status_of(connection, made) is SyncStatus.PENDING
        two.abandon()
        with trio.fail_after(60):
            while await broker_sync.status_of(connection, made) is not SyncStatus.APPLIED:
                await trio.sleep(0.01)


async def test_nobody_waits_for_an_appliance_that_is_down(database: Database) -> None:
    async with world(database) as connection:
        assert (
            await broker_sync.wait(
                broker_sync.only(connection), await change(connection), patience=broker_sync.PATIENCE
            )
            is SyncStatus.NO_BROKER
        )
        async with ingest(database) as keeper:
            await broker_sync.record(keeper, "one", KEYS[0], await broker_sync.read(keeper), now=BY.now)
        made = await change(connection)
        with trio.fail_after(within(4)):  # of the five for which it waits for those that are up
            assert (
                await broker_sync.wait(broker_sync.only(connection), made, patience=broker_sync.PATIENCE)
                is SyncStatus.NO_BROKER
            )


async def test_a_customer_may_ask_too(database: Database) -> None:
    async with world(database) as connection, ingest(database) as keeper:
        await broker_sync.hold_lock(keeper, KEYS[0])
        await broker_sync.record(keeper, "one", KEYS[0], await broker_sync.read(connection), now=BY.now)
        made = await change(connection)
        async with customer(database, TENANT) as own:
            assert await broker_sync.status_of(own, made) is SyncStatus.PENDING


async def test_a_credential_change_commits_and_tells_whether_the_broker_knows(database: Database) -> None:
    async with world(database) as connection, ingest(database) as keeper:
        await broker_sync.hold_lock(keeper, KEYS[0])
        await broker_sync.record(keeper, "one", KEYS[0], await broker_sync.read(keeper), now=BY.now)

        async def serve() -> None:
            while True:
                await trio.sleep(0.01)
                await broker_sync.record(keeper, "one", KEYS[0], await broker_sync.read(keeper), now=BY.now)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(serve)
            async with credential_change(transaction(connection), broker_sync.only(connection)) as change:
                await tenants.rotate_claim(change.connection, TENANT, BY)
            nursery.cancel_scope.cancel()
    assert change.sync_status is SyncStatus.APPLIED


async def test_a_change_that_spares_the_broker_is_committed_without_a_wait(database: Database) -> None:
    async with world(database) as connection, ingest(database) as keeper:
        await broker_sync.hold_lock(keeper, KEYS[0])  # served, and it will never know
        with trio.fail_after(within(2)):
            async with credential_change(transaction(connection), broker_sync.only(connection)) as change:
                await tenants.suspend(change.connection, TENANT, BY)
                change.spare_broker()
        assert change.sync_status is SyncStatus.APPLIED
        assert (await tenants.get(connection, TENANT)).status is TenantStatus.SUSPENDED


async def test_an_error_in_a_credential_change_rolls_it_back(database: Database) -> None:
    async with world(database) as connection:
        before = await broker_sync.read(connection)

        async def fail() -> None:
            async with credential_change(transaction(connection), broker_sync.only(connection)) as change:
                await tenants.rotate_claim(change.connection, TENANT, BY)
                raise Conflict("no")

        with pytest.raises(Conflict):
            await fail()
        assert (await broker_sync.read(connection)).passwords == before.passwords
