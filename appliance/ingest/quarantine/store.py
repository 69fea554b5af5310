"""Quarantined messages as people see them: list, show, count by reason, dismiss.

Enters: a connection and a :class:`Selection`. Leaves: rows and counts; a dismissal with its audit row in the same
transaction. Never: a message of another tenant, which raises the same NotFound as one that does not exist.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

import msgspec

from appliance.db import statements
from appliance.db.audit import Actor, Entry, record
from appliance.db.change_context import ChangeContext
from appliance.db.require import require, require_rows
from appliance.db.trio_psycopg import Connection
from appliance.errors import Conflict, Invalid
from appliance.reading import HELD_REASONS, Reason

STATEMENTS = statements.load("quarantine")

OPERATOR = ""
"""Stands for messages of no known tenant, in place of a tenant id."""
MAX_IDS = 10_000
"""Ids in a selection at most."""
SHOWN_IDS = 100
"""Ids that an audit row keeps at most."""
MAX_PAGE = 1000


class MessageStatus(StrEnum):
    """The decision on a message. ``HELD``: none yet."""

    HELD = "HELD"
    REPLAYED = "REPLAYED"
    DISMISSED = "DISMISSED"


class Selection(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Which messages: each field narrows the selection. ``since`` (inclusive) and ``until`` are times of receipt."""

    tenant_id: str | None = None
    """None: those of all tenants, for operators; OPERATOR: those of no known tenant."""
    device_id: str | None = None
    site_id: str | None = None
    """The site that the message names."""
    reasons: tuple[Reason, ...] = ()
    since: datetime | None = None
    until: datetime | None = None
    ids: tuple[int, ...] = ()

    def parameters(self) -> dict[str, Any]:
        """Return the parameters of the statements in ``quarantine.sql``."""
        return {
            "tenant": self.tenant_id,
            "device": self.device_id,
            "site": self.site_id,
            "reasons": [reason.value for reason in self.reasons] or None,
            "since": self.since,
            "until": self.until,
            "ids": list(self.ids) or None,
        }

    def described(self) -> Mapping[str, Any]:
        """Return the selection as audit rows keep it, with up to SHOWN_IDS ids."""
        builtins: dict[str, Any] = msgspec.to_builtins(msgspec.structs.replace(self, ids=self.ids[:SHOWN_IDS]))
        return builtins


@dataclass(frozen=True, slots=True)
class QuarantinedMessage:
    """A quarantined message. ``payload`` is as received."""

    event_id: int
    ingested_at: datetime
    event_ts: datetime | None
    """The time that the device gave, if it could be read."""
    topic: str
    tenant_id: str | None
    site_id: str | None
    device_id: str | None
    kind: str | None
    reason: Reason
    detail: str
    payload: bytes
    """As received; in a list perhaps only its beginning."""
    payload_bytes: int
    """Bytes of the whole payload."""
    status: MessageStatus
    decided_at: datetime | None
    decided_by: str | None


@dataclass(frozen=True, slots=True)
class ReasonTotals:
    """One reason: the messages that are held for it, and the exact number of those refused for it, kept or not."""

    reason: Reason
    held: int
    held_bytes: int
    oldest: datetime | None
    newest: datetime | None
    refused: int


@dataclass(frozen=True, slots=True)
class HeldReason:
    """One reason: the number of messages that are held for it, and when the oldest was received."""

    reason: Reason
    held: int
    oldest: datetime | None


@dataclass(frozen=True, slots=True)
class HeldReach:
    """How much is kept of a tenant, and how far back held messages are complete.

    Every message received after ``complete_since`` and refused for a reason that holds messages is kept or has a
    decision. None: no message was ever evicted.
    """

    messages: int
    bytes: int
    held: int
    held_bytes: int
    evicted: int
    complete_since: datetime | None
    oldest: datetime | None


async def list_events(
    connection: Connection[Any],
    selection: Selection,
    *,
    status: MessageStatus | None = MessageStatus.HELD,
    before: int | None = None,
    limit: int,
    payload_bytes: int | None = None,
) -> list[QuarantinedMessage]:
    """Return up to ``limit`` (and MAX_PAGE) messages whose id is below ``before``, newest first.

    ``payload_bytes``: cut each payload to this length, for lists.
    """
    parameters = selection.parameters() | {
        "status": None if status is None else status.value,
        "before": before,
        "limit": min(limit, MAX_PAGE),
        "bytes": payload_bytes,
    }
    cursor = await connection.execute(STATEMENTS["list_events"], parameters, prepare=False)
    return [_event(row) for row in await cursor.fetchall()]


async def newest(connection: Connection[Any], tenant_id: str | None) -> int:
    """Return the id of the newest message of one tenant (or OPERATOR, or of all), 0 without any."""
    cursor = await connection.execute(STATEMENTS["newest_event"], {"tenant": tenant_id}, prepare=False)
    (newest_id,) = require(await cursor.fetchone(), "aggregate")
    return newest_id or 0


async def count_newer(
    connection: Connection[Any], selection: Selection, *, status: MessageStatus | None, after: int, most: int
) -> tuple[int, int]:
    """Return how many of the first ``most`` messages after ``after`` match, and the number of these messages."""
    parameters = selection.parameters() | {
        "status": None if status is None else status.value,
        "after": after,
        "most": most,
    }
    cursor = await connection.execute(STATEMENTS["count_newer"], parameters, prepare=False)
    matching, examined = require(await cursor.fetchone(), "count")
    return int(matching), int(examined)


async def get_event(connection: Connection[Any], event_id: int, tenant_id: str | None = None) -> QuarantinedMessage:
    """Return one message, with or without a decision. Raises NotFound, also for a message of another tenant."""
    events = await list_events(connection, Selection(tenant_id=tenant_id, ids=(event_id,)), status=None, limit=1)
    return require(events[0] if events else None, f"quarantined message {event_id}")


async def counts(connection: Connection[Any], selection: Selection) -> list[ReasonTotals]:
    """Return totals by reason, most held first. ``refused`` is 0 for a selection by device, site or ids."""
    cursor = await connection.execute(STATEMENTS["count_causes"], selection.parameters(), prepare=False)
    return [ReasonTotals(Reason(row[0]), row[1], int(row[2]), *row[3:]) for row in await cursor.fetchall()]


async def held_by_reason(connection: Connection[Any], tenant_id: str | None) -> list[HeldReason]:
    """Return the held messages of one tenant (or OPERATOR, or of all) by reason, most first."""
    cursor = await connection.execute(STATEMENTS["held_by_reason"], {"tenant": tenant_id}, prepare=False)
    return [HeldReason(Reason(row[0]), row[1], row[2]) for row in await cursor.fetchall()]


async def reach(connection: Connection[Any], tenant_id: str | None) -> HeldReach:
    """Return how much is kept of one tenant (or OPERATOR, or of all) and how far back it reaches."""
    return reach_of(await totals(connection, tenant_id), await held_by_reason(connection, tenant_id))


async def totals(connection: Connection[Any], tenant_id: str | None) -> HeldReach:
    """Return the same as :func:`reach`, without the oldest."""
    cursor = await connection.execute(STATEMENTS["sum_totals"], {"tenant": tenant_id}, prepare=False)
    messages, size, held, held_bytes, evicted, evicted_until = require(await cursor.fetchone(), "total")
    return HeldReach(messages, size, held, held_bytes, evicted, evicted_until, None)


def reach_of(summed: HeldReach, held: Sequence[HeldReason]) -> HeldReach:
    """Return the totals with the time of the oldest message held for replay."""
    oldest = min((cause.oldest for cause in held if cause.reason in HELD_REASONS and cause.oldest), default=None)
    return replace(summed, oldest=oldest)


async def refused_by_step(
    connection: Connection[Any], tenant_id: str | None, edges: Sequence[datetime]
) -> dict[Reason, list[int]]:
    """Return the exact number of refused messages by reason: a count for each step between two ``edges``.

    The edges are in order, each of them the start of a minute.
    """
    parameters = {"tenant": tenant_id, "edges": list(edges), "since": edges[0], "until": edges[-1]}
    cursor = await connection.execute(STATEMENTS["sum_by_step"], parameters)
    counted: dict[Reason, list[int]] = {}
    for reason, step, count in await cursor.fetchall():
        counted.setdefault(Reason(reason), [0] * (len(edges) - 1))[step - 1] = count
    return counted


async def tenants_with_held(connection: Connection[Any], limit: int) -> list[str]:
    """Return up to ``limit`` tenants with held messages, those with the most first."""
    cursor = await connection.execute(STATEMENTS["tenants_with_held"], {"limit": limit})
    return [row[0] for row in await cursor.fetchall()]


async def by_owner(connection: Connection[Any], ids: Sequence[int]) -> list[Selection]:
    """Return a selection of ``ids`` for each tenant (OPERATOR for none). Raises NotFound when one does not exist."""
    cursor = await connection.execute(STATEMENTS["owners_of"], {"ids": list(ids)})
    owned = [Selection(tenant_id=owner, ids=tuple(its)) for owner, its in await cursor.fetchall()]
    if sum(len(selection.ids) for selection in owned) < len(set(ids)):
        require(None, "such quarantined message")
    return owned


async def dismiss(connection: Connection[Any], selection: Selection, context: ChangeContext) -> int:
    """Dismiss held messages, which can still be viewed until they expire. Return the number of dismissed messages.

    Raises NotFound when no held message matches, or a message given by its id does not exist; Conflict when one of
    those already has a decision; Invalid for more than MAX_IDS ids.
    """
    async with connection.transaction():
        await check_ids(connection, selection)
        parameters = selection.parameters() | {"now": context.now, "actor": context.actor.name}
        cursor = await connection.execute(STATEMENTS["dismiss_events"], parameters, prepare=False)
        dismissed = require_rows(cursor.rowcount, "held message that matches")
        entry = audit_entry(context.actor, "quarantine.dismiss", selection, {"messages": dismissed})
        await record(connection, entry, now=context.now)
    return dismissed


def audit_entry(actor: Actor, action: str, selection: Selection, outcome: Mapping[str, Any]) -> Entry:
    """Return the one audit row of a decision on any number of messages."""
    ids = [*map(str, selection.ids[:2])]
    named = ids[0] if len(ids) == 1 else "selection"
    after = {"selection": selection.described(), **outcome}
    return Entry(actor, action, "quarantine", named, selection.tenant_id or None, None, after)


async def check_ids(connection: Connection[Any], selection: Selection) -> None:
    """Check that the messages given by id are held. Raises NotFound, Conflict, Invalid."""
    wanted = set(selection.ids)
    if not wanted:
        return
    if len(wanted) > MAX_IDS:
        raise Invalid(f"{len(wanted)} messages selected; at most {MAX_IDS}. Select them by device, reason and time.")
    parameters = {"ids": sorted(wanted), "tenant": selection.tenant_id}
    row = await (await connection.execute(STATEMENTS["count_present"], parameters, prepare=False)).fetchone()
    present, held = row or (0, 0)
    if present < len(wanted):
        what = f"quarantined message {min(wanted)}" if len(wanted) == 1 else "such quarantined message"
        require(None, what)
    if held < len(wanted):
        which = "It was" if len(wanted) == 1 else "Some were"
        raise Conflict(f"{which} already replayed or dismissed.")


def _event(row: tuple[Any, ...]) -> QuarantinedMessage:
    """Return the message of a row, its columns in the order of ``list_events``."""
    event_id, ingested_at, event_ts, topic, tenant_id, site_id, device_id, kind, reason, detail, *rest = row
    payload, payload_bytes, status, decided_at, decided_by = rest
    return QuarantinedMessage(
        event_id,
        ingested_at,
        event_ts,
        topic,
        tenant_id,
        site_id,
        device_id,
        kind,
        Reason(reason),
        detail,
        payload,
        payload_bytes,
        MessageStatus(status),
        decided_at,
        decided_by,
    )
