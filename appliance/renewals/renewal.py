"""Renews a subscription in one transaction, or shows what that would do.

The order of locks is that of every change of seats: all subscription rows of the tenant by id, then the named devices
by id. Whether a request was asked before is looked up after the first lock: of many equal requests at once, one renews,
and the others wait for its commit and find its answer.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import Any

import msgspec
import structlog

from appliance.db.audit import Entry, record
from appliance.db.change_context import ChangeContext
from appliance.db.require import require
from appliance.db.trio_psycopg import Connection
from appliance.devices.device import IDENTIFIER, Device, DeviceStatus
from appliance.devices.seats import changes as seats
from appliance.errors import Conflict, Invalid
from appliance.renewals import requests
from appliance.renewals.answer import ALREADY_ACTIVE, Answer
from appliance.renewals.candidates import MOST_CANDIDATES, Candidate, candidates
from appliance.renewals.plan import NotOpen, Plan, Refusal, Request, devices_refused, plan, request_refused, version
from appliance.renewals.policy import RenewalPolicy
from appliance.subscriptions import change_log, rows
from appliance.subscriptions.change_log import TermKind
from appliance.subscriptions.lifecycle import Subscription

log = structlog.get_logger(__name__)

RENEWED = "RENEWED"
"""The event of ``subscription_audit``."""
MOST_KEY = 255
"""Characters of an Idempotency-Key."""
KEY_FIELD = "Idempotency-Key"
IN_DOUBT = (
    "The appliance's clock is in doubt, and a term must not start at a wrong time. Nothing was changed; set the clock "
    "of the machine, or confirm the time on System, and renew then."
)


class DevicesNeeded(Invalid):
    """Devices must be chosen that stop, or other ones: 400. It names how many, and which there are."""

    def __init__(self, message: str, needed: int, choices: Sequence[Candidate]) -> None:
        super().__init__(message, "devices_to_deactivate")
        self.needed = needed
        self.choices = choices
        """At most MOST_CANDIDATES of them, longest silent first."""


class StalePreview(Conflict):
    """What was previewed is not what would happen now: 409. Nothing was changed; the page shows the new preview."""


@dataclass(frozen=True, slots=True)
class Renewed:
    """The outcome of a request that succeeded."""

    answer: Answer
    request_id: int | None
    """The number under which it is kept; None for one that was too early, which is not kept."""
    replayed: bool
    """The key was seen before, and this is the answer of then."""


@dataclass(frozen=True, slots=True)
class Preview:
    """What a request would do now."""

    outcome: Plan | NotOpen | Refusal
    version: str | None
    """What :func:`renew` takes, so that nothing else than this is done; None unless ``outcome`` is a plan."""


async def renew(
    connection: Connection[Any],
    tenant_id: str,
    request: Request,
    context: ChangeContext,
    *,
    key: str | None,
    policy: RenewalPolicy,
    trusted: bool,
    seen: str | None = None,
) -> Renewed:
    """Renew a subscription, unless the same was asked before; ``seen``: the version of a preview.

    ``trusted``: whether the clock is; while it is in doubt nothing is renewed. Raises NotFound for a subscription that
    the tenant does not have; Conflict for an ADDON, a second MAIN, a clock in doubt; StalePreview; KeyReused;
    DevicesNeeded; Invalid, which names the field.
    """
    _check(request, key)
    async with seats.changing_seats(connection, tenant_id) as owned:
        row = _pick(owned, request.subscription_id)
        kept = None if key is None else await requests.find(connection, tenant_id, key, request, now=context.now)
        if kept is not None:
            return Renewed(kept.answer, kept.request_id, replayed=True)
        if not trusted:
            raise Conflict(IN_DOUBT)
        if not request.again:
            kept = await requests.find_equal(connection, row, request, now=context.now)
            if kept is not None:
                return await _repeated(connection, tenant_id, request, kept, key, context.now)
        zone = await rows.time_zone(connection, tenant_id)
        planned = plan(owned, row, request, context.now, zone, policy=policy)
        if isinstance(planned, Refusal):
            raise planned.error()
        if isinstance(planned, NotOpen):
            return Renewed(_not_open(planned), None, replayed=False)
        if seen is not None and seen != version(planned, request):
            raise StalePreview("What would happen has changed since the preview; view the new one and confirm again.")
        stopping = await _stopping(connection, tenant_id, planned, request)
        await _carry_out(connection, planned, request, stopping, context, key)
        answer = _answer(planned, request)
        number = await requests.keep(connection, tenant_id, request, answer, key=key, now=context.now)
    return Renewed(answer, number, replayed=False)


async def preview(
    connection: Connection[Any], tenant_id: str, request: Request, now: datetime, *, policy: RenewalPolicy
) -> Preview:
    """Return what the request would do now, named devices included, without a lock. Raises NotFound."""
    owned = await rows.select(connection, [tenant_id])
    row = _pick(owned, request.subscription_id)
    outcome = plan(owned, row, request, now, await rows.time_zone(connection, tenant_id), policy=policy)
    if not isinstance(outcome, Plan):
        return Preview(outcome, None)
    named = filter(IDENTIFIER.fullmatch, request.devices_to_deactivate)
    present = await seats.select_devices(connection, tenant_id, named)
    refusal = devices_refused(outcome, request.devices_to_deactivate, _active(present.values(), row))
    return Preview(refusal or outcome, None if refusal else version(outcome, request))


async def repeated(
    connection: Connection[Any], tenant_id: str, request: Request, *, key: str | None, now: datetime
) -> requests.Kept | None:
    """Return the renewal that the request would repeat, by its key or within a day; None if it would be a new one.

    Raises Invalid, KeyReused and NotFound, as :func:`renew` does.
    """
    _check(request, key)
    kept = None if key is None else await requests.find(connection, tenant_id, key, request, now=now)
    if kept is None and not request.again:
        row = _pick(await rows.select(connection, [tenant_id]), request.subscription_id)
        kept = await requests.find_equal(connection, row, request, now=now)
    return kept


def _check(request: Request, key: str | None) -> None:
    """Raise Invalid for what is wrong with the request itself."""
    fault = request_refused(request)
    if fault is not None:
        raise fault.error()
    if key is not None and not (0 < len(key) <= MOST_KEY and key.isprintable()):
        raise Invalid(f"An {KEY_FIELD} has 1 to {MOST_KEY} characters, all of which can be shown.", KEY_FIELD)
    if request.again and key is None:
        raise Invalid(
            "`again` renews each time it is sent: send an Idempotency-Key with it, so that one renewal happens once.",
            KEY_FIELD,
        )


def _pick(owned: Sequence[Subscription], subscription_id: str) -> Subscription:
    row = next((row for row in owned if row.subscription_id == subscription_id), None)
    return require(row, f"subscription {subscription_id}")


def _active(devices: Iterable[Device], row: Subscription) -> set[str]:
    return {
        device.device_id
        for device in devices
        if device.status is DeviceStatus.ACTIVE and device.subscription_id == row.subscription_id
    }


async def _repeated(
    connection: Connection[Any],
    tenant_id: str,
    request: Request,
    kept: requests.Kept,
    key: str | None,
    now: datetime,
) -> Renewed:
    """Answer a request as the equal one before it; its own key is kept, so that it never renews later."""
    answer = msgspec.structs.replace(kept.answer, changed=False, note=ALREADY_ACTIVE)
    number = kept.request_id
    if key is not None:
        number = await requests.keep(connection, tenant_id, request, answer, key=key, now=now)
    return Renewed(answer, number, replayed=False)


def _not_open(early: NotOpen) -> Answer:
    held = "" if early.row.hold_reason is None else " It is on hold, which renewing does not lift."
    return Answer(
        subscription_id=early.row.subscription_id,
        changed=False,
        previous_term_end=early.row.term_end,
        new_term_end=early.row.term_end,
        device_limit=early.row.device_limit,
        devices_deactivated=[],
        note=ALREADY_ACTIVE,
        renewing_opens=early.opens_on,
        hint=f"Renewing opens on {_day(early.opens_on)}; send `again` to renew early on purpose.{held}",
    )


def _day(day: date) -> str:
    return f"{day:%-d %B %Y}"


def _answer(planned: Plan, request: Request) -> Answer:
    return Answer(
        subscription_id=planned.before.subscription_id,
        changed=True,
        previous_term_end=planned.before.term_end,
        new_term_end=planned.after.term_end,
        device_limit=planned.after.device_limit,
        devices_deactivated=sorted(request.devices_to_deactivate),
    )


async def _stopping(connection: Connection[Any], tenant_id: str, planned: Plan, request: Request) -> list[Device]:
    """Return the devices that stop, locked. Raises DevicesNeeded, and Invalid where none is to stop."""
    named = filter(IDENTIFIER.fullmatch, request.devices_to_deactivate)
    present = await seats.lock_devices(connection, tenant_id, named)
    active = _active(present.values(), planned.before)
    refusal = devices_refused(planned, request.devices_to_deactivate, active)
    if refusal is None:
        return [device for name, device in present.items() if name in active]
    if refusal.needed is None:
        raise refusal.error()
    choices = await candidates(connection, tenant_id, planned.before.subscription_id, limit=MOST_CANDIDATES)
    raise DevicesNeeded(refusal.message, refusal.needed, choices)


async def _carry_out(
    connection: Connection[Any],
    planned: Plan,
    request: Request,
    stopping: Sequence[Device],
    context: ChangeContext,
    key: str | None,
) -> None:
    """Write what was planned: devices first, since no limit may fall below the seats in use."""
    if stopping:
        await seats.stop(connection, planned.before.tenant_id, stopping, context)
    left = planned.before.active_device_count - len(stopping)
    after = replace(planned.after, active_device_count=left)
    details: dict[str, Any] = {"term_days": request.term_days}
    if stopping:
        details["devices_deactivated"] = [device.device_id for device in stopping]
    pairs = [(planned.before, after, details)]
    pairs += [(old, new, {"renewed_with": after.subscription_id}) for old, new in planned.addons]
    differences = []
    for old, new, more in pairs:
        await rows.update(connection, new)
        differences.append(
            await change_log.record_event(connection, RENEWED, context.actor, old, new, now=context.now, details=more)
        )
        await change_log.record_term(connection, context, new, TermKind.RENEWED, key)
    before, now = differences[0]
    if planned.addons:
        now["addons"] = [new.subscription_id for _, new in planned.addons]
    identity = after.subscription_id
    entry = Entry(context.actor, "subscription.renew", "subscription", identity, after.tenant_id, before, now | details)
    await record(connection, entry, now=context.now)
    log.info("subscription renewed", subscription=identity, tenant=after.tenant_id, until=after.term_end.isoformat())
