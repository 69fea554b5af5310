"""``appliance subscription``: the subscriptions of tenants."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import click

from appliance.cli import Invocation
from appliance.cli.administration import Administration, administer
from appliance.cli.output import json_option, plain, show_one, show_rows
from appliance.cli.renewal import renew
from appliance.db.trio_psycopg import Connection
from appliance.subscriptions import rows, store
from appliance.subscriptions.lifecycle import Subscription, SubscriptionType
from appliance.subscriptions.statuses import as_of
from appliance.subscriptions.store import Changes, NewSubscription
from appliance.subscriptions.terms import last_full_day

COLUMNS = (
    "tenant_id", "subscription_id", "subscription_type", "status", "active_device_count", "device_limit", "term_end",
    "last_full_day",
)  # fmt: skip
MOST_DAYS = 36_500


@click.group()
def command() -> None:
    """Add, list, change and renew subscriptions."""


command.add_command(renew)


@command.command()
@click.argument("tenant")
@click.option(
    "--type",
    "kind",
    type=click.Choice([kind.value for kind in SubscriptionType], case_sensitive=False),
    default=SubscriptionType.MAIN.value,
    show_default=True,
)
@click.option("--limit", type=click.IntRange(1), required=True, help="Number of seats.")
@click.option(
    "--days",
    type=click.IntRange(1, MOST_DAYS),
    required=True,
    help="Length of the term, in days of the tenant's calendar.",
)
@click.option("--parent", metavar="ID", help="The MAIN of an ADDON, if the tenant has several.")
@json_option
@click.pass_obj
def add(
    invocation: Invocation, tenant: str, kind: str, limit: int, days: int, parent: str | None, as_json: bool
) -> None:
    """Add a subscription for TENANT. An ADDON ends with its MAIN, whatever --days is."""
    new = NewSubscription(tenant, SubscriptionType(kind), limit, timedelta(days=days), parent)

    async def work(administration: Administration) -> list[dict[str, Any]]:
        connection = administration.connection
        added = await store.add(connection, new, administration.context, grace=administration.grace)
        return await _rows(connection, [added])

    _show(administer(invocation, work), as_json=as_json)


@command.command("list")
@click.argument("tenant", required=False)
@json_option
@click.pass_obj
def list_(invocation: Invocation, tenant: str | None, as_json: bool) -> None:
    """List the subscriptions of TENANT, or of all tenants, with their present status."""

    async def work(administration: Administration) -> list[dict[str, Any]]:
        connection, context = administration.connection, administration.context
        found = as_of(await store.list_all(connection, tenant), context.settled, administration.grace)
        return await _rows(connection, found)

    show_rows(administer(invocation, work), COLUMNS, as_json=as_json)


@command.command("set")
@click.argument("subscription")
@click.option("--tenant", help="Its tenant; needed only if two tenants have a subscription with this id.")
@click.option("--limit", type=click.IntRange(1), help="Number of seats.")
@click.option(
    "--days",
    type=click.IntRange(1, MOST_DAYS),
    help="End the term so many days of the tenant's calendar from now.",
)
@click.option(
    "--until",
    type=click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M%z", "%Y-%m-%dT%H:%M:%S%z"]),
    metavar="TIME",
    help="End the term at this time; a date means midnight UTC.",
)
@click.option("--hold", metavar="REASON", help="Put it on hold at once.")
@click.option("--lift", is_flag=True, help="Lift the hold.")
@click.option("--plan", metavar="TEXT")
@click.option("--description", metavar="TEXT")
@json_option
@click.pass_obj
def set_(
    invocation: Invocation,
    subscription: str,
    tenant: str | None,
    limit: int | None,
    days: int | None,
    until: datetime | None,
    hold: str | None,
    lift: bool,
    plan: str | None,
    description: str | None,
    as_json: bool,
) -> None:
    """Change SUBSCRIPTION; omitted options keep their values."""
    if days is not None and until is not None:
        raise click.UsageError("--days and --until cannot be combined")
    if lift and hold is not None:
        raise click.UsageError("--hold and --lift cannot be combined")
    if hold is not None and not hold.strip():
        raise click.UsageError("--hold needs a reason")
    wanted = Changes(limit, _utc(until), "" if lift else hold, plan, description)
    if wanted == Changes() and days is None:
        raise click.UsageError("no change was given")

    async def work(administration: Administration) -> list[dict[str, Any]]:
        connection, context = administration.connection, administration.context
        owner = tenant or await store.tenant_of(connection, subscription)
        end = wanted.term_end if days is None else await store.term_end(connection, owner, context.now, days)
        changes = replace(wanted, term_end=end)
        changed = await store.change(connection, owner, subscription, changes, context, grace=administration.grace)
        return await _rows(connection, [changed])

    _show(administer(invocation, work), as_json=as_json)


def _utc(moment: datetime | None) -> datetime | None:
    if moment is None:
        return None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


async def _rows(connection: Connection[Any], found: Sequence[Subscription]) -> list[dict[str, Any]]:
    """Return subscriptions as JSON values, each with the last day in its tenant's zone that the term covers."""
    zones = await rows.time_zones(connection, (row.tenant_id for row in found))
    days = [last_full_day(row.term_end, zones.get(row.tenant_id)) for row in found]
    return [plain(row) | {"last_full_day": day.isoformat()} for row, day in zip(found, days, strict=True)]


def _show(shown: Sequence[dict[str, Any]], *, as_json: bool) -> None:
    """Print the only one of ``shown``."""
    show_one(shown[0], as_json=True) if as_json else show_rows(shown, COLUMNS, as_json=False)
