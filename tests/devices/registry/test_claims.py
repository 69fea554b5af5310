"""The claim password is exchanged for a device's own credential, once."""

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio

from appliance.db.pool import Pool, open_pool
from appliance.devices.credentials import credential as credentials
from appliance.devices.credentials.credential import IssuedSecrets
from appliance.devices.device import NewDevice
from appliance.devices.registry.claims import ClaimOutcome, ClaimPending, ClaimRefused, ClaimTaken, claim
from appliance.devices.registry.provisioning import DeviceKey, Provisioner, ProvisioningRequest, ProvisioningResult
from appliance.devices.registry.refusals import TOO_LATE
from appliance.devices.seats import changes
from appliance.reading import Reason
from tests.support.clock import TrustedClock
from tests.support.postgres_server import Database
from tests.support.tenants import BY, GRACE, NOW, TENANT, add_tenant, check_seats, ingest, provisioner_of, sell

REQUEST = ProvisioningRequest(TENANT, "d1", "hall")


class NowClock(TrustedClock):
    """Stands still at NOW."""

    def now(self) -> float:
        """Seconds since 1970."""
        return NOW.timestamp()

    def monotonic(self) -> float:
        """Seconds."""
        return trio.current_time()


@asynccontextmanager
async def actions(database: Database) -> AsyncIterator[tuple[Pool, Provisioner]]:
    """Who provisions, and connections."""
    async with open_pool(database.conninfo("appliance_ingest"), name="claims", max_size=4) as pool:
        provisioner = provisioner_of(pool, clock=NowClock())
        async with trio.open_nursery() as nursery:
            await nursery.start(provisioner.run)
            yield pool, provisioner
            nursery.cancel_scope.cancel()


async def ask(database: Database, request: ProvisioningRequest = REQUEST) -> ClaimOutcome:
    async with actions(database) as (pool, provisioner):
        return await claim(pool, provisioner.provision, request, BY)


async def test_a_new_device_is_registered_and_gets_its_own_credential_once(database: Database) -> None:
    async with ingest(database) as connection:
        await add_tenant(connection)
        await sell(connection, 1)
        issued = await ask(database)
        assert isinstance(issued, IssuedSecrets)
        assert issued.username == "acme/device/d1"
        device = (await changes.select_devices(connection, TENANT, ["d1"]))["d1"]
        assert (device.status, device.site_id) == ("ACTIVE", "hall")
    assert await ask(database) == ClaimTaken()


async def test_a_device_that_is_there_without_one_gets_it_too(database: Database) -> None:
    async with ingest(database) as connection:
        await add_tenant(connection, strategy="off")
        await sell(connection, 1)
        await changes.create(connection, TENANT, NewDevice("d1"), BY, grace=GRACE)
    assert isinstance(await ask(database), IssuedSecrets)


async def test_of_a_hundred_that_ask_at_once_one_gets_it(database: Database) -> None:
    async with ingest(database) as connection:
        await add_tenant(connection)
        await sell(connection, 1)
    outcomes: list[ClaimOutcome] = []
    async with actions(database) as (pool, provisioner):

        async def ask_too() -> None:
            outcomes.append(await claim(pool, provisioner.provision, REQUEST, BY))

        async with trio.open_nursery() as nursery:
            for _ in range(100):
                nursery.start_soon(ask_too)
    assert Counter(type(outcome) for outcome in outcomes) == {IssuedSecrets: 1, ClaimTaken: 99}
    check_seats(database)


async def test_without_a_seat_or_an_approval_it_waits(database: Database) -> None:
    async with ingest(database) as connection:
        await add_tenant(connection)
        await add_tenant(connection, "slow", "approve")
        await sell(connection, 5, tenant_id="slow")
        full = await ask(database)
        assert isinstance(full, ClaimPending)
        assert full.refusal.reason is Reason.NO_SUBSCRIPTION_CAPACITY
        for _ in range(2):
            pending = await ask(database, ProvisioningRequest("slow", "d1"))
            assert isinstance(pending, ClaimPending)
            assert pending.refusal.reason is Reason.PENDING_APPROVAL
        await changes.approve(connection, "slow", "d1", BY, grace=GRACE)
        assert isinstance(await ask(database, ProvisioningRequest("slow", "d1")), IssuedSecrets)


@pytest.mark.parametrize(
    ("deed", "reason"), [("revoke", Reason.DEVICE_REVOKED), ("deactivate", Reason.DEVICE_INACTIVE)]
)
async def test_a_device_out_of_service_is_turned_away(database: Database, deed: str, reason: Reason) -> None:
    async with ingest(database) as connection:
        await add_tenant(connection)
        await sell(connection, 1)
        await changes.create(connection, TENANT, NewDevice("d1"), BY, grace=GRACE)
        await (changes.revoke if deed == "revoke" else changes.deactivate)(connection, TENANT, "d1", BY)
    turned = await ask(database)
    assert isinstance(turned, ClaimRefused)
    assert turned.refusal.reason is reason


async def test_where_devices_are_registered_by_hand_an_unknown_device_is_refused(database: Database) -> None:
    async with ingest(database) as connection:
        await add_tenant(connection, strategy="off")
        await sell(connection, 1)
    turned = await ask(database)
    assert isinstance(turned, ClaimRefused)
    assert turned.refusal.reason is Reason.UNREGISTERED_DEVICE


async def test_who_could_not_be_decided_on_in_time_asks_again(database: Database) -> None:
    async def too_late(_: object) -> dict[DeviceKey, ProvisioningResult]:
        return {REQUEST.key: TOO_LATE}

    async with actions(database) as (pool, _):
        assert await claim(pool, too_late, REQUEST, BY) == ClaimPending(TOO_LATE)


async def test_a_device_that_is_revoked_meanwhile_gets_nothing(database: Database) -> None:
    async with ingest(database) as connection:
        await add_tenant(connection)
        await sell(connection, 1)
        device = await changes.create(connection, TENANT, NewDevice("d1"), BY, grace=GRACE)

        async def decided_before(_: object) -> dict[DeviceKey, ProvisioningResult]:
            await changes.revoke(connection, TENANT, "d1", BY)
            return {REQUEST.key: device}

        async with actions(database) as (pool, _):
            assert isinstance(await claim(pool, decided_before, REQUEST, BY), ClaimRefused)
        assert await credentials.get(connection, TENANT, "d1") is None
