"""Tenants and their claim users."""

from typing import Any

import pytest

from appliance.db.trio_psycopg import Connection
from appliance.devices import tenants
from appliance.devices.credentials.credential import token_hash
from appliance.devices.tenants import Strategy, TenantLimits, TenantStatus
from appliance.errors import Conflict, Invalid, NotFound
from tests.support.postgres_server import Database
from tests.support.tenants import BY, LATER, customer, ingest, issue_tenant, rows


async def claim_hashes(connection: Connection[Any], tenant_id: str) -> tuple[str, bytes]:
    query = "SELECT claim_mqtt_hash, claim_token_hash FROM tenants WHERE tenant_id = %s"
    (row,) = await rows(connection, query, tenant_id)
    return row[0], row[1]


async def test_a_new_tenant_has_an_open_claim_user(database: Database) -> None:
    async with ingest(database) as connection:
        claim = await issue_tenant(connection, "acme", name="Acme", strategy=Strategy.APPROVE)
        assert claim.claim_username == "acme"
        assert claim.claim_password not in repr(claim)
        mqtt, token = await claim_hashes(connection, "acme")
        assert mqtt.startswith("$7$")
        assert token == token_hash(claim.claim_password)
        (tenant,) = await tenants.list_all(connection)
        assert (tenant.tenant_id, tenant.name, tenant.provisioning) == ("acme", "Acme", Strategy.APPROVE)
        assert tenant.claim_enabled
        with pytest.raises(Conflict, match="already exists"):
            await issue_tenant(connection, "acme")


@pytest.mark.parametrize("name", ["", ".a", "a b", "a/b", "a:b", "a" * 65, "ä", "a\n", "%u", "a+", "#"])
async def test_a_name_that_no_topic_or_file_can_hold_is_refused(database: Database, name: str) -> None:
    async with ingest(database) as connection:
        with pytest.raises(Invalid, match="1 to 64 of"):
            await issue_tenant(connection, name)


async def test_no_tenant_has_the_appliances_name(database: Database) -> None:
    async with ingest(database) as connection:
        with pytest.raises(Invalid, match="taken by the appliance"):
            await issue_tenant(connection, "appliance")
        assert await rows(connection, "SELECT 1 FROM tenants WHERE tenant_id <> 'appliance'") == []


async def test_changes_are_made_once_and_told(database: Database) -> None:
    async with ingest(database) as connection:
        await issue_tenant(connection, "acme")
        for _ in range(2):
            assert (await tenants.suspend(connection, "acme", BY)).status is TenantStatus.SUSPENDED
        assert (await tenants.resume(connection, "acme", BY)).status is TenantStatus.ACTIVE
        assert not (await tenants.set_claim(connection, "acme", BY, enabled=False)).claim_enabled
        changed = await tenants.set_provisioning(connection, "acme", Strategy.OFF, BY)
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
                await ask(connection, "never", BY)


async def test_limits_and_a_description_are_kept_checked_and_told(database: Database) -> None:
    async with ingest(database) as connection:
        await issue_tenant(connection, "acme")
        before = await tenants.get(connection, "acme")
        for limits, field in (
            (TenantLimits(rate=0), "rate"),
            (TenantLimits(rate=float("nan")), "rate"),
            (TenantLimits(rate=float("inf")), "rate"),
            (TenantLimits(burst=0), "burst"),
            (TenantLimits(tenant_rate=-1), "tenant_rate"),
            (TenantLimits(tenant_rate=2e9), "tenant_rate"),
        ):
            with pytest.raises(Invalid) as wrong:
                await tenants.set_limits(connection, "acme", limits, BY)
            assert wrong.value.field == field
        for name, zone, field in (("a\nb", "UTC", "name"), ("x" * 257, "UTC", "name"), ("Acme", "Mars", "time_zone")):
            with pytest.raises(Invalid) as wrong:
                await tenants.describe(connection, "acme", name, zone, BY)
            assert wrong.value.field == field
        assert await tenants.get(connection, "acme") == before
        limited = await tenants.set_limits(connection, "acme", TenantLimits(2.5, 7, 0), BY)
        assert limited.limits == TenantLimits(2.5, 7, 0)
        described = await tenants.describe(connection, "acme", "Acme", "Europe/Oslo", LATER, version=limited.version)
        assert (described.title, described.time_zone) == ("Acme", "Europe/Oslo")
        with pytest.raises(Conflict, match="changed by someone else"):
            await tenants.describe(connection, "acme", "Late", "UTC", BY, version=limited.version)
        assert await tenants.get(connection, "acme") == described
        told = await rows(connection, "SELECT action, after FROM audit_log ORDER BY id OFFSET 1")
        assert told == [
            ("tenant.limit", {"rate": 2.5, "burst": 7, "tenant_rate": 0}),
            ("tenant.describe", {"name": "Acme", "time_zone": "Europe/Oslo"}),
        ]


async def test_a_page_of_tenants_is_found_by_part_and_goes_on_behind_the_last(database: Database) -> None:
    async with ingest(database) as connection:
        for number in range(5):
            await issue_tenant(connection, f"t{number}", name=f"Ærø {number}" if number % 2 else None)
        await tenants.suspend(connection, "t3", BY)

        async def ids(**wanted: Any) -> list[str]:
            return [tenant.tenant_id for tenant in await tenants.list_page(connection, limit=2, **wanted)]

        assert await ids() == ["t0", "t1"]
        assert await ids(after="t1") == ["t2", "t3"]
        assert await ids(after="t4") == []
        assert await ids(search="ÆRØ") == ["t1", "t3"]
        assert await ids(search="%") == [], "a sign of its own, no wildcard"
        assert await ids(status=TenantStatus.SUSPENDED) == ["t3"]


async def test_a_new_claim_password_ends_the_old_one(database: Database) -> None:
    async with ingest(database) as connection:
        old = await issue_tenant(connection, "acme")
        new = await tenants.rotate_claim(connection, "acme", BY)
        assert new.claim_password != old.claim_password
        assert (await claim_hashes(connection, "acme"))[1] == token_hash(new.claim_password)


async def test_a_customers_admin_opens_and_rotates_the_own_claim(database: Database) -> None:
    async with ingest(database) as connection:
        for tenant in ("acme", "other"):
            await issue_tenant(connection, tenant)
    async with customer(database, "acme") as own:
        assert not (await tenants.set_claim(own, "acme", BY, enabled=False)).claim_enabled
        await tenants.rotate_claim(own, "acme", BY)
        with pytest.raises(NotFound):
            await tenants.rotate_claim(own, "other", BY)
        assert [tenant.tenant_id for tenant in await tenants.list_all(own)] == ["acme"]
