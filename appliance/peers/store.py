"""The instances on a database: who they are, since when one is away, and the removal of one that does not come back.

An instance is away when it has not listened for as long as makes a device OFFLINE. Its devices keep the presence that
they had, for nobody listens to them; once it is removed, they count as heard by all others.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from appliance.db import statements
from appliance.db.audit import Entry, record
from appliance.db.change_context import ChangeContext
from appliance.db.require import require, require_rows
from appliance.db.trio_psycopg import Connection
from appliance.errors import Conflict

STATEMENTS = statements.load("peers")


@dataclass(frozen=True, slots=True)
class Peer:
    """An appliance on this database, this one included."""

    instance: str
    name: str | None
    """The name of its machine; None before its first start with this version."""
    version: str | None
    listened_at: datetime | None
    """When it last listened to its devices; None: never."""
    devices: int
    """The number of devices that it heard last."""
    away: bool

    @property
    def title(self) -> str:
        """Return its name, or its id as long as it has none."""
        return self.name or self.instance


async def enlist(connection: Connection[Any], instance: str, name: str, version: str) -> None:
    """Enter this appliance, or its present name and version."""
    await connection.execute(STATEMENTS["enlist"], {"instance": instance, "name": name, "version": version})


async def list_all(connection: Connection[Any], now: datetime) -> list[Peer]:
    """Return all appliances on the database by name, as of ``now``. Role ``appliance_ingest``."""
    cursor = await connection.execute(STATEMENTS["list_peers"], {"now": now})
    return [Peer(*row) for row in await cursor.fetchall()]


async def anybody_away(connection: Connection[Any], here: str, now: datetime) -> bool:
    """Return whether an appliance other than ``here`` is away: the question before ``away_from``, which is dearer."""
    cursor = await connection.execute(STATEMENTS["anybody_away"], {"here": here, "now": now})
    return bool(require(await cursor.fetchone(), "an answer")[0])


async def away_from(connection: Connection[Any], tenant_id: str | None, here: str, now: datetime) -> list[Peer]:
    """Return the appliances other than ``here`` that are away and heard devices of the tenant (None: of any) last.

    ``devices`` counts the active ones of the tenant. The role may be ``appliance_web`` with its tenant set.
    """
    cursor = await connection.execute(STATEMENTS["list_away"], {"tenant": tenant_id, "here": here, "now": now})
    return [
        Peer(instance, name, None, at, devices, away=True) for instance, name, at, devices in await cursor.fetchall()
    ]


async def heard_device(connection: Connection[Any], tenant_id: str, device_id: str) -> str | None:
    """Return the instance that heard a device last; None: none, or it is not known."""
    cursor = await connection.execute(STATEMENTS["heard_device"], {"tenant": tenant_id, "device": device_id})
    row = await cursor.fetchone()
    return None if row is None else row[0]


async def remove(connection: Connection[Any], instance: str, context: ChangeContext) -> None:
    """Remove an appliance that does not come back; its devices count as heard by all others.

    Raises NotFound; Conflict while it is not away: it would only enlist again.
    """
    async with connection.transaction():
        cursor = await connection.execute(STATEMENTS["lock_peer"], {"instance": instance, "now": context.now})
        away, name = require(await cursor.fetchone(), f"appliance {instance}")
        if not away:
            raise Conflict(f"Appliance {name or instance} is listening to its devices; stop it first.")
        await connection.execute(STATEMENTS["forget_listening"], {"instance": instance})
        removed = await connection.execute(STATEMENTS["delete_peer"], {"instance": instance})
        require_rows(removed.rowcount, f"appliance {instance}")
        entry = Entry(context.actor, "peer.remove", "peer", instance, None, {"name": name}, None)
        await record(connection, entry, now=context.now)
