"""Who changed what: rows of ``audit_log``, written in the transaction of the change.

The row is the record; the log line beside it is for people who read the log, and may announce a change that is rolled
back a moment later. No secret belongs in an entry.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

import msgspec
import structlog

from appliance.db import statements
from appliance.db.trio_psycopg import Connection

log = structlog.get_logger(__name__)

STATEMENTS = statements.load("audit")

INSERT_ROWS = 100
"""Entries written and logged before the event loop has its turn: some milliseconds, for which messages wait."""

_encode = msgspec.json.Encoder(order="sorted").encode


class ActorKind(StrEnum):
    """The way by which an actor comes."""

    USER = "user"
    """A person signed in; the name is the e-mail address."""
    TOKEN = "token"  # noqa: S105 - a kind of actor, not a secret
    """An API token; the name is that of its owner and its own."""
    COMMAND = "command"
    """The command line on the machine itself; the name is the operating-system user."""
    DEVICE = "device"
    """A device that announced itself."""
    APPLIANCE = "appliance"
    """The appliance by itself; the name is the service."""
    INTEGRATION = "integration"
    """Whoever opened a link that was sent to an integration; the name is the integration's."""


@dataclass(frozen=True, slots=True)
class Actor:
    """The actor of a change, and where it comes from."""

    name: str
    kind: ActorKind
    address: str | None = None
    """The network address; None for actors on the machine itself."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One change. ``before`` and ``after`` hold what changed, as JSON values; None where there was or is nothing."""

    actor: Actor
    action: str
    """Object and verb, for example ``device.approve``."""
    object_type: str
    object_id: str
    tenant_id: str | None = None
    """None: the appliance as a whole; only operators see it."""
    before: Mapping[str, Any] | None = None
    after: Mapping[str, Any] | None = None


async def record(connection: Connection[Any], *entries: Entry, now: datetime) -> None:
    """Write ``entries``, all of one actor and one instant, inside the caller's transaction; one log line each.

    Raises ValueError when the entries have different actors.
    """
    if any(entry.actor != entries[0].actor for entry in entries):
        raise ValueError("one call records the changes of one actor")
    for start in range(0, len(entries), INSERT_ROWS):
        await _record(connection, entries[start : start + INSERT_ROWS], now)


async def _record(connection: Connection[Any], entries: Sequence[Entry], now: datetime) -> None:
    actor = entries[0].actor
    parameters = {
        "now": now,
        "actor": actor.name,
        "actor_kind": actor.kind.value,
        "address": actor.address,
        "tenants": [entry.tenant_id for entry in entries],
        "actions": [entry.action for entry in entries],
        "types": [entry.object_type for entry in entries],
        "ids": [entry.object_id for entry in entries],
        "befores": [_json(entry.before) for entry in entries],
        "afters": [_json(entry.after) for entry in entries],
    }
    await connection.execute(STATEMENTS["record"], parameters)
    for entry in entries:
        log.info(
            "change recorded",
            action=entry.action,
            object_type=entry.object_type,
            object=entry.object_id,
            tenant=entry.tenant_id,
            actor=actor.name,
            address=actor.address,
        )


def _json(state: Mapping[str, Any] | None) -> str | None:
    return None if state is None else _encode(state).decode()
