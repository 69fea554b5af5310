"""The registry cache against a real database: right, bounded, and never wrong for long (P23)."""

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import partial
from hashlib import sha256

import psycopg
import trio

from appliance.broker.accounts import hash_password
from appliance.clock import Clock, SystemClock
from appliance.db.changes import Changes
from appliance.db.pool import Pool, open_pool
from appliance.db.roles import INGEST
from appliance.db.trio_psycopg import connect
from appliance.devices.live.state_book import StateBook
from appliance.devices.registry.cache import REGISTRY_CHANNEL, AdmissionStatus, Registry
from appliance.devices.registry.provisioning import DeviceKey, ProvisioningRequest, ProvisioningResult
from appliance.reading import Reason
from tests.support.clock import DoubtfulClock
from tests.support.postgres_server import Database
from tests.support.tenants import provisioner_of

GRACE = timedelta(days=14)
DEVICE = ("acme", "d1")
HASH = hash_password("a password of the broker")


class Forgetful(Registry):
    """Counts what is asked of the database."""

    asked = 0

    async def resolve(self, wanted: dict[DeviceKey, str | None]) -> dict[DeviceKey, AdmissionStatus]:  # type: ignore[override]
        self.asked += 1
        return await super().resolve(wanted)


@asynccontextmanager
async def open_registry(
    database: Database, *, capacity: int = 1000, clock: Clock | None = None
) -> AsyncIterator[Forgetful]:
    """A registry that follows the database, with a real provisioner."""
    clock = clock or SystemClock()
    conninfo = database.endpoint.conninfo(INGEST)
    async with open_pool(conninfo, name="test", max_size=4) as pool, trio.open_nursery() as nursery:
        provisioner = provisioner_of(pool, clock=clock)
        await nursery.start(provisioner.run)
        registry = Forgetful(
            pool, StateBook(capacity), provisioner, clock, capacity=capacity, refusal_ttl=5, grace=GRACE
        )
        changes = Changes(partial(connect, conninfo), [REGISTRY_CHANNEL])
        changes.subscribe(REGISTRY_CHANNEL, registry.changed, registry.forget)
        await nursery.start(changes.run)
        yield registry
        nursery.cancel_scope.cancel()


def execute(database: Database, *statements: str) -> None:
    with psycopg.connect(database.conninfo(), autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement.encode())


def furnish(database: Database, seats: int = 3) -> None:
    execute(
        database,
        "INSERT INTO tenants (created_at, updated_at, tenant_id) VALUES (now(), now(), 'acme')",
        "INSERT INTO subscriptions"
        " (created_at, subscription_id, tenant_id, subscription_type, device_limit, term_start, term_end, status)"
        f""
        f" VALUES (now(), 'SUB-' || nextval('subscription_numbers'), 'acme', 'MAIN', {seats},"
        " now() - interval '1 day', now() + interval '30 days', 'ACTIVE')",
    )


async def status(registry: Registry, key: DeviceKey = DEVICE, site: str | None = None) -> AdmissionStatus:
    found = registry.get(key, SystemClock().now())
    return found if found is not None else (await registry.resolve({key: site}))[key]


async def reason(registry: Registry, key: DeviceKey = DEVICE) -> Reason | None:
    refusal = (await status(registry, key)).refusal
    return None if refusal is None else refusal.reason


async def becomes(registry: Registry, expected: Reason | None, key: DeviceKey = DEVICE) -> None:
    """The promise is a second; the deadline only bounds a test that fails."""
    with trio.fail_after(60):
        while await reason(registry, key) is not expected:
            await trio.sleep(0.01)


async def test_a_new_device_is_provisioned_once_and_then_answered_from_memory(database: Database) -> None:
    furnish(database)
    async with open_registry(database) as registry:
        assert await reason(registry) is None
        with trio.fail_after(60):  # its own insert is told, and forgets it once more
            while registry.get(DEVICE, SystemClock().now()) is None:
                await status(registry)
                await trio.sleep(0.05)
        asked = registry.asked
        for _ in range(100):
            assert await reason(registry) is None
        assert registry.asked == asked


async def test_every_change_by_a_hand_on_psql_takes_effect(database: Database) -> None:
    furnish(database)
    async with open_registry(database) as registry:
        assert await reason(registry) is None
        execute(database, "UPDATE subscriptions SET hold_reason = 'unpaid'")
        await becomes(registry, Reason.SUBSCRIPTION_SUSPENDED)
        execute(database, "UPDATE subscriptions SET hold_reason = NULL")
        await becomes(registry, None)
        execute(database, "UPDATE tenants SET status = 'SUSPENDED' WHERE tenant_id <> 'appliance'")
        await becomes(registry, Reason.TENANT_SUSPENDED)
        execute(database, "UPDATE tenants SET status = 'ACTIVE' WHERE tenant_id <> 'appliance'")
        await becomes(registry, None)
        execute(database, "UPDATE device_registry SET status = 'INACTIVE', subscription_id = NULL")
        await becomes(registry, Reason.DEVICE_INACTIVE)
        execute(database, "UPDATE device_registry SET status = 'DECOMMISSIONED'")
        await becomes(registry, Reason.DEVICE_DECOMMISSIONED)
        execute(database, "UPDATE device_registry SET status = 'REVOKED'")
        await becomes(registry, Reason.DEVICE_REVOKED)
        execute(
            database,
            "UPDATE device_registry AS d SET status = 'ACTIVE', subscription_id = s.subscription_id"
            " FROM subscriptions AS s WHERE s.tenant_id = d.tenant_id",
        )
        await becomes(registry, None)


async def test_a_lapsed_term_is_refused_at_its_instant_without_a_notification(database: Database) -> None:
    furnish(database)
    execute(
        database,
        "UPDATE subscriptions SET subscription_type = 'TEMPORARY', term_end = clock_timestamp() + interval '1 second'",
    )
    async with open_registry(database) as registry:
        assert await reason(registry) is None
        await becomes(registry, Reason.SUBSCRIPTION_EXPIRED)


async def test_in_doubt_no_term_ends_and_no_old_token(database: Database) -> None:
    furnish(database)
    now = SystemClock().now()
    async with open_registry(database) as registry:
        await reason(registry)
    execute(
        database,
        "UPDATE subscriptions SET subscription_type = 'TEMPORARY', term_end = clock_timestamp() + interval '1 minute'",
        "INSERT INTO device_credentials (created_at, tenant_id, device_id, mqtt_hash, token_hash, previous_token_hash,"
        " previous_token_until) VALUES (now(), 'acme', 'd1', 'x', sha256('new'), sha256('old'),"
        " now() + interval '1 minute')",
    )
    doubtful = DoubtfulClock(now, now + 10 * 365 * 86_400)
    async with open_registry(database, clock=doubtful) as registry:
        for doubtful.at in (now, now + 3600, now + 400 * 86_400):
            device = (await registry.resolve({DEVICE: None}))[DEVICE]
            assert device.refusal is None
            assert device.accepts_token("old", doubtful.at)
            assert registry.get(DEVICE, doubtful.at) is device, "and it is answered from memory"
        doubtful.trusted = True
        registry.forget()
        device = (await registry.resolve({DEVICE: None}))[DEVICE]
        assert device.refusal is not None
        assert device.refusal.reason is Reason.SUBSCRIPTION_EXPIRED
        assert not device.accepts_token("old", doubtful.at)


async def test_a_full_subscription_refuses_new_devices_and_keeps_those_it_has(database: Database) -> None:
    furnish(database, seats=1)
    async with open_registry(database) as registry:
        assert await reason(registry) is None
        other = ("acme", "d2")
        assert await reason(registry, other) is Reason.NO_SUBSCRIPTION_CAPACITY
        assert await reason(registry) is None
        registry.forget()
        assert await reason(registry) is None, "nor when it is read anew (P9)"
        execute(database, "UPDATE subscriptions SET device_limit = 2")
        await becomes(registry, None, other)


async def test_a_flood_of_one_refused_device_costs_one_query(database: Database) -> None:
    furnish(database)
    execute(database, "UPDATE tenants SET provisioning = 'off' WHERE tenant_id <> 'appliance'")
    async with open_registry(database) as registry:
        for _ in range(100):
            assert await reason(registry) is Reason.UNREGISTERED_DEVICE
        assert registry.asked == 1


async def test_an_unknown_tenant_is_known_as_such_and_found_once_it_is_there(database: Database) -> None:
    async with open_registry(database) as registry:
        assert await reason(registry) is Reason.UNKNOWN_TENANT
        tenant = registry.tenant("acme")
        assert tenant is not None
        assert not tenant.known
        furnish(database)
        await becomes(registry, None)


async def test_the_appliances_own_tenant_is_unknown_to_devices(database: Database) -> None:
    key = ("appliance", "d1")
    async with open_registry(database) as registry:
        refusal = (await registry.resolve({key: None}))[key].refusal
        assert refusal is not None
        assert refusal.reason is Reason.UNKNOWN_TENANT
        tenant = registry.tenant("appliance")
        assert tenant is not None
        assert not tenant.known
        assert not await registry.authentic_claim("appliance", "")


async def test_a_device_without_a_site_takes_the_first_it_names(database: Database) -> None:
    furnish(database)
    async with open_registry(database) as registry:
        assert (await status(registry)).site_id is None
        assert (await registry.resolve({DEVICE: "north"}))[DEVICE].site_id == "north"
        assert (await registry.resolve({DEVICE: "south"}))[DEVICE].site_id == "north"


async def test_after_a_lost_listen_connection_everything_is_read_anew(database: Database) -> None:
    furnish(database)
    async with open_registry(database) as registry:
        assert await reason(registry) is None
        with psycopg.connect(database.conninfo(), autocommit=True) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND query LIKE 'LISTEN%'"
            )
            connection.execute("UPDATE tenants SET status = 'SUSPENDED' WHERE tenant_id <> 'appliance'")
        await becomes(registry, Reason.TENANT_SUSPENDED)


async def test_a_status_read_while_something_changed_is_not_believed_for_long(database: Database) -> None:
    furnish(database)

    class Meddling:
        """Decides as the real one, and something else changes meanwhile."""

        def __init__(self, pool: Pool) -> None:
            self.real = provisioner_of(pool)

        async def provision(self, requests: Iterable[ProvisioningRequest]) -> dict[DeviceKey, ProvisioningResult]:
            verdicts = await self.real.provision(requests)
            registry.changed('{"devices": [["acme", "other"]]}')
            return verdicts

    clock = SystemClock()
    async with (
        open_pool(database.endpoint.conninfo(INGEST), name="test", max_size=3) as pool,
        trio.open_nursery() as nursery,
    ):
        meddling = Meddling(pool)
        await nursery.start(meddling.real.run)
        registry = Registry(pool, StateBook(10), meddling, clock, capacity=10, refusal_ttl=5, grace=GRACE)
        found = (await registry.resolve({DEVICE: None}))[DEVICE]
        assert found.refusal is None
        assert found.until <= clock.now() + 0.5
        nursery.cancel_scope.cancel()


async def test_the_cache_is_bounded(database: Database) -> None:
    furnish(database)
    execute(database, "UPDATE tenants SET provisioning = 'off' WHERE tenant_id <> 'appliance'")
    async with open_registry(database, capacity=50) as registry:
        for start in range(0, 500, 100):
            await registry.resolve({("acme", f"d{number}"): None for number in range(start, start + 100)})
        assert len(registry) <= 50


async def test_invalidation_is_safe_while_the_cache_is_read(database: Database) -> None:
    furnish(database)
    async with open_registry(database) as registry:
        found = await status(registry)
        registry.changed('{"tenants": ["acme"]}')
        assert registry.get(DEVICE, SystemClock().now()) is None
        assert found.refusal is None  # whoever holds it is not disturbed
        for nonsense in ("", "7", "[]", '{"devices": 7}', '{"devices": [[1]]}', '{"tenants": {}}'):
            registry.changed(nonsense)


async def test_a_token_speaks_for_its_device_and_the_claim_password_for_those_without(database: Database) -> None:
    furnish(database)
    claim, token = sha256(b"claim password").hexdigest(), sha256(b"own token").hexdigest()
    execute(
        database,
        f"UPDATE tenants SET claim_token_hash = '\\x{claim}', claim_mqtt_hash = '{HASH}' WHERE tenant_id = 'acme'",
    )
    async with open_registry(database) as registry:
        assert await registry.authentic(DEVICE, "claim password")
        assert not await registry.authentic(DEVICE, "wrong")
        assert not await registry.authentic(DEVICE, "")
        assert not await registry.authentic(("nobody", "d1"), "claim password")
        with psycopg.connect(database.conninfo()) as connection:
            devices = connection.execute("SELECT count(*) FROM device_registry").fetchone()
        assert devices == (0,), "authentication provisioned a device"
        assert await reason(registry) is None
        execute(
            database,
            f"INSERT INTO device_credentials (created_at, tenant_id, device_id, mqtt_hash, token_hash)"
            f" VALUES (now(), 'acme', 'd1', '{HASH}', '\\x{token}')",
        )
        with trio.fail_after(60):
            while not await registry.authentic(DEVICE, "own token"):
                await trio.sleep(0.01)
        assert not await registry.authentic(DEVICE, "claim password")
        execute(database, "UPDATE tenants SET claim_enabled = false WHERE tenant_id <> 'appliance'")
        with trio.fail_after(60):
            while await registry.authentic(("acme", "d2"), "claim password"):
                await trio.sleep(0.01)
