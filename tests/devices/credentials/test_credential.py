"""Secrets are shown once and kept as hashes; rotation is staged; whoever loses the device loses its credential."""

import base64
import re
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import psycopg
import pytest
import trio

from appliance.broker.accounts import hash_password
from appliance.db.trio_psycopg import Connection
from appliance.devices.credentials import credential as credentials
from appliance.devices.credentials.credential import PREVIOUS_TOKEN, IssuedSecrets, Rotation, token_hash
from appliance.devices.device import NewDevice
from appliance.devices.seats import changes
from appliance.errors import Conflict, NotFound
from appliance.subscriptions.lifecycle import SubscriptionType
from tests.support.postgres_server import Database
from tests.support.tenants import BY, GRACE, NOW, TENANT, add_tenant, customer, ingest, rows, sell

DEVICE = "d1"
LATER = replace(BY, now=NOW + timedelta(hours=1))


@pytest.fixture
async def connection(database: Database) -> AsyncIterator[Connection[Any]]:
    """A tenant with seats and one device."""
    async with ingest(database) as opened:
        await add_tenant(opened)
        await sell(opened, 10)
        await changes.create(opened, TENANT, NewDevice(DEVICE), BY, grace=GRACE)
        yield opened


async def kept(connection: Connection[Any]) -> dict[str, Any]:
    """The row of the device's credential."""
    cursor = await connection.execute("SELECT * FROM device_credentials WHERE device_id = %s", [DEVICE])
    row = await cursor.fetchone()
    assert row is not None
    assert cursor.description is not None
    return dict(zip([column.name for column in cursor.description], row, strict=True))


def is_password(hashed: str, password: str) -> bool:
    """Whether the broker would let it in."""
    salt = re.fullmatch(r"\$7\$\d+\$([^$]+)\$[^$]+", hashed)
    assert salt is not None
    return hashed == hash_password(password, base64.b64decode(salt[1]))


async def test_secrets_are_shown_once_and_kept_as_hashes(connection: Connection[Any], database: Database) -> None:
    issued = await credentials.create(connection, TENANT, DEVICE, BY)
    assert issued.username == f"{TENANT}/device/{DEVICE}"
    row = await kept(connection)
    assert is_password(row["mqtt_hash"], issued.password)
    assert row["token_hash"] == token_hash(issued.token)
    assert issued.password != issued.token
    with psycopg.connect(database.conninfo()) as observer:
        tables = ("tenants", "device_registry", "device_credentials", "audit_log", "subscription_audit")
        for table in tables:
            text = str(observer.execute(f"SELECT array_agg(t::text) FROM {table} AS t".encode()).fetchone())
            for secret in (issued.password, issued.token):
                assert secret not in text
                assert secret.encode().hex() not in text, "as bytea"
    assert issued.password not in repr(issued)
    assert issued.token not in repr(issued)


async def test_a_device_has_one_credential(connection: Connection[Any]) -> None:
    await credentials.create(connection, TENANT, DEVICE, BY)
    with pytest.raises(Conflict, match="has a credential already"):
        await credentials.create(connection, TENANT, DEVICE, BY)
    assert await rows(connection, "SELECT action FROM audit_log WHERE action LIKE 'credential.%%'") == [
        ("credential.create",)
    ]


async def test_of_many_at_the_same_moment_one_gets_it(database: Database, connection: Connection[Any]) -> None:
    issued: list[IssuedSecrets] = []

    async def contend() -> None:
        async with ingest(database) as other:
            issued.extend(await credentials.create_many(other, TENANT, [DEVICE], BY))

    async with trio.open_nursery() as nursery:
        for _ in range(8):
            nursery.start_soon(contend)
    (winner,) = issued
    assert is_password((await kept(connection))["mqtt_hash"], winner.password)


async def test_only_devices_in_service_get_one(connection: Connection[Any]) -> None:
    await add_tenant(connection, "slow", "approve")
    insert = (
        "INSERT INTO device_registry (created_at, updated_at, tenant_id, device_id, status)"
        " VALUES (now(), now(), 'slow', 'p', 'PENDING')"
    )
    await connection.execute(insert)
    with pytest.raises(Conflict, match="PENDING; approve it first"):
        await credentials.create(connection, "slow", "p", BY)
    await changes.revoke(connection, TENANT, DEVICE, BY)
    for ask in (credentials.create, credentials.rotate):
        with pytest.raises(Conflict, match="REVOKED; reactivate it first"):
            await ask(connection, TENANT, DEVICE, BY)
    await changes.delete(connection, TENANT, DEVICE, BY, keep_history=True)
    for gone in (DEVICE, "never"):
        with pytest.raises(NotFound):
            await credentials.create(connection, TENANT, gone, BY)
    assert await credentials.create_many(connection, TENANT, [DEVICE, "never"], BY) == []


async def test_a_rotation_is_staged(connection: Connection[Any]) -> None:
    first = await credentials.create(connection, TENANT, DEVICE, BY)
    second = await credentials.rotate(connection, TENANT, DEVICE, LATER)
    row = await kept(connection)
    assert is_password(row["mqtt_hash"], first.password), "the old one works on"
    assert is_password(row["staged_mqtt_hash"], second.password)
    assert row["token_hash"] == token_hash(second.token)
    assert row["previous_token_hash"] == token_hash(first.token)
    assert row["previous_token_until"] == LATER.now + PREVIOUS_TOKEN
    assert row["switch_at"] is None
    await credentials.switch(connection, TENANT, DEVICE, LATER)
    row = await kept(connection)
    assert is_password(row["mqtt_hash"], second.password)
    assert (row["staged_mqtt_hash"], row["staged_at"]) == (None, None)
    with pytest.raises(Conflict, match="no new password"):
        await credentials.switch(connection, TENANT, DEVICE, LATER)
    with pytest.raises(NotFound):
        await credentials.switch(connection, TENANT, "never", LATER)


async def test_a_rotation_at_once_waits_for_nothing(connection: Connection[Any]) -> None:
    await credentials.create(connection, TENANT, DEVICE, BY)
    issued = await credentials.rotate(connection, TENANT, DEVICE, BY, Rotation(now=True))
    row = await kept(connection)
    assert is_password(row["mqtt_hash"], issued.password)
    assert row["staged_mqtt_hash"] is None


async def test_without_a_credential_rotation_makes_the_first(connection: Connection[Any]) -> None:
    issued = await credentials.rotate(connection, TENANT, DEVICE, BY)
    assert is_password((await kept(connection))["mqtt_hash"], issued.password)


async def test_what_is_staged_is_switched_to_when_its_time_has_come(connection: Connection[Any]) -> None:
    await credentials.create(connection, TENANT, DEVICE, BY)
    at = NOW + timedelta(hours=2)
    issued = await credentials.rotate(connection, TENANT, DEVICE, BY, Rotation(at))
    assert await credentials.switch_due(connection, at - timedelta(seconds=1)) == 0
    assert await credentials.switch_due(connection, at) == 1
    assert is_password((await kept(connection))["mqtt_hash"], issued.password)
    assert await credentials.switch_due(connection, at + timedelta(days=1)) == 0
    actors = await rows(connection, "SELECT actor, actor_kind FROM audit_log WHERE action = 'credential.switch'")
    assert actors == [("credentials", "appliance")]


@pytest.mark.parametrize("how", ["revoke", "delete"])
async def test_who_loses_the_device_loses_the_credential_in_the_same_step(
    connection: Connection[Any], how: str
) -> None:
    await credentials.create(connection, TENANT, DEVICE, BY)
    async with connection.transaction(force_rollback=True):
        if how == "revoke":
            await changes.revoke(connection, TENANT, DEVICE, BY)
        else:
            await changes.delete(connection, TENANT, DEVICE, BY, keep_history=True)
        assert await credentials.get(connection, TENANT, DEVICE) is None
    assert await credentials.get(connection, TENANT, DEVICE) is not None


async def test_a_customer_manages_the_credentials_of_the_own_devices_only(
    connection: Connection[Any], database: Database
) -> None:
    await add_tenant(connection, "other")
    async with customer(database, TENANT) as own:
        await credentials.create(own, TENANT, DEVICE, BY)
        await credentials.rotate(own, TENANT, DEVICE, BY)
    async with customer(database, "other") as other_tenant:
        assert await credentials.get(other_tenant, TENANT, DEVICE) is None
        with pytest.raises(NotFound):
            await credentials.rotate(other_tenant, TENANT, DEVICE, BY)
        assert await credentials.switch_due(other_tenant, NOW + timedelta(days=1)) == 0


async def test_ten_thousand_credentials_in_one_go(connection: Connection[Any]) -> None:
    await sell(connection, 10_000, SubscriptionType.ADDON)
    subscription = (await rows(connection, "SELECT max(subscription_id) FROM subscriptions"))[0][0]
    await connection.execute(
        "INSERT INTO device_registry (created_at, updated_at, tenant_id, device_id, status, subscription_id)"
        " SELECT now(), now(), %s, 'm' || n, 'ACTIVE', %s FROM generate_series(1, 10000) AS n",
        [TENANT, subscription],
    )
    issued = await credentials.create_many(connection, TENANT, (f"m{number}" for number in range(1, 10_001)), BY)
    assert len({one.password for one in issued}) == len({one.token for one in issued}) == 10_000


@pytest.mark.parametrize("hashed", ["$7$1$a$b\nroot:x", "$7$1$a$b:x", "", "a b"])
async def test_no_hash_can_be_two_lines_of_the_brokers_file(connection: Connection[Any], hashed: str) -> None:
    await credentials.create(connection, TENANT, DEVICE, BY)
    for statement in (
        "UPDATE device_credentials SET mqtt_hash = %s",
        "UPDATE device_credentials SET staged_mqtt_hash = %s, staged_at = now()",
        "UPDATE tenants SET claim_mqtt_hash = %s, claim_token_hash = sha256('x') WHERE tenant_id <> 'appliance'",
    ):
        with pytest.raises(psycopg.errors.CheckViolation):
            await connection.execute(statement.encode(), [hashed])
