"""The metrics of tenants: learned, named, walled off."""

from datetime import timedelta
from typing import Any

import pytest

from appliance.db.trio_psycopg import Connection
from appliance.devices.metrics import store
from appliance.devices.metrics.metric import Metric, guess
from appliance.errors import Conflict, Invalid, NotFound
from tests.support.postgres_server import Database
from tests.support.tenants import BY, LATER, NOW, TENANT, add_tenant, customer, ingest, rows

AUDIT = "SELECT action, object_id, before, after FROM audit_log WHERE object_type = 'metric' ORDER BY id"


async def hear(connection: Connection[Any], device: str, latest: str, *, tenant: str = TENANT) -> None:
    await connection.execute(
        "INSERT INTO device_state (tenant_id, device_id, last_heard_at, latest) VALUES (%s, %s, %s, %s::text::jsonb)",
        [tenant, device, NOW, latest],
    )


async def names(connection: Connection[Any], tenant: str | None = TENANT) -> list[str]:
    return [named.metric.name for named in await store.list_page(connection, tenant, limit=100)]


async def test_metrics_are_learned_from_the_latest_values_once(database: Database) -> None:
    async with ingest(database) as connection:
        await add_tenant(connection)
        await hear(connection, "a", '{"temperature": 4.5, "battery": 87}')
        await hear(connection, "b", '{"temperature": "warm", "door": true}')
        await hear(connection, "c", '{"x": 1}', tenant="gone")
        assert await store.learn(connection, NOW, now=NOW) == 3
        found = await store.list_page(connection, TENANT, limit=10)
        assert [named.metric for named in found] == [guess("battery", 87), guess("door"), guess("temperature")]
        assert await store.learn(connection, NOW, now=NOW) == 0


async def test_what_was_not_heard_lately_is_not_looked_at(database: Database) -> None:
    async with ingest(database) as connection:
        await add_tenant(connection)
        await hear(connection, "a", '{"temperature": 4.5}')
        assert await store.learn(connection, NOW + timedelta(seconds=1), now=NOW) == 0


async def test_a_device_that_invents_names_does_not_fill_the_table(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "MOST_LEARNED", 3)
    monkeypatch.setattr(store, "LEARNED_AT_ONCE", 2)
    async with ingest(database) as connection:
        await add_tenant(connection)
        await hear(connection, "a", '{"a": 1, "b": 1, "c": 1, "d": 1, "e": 1, "f": 1}')
        assert [await store.learn(connection, NOW, now=NOW) for _ in range(4)] == [2, 2, 0, 0]


async def test_a_change_keeps_what_was_before_in_the_audit(database: Database) -> None:
    async with ingest(database) as connection:
        await add_tenant(connection)
        made = await store.create(connection, TENANT, Metric("t", "Supply", "°C", 1), BY)
        changed = await store.change(connection, TENANT, Metric("t", "Supply", "°C", 2, usual_low=2), LATER)
        assert (made.version, changed.version) == (BY.now, LATER.now)
        await store.delete(connection, TENANT, "t", BY)
        created = {"label": "Supply", "unit": "°C", "decimals": 1, "usual_low": None, "usual_high": None}
        before, after = {"decimals": 1, "usual_low": None}, {"decimals": 2, "usual_low": 2}
        assert await rows(connection, AUDIT) == [
            ("metric.create", "t", None, created),
            ("metric.update", "t", before, after),
            ("metric.delete", "t", {**created, **after}, None),
        ]


async def test_a_change_that_changes_nothing_leaves_no_trace(database: Database) -> None:
    async with ingest(database) as connection:
        await add_tenant(connection)
        made = await store.create(connection, TENANT, Metric("t"), BY)
        assert await store.change(connection, TENANT, Metric("t"), BY, version=made.version) == made
        assert len(await rows(connection, AUDIT)) == 1


async def test_the_second_of_two_editors_is_told(database: Database) -> None:
    async with ingest(database) as connection:
        await add_tenant(connection)
        made = await store.create(connection, TENANT, Metric("t"), BY)
        await store.change(connection, TENANT, Metric("t", "One"), LATER, version=made.version)
        with pytest.raises(Conflict):
            await store.change(connection, TENANT, Metric("t", "Two"), BY, version=made.version)
        assert (await store.get(connection, TENANT, "t")).metric.label == "One"


async def test_what_is_not_there_is_not_found_and_what_is_there_is_a_conflict(database: Database) -> None:
    async with ingest(database) as connection:
        await add_tenant(connection)
        await store.create(connection, TENANT, Metric("t"), BY)
        with pytest.raises(Conflict):
            await store.create(connection, TENANT, Metric("t"), BY)
        with pytest.raises(NotFound):
            await store.create(connection, "nobody", Metric("t"), BY)
        for act in (store.get(connection, TENANT, "u"), store.delete(connection, TENANT, "u", BY)):
            with pytest.raises(NotFound):
                await act
        with pytest.raises(NotFound):
            await store.change(connection, TENANT, Metric("u"), BY)


async def test_bad_input_names_its_field_and_writes_nothing(database: Database) -> None:
    async with ingest(database) as connection:
        await add_tenant(connection)
        with pytest.raises(Invalid) as refused:
            await store.create(connection, TENANT, Metric("t", decimals=99), BY)
        assert refused.value.field == "decimals"
        assert await names(connection) == []


async def test_a_customer_sees_and_changes_its_own_only(database: Database) -> None:
    async with ingest(database) as connection:
        for tenant in (TENANT, "rival"):
            await add_tenant(connection, tenant)
            await store.create(connection, tenant, Metric("t"), BY)
    async with customer(database, TENANT) as web:
        assert [(named.tenant_id, named.metric.name) for named in await store.list_page(web, None, limit=9)] == [
            (TENANT, "t")
        ]
        assert await store.of_names(web, "rival", ["t"]) == {}
        await store.change(web, TENANT, Metric("t", "Mine"), BY)
        with pytest.raises(NotFound):
            await store.change(web, "rival", Metric("t", "Mine"), BY)
        with pytest.raises(NotFound):
            await store.delete(web, "rival", "t", BY)


async def test_pages_follow_one_another_without_a_gap(database: Database) -> None:
    async with ingest(database) as connection:
        for tenant in ("a", "b"):
            await add_tenant(connection, tenant)
            for name in ("x", "y", "z"):
                await store.create(connection, tenant, Metric(name), BY)
        found, after = [], None
        while page := await store.list_page(connection, None, limit=2, after=after):
            keys = [(named.tenant_id, named.metric.name) for named in page]
            found += keys
            after = keys[-1]
        assert found == [(tenant, name) for tenant in "ab" for name in "xyz"]
