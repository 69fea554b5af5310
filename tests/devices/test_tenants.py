"""Tenants and their claim users."""

from typing import Any

import pytest

from appliance.db.trio_psycopg import Connection
from appliance.devices import tenants
from appliance.devices.credentials import token_hash
from appliance.devices.tenants import Strategy, TenantStatus
from appliance.errors import Conflict, Invalid, NotFound
from tests.devices.world import ALICE, customer, ingest, rows
from tests.postgres_server import Database


async def claim_hashes(connection: Connection[Any], tenant_id: str) -> tuple[str, bytes]:
    query = "SELECT claim_mqtt_hash, claim_token_hash FROM tenants WHERE tenant_id = %s"
    (row,) = await rows(connection, query, tenant_id)
    return row[0], row[1]


async def test_a_new_tenant_has_an_open_claim_user(database: Database) -> None:
    async with ingest(database) as connection:
        claim = await tenants.add(connection, "acme", ALICE, name="Acme", provisioning=Strategy.APPROVE)
        assert claim.claim_username == "acme"
        assert claim.claim_password not in repr(claim)
        mqtt, token = await claim_hashes(connection, "acme")
        assert mqtt.startswith("$7$")
        assert token == token_hash(claim.claim_password)
        (tenant,) = await tenants.list_all(connection)
        assert (tenant.tenant_id, tenant.name, tenant.provisioning) == ("acme", "Acme", Strategy.APPROVE)
        assert tenant.claim_enabled
        with pytest.raises(Conflict, match="there already"):
            await tenants.add(connection, "acme", ALICE)


@pytest.mark.parametrize("name", ["", ".a", "a b", "a/b", "a:b", "a" * 65, "ä", "a\n", "%u", "a+", "#"])
async def test_a_name_that_no_topic_or_file_can_hold_is_refused(database: Database, name: str) -> None:
    async with ingest(database) as connection:
        with pytest.raises(Invalid, match="1 to 64 of"):
            await tenants.add(connection, name, ALICE)


async def test_no_tenant_has_the_appliances_name(database: Database) -> None:
    async with ingest(database) as connection:
        with pytest.raises(Invalid, match="appliance's own"):
            await tenants.add(connection, "appliance", ALICE)
        assert await rows(connection, "SELECT 1 FROM tenants") == []


async def test_changes_are_made_once_and_told(database: Database) -> None:
    async with ingest(database) as connection:
        await tenants.add(connection, "acme", ALICE)
        for _ in range(2):
            assert (await tenants.suspend(connection, "acme", ALICE)).status is TenantStatus.SUSPENDED
        assert (await tenants.resume(connection, "acme", ALICE)).status is TenantStatus.ACTIVE
        assert not (await tenants.set_claim(connection, "acme", ALICE, enabled=False)).claim_enabled
        changed = await tenants.set_provisioning(connection, "acme", Strategy.OFF, ALICE)
        assert changed.provisioning is Strategy.OFF
        (now,) = await tenants.list_all(connection)
        assert now == changed
        told = await rows(connection, "SELECT action, before, after FROM audit_log ORDER BY id")
        assert [action for action, _, _ in told] == [
            "tenant.create", "tenant.suspend", "tenant.resume", "tenant.claim", "tenant.provisioning",
        ]  # fmt: skip
        assert told[1][1:] == ({"status": "ACTIVE"}, {"status": "SUSPENDED"})
        for ask in (tenants.suspend, tenants.resume, tenants.rotate_claim):
            with pytest.raises(NotFound):
                await ask(connection, "never", ALICE)


async def test_a_new_claim_password_ends_the_old_one(database: Database) -> None:
    async with ingest(database) as connection:
        old = await tenants.add(connection, "acme", ALICE)
        new = await tenants.rotate_claim(connection, "acme", ALICE)
        assert new.claim_password != old.claim_password
        assert (await claim_hashes(connection, "acme"))[1] == token_hash(new.claim_password)


async def test_a_customers_admin_opens_and_rotates_the_own_claim(database: Database) -> None:
    async with ingest(database) as connection:
        for tenant in ("acme", "other"):
            await tenants.add(connection, tenant, ALICE)
    async with customer(database, "acme") as own:
        assert not (await tenants.set_claim(own, "acme", ALICE, enabled=False)).claim_enabled
        await tenants.rotate_claim(own, "acme", ALICE)
        with pytest.raises(NotFound):
            await tenants.rotate_claim(own, "other", ALICE)
        assert [tenant.tenant_id for tenant in await tenants.list_all(own)] == ["acme"]
