"""Sites with names as ids, of databases that took them: each gets an id that pages can open, and keeps its devices."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from appliance.clock import SystemClock
from appliance.db import roles
from appliance.db.migrations import migrate, shipped
from appliance.db.trio_psycopg import Connection, connect
from appliance.devices.site_ids import mentioned_site
from tests.support.postgres_server import Database

SITES = 19
"""The migration under test."""
BEFORE = [
    "barn",
    "Halle 1",
    "Halle/1",
    "café",
    "Werk/Nord",
    "..",
    "北京",
    "Straße 7",
    "a" * 80,
    "tab\there",
    " x ",
    "-",
    "é" * 40,
]


@pytest.fixture
async def owner(empty_database: Database) -> AsyncIterator[Connection[Any]]:
    opened = await connect(empty_database.conninfo(roles.OWNER))
    yield opened
    opened.abandon()


async def column(connection: Connection[Any], query: str) -> list[Any]:
    return [row[0] for row in await (await connection.execute(query)).fetchall()]


async def test_every_site_gets_the_id_that_its_devices_name_from_now_on(owner: Connection[Any]) -> None:
    await migrate(owner, shipped()[: SITES - 1], clock=SystemClock())
    at = "'2026-11-29T12:00:00Z', '2026-11-29T12:00:00Z'"
    await owner.execute(
        f"INSERT INTO tenants (tenant_id, name, time_zone, created_at, updated_at) VALUES ('acme', 'Acme', 'UTC', {at})"
    )
    for number, site in enumerate(BEFORE):
        await owner.execute(
            "INSERT INTO device_registry (tenant_id, device_id, status, site_id, created_at, updated_at)"
            f" VALUES ('acme', %s, 'PENDING', %s, {at})",
            [f"d{number:02}", site],
        )
    await owner.execute("UPDATE sites SET name = 'Die Halle', time_zone = 'Europe/Berlin' WHERE site_id = 'Halle 1'")
    await owner.execute(
        "INSERT INTO quarantine_events"
        " (ingested_at, topic, tenant_id, site_id, device_id, kind, reason, detail, payload)"
        " VALUES ('2026-11-29T12:00:00Z', 't', 'acme', 'Halle 1', 'd01', 'telemetry', 'SITE_MISMATCH', '', '')"
    )
    await migrate(owner, clock=SystemClock())
    expected = [mentioned_site(site) for site in BEFORE]
    assert await column(owner, "SELECT site_id FROM device_registry ORDER BY device_id") == [
        one.site_id for one in expected
    ]
    names = {"Halle 1": "Die Halle"}
    rows = await (await owner.execute("SELECT site_id, name, time_zone FROM sites")).fetchall()
    zones = {site_id: zone for site_id, _, zone in rows}
    assert {site_id: name for site_id, name, _ in rows} == {
        one.site_id: names.get(text, one.name) for text, one in zip(BEFORE, expected, strict=True)
    }
    halle = mentioned_site("Halle 1").site_id
    assert zones[halle] == "Europe/Berlin"
    assert await column(owner, "SELECT site_id FROM quarantine_events") == [halle]
