"""A tenant is deleted: all of it, nothing of others, and "done" is said of nothing else."""

from typing import Any

import psycopg
import pytest
import trio

from appliance.clock import SystemClock
from appliance.db.pool import Pool, open_pool
from appliance.db.trio_psycopg import Connection
from appliance.devices import tenants
from appliance.devices.tenants import Strategy
from appliance.errors import Conflict, NotFound, Outdated
from appliance.failpoints import Failpoints
from appliance.offboarding import deletion, tables
from appliance.offboarding.deletion import DeletionStatus
from appliance.offboarding.worker import WORK_LOCK, DeletionWorker
from tests.support.accounting import look as balance
from tests.support.offboarding import fill, rows_of
from tests.support.offboarding import tables as all_tables
from tests.support.pipeline import arrange, look
from tests.support.postgres_server import Database
from tests.support.tenants import BY, INGEST, LATER, ingest, rows

LEAVING, STAYING = "acme", "rival"


def worker_of(pool: Pool) -> DeletionWorker:
    """A worker that goes in slices of few rows."""
    return DeletionWorker(pool, SystemClock(), "one", failpoint=Failpoints(), slice_rows=7)


async def work(database: Database) -> bool:
    """Make one round."""
    async with open_pool(database.conninfo(INGEST), name="ingest", max_size=2) as pool:
        return await worker_of(pool).work()


async def ask(database: Database) -> int:
    """Ask for the deletion."""
    async with ingest(database) as connection, connection.transaction():
        return await deletion.request(connection, LEAVING, BY, version=None)


async def status(database: Database, deletion_id: int) -> DeletionStatus:
    async with ingest(database) as connection:
        return (await deletion.get(connection, deletion_id)).status


def test_each_table_with_rows_of_tenants_has_its_place_in_the_order(database: Database) -> None:
    assert sorted((*tables.ORDER, "tenants")) == all_tables(database)


async def test_nothing_is_left_of_the_tenant_and_all_of_the_others(database: Database) -> None:
    fill(database, LEAVING, STAYING)
    whole = rows_of(database, STAYING)
    assert sorted(whole) == all_tables(database), "the test fills every table"
    before = balance(database.conninfo())
    deletion_id = await ask(database)
    for _ in range(3):
        await work(database)
        balance(database.conninfo())
    assert await status(database, deletion_id) is DeletionStatus.DONE
    assert rows_of(database, LEAVING) == {}
    assert rows_of(database, STAYING) == whole
    after = balance(database.conninfo())
    kept = [(each.received, each.stored, each.refused, each.counted) for each in (before, after)]
    assert kept[0] == kept[1], "the accounting keeps what was received, without the name"
    assert after.dropped == before.rows - after.rows == 60


async def test_a_table_that_nobody_thought_of_is_emptied_too_and_keeps_the_deletion_from_being_done(
    database: Database,
) -> None:
    """Tables are found in the catalogue; one without a place in the order goes last, or first, as its keys have it."""
    arrange(
        database,
        "SET ROLE appliance_owner; CREATE TABLE later (tenant_id text, device_id text,"
        " FOREIGN KEY (tenant_id, device_id) REFERENCES device_registry)",
    )
    fill(database, LEAVING, STAYING)
    arrange(database, "INSERT INTO later VALUES ('acme', 'd1'), ('rival', 'd1')")
    deletion_id = await ask(database)
    for _ in range(2):
        await work(database)
    assert rows_of(database, LEAVING) == {}
    assert await status(database, deletion_id) is DeletionStatus.DONE
    assert look(database, "SELECT tenant_id FROM later") == [(STAYING,)]


async def test_the_record_says_who_deleted_what_and_outlives_the_audit_of_the_tenant(database: Database) -> None:
    fill(database, LEAVING)
    found = {table: len(its) for table, its in rows_of(database, LEAVING).items() if table != "tenants"}
    deletion_id = await ask(database)
    async with ingest(database) as connection:
        closed = {table: count for table, count in found.items() if table not in ENDED_AT_ONCE}
        await work(database)
        record = await deletion.get(connection, deletion_id)
        assert record.expected == closed
        assert record.deleted == closed
        assert (record.requested_by, record.name, record.rows_deleted) == (
            BY.actor.name,
            "A name",
            sum(closed.values()),
        )
        await work(database)
        told = await rows(
            connection, "SELECT action, actor, object_id, tenant_id, after -> 'rows' FROM audit_log ORDER BY id"
        )
    assert told == [
        ("tenant.delete", BY.actor.name, LEAVING, None, None),
        ("tenant.deleted", "tenant deletion", LEAVING, None, sum(closed.values())),
    ]


ENDED_AT_ONCE = {"device_credentials", "sessions", "api_tokens", "links"}


async def test_with_the_request_nobody_comes_in_any_more_and_nothing_goes_out(database: Database) -> None:
    fill(database, LEAVING, STAYING)
    await ask(database)
    left = rows_of(database, LEAVING)
    assert not ENDED_AT_ONCE & left.keys()
    async with ingest(database) as connection:
        [(state, claim, users, integrations)] = await rows(
            connection,
            "SELECT status, claim_enabled, (SELECT count(*) FROM users WHERE disabled_at IS NULL AND tenant_id = %s),"
            " (SELECT count(*) FROM integrations WHERE enabled AND tenant_id = %s) FROM tenants WHERE tenant_id = %s",
            *[LEAVING] * 3,
        )
        assert (state, claim, users, integrations) == ("DELETING", False, 0, 0)
        for change in (tenants.resume, tenants.suspend, tenants.rotate_claim):
            with pytest.raises(Conflict, match="is being deleted"):
                await change(connection, LEAVING, LATER)
        with pytest.raises(psycopg.errors.CheckViolation, match="nothing brings it back"):
            await connection.execute("UPDATE tenants SET status = 'ACTIVE' WHERE tenant_id = %s", [LEAVING])
        with pytest.raises(Conflict, match="is being deleted already"):
            async with connection.transaction():
                await deletion.request(connection, LEAVING, LATER, version=None)


async def test_the_appliance_itself_and_a_tenant_that_is_not_there_are_not_found(database: Database) -> None:
    async with ingest(database) as connection:
        for tenant_id in ("appliance", "nobody"):
            with pytest.raises(NotFound):
                async with connection.transaction():
                    await deletion.request(connection, tenant_id, BY, version=None)
        assert await rows(connection, "SELECT 1 FROM tenant_deletions") == []


async def test_a_tenant_that_somebody_changed_since_it_was_read_is_not_deleted(database: Database) -> None:
    fill(database, LEAVING)
    async with ingest(database) as connection:
        seen = await tenants.get(connection, LEAVING)
        await tenants.suspend(connection, LEAVING, LATER)
        with pytest.raises(Outdated):
            async with connection.transaction():
                await deletion.request(connection, LEAVING, LATER, version=seen.version)
    assert "sessions" in rows_of(database, LEAVING)


async def test_done_is_not_said_while_a_transaction_may_still_add_a_row(database: Database) -> None:
    """A batch that was in flight when the tenant was removed is written without any foreign key."""
    fill(database, LEAVING)
    deletion_id = await ask(database)
    with psycopg.connect(database.conninfo(INGEST)) as late:
        late.execute("INSERT INTO device_state (tenant_id, device_id) VALUES (%s, 'late')", [LEAVING])
        await work(database)
        assert await status(database, deletion_id) is DeletionStatus.CHECKING
        assert rows_of(database, LEAVING) == {}, "nobody sees that row yet"
        async with ingest(database) as connection:
            with pytest.raises(Conflict, match="still being deleted"):
                await add_again(connection)
    assert list(rows_of(database, LEAVING)) == ["device_state"]
    await work(database)
    assert rows_of(database, LEAVING) == {}
    assert await status(database, deletion_id) is DeletionStatus.DONE


async def test_no_step_is_taken_while_any_table_has_a_row(database: Database) -> None:
    """Whatever the worker has seen before: the step looks at all tables itself."""
    fill(database, LEAVING)
    deletion_id = await ask(database)
    async with ingest(database) as connection:
        assert await deletion.advance(connection, deletion_id, BY.now) is DeletionStatus.RUNNING
        with psycopg.connect(database.conninfo(INGEST)) as late:
            late.execute("INSERT INTO device_state (tenant_id, device_id) VALUES (%s, 'late')", [LEAVING])
            await work(database)
        assert await deletion.advance(connection, deletion_id, BY.now) is DeletionStatus.CHECKING
    assert list(rows_of(database, LEAVING)) == ["device_state"]


async def test_a_row_added_meanwhile_that_names_the_tenant_goes_with_it_or_is_refused(database: Database) -> None:
    fill(database, LEAVING)
    deletion_id = await ask(database)
    async with ingest(database) as connection:
        await connection.execute(METRIC.encode())
        await work(database)
        assert await status(database, deletion_id) is not DeletionStatus.RUNNING
        with pytest.raises(psycopg.errors.ForeignKeyViolation):
            await connection.execute(METRIC.encode())
    assert rows_of(database, LEAVING) == {}


METRIC = (
    "INSERT INTO metrics (tenant_id, name, created_at, updated_at) VALUES ('acme', 'late', '2026-11-23', '2026-11-23')"
)


async def add_again(connection: Connection[Any]) -> None:
    await tenants.add(connection, LEAVING, LATER, provisioning=Strategy.AUTO, time_zone="UTC")


async def test_who_has_the_same_id_later_inherits_nothing_and_loses_nothing(database: Database) -> None:
    fill(database, LEAVING)
    await ask(database)
    await work(database)
    await work(database)
    async with ingest(database) as connection:
        await add_again(connection)
        fresh = rows_of(database, LEAVING)
        assert sorted(fresh) == ["alert_rules", "audit_log", "tenants"], "what every new tenant has"
        async with open_pool(database.conninfo(INGEST), name="ingest", max_size=2) as pool:
            assert await worker_of(pool).recheck() == 0
        assert rows_of(database, LEAVING) == fresh


async def test_every_process_is_told_when_the_tenant_is_removed(database: Database) -> None:
    fill(database, LEAVING)
    await ask(database)
    with psycopg.connect(database.conninfo(), autocommit=True) as listening:
        listening.execute(f"LISTEN {deletion.OFFBOARDING_CHANNEL}")
        await work(database)
        assert [told.payload for told in listening.notifies(timeout=5, stop_after=1)] == [LEAVING]


async def test_what_a_frozen_process_writes_after_the_end_goes_as_well(database: Database) -> None:
    fill(database, LEAVING, STAYING)
    deletion_id = await ask(database)
    await work(database)
    await work(database)
    assert await status(database, deletion_id) is DeletionStatus.DONE
    whole = rows_of(database, STAYING)
    async with ingest(database) as connection:
        await connection.execute("INSERT INTO device_state (tenant_id, device_id) VALUES (%s, 'late')", [LEAVING])
        async with open_pool(database.conninfo(INGEST), name="ingest", max_size=2) as pool:
            assert await worker_of(pool).recheck() == 1
    assert rows_of(database, LEAVING) == {}
    assert rows_of(database, STAYING) == whole


async def test_one_process_works_at_a_time(database: Database) -> None:
    fill(database, LEAVING)
    deletion_id = await ask(database)
    with psycopg.connect(database.conninfo(INGEST)) as other:
        other.execute("SELECT pg_advisory_lock(%s)", [WORK_LOCK])
        assert not await work(database)
        assert "telemetry" in rows_of(database, LEAVING)
    assert await work(database)
    assert await status(database, deletion_id) is not DeletionStatus.RUNNING


async def test_a_slice_waits_for_nobody_who_has_locked_the_ledger(database: Database) -> None:
    """The stream adds to the accounting of each minute: it never waits for a deletion, nor in a circle with it."""
    fill(database, LEAVING)
    deletion_id = await ask(database)
    with psycopg.connect(database.conninfo(INGEST)) as stream:
        stream.execute("SELECT 1 FROM ingest_ledger WHERE tenant_id = %s FOR UPDATE", [LEAVING])
        async with trio.open_nursery() as nursery:
            nursery.start_soon(work, database)
            with trio.fail_after(20):
                while look(database, "SELECT 1 FROM users"):
                    await trio.sleep(0.2)
            assert "ingest_ledger" in rows_of(database, LEAVING)
            stream.rollback()
    assert await status(database, deletion_id) is not DeletionStatus.RUNNING
