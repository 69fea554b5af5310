"""The embedded broker follows the credentials in the database: with a real Postgres, a real Mosquitto, real devices."""

import contextlib
import os
import signal
import sys
from datetime import timedelta
from pathlib import Path

import pytest
import trio
import trio.testing
from mqtt5 import QoS

from appliance.broker.credentials_sync import MIN_RELOAD_SECONDS
from appliance.clock import SystemClock
from appliance.db.trio_psycopg import connect
from appliance.devices import tenants
from appliance.devices.credentials import broker_sync
from appliance.devices.credentials import credential as credentials
from appliance.devices.credentials.broker_sync import SyncStatus
from appliance.devices.credentials.credential import IssuedSecrets, Rotation
from appliance.devices.device import NewDevice
from appliance.devices.seats import changes
from appliance.devices.seats.imports import import_many
from appliance.mqtt.client import Client
from tests.support.busy import within
from tests.support.postgres_server import Database
from tests.support.synced_broker import accepted, open_sync
from tests.support.tenants import BY, GRACE, NOW, TENANT, ingest


async def test_a_switch_that_is_due_happens_by_itself(database: Database, folder: Path) -> None:
    async with open_sync(database, folder) as there:
        old = await there.add("d1")
        wall = SystemClock().now()
        at = NOW + timedelta(seconds=wall - NOW.timestamp() + 1)  # beyond the pass that the rotation itself causes
        await credentials.rotate(there.connection, TENANT, "d1", BY, Rotation(at))
        async with there.device(old) as device:
            with trio.fail_after(60):
                await device.disconnected()
        assert SystemClock().now() >= at.timestamp()


async def test_many_changes_make_few_reloads(database: Database, folder: Path) -> None:
    async with open_sync(database, folder, seats_sold=300, min_interval=MIN_RELOAD_SECONDS) as there:
        began = trio.current_time()
        last = ""
        for number in range(200):
            async with there.connection.transaction():
                await changes.create(there.connection, TENANT, NewDevice(f"d{number}"), BY, grace=GRACE)
                await credentials.create(there.connection, TENANT, f"d{number}", BY)
                last = await broker_sync.this_change(there.connection)
        await there.arrived(last)
        assert there.mosquitto.reloads <= trio.current_time() - began + 2


async def test_nothing_is_reloaded_while_the_session_is_away(database: Database, folder: Path) -> None:
    """A reload then would have the broker acknowledge and drop what devices send (P1)."""
    async with open_sync(database, folder) as there:
        issued = await there.add("d1")
        client, there.session.client = there.session.client, None
        before, passwords = there.mosquitto.reloads, folder / "data" / "mosquitto" / "passwd"
        text = passwords.read_text()
        await tenants.rotate_claim(there.connection, TENANT, BY)
        with trio.fail_after(60):
            while passwords.read_text() == text:
                await trio.sleep(0.01)
        async with there.device(issued) as device:
            await device.publish("tenant/acme/device/d1/telemetry", b"kept", qos=QoS.AT_LEAST_ONCE)
        assert there.mosquitto.reloads == before
        there.session.client = client
        with trio.fail_after(60):
            while there.mosquitto.reloads == before or b"kept" not in there.session.received:
                await trio.sleep(0.01)


async def test_after_the_broker_died_its_successor_knows_every_change(database: Database, folder: Path) -> None:
    async with open_sync(database, folder) as there:
        pid = there.mosquitto.status.pid
        assert pid is not None
        async with there.connection.transaction():
            await changes.create(there.connection, TENANT, NewDevice("d1"), BY, grace=GRACE)
            issued = await credentials.create(there.connection, TENANT, "d1", BY)
            change = await broker_sync.this_change(there.connection)
            os.kill(pid, signal.SIGKILL)
        assert await broker_sync.wait(broker_sync.only(there.connection), change, patience=10) is SyncStatus.APPLIED
        with trio.fail_after(60):
            await there.session.ready()
            while not await there.mosquitto.open_devices():
                await trio.sleep(0.05)
        assert await accepted(there.device(issued))


async def test_changes_of_a_time_without_a_connection_are_caught_up(database: Database, folder: Path) -> None:
    async with open_sync(database, folder) as there:
        end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND datname = %s"
        async with await connect(database.conninfo()) as superuser, ingest(database) as changer:
            pid = changer.info.backend_pid
            await superuser.execute(f"{end} AND pid <> {pid}".encode(), [database.name])
            async with changer.transaction():
                await changes.create(changer, TENANT, NewDevice("d1"), BY, grace=GRACE)
                issued = await credentials.create(changer, TENANT, "d1", BY)
            with trio.fail_after(60):
                while not await accepted(there.device(issued)):
                    await trio.sleep(0.05)


async def test_debug_logging_is_turned_on_when_asked(database: Database, folder: Path) -> None:
    async with open_sync(database, folder) as there:
        config = folder / "data" / "mosquitto" / "mosquitto.conf"
        before = there.mosquitto.reloads
        for wanted in (True, False):
            there.users.request_debug_logging(wanted)
            with trio.fail_after(60):
                while there.mosquitto.reloads == before:
                    await trio.sleep(0.01)
            before = there.mosquitto.reloads
            assert ("log_type debug" in config.read_text()) is wanted


async def test_ten_thousand_users_change_and_hundreds_connected_hardly_notice(
    database: Database, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    users, connected, rounds = 10_000, 200, 3
    async with open_sync(database, folder, seats_sold=users + rounds, min_interval=MIN_RELOAD_SECONDS) as there:
        new = [NewDevice(f"d{number:05}") for number in range(users)]
        await import_many(there.connection, TENANT, new, BY, grace=GRACE)
        async with there.connection.transaction():
            issued = await credentials.create_many(there.connection, TENANT, [one.device_id for one in new], BY)
            change = await broker_sync.this_change(there.connection)
        await there.arrived(change)
        async with contextlib.AsyncExitStack() as stack:
            crowd = [await stack.enter_async_context(there.device(one)) for one in issued[:connected]]
            nursery = await stack.enter_async_context(trio.open_nursery())
            pauses: list[float] = []
            loop: list[float] = []
            nursery.start_soon(publish_for_ever, crowd[-1], issued[connected - 1], pauses)
            nursery.start_soon(watch_loop, loop)
            gone, known = [], []
            for number in range(rounds):
                began = trio.current_time()
                await there.add(f"x{number}")
                known.append(trio.current_time() - began)
                began = trio.current_time()
                await changes.revoke(there.connection, TENANT, issued[number].device_id, BY)
                await crowd[number].disconnected()
                gone.append(trio.current_time() - began)
                await credentials.rotate(there.connection, TENANT, issued[rounds].device_id, BY, Rotation(now=True))
            await crowd[rounds].disconnected()
            assert [client.is_connected for client in crowd] == [False] * (rounds + 1) + [True] * (
                connected - rounds - 1
            )
            nursery.cancel_scope.cancel()
    with capsys.disabled():
        sys.stdout.write(
            f"\n{users:,} users, {connected} connected: new one known after {max(known):.2f} s, revoked one gone after"
            f" {max(gone):.2f} s, longest pause of a neighbour {max(pauses):.3f} s, of our loop {max(loop):.3f} s\n"
        )
    assert max(gone) < within(2)
    assert max(pauses) < within(1)


async def publish_for_ever(client: Client, issued: IssuedSecrets, pauses: list[float]) -> None:
    """Publish, and note how long each acknowledgement takes."""
    while True:
        began = trio.current_time()
        await client.publish(f"tenant/{issued.username}/telemetry", b"{}", qos=QoS.AT_LEAST_ONCE)
        pauses.append(trio.current_time() - began)
        await trio.sleep(0.01)


async def watch_loop(pauses: list[float]) -> None:
    """Note how late a short sleep ends."""
    while True:
        began = trio.current_time()
        await trio.sleep(0.005)
        pauses.append(trio.current_time() - began - 0.005)
