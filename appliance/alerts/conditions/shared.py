"""SYSTEM alerts about what all appliances on a database share: peers, a full quarantine, readings that went early."""

from datetime import datetime, timedelta
from typing import Any

from appliance.alerts.alert import AlertType
from appliance.alerts.conditions.condition import Condition
from appliance.alerts.conditions.store import STATEMENTS
from appliance.db.trio_psycopg import Connection
from appliance.devices.tenants import OWN_TENANT
from appliance.peers.store import Peer, list_all
from appliance.severity import Severity

OVERFLOWS = timedelta(hours=1)
"""For as long quarantine counts as full after it last made room: it makes room for a while at once."""
GONE = timedelta(days=2)
"""For as long a day of readings that went because the disk had no room for it is an alert: where one goes each day, it
is the same alert."""
TENANTS_NAMED = 20
PEERS = "peers"
"""The keeper of what is said of peers."""


async def peer_conditions(connection: Connection[Any], now: datetime, *, here: str) -> list[Condition]:
    """Return which appliances are away. One that has never listened is still starting.

    The appliance ``here``, which asks, does not say so of itself, for it may have started a moment ago; but what the
    others said of it holds until it listens.
    """
    cursor = await connection.execute(STATEMENTS["select_kept"], {"keeper": PEERS})
    said = {fingerprint for _, fingerprint in await cursor.fetchall()}
    peers = [peer for peer in await list_all(connection, now) if peer.away and peer.listened_at is not None]
    return [_away(peer) for peer in peers if peer.instance != here or _fingerprint(peer) in said]


async def quarantine_conditions(connection: Connection[Any], now: datetime) -> list[Condition]:
    """Return whether held messages are dropped for want of room, and whose."""
    cursor = await connection.execute(STATEMENTS["select_overflowing"], {"since": now - OVERFLOWS, "until": now})
    tenants = [tenant_id or "unknown tenants" for (tenant_id,) in await cursor.fetchall()]
    if not tenants:
        return []
    whose = tenants[0] if len(tenants) == 1 else f"{len(tenants)} tenants"
    summary = f"The quarantine of {whose} is full: its oldest messages are dropped"
    details = {"tenants": tenants[:TENANTS_NAMED]}
    return [Condition(OWN_TENANT, "system:quarantine", AlertType.SYSTEM, Severity.HIGH, summary, details)]


async def retention_conditions(connection: Connection[Any], now: datetime) -> list[Condition]:
    """Return whether readings went because the disk had no room for them, which no configuration asks for.

    The audit says so, whichever process dropped them, and however often one has started since.
    """
    cursor = await connection.execute(STATEMENTS["select_gone_for_disk"], {"since": now - GONE, "until": now})
    row = await cursor.fetchone()
    if row is None:
        return []
    day, at = row
    summary = "The oldest readings went before their age: the disk had no room for them"
    return [
        Condition(OWN_TENANT, "system:retention", AlertType.SYSTEM, Severity.HIGH, summary, {"day": day}, started_at=at)
    ]


def _fingerprint(peer: Peer) -> str:
    return f"system:peer:{peer.instance}"


def _away(peer: Peer) -> Condition:
    details = {"appliance": peer.title, "instance": peer.instance, "devices": peer.devices}
    return Condition(
        OWN_TENANT,
        _fingerprint(peer),
        AlertType.SYSTEM,
        Severity.HIGH,
        f"The appliance {peer.title} is away: it does not listen to its devices",
        details,
        count=1,
        started_at=peer.listened_at,
    )
