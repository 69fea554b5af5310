"""Who is let in at the embedded broker and who is shut out: real devices, by the credentials in a real Postgres."""

from pathlib import Path

import trio
import trio.testing
from mqtt5 import QoS

from appliance.broker.client_ids import REPEATS
from appliance.broker.credentials_sync import MIN_RELOAD_SECONDS
from appliance.devices import tenants
from appliance.devices.credentials import broker_sync
from appliance.devices.credentials import credential as credentials
from appliance.devices.credentials.credential import IssuedSecrets
from appliance.devices.seats import changes
from appliance.mqtt.client import Client
from appliance.mqtt.errors import NegativeAckError
from appliance.renewals.plan import Request
from appliance.renewals.policy import RenewalPolicy
from appliance.renewals.renewal import renew
from appliance.subscriptions import store
from tests.support.busy import within
from tests.support.postgres_server import Database
from tests.support.synced_broker import accepted, open_sync
from tests.support.tenants import BY, GRACE, TENANT

RENEWAL = RenewalPolicy(GRACE, opens_days=30, plans={})


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
