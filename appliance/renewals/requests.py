"""Requests to renew that succeeded: kept with their answers, so that each renews once. The caller holds the locks."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import msgspec

from appliance.db import statements
from appliance.db.require import require
from appliance.db.trio_psycopg import Connection
from appliance.errors import KeyReused
from appliance.renewals.answer import Answer
from appliance.renewals.plan import Request
from appliance.subscriptions.lifecycle import Subscription

STATEMENTS = statements.load("renewals")

GUARD = timedelta(hours=24)
"""How long the same request, whatever its key, is taken for a repetition."""


@dataclass(frozen=True, slots=True)
class Kept:
    """A request that was answered before."""

    request_id: int
    answer: Answer


async def find(
    connection: Connection[Any], tenant_id: str, key: str, request: Request, *, now: datetime
) -> Kept | None:
    """Return what was answered to this key; None if it is new or free again. Raises KeyReused for another request."""
    parameters = {"tenant": tenant_id, "key": key, "now": now}
    row = await (await connection.execute(STATEMENTS["select_request"], parameters)).fetchone()
    if row is None:
        return None
    request_id, subscription_id, digest, again, answer = row
    if (subscription_id, bytes(digest), again) != (request.subscription_id, request.digest, request.again):
        raise KeyReused("This Idempotency-Key was used for another renewal; use a new key for a new one.")
    return Kept(request_id, _answer(answer))


async def find_equal(connection: Connection[Any], row: Subscription, request: Request, *, now: datetime) -> Kept | None:
    """Return the renewal of ``row`` by the same request within GUARD, whatever its key, however it was put."""
    parameters = {
        "tenant": row.tenant_id,
        "subscription": row.subscription_id,
        "hashes": request.spellings(row),
        "since": now - GUARD,
    }
    kept = await (await connection.execute(STATEMENTS["select_equal"], parameters)).fetchone()
    return None if kept is None else Kept(kept[0], _answer(kept[1]))


async def keep(
    connection: Connection[Any], tenant_id: str, request: Request, answer: Answer, *, key: str | None, now: datetime
) -> int:
    """Keep the answer, under its key for the whole term and at least as long as GUARD; return its number."""
    if key is not None:
        await connection.execute(STATEMENTS["free_key"], {"tenant": tenant_id, "key": key, "now": now})
    guarded = now + GUARD
    parameters = {
        "tenant": tenant_id,
        "subscription": request.subscription_id,
        "key": key,
        "hash": request.digest,
        "again": request.again,
        "changed": answer.changed,
        "answer": msgspec.json.encode(answer).decode(),
        "now": now,
        "until": guarded if key is None else max(guarded, answer.new_term_end),
    }
    row = await (await connection.execute(STATEMENTS["insert_request"], parameters)).fetchone()
    number: int = require(row, "request just kept")[0]
    return number


async def answer_of(connection: Connection[Any], tenant_id: str, subscription_id: str, request_id: int) -> Answer:
    """Return what was answered to a request, for the page that shows it. Raises NotFound."""
    parameters = {"tenant": tenant_id, "subscription": subscription_id, "request": request_id}
    row = await (await connection.execute(STATEMENTS["select_answer"], parameters)).fetchone()
    return _answer(require(row, f"renewal {request_id} of {subscription_id}")[0])


def _answer(stored: Any) -> Answer:
    return msgspec.convert(stored, Answer)
