"""The devices of a tenant for the command line, with their traffic and credentials."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from appliance.db import statements
from appliance.db.require import require
from appliance.db.trio_psycopg import Connection
from appliance.devices.seats.changes import check_tenant, device_of

STATEMENTS = statements.load("inventory")


@dataclass(frozen=True, slots=True)
class Listed:
    """One device, with what is known of its traffic and its credential."""

    tenant_id: str
    device_id: str
    status: str
    subscription_id: str | None
    site_id: str | None
    name: str | None
    place: str | None
    tags: tuple[str, ...]
    interval: float | None
    """Seconds between its messages, as far as is known."""
    last_seen_at: datetime | None
    own_credential: bool
    """Whether it has a credential of its own; without one it publishes as the claim user of its tenant."""
    switch_at: datetime | None
    """When its staged password takes over, if a time is set."""


async def list_all(connection: Connection[Any], tenant_id: str) -> list[Listed]:
    """Return the devices of a tenant, by id, without deleted ones. Raises NotFound for an unknown tenant."""
    await check_tenant(connection, tenant_id)
    return await _select(connection, tenant_id, None)


async def get(connection: Connection[Any], tenant_id: str, device_id: str) -> Listed:
    """Return one device. Raises NotFound."""
    rows = await _select(connection, tenant_id, device_id)
    return require(rows[0] if rows else None, f"device {device_id} of tenant {tenant_id}")


async def _select(connection: Connection[Any], tenant_id: str, device_id: str | None) -> list[Listed]:
    cursor = await connection.execute(STATEMENTS["list_devices"], {"tenant": tenant_id, "device": device_id})
    return [_listed(row) for row in await cursor.fetchall()]


def _listed(row: tuple[Any, ...]) -> Listed:
    device = device_of(row[:9])
    return Listed(
        device.tenant_id,
        device.device_id,
        device.status.value,
        device.subscription_id,
        device.site_id,
        device.name,
        device.place,
        device.tags,
        device.interval,
        *row[9:],
    )
