"""The tenant ``appliance``: there for alerts about the appliance, and not there for anything that customers have."""

from typing import Any

import psycopg
import pytest

from appliance.db.roles import OWNER
from appliance.db.trio_psycopg import Connection, connect
from appliance.devices import fleet, inventory, sites, tenants
from appliance.devices.device import NewDevice
from appliance.devices.metrics import store as metrics
from appliance.devices.metrics.metric import Metric
from appliance.devices.seats import changes
from appliance.devices.sites import Site
from appliance.devices.tenants import OWN_TENANT, Strategy, TenantLimits
from appliance.errors import Invalid, NotFound
from appliance.people import users
from appliance.people.role import Role
from appliance.people.users import NewUser
from appliance.reading import Reason, Refusal
from tests.support.postgres_server import Database
from tests.support.tenants import BY, GRACE, announce, ingest, rows, sell

AT = "'2026-11-30T12:00:00Z'"
DEVICE = f"INSERT INTO device_registry (created_at, updated_at, tenant_id, device_id, status) VALUES ({AT}, {AT}, "
REFUSED = (
    "UPDATE tenants SET status = 'SUSPENDED'",
    "UPDATE tenants SET provisioning = 'auto'",
    "UPDATE tenants SET claim_enabled = true",
    "UPDATE tenants SET claim_mqtt_hash = 'x', claim_token_hash = sha256('x')",
    "UPDATE tenants SET rate = 1",
    "UPDATE tenants SET tenant_rate = 1",
    "UPDATE tenants SET tenant_id = 'else'",
    "DELETE FROM tenants",
    DEVICE + "'appliance', 'd', 'PENDING')",
    (
        "INSERT INTO subscriptions"
        " (created_at, tenant_id, subscription_id, subscription_type, device_limit, term_start, term_end, status)"
        f" VALUES ({AT}, 'appliance', 's', 'MAIN', 1, {AT}, '2027-11-30T12:00:00Z', 'ACTIVE')"
    ),
    f"INSERT INTO sites (tenant_id, site_id, created_at, updated_at) VALUES ('appliance', 's', {AT}, {AT})",
    (
        "INSERT INTO metrics (tenant_id, name, label, decimals, created_at, updated_at)"
        f" VALUES ('appliance', 't', 'T', 1, {AT}, {AT})"
    ),
    (
        "INSERT INTO users (tenant_id, email, name, role, created_at)"
        f" VALUES ('appliance', 'kim@example.org', '', 'admin', {AT})"
    ),
    (
        "INSERT INTO alert_rules (tenant_id, name, severity, kind, parameters, created_at, updated_at)"
        f" VALUES ('appliance', 'r', 'low', 'no_data', '{{}}', {AT}, {AT})"
    ),
)


async def test_it_is_there_from_the_first_start_without_a_claim_user(database: Database) -> None:
    async with ingest(database) as connection:
        kept = "SELECT name, status, provisioning, claim_enabled, claim_mqtt_hash FROM tenants WHERE tenant_id = %s"
        assert await rows(connection, kept, OWN_TENANT) == [("This appliance", "ACTIVE", "off", False, None)]
        assert not await users.any_exists(connection), "the first start is still to come"


@pytest.mark.parametrize("statement", REFUSED)
async def test_the_database_refuses_to_change_it_and_to_give_it_what_customers_have(
    database: Database, statement: str
) -> None:
    only_it = statement if statement.startswith("INSERT") else f"{statement} WHERE tenant_id = 'appliance'"
    async with await connect(database.conninfo(OWNER)) as owner:
        with pytest.raises(psycopg.errors.CheckViolation):
            await owner.execute(only_it.encode())


async def test_it_is_in_no_list_and_no_search(database: Database) -> None:
    async with ingest(database) as connection:
        assert await tenants.list_all(connection) == []
        assert await tenants.list_page(connection, limit=10) == []
        assert await tenants.list_page(connection, search="appliance", limit=10) == []
        assert await fleet.open_claim_users(connection, None) == []


async def test_nobody_changes_it(database: Database) -> None:
    async with ingest(database) as connection:
        for asked in (
            tenants.get(connection, OWN_TENANT),
            tenants.suspend(connection, OWN_TENANT, BY),
            tenants.resume(connection, OWN_TENANT, BY),
            tenants.rotate_claim(connection, OWN_TENANT, BY),
            tenants.set_claim(connection, OWN_TENANT, BY, enabled=True),
            tenants.set_provisioning(connection, OWN_TENANT, Strategy.AUTO, BY),
            tenants.set_limits(connection, OWN_TENANT, TenantLimits(rate=1), BY),
            tenants.describe(connection, OWN_TENANT, "Mine", "UTC", BY),
            changes.create(connection, OWN_TENANT, NewDevice("d"), BY, grace=GRACE),
            inventory.list_all(connection, OWN_TENANT),
            sites.create(connection, OWN_TENANT, Site("s"), BY),
            metrics.create(connection, OWN_TENANT, Metric("t"), BY),
            sell(connection, 5, tenant_id=OWN_TENANT),
            users.add(connection, NewUser("kim@example.org", Role.ADMIN, OWN_TENANT), BY),
        ):
            with pytest.raises(NotFound):
                await asked
        with pytest.raises(Invalid, match="taken by the appliance itself"):
            await tenants.add(connection, OWN_TENANT, BY, provisioning=Strategy.AUTO, time_zone="UTC")
        assert await audited(connection) == []


async def test_no_device_gets_in_by_its_name(database: Database) -> None:
    async with ingest(database) as connection:
        (verdict,) = (await announce(connection, "d", tenant_id=OWN_TENANT)).values()
        assert isinstance(verdict, Refusal)
        assert verdict.reason is Reason.UNKNOWN_TENANT


async def audited(connection: Connection[Any]) -> list[tuple[Any, ...]]:
    return await rows(connection, "SELECT action FROM audit_log")
