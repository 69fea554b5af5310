"""10,000 broker users change while 500 devices are connected: how soon the broker applies it, and its effect on others.

``python -m benchmarks.credentials`` starts a whole appliance of its own and prints one JSON object; times in seconds.
"""

import contextlib
import json
import sys
from datetime import UTC, datetime
from typing import Any

import trio
from mqtt5 import QoS

from appliance import logs
from appliance.config import Log
from appliance.db.audit import Actor, ActorKind
from appliance.db.change_context import ChangeContext
from appliance.db.roles import INGEST
from appliance.db.trio_psycopg import Connection, connect
from appliance.devices.credentials import broker_sync
from appliance.devices.credentials import credential as credentials
from appliance.devices.credentials.credential import IssuedSecrets, Rotation
from appliance.devices.device import NewDevice
from appliance.devices.seats import changes, imports
from appliance.mqtt.client import Client
from appliance.subscriptions import store
from appliance.subscriptions.lifecycle import SubscriptionType
from appliance.subscriptions.store import NewSubscription
from benchmarks.appliance_process import ApplianceProcess
from benchmarks.command import servers_folder
from tests.support.tenants import GRACE, issue_tenant

TENANT = "crowd"
USERS = 10_000
CONNECTED = 500
ROUNDS = 20
BURST = 1000
ACTOR = Actor("benchmark", ActorKind.COMMAND)
PUBLISH_PAUSE = 0.01


def context() -> ChangeContext:
    """Return the context of a change by the benchmark, now."""
    return ChangeContext(ACTOR, datetime.now(UTC), datetime.now(UTC), user_id=None)


async def known(connection: Connection[Any], change: str) -> None:
    """Wait until the broker applies a change."""
    sync_status = await broker_sync.wait(broker_sync.only(connection), change, patience=30)
    if sync_status is not broker_sync.SyncStatus.APPLIED:
        raise SystemExit(f"the broker did not learn of a change: {sync_status.value}")


async def fill(connection: Connection[Any]) -> tuple[list[IssuedSecrets], float]:
    """Create the users; return them, and the seconds until the broker applied them all."""
    await issue_tenant(connection, TENANT)
    new = NewSubscription(TENANT, SubscriptionType.MAIN, USERS + ROUNDS + BURST, GRACE)
    await store.add(connection, new, context(), grace=GRACE)
    devices = [NewDevice(f"d{number:05}") for number in range(USERS)]
    await imports.import_many(connection, TENANT, devices, context(), grace=GRACE)
    began = trio.current_time()
    async with connection.transaction():
        issued = await credentials.create_many(connection, TENANT, [new.device_id for new in devices], context())
        change = await broker_sync.this_change(connection)
    await known(connection, change)
    return issued, trio.current_time() - began


async def add(connection: Connection[Any], device: str) -> str:
    """Create one device with a credential; return the change."""
    async with connection.transaction():
        await changes.create(connection, TENANT, NewDevice(device), context(), grace=GRACE)
        await credentials.create(connection, TENANT, device, context())
        return await broker_sync.this_change(connection)


async def rounds(
    connection: Connection[Any], crowd: list[Client], issued: list[IssuedSecrets]
) -> dict[str, list[float]]:
    """Create, revoke and rotate, one after the other; return the seconds until each took effect."""
    took: dict[str, list[float]] = {"created": [], "revoked": [], "rotated": []}
    for number in range(ROUNDS):
        began = trio.current_time()
        await known(connection, await add(connection, f"x{number}"))
        took["created"].append(trio.current_time() - began)
        began = trio.current_time()
        await changes.revoke(connection, TENANT, issued[2 * number].device_id, context())
        await crowd[2 * number].disconnected()
        took["revoked"].append(trio.current_time() - began)
        began = trio.current_time()
        await credentials.rotate(connection, TENANT, issued[2 * number + 1].device_id, context(), Rotation(now=True))
        await crowd[2 * number + 1].disconnected()
        took["rotated"].append(trio.current_time() - began)
    return took


async def publish(client: Client, issued: IssuedSecrets, pauses: list[float]) -> None:
    """Send all the time as a device, and record how long each acknowledgement takes."""
    while True:
        began = trio.current_time()
        await client.publish(f"tenant/{issued.username}/heartbeat", b"", qos=QoS.AT_LEAST_ONCE)
        pauses.append(trio.current_time() - began)
        await trio.sleep(PUBLISH_PAUSE)


async def measure(appliance: ApplianceProcess) -> dict[str, Any]:
    """Run the whole benchmark; return its results."""
    running = appliance.running
    if running is None:
        raise SystemExit("the appliance is not running")
    async with contextlib.AsyncExitStack() as stack:
        connection = await stack.enter_async_context(await connect(appliance.conninfo(INGEST)))
        issued, filled = await fill(connection)
        crowd = []
        for one in issued[:CONNECTED]:
            device = Client(
                running.mqtt_host, running.mqtt_port, username=one.username, password=one.password, reconnect=False
            )
            crowd.append(await stack.enter_async_context(device))
        nursery = await stack.enter_async_context(trio.open_nursery())
        pauses: list[float] = []
        nursery.start_soon(publish, crowd[-1], issued[CONNECTED - 1], pauses)
        took = await rounds(connection, crowd, issued)
        began = trio.current_time()
        change = ""
        for number in range(BURST):
            change = await add(connection, f"b{number}")
        made = trio.current_time() - began
        await known(connection, change)
        burst = trio.current_time() - began
        disturbed = sum(not client.is_connected for client in crowd) - 2 * ROUNDS
        nursery.cancel_scope.cancel()
    return {
        "users": USERS,
        "connected": CONNECTED,
        "all_known_after": round(filled, 3),
        **{f"{what}_known_after": _spread(values) for what, values in took.items()},
        f"{BURST}_created_in": round(made, 3),
        f"{BURST}_known_after": round(burst, 3),
        "others_disconnected": disturbed,
        "neighbours_pause": _spread(pauses),
    }


def _spread(values: list[float]) -> dict[str, float]:
    ordered = sorted(values)
    return {"p50": round(ordered[len(ordered) // 2], 3), "max": round(ordered[-1], 3)}


def main() -> None:
    """Run the benchmark in a temporary folder."""
    logs.configure(Log(level="warning"), sys.stderr)
    with servers_folder() as folder, ApplianceProcess(folder) as appliance:
        appliance.start()
        print(json.dumps(trio.run(measure, appliance), indent=2))


if __name__ == "__main__":
    main()
