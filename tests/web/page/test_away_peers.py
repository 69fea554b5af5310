"""Notices that an appliance is away: for whom it heard devices last, on the pages that show their presence."""

import pytest

from appliance.diagnostics.readiness import Health
from appliance.people.role import Role
from tests.support.pipeline import arrange
from tests.support.postgres_server import Database
from tests.support.web.accounts import client, signed_in
from tests.support.web.serving import over
from tests.support.web.stand_ins import INSTANCE

HALL = "aaaaaaaaaaaa"
TOLD = "2 devices were heard last by the appliance hall, which has not listened since"
TOLD_OF_DEVICE = "This device was heard last by the appliance hall, which has not listened since"


def furnish(database: Database, away: str = HALL) -> None:
    """Let ``away`` have heard two devices of acme and one of rival, and not listen since; this one heard d-3."""
    arrange(
        database,
        f"INSERT INTO ingest_instances (instance, name) VALUES ('{HALL}', 'hall'), ('{INSTANCE}', 'office')",
        f"""
        INSERT INTO listening (instance, began_at, ended_at)
        SELECT instance, now() - interval '1 day',
          CASE instance WHEN '{away}' THEN now() - interval '2 hours' ELSE now() END
        FROM ingest_instances
        """,
        "INSERT INTO tenants (created_at, updated_at, tenant_id)"
        " VALUES (now(), now(), 'acme'), (now(), now(), 'rival')",
        """
        INSERT INTO subscriptions (created_at, tenant_id, subscription_id, subscription_type, device_limit, term_start,
          term_end, status)
        SELECT now(), tenant_id, 'main', 'MAIN', 10, now(), now() + interval '90 days', 'ACTIVE' FROM tenants
        WHERE tenant_id <> 'appliance'
        """,
        """
        INSERT INTO device_registry (created_at, updated_at, tenant_id, device_id, status, subscription_id)
        VALUES (now(), now(), 'acme', 'd-1', 'ACTIVE', 'main'), (now(), now(), 'acme', 'd-2', 'ACTIVE', 'main'),
          (now(), now(), 'acme', 'd-3', 'ACTIVE', 'main'), (now(), now(), 'acme', 'd-4', 'INACTIVE', NULL),
          (now(), now(), 'rival', 'd-1', 'ACTIVE', 'main')
        """,
        f"""
        INSERT INTO device_state (tenant_id, device_id, last_seen_at, last_heard_at, heard_by)
        SELECT tenant_id, device_id, now(), now(), CASE device_id WHEN 'd-3' THEN '{INSTANCE}' ELSE '{away}' END
        FROM device_registry
        """,
    )


@pytest.mark.parametrize("path", ["/", "/devices"])
async def test_customers_of_a_peer_that_is_away_are_told_how_many_of_their_devices_it_heard(
    database: Database, path: str
) -> None:
    furnish(database)
    people = {tenant: signed_in(database.conninfo(), Role.VIEWER, tenant) for tenant in ("acme", "rival", "third")}
    async with over(database) as served:
        html = {}
        for tenant, person in people.items():
            async with client(served.url, person) as asking:
                html[tenant] = (await asking.get(path)).text
    assert TOLD in html["acme"]
    assert "whether they send is not known." in html["acme"]
    assert "/system" not in html["acme"], "customers cannot do anything about it"
    assert "1 device was heard last by the appliance hall" in html["rival"]
    assert "hall" not in html["third"]


async def test_operators_get_an_action_item_for_all_tenants_or_the_chosen_one(database: Database) -> None:
    furnish(database)
    person = signed_in(database.conninfo())
    async with over(database) as served, client(served.url, person) as asking:
        whole, chosen = (await asking.get("/")).text, (await asking.get("/?tenant=acme")).text
        devices = (await asking.get("/devices?tenant=acme")).text
    assert "whether the 3 devices it heard last send is not known." in whole
    assert "whether the 2 devices it heard last send is not known." in chosen
    assert 'href="/system#sys-peers"' in chosen
    assert TOLD in devices


async def test_a_devices_page_tells_it_of_the_device_that_the_peer_heard_last(database: Database) -> None:
    furnish(database)
    person = signed_in(database.conninfo(), Role.VIEWER, "acme")
    async with over(database) as served, client(served.url, person) as asking:
        of_peer, of_this = (await asking.get("/devices/d-1")).text, (await asking.get("/devices/d-3")).text
    assert TOLD_OF_DEVICE in of_peer
    assert "whether it sends is not known." in of_peer
    assert "heard last by" not in of_this


async def test_this_appliance_is_no_peer_of_itself(database: Database) -> None:
    furnish(database, away=INSTANCE)
    person = signed_in(database.conninfo(), Role.VIEWER, "acme")
    async with over(database) as served, client(served.url, person) as asking:
        for path in ("/", "/devices", "/devices/d-1"):
            assert "heard last by" not in (await asking.get(path)).text


@pytest.mark.parametrize("path", ["/", "/devices"])
async def test_customers_are_told_what_is_wrong_with_the_appliance_and_affects_their_readings(
    database: Database, path: str
) -> None:
    furnish(database)
    person = signed_in(database.conninfo(), Role.VIEWER, "acme")
    told = "The broker of this appliance had no room for 3 messages of devices: readings may be missing."
    async with over(database, affected=lambda: [told]) as served, client(served.url, person) as asking:
        html = (await asking.get(path)).text
    assert told in html
    assert TOLD in html


async def test_the_list_of_devices_says_that_messages_are_not_stored(database: Database) -> None:
    furnish(database)
    person = signed_in(database.conninfo(), Role.VIEWER, "acme")
    held = Health(None, None, None, storing="the disk is full")
    async with over(database, health=lambda: held) as served, client(served.url, person) as asking:
        assert "Messages are not stored: the disk is full." in (await asking.get("/devices")).text
