"""New devices: who is made, who is refused, and that neither crowd nor company changes the sum."""

from collections import Counter
from datetime import timedelta
from typing import Any

import psycopg
import pytest
import trio

from appliance.db.pool import open_pool
from appliance.db.trio_psycopg import Connection, connect
from appliance.devices.device import Device, DeviceStatus, NewDevice
from appliance.devices.registry import provisioning
from appliance.devices.registry.provisioning import ProvisioningRequest, ProvisioningTenant
from appliance.devices.registry.refusals import REFUSED_STATUSES, TOO_LATE
from appliance.devices.seats import changes as seats
from appliance.devices.seats.allocator import SeatAllocator
from appliance.reading import HELD_REASONS, Reason, Refusal
from appliance.subscriptions import rows as subscription_rows
from appliance.subscriptions.lifecycle import SubscriptionType
from tests.support.busy import within
from tests.support.contenders import contend
from tests.support.postgres_server import Database
from tests.support.tenants import (
    BY,
    GRACE,
    INGEST,
    NOW,
    TENANT,
    add_tenant,
    announce,
    check_seats,
    ingest,
    provisioner_of,
    registered,
    rows,
    seats_taken,
    sell,
)


def announce_at_once(database: Database, callers: int, devices: list[str]) -> Counter[str]:
    """``callers`` in each of two processes announce ``devices``; what became of all the first messages."""
    return contend("tests.devices.registry.contender", database.conninfo(INGEST), str(callers), ",".join(devices))


async def test_a_hundred_first_messages_of_one_device_in_two_processes_take_one_seat(database: Database) -> None:
    async with ingest(database) as connection:
        await add_tenant(connection)
        sold = await sell(connection, 10)
        answers = announce_at_once(database, 50, ["new"])
        assert answers == {sold.subscription_id: 100}
        assert await rows(connection, "SELECT device_id, status FROM device_registry") == [("new", "ACTIVE")]
        assert await seats_taken(connection) == [1]
        assert len(await rows(connection, "SELECT 1 FROM audit_log WHERE object_id = 'new'")) == 1
    check_seats(database)


async def test_fifty_new_devices_on_twenty_free_seats_take_twenty(database: Database) -> None:
    """Two subscriptions: whoever decides on a count that was read before the lock picks the one that is full by now."""
    async with ingest(database) as connection:
        await add_tenant(connection)
        main = await sell(connection, 10)
        addon = await sell(connection, 10, SubscriptionType.ADDON)
        devices = [f"d{number}" for number in range(50)]
        answers = announce_at_once(database, 2, devices)
        assert answers == {
            main.subscription_id: 10 * 4,
            addon.subscription_id: 10 * 4,
            Reason.NO_SUBSCRIPTION_CAPACITY.value: 30 * 4,
        }
        assert await rows(connection, "SELECT count(*) FROM device_registry") == [(20,)]
        assert await seats_taken(connection) == [10, 10]
    check_seats(database)


async def test_each_strategy_has_its_verdict_and_what_is_there_keeps_its_own(database: Database) -> None:
    async with ingest(database) as connection:
        for strategy in ("auto", "approve", "off"):
            await add_tenant(connection, strategy, strategy)
            await sell(connection, 1, tenant_id=strategy)
        await add_tenant(connection, "gone")
        await connection.execute("UPDATE tenants SET status = 'SUSPENDED' WHERE tenant_id = 'gone'")
        requests = [
            ProvisioningRequest(tenant, device)
            for tenant in ("off", "nobody", "gone", "auto", "approve")
            for device in "ba"
        ]
        for _ in range(2):
            verdicts = await provisioning.provision_once(connection, requests, now=NOW, settled=NOW, grace=GRACE)
            assert isinstance(verdicts["auto", "a"], Device)
            reasons = {key: verdict.reason for key, verdict in verdicts.items() if isinstance(verdict, Refusal)}
            assert reasons == {
                ("auto", "b"): Reason.NO_SUBSCRIPTION_CAPACITY,
                **{("approve", device): Reason.PENDING_APPROVAL for device in "ab"},
                **{("off", device): Reason.UNREGISTERED_DEVICE for device in "ab"},
                **{("nobody", device): Reason.UNKNOWN_TENANT for device in "ab"},
                **{("gone", device): Reason.TENANT_SUSPENDED for device in "ab"},
            }
        assert await seats_taken(connection, "approve") == [0]
        await seats.approve(connection, "approve", "b", BY, grace=GRACE)
        assert registered((await announce(connection, "a", "b", tenant_id="approve")).values())[0].device_id == "b"
        await seats.reject(connection, "approve", "a", BY)
        rejected = (await announce(connection, "a", tenant_id="approve"))["a"]
        assert isinstance(rejected, Refusal)
        assert rejected.reason is Reason.DEVICE_REVOKED
    check_seats(database)


async def test_a_known_device_keeps_its_seat_when_the_subscription_is_full(database: Database) -> None:
    async with ingest(database) as connection:
        await add_tenant(connection)
        await sell(connection, 1)
        await announce(connection, "known")
        verdicts = await announce(connection, "known", "late")
        assert [device.device_id for device in registered(verdicts.values())] == ["known"]
        assert await seats_taken(connection) == [1]


async def test_a_new_device_stands_at_the_site_it_names(database: Database) -> None:
    async with ingest(database) as connection:
        await add_tenant(connection)
        await sell(connection, 5)
        requests = [
            ProvisioningRequest(TENANT, "a", "cellar"),
            ProvisioningRequest(TENANT, "b", "cellar"),
            ProvisioningRequest(TENANT, "c"),
        ]
        await provisioning.provision_once(connection, requests, now=NOW, settled=NOW, grace=GRACE)
        placed = await rows(connection, "SELECT device_id, site_id FROM device_registry ORDER BY 1")
        assert placed == [("a", "cellar"), ("b", "cellar"), ("c", None)]
        assert await rows(connection, "SELECT tenant_id, site_id FROM sites") == [(TENANT, "cellar")]


def test_only_so_many_devices_wait_for_a_person() -> None:
    tenants = {"t": ProvisioningTenant("t", "ACTIVE", "approve", provisioning.MAX_PENDING - 1)}
    new_devices, refused = provisioning.seat_new_devices(
        [ProvisioningRequest("t", "a"), ProvisioningRequest("t", "b")], tenants, {}
    )
    assert [(new_device.request.device_id, new_device.status) for new_device in new_devices] == [
        ("a", DeviceStatus.PENDING)
    ]
    assert {verdict.reason for verdict in refused.values() if isinstance(verdict, Refusal)} == {
        Reason.UNREGISTERED_DEVICE
    }


def test_a_tenant_without_subscriptions_has_no_seat_to_give() -> None:
    tenants = {"t": ProvisioningTenant("t", "ACTIVE", "auto", 0)}
    new_devices, refused = provisioning.seat_new_devices(
        [ProvisioningRequest("t", "a")], tenants, {"t": SeatAllocator([], NOW, grace=GRACE)}
    )
    assert new_devices == []
    assert list(refused.values()) == [Refusal(Reason.NO_SUBSCRIPTION_CAPACITY, "The tenant has no subscription.")]


def test_whoever_may_come_back_is_held() -> None:
    """What an approval, a reactivation or a seat can mend is kept for replay."""
    assert TOO_LATE.reason in HELD_REASONS
    held = {status for status, refusal in REFUSED_STATUSES.items() if refusal.reason in HELD_REASONS}
    assert held == {DeviceStatus.PENDING, DeviceStatus.INACTIVE}


async def test_the_provisioner_serves_many_callers_and_more_than_one_transaction_takes(
    database: Database,
) -> None:
    async with ingest(database) as connection:
        await add_tenant(connection)
        await add_tenant(connection, "other")
        await sell(connection, 700)
        await sell(connection, 5, tenant_id="other")
    async with open_pool(database.conninfo(INGEST), name="ingest", max_size=4) as pool, trio.open_nursery() as nursery:
        provisioner = provisioner_of(pool)
        await nursery.start(provisioner.run)
        found: list[dict[tuple[str, str], provisioning.ProvisioningResult]] = []

        async def caller(requests: list[ProvisioningRequest]) -> None:
            found.append(await provisioner.provision(requests))

        async with trio.open_nursery() as callers:
            for start in (0, 100, 200):
                ours = [ProvisioningRequest(TENANT, f"d{number}") for number in range(start, start + 500)]
                callers.start_soon(caller, ours + [ProvisioningRequest("other", f"d{number}") for number in range(10)])
        nursery.cancel_scope.cancel()
    assert all(len(registered(verdicts.values())) == 505 for verdicts in found)
    check_seats(database)


async def test_a_seat_taken_by_a_person_in_the_same_moment_is_seen(database: Database) -> None:
    """The person holds the subscriptions; the new device waits for them and then finds the device there."""
    async with ingest(database) as person, ingest(database) as observer:
        await add_tenant(person)
        await sell(person, 1)
        async with trio.open_nursery() as nursery, person.transaction():
            await seats.create(person, TENANT, NewDevice("same", site_id="hall"), BY, grace=GRACE)
            verdicts: dict[str, provisioning.ProvisioningResult] = {}

            async def new_device() -> None:
                async with ingest(database) as connection:
                    verdicts.update(await announce(connection, "same"))

            nursery.start_soon(new_device)
            await _until_somebody_waits(observer)
        assert [device.site_id for device in registered(verdicts.values())] == ["hall"]
        assert await seats_taken(person) == [1]


async def _until_somebody_waits(connection: Connection[Any], *, waits: bool = True) -> None:
    waiting = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    with trio.fail_after(60):
        while bool(await rows(connection, waiting)) is not waits:
            await trio.lowlevel.checkpoint()


async def test_locked_subscription_rows_only_delay_a_new_device(database: Database) -> None:
    async with ingest(database) as connection:
        await add_tenant(connection)
        await sell(connection, 5)
        verdicts: dict[tuple[str, str], provisioning.ProvisioningResult] = {}
        async with (
            open_pool(database.conninfo(INGEST), name="ingest", max_size=2) as pool,
            ingest(database) as importer,
            trio.open_nursery() as nursery,
        ):
            provisioner = provisioner_of(pool, max_wait=30)
            await nursery.start(provisioner.run)

            async def new_device() -> None:
                verdicts.update(await provisioner.provision([ProvisioningRequest(TENANT, "a")]))
                nursery.cancel_scope.cancel()

            async with importer.transaction():
                await subscription_rows.lock(importer, [TENANT])
                nursery.start_soon(new_device)
                await _until_somebody_waits(connection)
                await _until_somebody_waits(connection, waits=False)  # put off
                await _until_somebody_waits(connection)
    assert len(registered(verdicts.values())) == 1


async def test_what_the_database_refuses_costs_one_device(database: Database) -> None:
    async with ingest(database) as connection:
        await add_tenant(connection)
        await sell(connection, 50)
    async with open_pool(database.conninfo(INGEST), name="ingest", max_size=2) as pool, trio.open_nursery() as nursery:
        provisioner = provisioner_of(pool)
        await nursery.start(provisioner.run)
        verdicts = await provisioner.provision(
            [ProvisioningRequest(TENANT, name) for name in ("a", "b", "not an id", "c", "d")]
        )
        nursery.cancel_scope.cancel()
    assert [device.device_id for device in registered(verdicts.values())] == ["a", "b", "c", "d"]
    refusal = verdicts[TENANT, "not an id"]
    assert isinstance(refusal, Refusal)
    assert refusal.reason is Reason.STORE_REFUSED
    check_seats(database)


async def test_rows_held_by_a_hand_on_psql_delay_nobody_beyond_the_deadline(database: Database) -> None:
    async with ingest(database) as connection:
        for tenant in (TENANT, "other"):
            await add_tenant(connection, tenant)
            await sell(connection, 5, tenant_id=tenant)
    async with (
        open_pool(database.conninfo(INGEST), name="ingest", max_size=4) as pool,
        await connect(database.conninfo()) as hand,
        trio.open_nursery() as nursery,
    ):
        provisioner = provisioner_of(pool, max_wait=2.5)
        await nursery.start(provisioner.run)
        async with hand.transaction():
            await hand.execute("SELECT 1 FROM subscriptions WHERE tenant_id = %s FOR UPDATE", [TENANT])
            started = trio.current_time()
            verdicts = await provisioner.provision(
                [ProvisioningRequest(TENANT, "a"), ProvisioningRequest("other", "a")]
            )
            assert trio.current_time() - started < within(4)
            assert verdicts[TENANT, "a"] == TOO_LATE
            assert isinstance(verdicts["other", "a"], Device)
        assert registered((await provisioner.provision([ProvisioningRequest(TENANT, "a")])).values())
        nursery.cancel_scope.cancel()


async def test_without_a_database_the_caller_hears_so_in_time(database: Database) -> None:
    async with (
        open_pool(database.conninfo(INGEST), name="ingest", min_size=0, max_size=1) as pool,
        trio.open_nursery() as nursery,
    ):
        provisioner = provisioner_of(pool, max_wait=2.5)  # half a second between its own patience and the caller's
        await nursery.start(provisioner.run)
        async with pool.connection():  # the only one there may be
            with pytest.raises(psycopg.OperationalError), trio.fail_after(60):
                await provisioner.provision([ProvisioningRequest(TENANT, "a")])
        nursery.cancel_scope.cancel()


async def test_nobody_answers_and_the_caller_goes_on(database: Database) -> None:
    async with open_pool(database.conninfo(INGEST), name="ingest", min_size=0, max_size=1) as pool:
        verdicts = await provisioner_of(pool, max_wait=0.05).provision([ProvisioningRequest(TENANT, "a")])
    assert verdicts == {(TENANT, "a"): TOO_LATE}


async def test_provisioning_waits_for_a_subscription_that_works(database: Database) -> None:
    async with ingest(database) as connection:
        await add_tenant(connection)
        await sell(connection, 5, term=timedelta(days=1))
        late = NOW + timedelta(days=15, seconds=1)
        verdicts = await provisioning.provision_once(
            connection, [ProvisioningRequest(TENANT, "a")], now=late, settled=late, grace=GRACE
        )
        refusal = verdicts[TENANT, "a"]
        assert isinstance(refusal, Refusal)
        assert refusal.reason is Reason.NO_SUBSCRIPTION_CAPACITY
        in_grace = NOW + timedelta(days=15, seconds=-1)
        assert registered(
            (
                await provisioning.provision_once(
                    connection, [ProvisioningRequest(TENANT, "a")], now=in_grace, settled=in_grace, grace=GRACE
                )
            ).values()
        )
