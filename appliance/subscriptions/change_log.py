"""What is written beside a change of a subscription: its own event, the audit row, and the term that was sold.

Enters: the rows before and after. Leaves: rows in the caller's transaction. Never: a change of the subscription.
"""

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any

import msgspec

from appliance.db import statements
from appliance.db.audit import Actor, Entry, record
from appliance.db.change_context import ChangeContext
from appliance.db.trio_psycopg import Connection
from appliance.subscriptions.lifecycle import Subscription

STATEMENTS = statements.load("subscriptions")

_encode = msgspec.json.Encoder(order="sorted").encode


class TermKind(StrEnum):
    """How a term was bought. What an operator makes of one later is a correction: :func:`record_correction`."""

    SOLD = "SOLD"
    RENEWED = "RENEWED"


async def record_change(
    connection: Connection[Any], event: str, context: ChangeContext, old: Subscription | None, new: Subscription
) -> None:
    """Write the event of the subscription, and the row of the audit log, of one change."""
    before, after = await record_event(connection, event, context.actor, old, new, now=context.now)
    actor, identity = context.actor, new.subscription_id
    entry = Entry(actor, f"subscription.{event}", "subscription", identity, new.tenant_id, before, after)
    await record(connection, entry, now=context.now)


async def record_event(
    connection: Connection[Any],
    event: str,
    actor: Actor,
    old: Subscription | None,
    new: Subscription,
    *,
    now: datetime,
    details: Mapping[str, Any] | None = None,
) -> tuple[dict[str, Any] | None, dict[str, Any]]:
    """Write the event of the subscription: ``event`` names the change, ``details`` what the rows do not tell.

    Return the fields that differ, before and after; all of them after, and None before, for a new subscription.
    """
    before, after = _difference(old, new)
    await connection.execute(
        STATEMENTS["insert_event"],
        {
            "tenant": new.tenant_id,
            "subscription": new.subscription_id,
            "event": event,
            "actor": actor.name,
            "previous": None if before is None else _encode(before).decode(),
            "new": _encode(after).decode(),
            "details": None if details is None else _encode(details).decode(),
            "ip": actor.address,
            "now": now,
        },
    )
    return before, after


async def record_term(
    connection: Connection[Any], context: ChangeContext, row: Subscription, kind: TermKind, key: str | None = None
) -> None:
    """Write the term of ``row`` as one that was bought, with its limit and plan; ``key``: the Idempotency-Key."""
    await connection.execute(STATEMENTS["insert_term"], _term(row, context) | {"kind": kind.value, "key": key})


async def record_correction(connection: Connection[Any], context: ChangeContext, row: Subscription) -> None:
    """Write what an operator made of the newest term that was bought: its end, limit or plan as they are in ``row``.

    A subscription without a term on record, which was not made by the product, gets its first: as SOLD.
    """
    await connection.execute(STATEMENTS["insert_correction"], _term(row, context))


def _term(row: Subscription, context: ChangeContext) -> dict[str, Any]:
    return {
        "tenant": row.tenant_id,
        "subscription": row.subscription_id,
        "term_start": row.term_start,
        "term_end": row.term_end,
        "limit": row.device_limit,
        "plan": row.plan_id,
        "actor": context.actor.name,
        "now": context.now,
    }


def _difference(old: Subscription | None, new: Subscription) -> tuple[dict[str, Any] | None, dict[str, Any]]:
    after: dict[str, Any] = msgspec.to_builtins(new)
    if old is None:
        return None, after
    before: dict[str, Any] = msgspec.to_builtins(old)
    names = [name for name in after if before[name] != after[name]]
    return {name: before[name] for name in names}, {name: after[name] for name in names}
