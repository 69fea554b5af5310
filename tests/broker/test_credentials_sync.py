"""The embedded broker follows the credentials in the database: with a real Postgres, a real Mosquitto, real devices."""

import contextlib
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing
from mqtt5 import QoS

from appliance.broker.client_ids import REPEATS
from appliance.broker.credentials_sync import MIN_RELOAD_SECONDS, CredentialsSync, read_users
from appliance.broker.log import BrokerLog
from appliance.children.data_dir import open_data_dir
from appliance.children.mosquitto import Mosquitto
from appliance.children.mosquitto_files import BrokerLimits
from appliance.clock import SystemClock
from appliance.db.pool import open_pool
from appliance.db.trio_psycopg import Connection, connect
from appliance.devices import tenants
from appliance.devices.credentials import broker_sync
from appliance.devices.credentials import credential as credentials
from appliance.devices.credentials.broker_sync import SyncStatus
from appliance.devices.credentials.credential import IssuedSecrets, Rotation
from appliance.devices.device import NewDevice
from appliance.devices.seats import changes
from appliance.devices.seats.imports import import_many
from appliance.metrics import Metrics
from appliance.mqtt.client import Client
from appliance.mqtt.errors import ConnectError, NegativeAckError
from appliance.renewals.plan import Request
from appliance.renewals.policy import RenewalPolicy
from appliance.renewals.renewal import renew
from appliance.subscriptions import store
from tests.support.busy import within
from tests.support.postgres_server import Database, ground
from tests.support.tenants import BY, GRACE, NOW, TENANT, ingest, issue_tenant, sell

SUBSCRIPTION = "tenant/+/device/+/+"
RENEWAL = RenewalPolicy(GRACE, opens_days=30, plans={})
SOON = 0.05
"""Seconds between two reloads; a second in an appliance, for which nobody here waits."""


@pytest.fixture
def folder() -> Iterator[Path]:
    """A short folder that every user can enter."""
    path = Path(tempfile.mkdtemp(prefix="edge-users-", dir=ground()))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


class Session:
    """The appliance's session, which a test can keep from coming back."""

    def __init__(self) -> None:
        self.client: Client | None = None
        self.received: list[bytes] = []

    async def run(self, mosquitto: Mosquitto, identifier: str, *, task_status: trio.TaskStatus[None]) -> None:
        """Subscribe, and take what comes, until cancelled."""
        endpoint = mosquitto.endpoint
        client = Client(
            unix_socket=str(endpoint.socket),
            username=endpoint.username,
            password=endpoint.password,
            identifier=identifier,
            session_expiry_interval=3600,
            keep_trying=True,
        )
        async with client:
            await client.subscribe(SUBSCRIPTION, max_qos=QoS.AT_LEAST_ONCE)
            self.client = client
            task_status.started()
            async for message in client.messages():
                self.received.append(message.payload)
                await client.puback(message)

    async def ready(self) -> None:
        """Return while it is connected."""
        while self.client is None:
            await trio.sleep(0.01)
        await self.client.ready()


@dataclass
class SyncSetup:
    """A broker with its users, and the database they come from."""

    database: Database
    connection: Connection[Any]
    mosquitto: Mosquitto
    users: CredentialsSync
    session: Session
    log: BrokerLog

    def device(self, issued: IssuedSecrets, password: str | None = None, client_id: str | None = None) -> Client:
        """A device that connects once."""
        devices = self.mosquitto.devices
        secret = issued.password if password is None else password
        user = issued.username
        return Client(devices.host, devices.port, identifier=client_id, username=user, password=secret, reconnect=False)

    async def add(self, device_id: str) -> IssuedSecrets:
        """A device with a credential that the broker knows."""
        async with self.connection.transaction():
            await changes.create(self.connection, TENANT, NewDevice(device_id), BY, grace=GRACE)
            issued = await self.issue(TENANT, device_id)
            change = await broker_sync.this_change(self.connection)
        assert (
            await broker_sync.wait(broker_sync.only(self.connection), change, patience=broker_sync.PATIENCE)
            is SyncStatus.APPLIED
        )
        return issued

    async def issue(self, tenant_id: str, device_id: str) -> IssuedSecrets:
        """A credential, in the transaction of the caller."""
        return await credentials.create(self.connection, tenant_id, device_id, BY)

    async def arrived(self, change: str) -> None:
        assert (
            await broker_sync.wait(broker_sync.only(self.connection), change, patience=broker_sync.PATIENCE)
            is SyncStatus.APPLIED
        )


async def accepted(client: Client) -> bool:
    """Whether the broker takes this user and password."""
    try:
        async with client:
            return True
    except ConnectError:
        return False


@contextlib.asynccontextmanager
async def open_sync(
    database: Database, folder: Path, seats_sold: int = 100, min_interval: float = SOON
) -> AsyncIterator[SyncSetup]:
    """Everything started, devices let in."""
    async with contextlib.AsyncExitStack() as stack:
        data = stack.enter_context(open_data_dir(folder / "data"))
        connection = await stack.enter_async_context(ingest(database))
        await issue_tenant(connection)
        await sell(connection, seats_sold)
        conninfo = database.conninfo("appliance_ingest")
        pool = await stack.enter_async_context(open_pool(conninfo, name="users", max_size=2))
        users = await read_users(pool)
        log = BrokerLog(SystemClock(), Metrics())
        mosquitto = Mosquitto(
            data,
            host="127.0.0.1",
            port=0,
            subscription=SUBSCRIPTION,
            users=users,
            limits=BrokerLimits(),
            clock=SystemClock(),
            on_line=log.heard,
        )
        nursery = await stack.enter_async_context(trio.open_nursery())
        await nursery.start(mosquitto.run)
        session = Session()
        await nursery.start(session.run, mosquitto, data.instance.mqtt_client_id)
        keeper = CredentialsSync(
            mosquitto,
            users,
            pool,
            partial(connect, conninfo),
            SystemClock(),
            "this",
            log.shut_out,
            debug_logging=False,
            min_interval=min_interval,
        )
        await nursery.start(keeper.run, session.ready)
        assert await mosquitto.open_devices()
        yield SyncSetup(database, connection, mosquitto, keeper, session, log)
        nursery.cancel_scope.cancel()


async def test_a_new_credential_works_when_the_command_returns(database: Database, folder: Path) -> None:
    async with open_sync(database, folder) as there:
        issued = await there.add("d1")
        assert await accepted(there.device(issued))
        assert not await accepted(there.device(issued, "wrong"))


async def test_a_revoked_device_is_out_within_two_seconds(database: Database, folder: Path) -> None:
    async with open_sync(database, folder, min_interval=MIN_RELOAD_SECONDS) as there:
        first, other = await there.add("d1"), await there.add("d2")
        async with there.device(first) as device, there.device(other) as neighbour:
            await changes.revoke(there.connection, TENANT, "d1", BY)
            with trio.fail_after(within(2)):
                await device.disconnected()
            await neighbour.publish("tenant/acme/device/d2/telemetry", b"still here", qos=QoS.AT_LEAST_ONCE)
        assert not await accepted(there.device(first))


async def test_who_steals_client_ids_is_out_within_two_seconds_and_their_owner_stays(
    database: Database, folder: Path
) -> None:
    async with open_sync(database, folder, min_interval=MIN_RELOAD_SECONDS) as there:
        owner, thief = await there.add("d1"), await there.add("d2")
        own_id = owner.username
        for _ in range(REPEATS - 1):
            async with there.device(owner, client_id=own_id) as robbed, there.device(thief, client_id=own_id):
                await robbed.disconnected()
        async with there.device(owner, client_id=own_id), there.device(thief, client_id=own_id) as stealing:
            with trio.fail_after(within(2)):
                await stealing.disconnected()
        assert [await accepted(there.device(one)) for one in (owner, thief)] == [True, False]
        assert [one.username for one in there.log.refusals.refusals("acme", "d1")] == [owner.username]
        (told,) = there.log.refusals.refusals("acme", "d2")
        assert told.shut_out
        async with there.device(owner, client_id=owner.username) as device:
            await device.publish("tenant/acme/device/d1/telemetry", b"still here", qos=QoS.AT_LEAST_ONCE)


async def test_who_was_shut_out_is_let_in_again_by_itself(database: Database, folder: Path) -> None:
    async with open_sync(database, folder) as there:
        issued = await there.add("d1")
        async with there.device(issued) as device:
            there.log.shut_out.add(issued.username, 0.5)
            with trio.fail_after(60):
                await device.disconnected()
        with trio.fail_after(60):
            while not await accepted(there.device(issued)):
                await trio.sleep(0.05)


async def test_devices_that_a_renewal_stops_are_out_within_two_seconds(database: Database, folder: Path) -> None:
    async with open_sync(database, folder, min_interval=MIN_RELOAD_SECONDS) as there:
        issued = [await there.add(name) for name in ("d1", "d2", "d3")]
        [main] = await store.list_all(there.connection)
        fewer = Request(main.subscription_id, 30, 1, devices_to_deactivate=("d1", "d3"), again=True)
        async with there.device(issued[0]) as first, there.device(issued[1]) as stays, there.device(issued[2]) as last:
            await renew(there.connection, TENANT, fewer, BY, key="k", policy=RENEWAL, trusted=True)
            with trio.fail_after(within(2)):
                await first.disconnected()
                await last.disconnected()
            await stays.publish("tenant/acme/device/d2/telemetry", b"still here", qos=QoS.AT_LEAST_ONCE)
        assert [await accepted(there.device(one)) for one in issued] == [False, True, False]


async def test_a_staged_password_takes_over_at_the_switch(database: Database, folder: Path) -> None:
    async with open_sync(database, folder) as there:
        old = await there.add("d1")
        new = await credentials.rotate(there.connection, TENANT, "d1", BY)
        async with there.device(old) as device:
            assert not await accepted(there.device(new))
            async with there.connection.transaction():
                await credentials.switch(there.connection, TENANT, "d1", BY)
                change = await broker_sync.this_change(there.connection)
            await there.arrived(change)
            with trio.fail_after(within(1)):
                await device.disconnected()
        assert await accepted(there.device(new))
        assert not await accepted(there.device(old))


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


async def test_the_claim_user_comes_and_goes(database: Database, folder: Path) -> None:
    async with open_sync(database, folder) as there:

        async def rotated() -> IssuedSecrets:
            async with there.connection.transaction():
                claim = await tenants.rotate_claim(there.connection, TENANT, BY)
                change = await broker_sync.this_change(there.connection)
            await there.arrived(change)
            return IssuedSecrets(TENANT, "", claim.claim_username, claim.claim_password, "")

        first = await rotated()
        assert await accepted(there.device(first))
        second = await rotated()
        assert [await accepted(there.device(claim)) for claim in (first, second)] == [False, True]
        async with there.connection.transaction():
            await tenants.set_claim(there.connection, TENANT, BY, enabled=False)
            change = await broker_sync.this_change(there.connection)
        await there.arrived(change)
        assert not await accepted(there.device(second))


async def test_a_user_may_publish_its_own_kinds_and_nothing_else(database: Database, folder: Path) -> None:
    kinds = ("telemetry", "heartbeat", "status")
    own = [f"tenant/acme/device/d1/{kind}" for kind in kinds]
    others = [f"tenant/acme/device/{device}/{kind}" for device in ("d2", "") for kind in kinds]
    async with open_sync(database, folder) as there:
        issued = await there.add("d1")
        async with there.connection.transaction():
            claim = await tenants.rotate_claim(there.connection, TENANT, BY)
            change = await broker_sync.this_change(there.connection)
        await there.arrived(change)
        claiming = IssuedSecrets(TENANT, "", claim.claim_username, claim.claim_password, "")
        may = {"d1": (issued, own), "claim": (claiming, others)}
        for name, (user, allowed) in may.items():
            async with there.device(user) as client:
                for topic in [*own, *others, *NOBODYS]:
                    taken = await publishes(client, topic)
                    assert taken is (topic in allowed), f"{name} publishes to {topic}"


NOBODYS = (
    "tenant/acme/device/d1/q0",
    "tenant/acme/device/d1/down/x",
    "tenant/acme/device/d1/telemetry/x",
    "tenant/acme/device/d1/device/x/telemetry",
    "tenant/acme/device/d3/q0",
    "tenant/acme/device/d3/down",
    "tenant/acme/device/d3/down/x",
    "tenant/acme/telemetry",
    "tenant/acme/status",
    "tenant/acme/x",
    "tenant/acme/device/telemetry",
    "tenant/other/device/d1/telemetry",
    "tenant/acme",
    "acme",
    "appliance/probe",
    "appliance/sweep",
    "$SYS/broker/version",
)
"""Topics that none of a tenant's users may publish to."""


async def publishes(client: Client, topic: str) -> bool:
    """Whether the broker takes a retained message."""
    try:
        await client.publish(topic, b"{}", retain=True)
    except NegativeAckError:
        return False
    return True


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
