"""The timeline of an alert: every step with who took it, and the notes of people."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

import msgspec

from appliance.db import statements
from appliance.db.audit import ActorKind
from appliance.db.trio_psycopg import Connection

STATEMENTS = statements.load("alerts")

MAX_ENTRIES = 1000
"""Newest entries of an alert that are read at most."""


class TimelineKind(StrEnum):
    """What an entry tells."""

    OPENED = "opened"
    ACKNOWLEDGED = "acknowledged"
    UNACKNOWLEDGED = "unacknowledged"
    CLOSED = "closed"
    SILENCED = "silenced"
    UNSILENCED = "unsilenced"
    NOTE = "note"
    INHIBITED = "inhibited"
    """Another alert stands for it from now on."""
    RELEASED = "released"
    """It stands for itself again."""
    UPDATED = "updated"
    """What it is about changed: the severity, or the number of devices."""


@dataclass(frozen=True, slots=True)
class TimelineEntry:
    """A row of ``alert_events``."""

    event_id: int
    at: datetime
    kind: TimelineKind
    actor: str | None
    """None: the appliance itself."""
    actor_kind: ActorKind | None
    note: str | None
    """What a person wrote with the step, or the note itself."""
    details: Mapping[str, Any] = field(hash=False)
    """``reason`` of an end, ``until`` of a silence, and what else the step tells."""


async def timeline(connection: Connection[Any], tenant_id: str, alert_id: int) -> list[TimelineEntry]:
    """Return the entries of an alert, newest first; none for an alert that is not there."""
    parameters = {"tenant": tenant_id, "alert": alert_id, "limit": MAX_ENTRIES}
    cursor = await connection.execute(STATEMENTS["timeline_of_alert"], parameters)
    return [_entry(row) for row in await cursor.fetchall()]


def _entry(row: tuple[Any, ...]) -> TimelineEntry:
    event_id, at, kind, actor, actor_kind, note, details = row
    by = None if actor_kind is None else ActorKind(actor_kind)
    return TimelineEntry(event_id, at, TimelineKind(kind), actor, by, note, msgspec.json.decode(details))
