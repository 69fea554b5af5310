"""A Mosquitto whose users follow a database, with the session of an appliance, and devices to connect."""

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import trio
import trio.testing
from mqtt5 import QoS

from appliance.broker.clients import SUBSCRIPTION
from appliance.broker.credentials_sync import CredentialsSync, read_users
from appliance.broker.log import BrokerLog
from appliance.children.data_dir import open_data_dir
from appliance.children.mosquitto import Mosquitto
from appliance.clock import SystemClock
from appliance.db.pool import open_pool
from appliance.db.trio_psycopg import Connection, connect
from appliance.devices.credentials import broker_sync
from appliance.devices.credentials import credential as credentials
from appliance.devices.credentials.broker_sync import SyncStatus
from appliance.devices.credentials.credential import IssuedSecrets
from appliance.devices.device import NewDevice
from appliance.devices.seats import changes
from appliance.metrics import Metrics
from appliance.mqtt.client import Client
from appliance.mqtt.errors import ConnectError
from tests.support.embedded_broker import broker, own_session
from tests.support.postgres_server import Database
from tests.support.tenants import BY, GRACE, TENANT, ingest, issue_tenant, sell

SOON = 0.05
"""Seconds between two reloads; a second in an appliance, for which nobody here waits."""


class Session:
    """The appliance's session, which a test can keep from coming back."""

    def __init__(self) -> None:
        self.client: Client | None = None
        self.received: list[bytes] = []

    async def run(self, mosquitto: Mosquitto, identifier: str, *, task_status: trio.TaskStatus[None]) -> None:
        """Subscribe, and take what comes, until cancelled."""
        async with own_session(mosquitto, identifier) as client:
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
        mosquitto = broker(data, users=users, on_line=log.heard)
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
