"""``appliance subscription renew``: renews a subscription without a browser, or shows what that would do."""

import json
from dataclasses import dataclass
from datetime import date, tzinfo
from typing import Any

import click
import msgspec

from appliance.cli import Invocation
from appliance.cli.administration import Administration, administer
from appliance.cli.output import json_option, plain, show_one, show_rows
from appliance.counted import counted
from appliance.devices.credentials.broker_sync import SyncStatus
from appliance.errors import Conflict
from appliance.renewals import renewal
from appliance.renewals.answer import ALREADY_ACTIVE
from appliance.renewals.candidates import MOST_CANDIDATES, Candidate, candidates
from appliance.renewals.plan import TERM_DAYS, NotOpen, Plan, Refusal, Request
from appliance.renewals.renewal import DevicesNeeded, Renewed
from appliance.subscriptions import rows, store
from appliance.subscriptions.terms import last_full_day

CANDIDATES = ("device_id", "name", "last_seen_at")


@dataclass(frozen=True, slots=True)
class CommandOutcome:
    """A renewal, the tenant's zone, and whether the broker knows of the devices that stopped; None without any."""

    renewed: Renewed
    zone: tzinfo | None
    sync_status: SyncStatus | None


@click.command()
@click.argument("subscription")
@click.option(
    "--days", type=click.Choice([str(days) for days in TERM_DAYS]), required=True, help="Length of the new term."
)
@click.option("--tenant", help="Its tenant; needed only if two tenants have a subscription with this id.")
@click.option("--limit", type=click.IntRange(1), help="Number of seats. Default: as before.")
@click.option("--plan", metavar="TEXT", help="The plan. Default: as before.")
@click.option(
    "--deactivate",
    "devices",
    metavar="DEVICE",
    multiple=True,
    help="A device that stops, where fewer seats remain than are in use. Give it once for each.",
)
@click.option("--again", is_flag=True, help="Renew early, or once more on purpose; needs --key.")
@click.option("--key", metavar="TEXT", help="The same key renews once, however often the command is run.")
@click.option("--dry-run", is_flag=True, help="Show what would happen, and change nothing.")
@json_option
@click.pass_obj
def renew(
    invocation: Invocation,
    subscription: str,
    days: str,
    tenant: str | None,
    limit: int | None,
    plan: str | None,
    devices: tuple[str, ...],
    again: bool,
    key: str | None,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Renew SUBSCRIPTION: the new term begins when the present one ends, or now if it has.

    The same command within 24 hours changes nothing more, nor does one that comes too early: it says when renewing
    opens. Where devices must stop and others are named, or none, it lists those that could, longest silent first.
    """
    if again and key is None:
        raise click.UsageError("--again needs --key, so that running it twice renews once")
    request = Request(subscription, int(days), limit, plan, devices, again)

    async def work(administration: Administration) -> CommandOutcome:
        return await _renew(administration, request, tenant, key)

    async def look(administration: Administration) -> dict[str, Any]:
        return await _preview(administration, request, tenant, key)

    try:
        if dry_run:
            show_one(administer(invocation, look), as_json=as_json)
        else:
            _show(administer(invocation, work), as_json=as_json)
    except DevicesNeeded as refused:
        _show_choices(refused, as_json=as_json)
        raise


async def _renew(
    administration: Administration, request: Request, tenant: str | None, key: str | None
) -> CommandOutcome:
    """Renew, and wait for the broker where devices stop."""
    connection = administration.connection
    owner = tenant or await store.tenant_of(connection, request.subscription_id)
    async with administration.changing() as change:
        renewed = await renewal.renew(
            connection,
            owner,
            request,
            administration.context,
            key=key,
            policy=administration.renewals,
            trusted=administration.clock.trusted,
        )
        if not renewed.answer.devices_deactivated:
            change.spare_broker()
    zone = await rows.time_zone(connection, owner)
    return CommandOutcome(renewed, zone, change.sync_status if change.concerns_broker else None)


async def _preview(
    administration: Administration, request: Request, tenant: str | None, key: str | None
) -> dict[str, Any]:
    """Return what would happen. Raises what the renewal would."""
    connection, policy, now = administration.connection, administration.renewals, administration.context.now
    owner = tenant or await store.tenant_of(connection, request.subscription_id)
    outcome = (await renewal.preview(connection, owner, request, now, policy=policy)).outcome
    kept = await renewal.repeated(connection, owner, request, key=key, now=now)
    if kept is not None:
        return {
            "subscription_id": request.subscription_id,
            "would_change": False,
            "term_end": plain(kept.answer.new_term_end),
            "note": ALREADY_ACTIVE,
        }
    if not administration.clock.trusted:
        raise Conflict(renewal.IN_DOUBT)
    if isinstance(outcome, Refusal):
        if outcome.needed is None:
            raise outcome.error()
        choices = await candidates(connection, owner, request.subscription_id, limit=MOST_CANDIDATES)
        raise DevicesNeeded(outcome.message, outcome.needed, choices)
    if isinstance(outcome, NotOpen):
        return {
            "subscription_id": request.subscription_id,
            "would_change": False,
            "term_end": plain(outcome.row.term_end),
            "renewing_opens": outcome.opens_on.isoformat(),
        }
    return _planned(outcome, request)


def _planned(planned: Plan, request: Request) -> dict[str, Any]:
    before, after = planned.before, planned.after
    return {
        "subscription_id": request.subscription_id,
        "would_change": True,
        "subscription_type": after.subscription_type.value,
        "status": after.status.value,
        "hold_reason": after.hold_reason,
        "previous_term_end": plain(before.term_end),
        "new_term_end": plain(after.term_end),
        "previous_last_full_day": planned.last_day_before.isoformat(),
        "new_last_full_day": planned.last_day_after.isoformat(),
        "paid_days_kept": planned.paid_days_kept,
        "previous_device_limit": before.device_limit,
        "device_limit": after.device_limit,
        "active_device_count": before.active_device_count,
        "plan_id": after.plan_id,
        "devices_to_stop": sorted(request.devices_to_deactivate),
        "addons": [addon.subscription_id for _, addon in planned.addons],
    }


def _show(outcome: CommandOutcome, *, as_json: bool) -> None:
    answer, zone = outcome.renewed.answer, outcome.zone
    if as_json:
        broker = None if outcome.sync_status is None else outcome.sync_status.value
        more = {"broker": broker, "replayed": outcome.renewed.replayed}
        click.echo(json.dumps(msgspec.to_builtins(answer) | more, indent=2))
        return
    last_day = last_full_day(answer.new_term_end, zone)
    if outcome.renewed.replayed:
        click.echo("This key was used before; nothing more was changed. It was answered then:")
    if answer.changed:
        click.echo(f"{answer.subscription_id} is renewed until the end of {_day(last_day)}.")
        click.echo(f"Before, it ended with {_day(last_full_day(answer.previous_term_end, zone))}.")
        click.echo(f"It has {counted(answer.device_limit, 'seat')}.")
    else:
        click.echo(
            f"{answer.note}: nothing was changed. {answer.subscription_id} runs until the end of {_day(last_day)}."
        )
    if answer.devices_deactivated:
        click.echo(f"These devices stopped: {', '.join(answer.devices_deactivated)}.")
    if answer.renewing_opens is not None:
        click.echo(f"Renewing opens on {_day(answer.renewing_opens)}; --again with --key renews early on purpose.")


def _day(day: date) -> str:
    return f"{day:%-d %B %Y}"


def _show_choices(refused: DevicesNeeded, *, as_json: bool) -> None:
    """Print how many devices are needed and which could stop."""
    found = [_choice(one) for one in refused.choices]
    if as_json:
        click.echo(json.dumps({"needed": refused.needed, "candidates": found}, indent=2))
        return
    show_rows(found, CANDIDATES, as_json=False)


def _choice(candidate: Candidate) -> dict[str, Any]:
    row = plain(candidate)
    return {name: row[name] for name in CANDIDATES}
