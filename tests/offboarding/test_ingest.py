"""Messages while a tenant is deleted: others' go on, its own are of no known tenant, and the accounting balances."""

import time

import trio

from appliance.devices.device import DeviceStatus
from appliance.devices.registry.senders import senders_of
from appliance.offboarding import deletion
from appliance.reading import Reason, Refusal
from tests.offboarding.test_deletion import work
from tests.support.accounting import look as balance
from tests.support.offboarding import rows_of
from tests.support.pipeline import IngestStack, furnish, look, open_ingest, telemetry, until
from tests.support.postgres_server import Database
from tests.support.tenants import BY, ingest

LEAVING, STAYING = "acme", "rival"
ROUNDS = 20


def reading(number: int) -> str:
    """A payload that no other message has."""
    return f'{{"ts": {time.time():.6f}, "v": {number}}}'


async def send(stack: IngestStack, tenant: str, number: int) -> Reason | None:
    """Send one message of the only device of a tenant; return why it was refused."""
    [verdict] = await stack.send(telemetry("d", reading(number).encode(), tenant))
    return verdict.reason if isinstance(verdict, Refusal) else None


async def ask(database: Database) -> int:
    async with ingest(database) as connection, connection.transaction():
        return await deletion.request(connection, LEAVING, BY, version=None)


async def test_messages_that_come_during_a_deletion_are_all_accounted_for(database: Database) -> None:
    for tenant in (LEAVING, STAYING):
        await furnish(database, tenant=tenant)
    async with open_ingest(database) as stack:
        for number in range(ROUNDS):
            for tenant in (LEAVING, STAYING):
                assert await send(stack, tenant, number) is None
        await ask(database)
        assert await send(stack, LEAVING, ROUNDS) is None, "of what was in memory; it goes with the others"
        stack.registry.forget()  # as the notification of the change has it do
        unknown = 0
        async with trio.open_nursery() as nursery:
            nursery.start_soon(work, database)
            for number in range(ROUNDS):
                assert await send(stack, LEAVING, number) is Reason.UNKNOWN_TENANT
                assert await send(stack, STAYING, ROUNDS + number) is None
                unknown += 1
                balance(database.conninfo())
        await work(database)
        assert await send(stack, LEAVING, ROUNDS) is Reason.UNKNOWN_TENANT
    assert rows_of(database, LEAVING) == {}
    assert look(database, "SELECT status FROM tenant_deletions") == [("DONE",)]
    assert look(database, "SELECT count(*) FROM telemetry WHERE tenant_id = %s", STAYING) == [(2 * ROUNDS,)]
    assert look(database, "SELECT count(*) FROM telemetry") == [(2 * ROUNDS,)]
    owners = look(database, "SELECT DISTINCT tenant_id, reason FROM quarantine_events")
    assert owners == [(None, "UNKNOWN_TENANT")]
    assert look(database, "SELECT sum(refused)::int FROM ingest_ledger") == [(unknown + 1,)]
    after = balance(database.conninfo())
    assert (after.received, after.dropped) == (4 * ROUNDS + 2, ROUNDS + 1)


async def test_the_broker_keeps_nothing_for_devices_of_a_tenant_that_is_being_deleted(database: Database) -> None:
    """The sweep of retained copies asks which devices there are: what is kept of others is cleared."""
    await furnish(database)
    async with open_ingest(database) as stack, ingest(database) as connection:
        await send(stack, LEAVING, 1)
        known = await senders_of(connection, [(LEAVING, "d")])
        assert known[LEAVING, "d"].status is DeviceStatus.ACTIVE
        await ask(database)
        assert await senders_of(connection, [(LEAVING, "d")]) == {}


async def test_a_device_of_a_later_tenant_of_the_same_id_begins_anew_also_in_memory(database: Database) -> None:
    await furnish(database, tenant=LEAVING)
    async with open_ingest(database) as stack:
        [stored] = await stack.send(telemetry("d", b'{"old": 1, "nothing": null}', LEAVING))
        assert not isinstance(stored, Refusal)
        await until(lambda: look(database, "SELECT 1 FROM device_state WHERE latest ? 'old'"))
        await ask(database)
        stack.registry.forget()
        await work(database)
        await work(database)
        assert rows_of(database, LEAVING) == {}
        await furnish(database, tenant=LEAVING)
        stack.registry.forget()
        [stored] = await stack.send(telemetry("d", b'{"new": 2}', LEAVING))
        assert not isinstance(stored, Refusal)
        await until(lambda: look(database, "SELECT 1 FROM device_state WHERE latest ? 'new'"))
    [(latest, nulls)] = look(database, "SELECT latest, null_metrics FROM device_state")
    assert (latest.keys(), nulls) == ({"new"}, 0)


async def test_what_is_in_memory_of_a_device_is_not_written_once_its_tenant_is_gone(database: Database) -> None:
    for tenant in (LEAVING, STAYING):
        await furnish(database, tenant=tenant)
    async with open_ingest(database, write_interval=0.5) as stack:
        for tenant in (STAYING, LEAVING):  # the state of the second waits for the next write
            assert await send(stack, tenant, 0) is None
        await ask(database)
        await work(database)
        assert look(database, "SELECT status FROM tenant_deletions") == [("DONE",)]
        for number in range(1, 5):
            await trio.sleep(0.25)
            assert await send(stack, STAYING, number) is None
    assert rows_of(database, LEAVING) == {}
    assert look(database, "SELECT count(*) FROM device_state WHERE tenant_id = %s", STAYING) == [(1,)]
