"""Which of some devices there are, read from the database; nobody is registered by asking."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from appliance.db import statements
from appliance.db.trio_psycopg import Connection
from appliance.devices.device import DeviceStatus

STATEMENTS = statements.load("registry")

DeviceKey = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Sender:
    """A device as the broker knows it."""

    status: DeviceStatus
    has_credential: bool
    """Whether it is a user of its own; else it sends as the claim user of its tenant."""


async def senders_of(connection: Connection[Any], devices: Iterable[DeviceKey]) -> dict[DeviceKey, Sender]:
    """Return those of ``devices`` (tenant id, device id) that are registered, or once were."""
    keys = sorted(set(devices))
    parameters = {"tenants": [tenant for tenant, _ in keys], "devices": [device for _, device in keys]}
    cursor = await connection.execute(STATEMENTS["select_senders"], parameters)
    return {
        (tenant, device): Sender(DeviceStatus(status), has_credential)
        for tenant, device, status, has_credential in await cursor.fetchall()
    }
