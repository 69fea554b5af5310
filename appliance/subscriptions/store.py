"""Subscriptions in Postgres: sold, listed and changed.

Enters: a connection, what an operator wants, by whom and when. Leaves: the subscription as it is now, with its audit
rows (:mod:`.change_log`) in the same transaction: one of its own, or a savepoint inside the caller's. Never: a check of
who may ask, which is the caller's. ``now`` is an instant with a time zone, ``grace`` the setting ``grace_days``.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from psycopg import errors

from appliance.counted import counted
from appliance.db import statements
from appliance.db.change_context import ChangeContext
from appliance.db.require import require
from appliance.db.trio_psycopg import Connection
from appliance.errors import Conflict, Invalid, Outdated, VersionNeeded
from appliance.plain_text import is_plain
from appliance.subscriptions import change_log, rows, terms
from appliance.subscriptions.change_log import TermKind
from appliance.subscriptions.lifecycle import Subscription, SubscriptionStatus, SubscriptionType, status_at
from appliance.subscriptions.statuses import as_of

STATEMENTS = statements.load("subscriptions")

MAX_TEXT = 256
"""Characters of a plan, a description, a reason."""
MOST_TERM = timedelta(days=36_500)
"""How far ahead a term ends at most."""

UNREAD = ""
"""In place of a version: who asks has not said what they read."""

_encode = msgspec.json.Encoder(order="sorted").encode


@dataclass(frozen=True, slots=True)
class NewSubscription:
    """What is sold, for a ``term`` of whole days. An ADDON ends with its MAIN, whatever ``term`` says."""

    tenant_id: str
    subscription_type: SubscriptionType
    device_limit: int
    term: timedelta
    parent_subscription_id: str | None = None
    """Of an ADDON; None is the tenant's MAIN."""
    plan_id: str | None = None
    description: str | None = None


@dataclass(frozen=True, slots=True)
class Changes:
    """What an operator changes; None leaves a thing as it is."""

    device_limit: int | None = None
    term_end: datetime | None = None
    hold_reason: str | None = None
    """Stops the subscription at once; empty text lifts the hold."""
    plan_id: str | None = None
    description: str | None = None


async def add(
    connection: Connection[Any], new: NewSubscription, context: ChangeContext, *, grace: timedelta
) -> Subscription:
    """Sell a subscription that starts now.

    Raises Invalid with the field for a text or a term that none can have; NotFound for an unknown tenant or parent;
    Conflict for a second MAIN, a limit below 1, a term that is not positive, or a parent that is no MAIN.
    """
    _check_texts(plan_id=new.plan_id, description=new.description)
    if new.term > MOST_TERM:
        raise Invalid(f"A term has at most {MOST_TERM.days} days.", "term_days")
    async with connection.transaction():
        paid_until = await term_end(connection, new.tenant_id, context.now, new.term.days)
        parent = _parent(new, await rows.lock(connection, [new.tenant_id]))
        _check_limit(new.device_limit)
        if parent is None and new.term.days < 1:
            raise Conflict("A term has at least one day.")
        end = paid_until if parent is None else parent.term_end
        if end <= context.now:
            raise Conflict(f"{new.parent_subscription_id or 'The MAIN'} has ended; renew it first, then add to it.")
        cursor = await _insert(connection, new, parent, context.now, end, grace)
        made = rows.subscription(require(await cursor.fetchone(), "subscription just made"))
        await change_log.record_change(connection, "add", context, None, made)
        await change_log.record_term(connection, context, made, TermKind.SOLD)
    return made


async def term_end(connection: Connection[Any], tenant_id: str, now: datetime, days: int) -> datetime:
    """Return when a term ends that starts now: so many calendar days later, at the same time in the tenant's zone.

    Raises NotFound for an unknown tenant.
    """
    return terms.extended(now, days, await rows.time_zone(connection, tenant_id))


async def list_all(connection: Connection[Any], tenant_id: str | None = None) -> list[Subscription]:
    """Return the subscriptions of one tenant, or all that the role may see, by tenant and id."""
    return await (rows.select_all(connection) if tenant_id is None else rows.select(connection, [tenant_id]))


async def list_page(
    connection: Connection[Any],
    tenant_id: str | None,
    *,
    limit: int,
    after: tuple[str, str] | None,
    now: datetime,
    grace: timedelta,
) -> list[Subscription]:
    """Return at most ``limit`` subscriptions by tenant and id, after ``after``, each with its status at ``now``."""
    page = await rows.select_page(connection, tenant_id, limit=limit, after=after)
    wanted = {(row.tenant_id, row.subscription_id) for row in page}
    # All rows of these tenants: the status of an ADDON follows from its parent, which may be on another page.
    known = await rows.select(connection, {row.tenant_id for row in page})
    return [row for row in as_of(known, now, grace) if (row.tenant_id, row.subscription_id) in wanted]


async def get(connection: Connection[Any], tenant_id: str, subscription_id: str) -> Subscription:
    """Return one subscription of a tenant. Raises NotFound."""
    return _pick(await rows.select(connection, [tenant_id]), subscription_id)


async def tenant_of(connection: Connection[Any], subscription_id: str) -> str:
    """Return the tenant of a subscription, for an operator who knows only its id.

    Raises NotFound, and Conflict if several tenants have one with this id.
    """
    cursor = await connection.execute(STATEMENTS["tenant_of"], {"subscription": subscription_id})
    found = [tenant for (tenant,) in await cursor.fetchall()]
    if len(found) > 1:
        raise Conflict(f"Several tenants have a subscription {subscription_id}: {', '.join(found)}. Name the tenant.")
    tenant: str = require(found[0] if found else None, f"subscription {subscription_id}")
    return tenant


async def change(
    connection: Connection[Any],
    tenant_id: str,
    subscription_id: str,
    changes: Changes,
    context: ChangeContext,
    *,
    grace: timedelta,
    version: str | None = None,
) -> Subscription:
    """Change a subscription and its ADDONs with it; return the row afterwards.

    Raises Invalid with the field for a text or an end that none can have; NotFound; Conflict for a limit below the
    seats in use, a term that would end before it starts, an own end for an ADDON, or when somebody else has changed
    it since it was of this ``version``; VersionNeeded for an UNREAD one when the term of a renewal would end earlier:
    whoever asks may not know of it, and the days are paid. ``version`` None: whatever there is.
    """
    _check_texts(hold_reason=changes.hold_reason, plan_id=changes.plan_id, description=changes.description)
    if changes.term_end is not None and changes.term_end > context.now + MOST_TERM:
        raise Invalid(f"A term ends at most {MOST_TERM.days} days from now.", "term_end")
    async with connection.transaction():
        before = await rows.lock(connection, [tenant_id])
        row = _pick(before, subscription_id)
        if version == UNREAD:
            await _check_unread(connection, row, changes)
        elif version not in (None, version_of(row)):
            raise Outdated(f"Subscription {subscription_id} was changed by someone else; reload the page.")
        wanted = _changed(row, changes, await _start(connection, row, changes))
        after = _with_addons(before, wanted, context.settled, grace)
        for old, new in zip(before, after, strict=True):
            if new != old:
                await _write(connection, old, new, context)
    return _pick(after, subscription_id)


async def _check_unread(connection: Connection[Any], row: Subscription, changes: Changes) -> None:
    """Check a change of what nobody said to have read. Raises VersionNeeded."""
    if changes.term_end is None or changes.term_end >= row.term_end:
        return
    parameters = {"tenant": row.tenant_id, "subscription": row.subscription_id}
    cursor = await connection.execute(STATEMENTS["select_last_bought_kind"], parameters)
    if await cursor.fetchone() == (TermKind.RENEWED,):
        raise VersionNeeded(
            f"Subscription {row.subscription_id} was renewed and is paid until {row.term_end.isoformat()}. To end it "
            "earlier, read it again and send its version (If-Match); * means whatever the version is."
        )


def version_of(row: Subscription) -> str:
    """Return a value that differs after a change by a person; seats and the recorded status do not count."""
    sold = (row.device_limit, row.term_end, row.hold_reason, row.plan_id, row.description)
    return hashlib.sha256(_encode(sold)).hexdigest()[:16]


def _parent(new: NewSubscription, existing: Sequence[Subscription]) -> Subscription | None:
    """Return the MAIN of ``new`` if that is an ADDON."""
    main = next((row for row in existing if row.subscription_type is SubscriptionType.MAIN), None)
    if new.subscription_type is not SubscriptionType.ADDON:
        if new.parent_subscription_id is not None:
            raise Conflict("Only an ADDON has a parent.")
        if new.subscription_type is SubscriptionType.MAIN and main is not None:
            raise _second_main(new.tenant_id, main.subscription_id)
        return None
    if new.parent_subscription_id is None:
        return require(main, f"MAIN subscription of tenant {new.tenant_id} to add to")
    parent = _pick(existing, new.parent_subscription_id)
    if parent.subscription_type is not SubscriptionType.MAIN:
        raise Conflict(f"{parent.subscription_id} is a {parent.subscription_type}; an ADDON belongs to a MAIN.")
    return parent


async def _insert(
    connection: Connection[Any],
    new: NewSubscription,
    parent: Subscription | None,
    start: datetime,
    end: datetime,
    grace: timedelta,
) -> Any:
    parent_id = None if parent is None else parent.subscription_id
    draft = Subscription(
        "", new.tenant_id, new.subscription_type, parent_id, new.device_limit, 0, start, end, SubscriptionStatus.ACTIVE
    )
    try:
        return await connection.execute(
            STATEMENTS["insert_subscription"],
            {
                "tenant": new.tenant_id,
                "type": new.subscription_type.value,
                "parent": parent_id,
                "limit": new.device_limit,
                "term_start": start,
                "term_end": end,
                "status": status_at(draft, start, parent=parent, grace=grace).value,
                "plan": new.plan_id,
                "description": new.description,
                "now": start,
            },
        )
    except errors.UniqueViolation as error:  # two at once on a tenant that had none: there was no row to lock
        raise _second_main(new.tenant_id, "one made at the same moment") from error


def _second_main(tenant_id: str, which: str) -> Conflict:
    return Conflict(f"Tenant {tenant_id} has a MAIN subscription already ({which}); renew that, or add an ADDON.")


def _check_limit(limit: int) -> None:
    if not 1 <= limit <= 2**31 - 1:
        raise Conflict("A subscription has at least one seat and at most 2,147,483,647.")


def _check_texts(**texts: str | None) -> None:
    for field, text in texts.items():
        if text is not None and not (len(text) <= MAX_TEXT and is_plain(text)):
            raise Invalid(f"This has at most {MAX_TEXT} characters on one line, all of which can be seen.", field)


async def _start(connection: Connection[Any], row: Subscription, changes: Changes) -> datetime:
    """Return the start of the term that the changes leave: an earlier one, where the newest would not begin at all."""
    if changes.term_end is None or changes.term_end > row.term_start:
        return row.term_start
    parameters = {"tenant": row.tenant_id, "subscription": row.subscription_id, "at": changes.term_end}
    earlier = await (await connection.execute(STATEMENTS["select_start_of_term_at"], parameters)).fetchone()
    if earlier is None:
        raise Conflict("A term ends after it starts.")
    start: datetime = earlier[0].astimezone(UTC)
    return start


async def _write(connection: Connection[Any], old: Subscription, new: Subscription, context: ChangeContext) -> None:
    """Write a row that an operator changed, its event and audit row, and what became of its term."""
    await rows.update(connection, new)
    if old.hold_reason != new.hold_reason:
        hold = {"tenant": new.tenant_id, "subscription": new.subscription_id, "hold_reason": new.hold_reason}
        await connection.execute(STATEMENTS["set_hold"], hold)
    await change_log.record_change(connection, _event(old, new), context, old, new)
    if (old.term_end, old.device_limit, old.plan_id) != (new.term_end, new.device_limit, new.plan_id):
        await change_log.record_correction(connection, context, new)


def _changed(row: Subscription, changes: Changes, start: datetime) -> Subscription:
    """Return the row with the changes, its status left alone; ``start``: of the term that its end leaves."""
    if changes.device_limit is not None:
        _check_limit(changes.device_limit)
        if changes.device_limit < row.active_device_count:
            excess = row.active_device_count - changes.device_limit
            raise Conflict(
                f"{counted(row.active_device_count, 'device is', 'devices are')} active on {row.subscription_id}; "
                f"deactivate {excess} of them first, or keep a limit of {row.active_device_count}."
            )
        row = replace(row, device_limit=changes.device_limit)
    if changes.term_end is not None:
        if row.subscription_type is SubscriptionType.ADDON:
            raise Conflict(f"{row.subscription_id} is an ADDON; it ends with {row.parent_subscription_id}.")
        row = replace(row, term_start=start, term_end=changes.term_end.astimezone(UTC), grace_end=None)
    if changes.hold_reason is not None:
        row = replace(row, hold_reason=changes.hold_reason or None)
    if changes.plan_id is not None:
        row = replace(row, plan_id=changes.plan_id or None)
    if changes.description is not None:
        row = replace(row, description=changes.description or None)
    return row


def _with_addons(
    before: Sequence[Subscription], wanted: Subscription, now: datetime, grace: timedelta
) -> list[Subscription]:
    """Return the tenant's rows with ``wanted`` in its place, ADDONs ending with their MAIN, and statuses of now."""

    def follow(row: Subscription) -> Subscription:
        if row.subscription_id == wanted.subscription_id:
            return wanted
        if row.parent_subscription_id == wanted.subscription_id:
            start = min(row.term_start, wanted.term_start) if row.term_start >= wanted.term_end else row.term_start
            return replace(row, term_start=start, term_end=wanted.term_end, grace_end=wanted.grace_end)
        return row

    return as_of([follow(row) for row in before], now, grace)


def _pick(subscriptions: Sequence[Subscription], subscription_id: str) -> Subscription:
    row = next((row for row in subscriptions if row.subscription_id == subscription_id), None)
    return require(row, f"subscription {subscription_id}")


def _event(old: Subscription, new: Subscription) -> str:
    if old.hold_reason != new.hold_reason:
        return "hold" if new.hold_reason else "lift_hold"
    return "change"
