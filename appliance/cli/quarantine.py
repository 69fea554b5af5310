"""``appliance quarantine``: list, show, replay and dismiss messages that were not accepted."""

import base64
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import click
import msgspec

from appliance.cli import Invocation
from appliance.cli.administration import Administration, administer
from appliance.cli.output import json_option, plain, show_one, show_rows
from appliance.cli.replaying import replay
from appliance.counted import counted
from appliance.ingest.quarantine import replays
from appliance.ingest.quarantine import store as quarantine_store
from appliance.ingest.quarantine.replays import Replay
from appliance.ingest.quarantine.store import (
    OPERATOR,
    HeldReach,
    MessageStatus,
    QuarantinedMessage,
    ReasonTotals,
    Selection,
)
from appliance.reading import Reason

F = TypeVar("F", bound=Callable[..., Any])

COLUMNS = ("id", "ingested_at", "tenant_id", "device_id", "reason", "detail")
CAUSE_COLUMNS = ("reason", "held", "held_bytes", "oldest", "refused")
REPLAY_COLUMNS = ("replay_id", "status", "tenant_id", "total", "examined", "replayed", "created_at", "created_by")
REPLAYS_SHOWN = 50
SPANS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
"""Seconds of each unit of a time span."""
MOST_SPAN = timedelta(days=36_500)
"""No message is older; a much longer span begins before the first date that there is."""


@dataclass(frozen=True, slots=True)
class AskedSelection:
    """The selection of the options. A span ends at the service time, which is known once the database is open."""

    selection: Selection
    """Without the bounds that are spans."""
    since: timedelta | None
    until: timedelta | None

    def at(self, now: datetime) -> Selection:
        """Return the selection at ``now``."""
        bounds = {name: now - span for name, span in (("since", self.since), ("until", self.until)) if span is not None}
        return msgspec.structs.replace(self.selection, **bounds)


def _moment(context: click.Context, parameter: click.Parameter, value: str | None) -> datetime | timedelta | None:
    """A time in RFC 3339, a date (its midnight, UTC), or a span that ends now, such as 90m, 24h or 7d."""
    if value is None:
        return None
    span = re.fullmatch(r"(\d{1,9})([smhd])", value)
    try:
        if span:
            length = timedelta(seconds=int(span[1]) * SPANS[span[2]])
            if length > MOST_SPAN:
                raise ValueError("longer than any message is kept")
            return length
        moment = datetime.fromisoformat(value)
    except (ValueError, OverflowError):
        complaint = f"{value!r} is not a time such as 2026-01-31, 2026-01-31T12:00Z, 90m or 7d"
        raise click.BadParameter(complaint, context, parameter) from None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment


def selection_options(command: F) -> F:
    """Add the options that narrow a selection; the command gets them as ``selection``."""
    options = (
        click.option("--tenant", help="Only messages of this tenant. Default: of all tenants."),
        click.option("--unknown-tenant", is_flag=True, help="Only messages of unknown tenants."),
        click.option("--device", help="Only messages of this device."),
        click.option("--site", help="Only messages that name this site."),
        click.option(
            "--reason",
            "reasons",
            multiple=True,
            type=click.Choice([reason.value for reason in Reason], case_sensitive=False),
            metavar="REASON",
            help="Only messages held for this reason; repeatable.",
        ),
        click.option(
            "--since", callback=_moment, metavar="TIME", help="Received at or after TIME, or within a span such as 24h."
        ),
        click.option("--until", callback=_moment, metavar="TIME", help="Received before TIME."),
        click.option(
            "--id", "ids", multiple=True, type=click.IntRange(1, 2**63 - 1), help="Only this message; repeatable."
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command


def selected(
    tenant: str | None,
    unknown_tenant: bool,
    device: str | None,
    site: str | None,
    reasons: tuple[str, ...],
    since: datetime | timedelta | None,
    until: datetime | timedelta | None,
    ids: tuple[int, ...],
) -> AskedSelection:
    """Return the selection of the options."""
    if unknown_tenant and tenant is not None:
        raise click.UsageError("--tenant and --unknown-tenant cannot be combined")
    selection = Selection(
        tenant_id=OPERATOR if unknown_tenant else tenant,
        device_id=device,
        site_id=site,
        reasons=tuple(Reason(reason) for reason in reasons),
        since=since if isinstance(since, datetime) else None,
        until=until if isinstance(until, datetime) else None,
        ids=ids,
    )
    spans = (bound if isinstance(bound, timedelta) else None for bound in (since, until))
    return AskedSelection(selection, *spans)


@click.group()
def command() -> None:
    """List and show messages that were not accepted; replay or dismiss them."""


@command.command("list")
@selection_options
@click.option(
    "--status",
    type=click.Choice([*(status.value.lower() for status in MessageStatus), "all"]),
    default="held",
    show_default=True,
    help="Only messages with this status.",
)
@click.option("--before", type=click.IntRange(1), metavar="ID", help="Only messages older than this one.")
@click.option("--limit", type=click.IntRange(1, quarantine_store.MAX_PAGE), default=50, show_default=True)
@json_option
@click.pass_obj
def list_(
    invocation: Invocation, /, status: str, before: int | None, limit: int, as_json: bool, **selection: Any
) -> None:
    """List messages, newest first."""
    asked, decided = selected(**selection), None if status == "all" else MessageStatus(status.upper())

    async def work(administration: Administration) -> list[QuarantinedMessage]:
        connection, wanted = administration.connection, asked.at(administration.context.now)
        return await quarantine_store.list_events(connection, wanted, status=decided, before=before, limit=limit)

    show_rows([_row(event, as_json=as_json) for event in administer(invocation, work)], COLUMNS, as_json=as_json)


@command.command()
@click.argument("message", type=click.IntRange(1, 2**63 - 1), metavar="ID")
@json_option
@click.pass_obj
def show(invocation: Invocation, message: int, as_json: bool) -> None:
    """Show one message with its payload."""

    async def work(administration: Administration) -> QuarantinedMessage:
        return await quarantine_store.get_event(administration.connection, message)

    show_one(_row(administer(invocation, work), as_json=as_json), as_json=as_json)


@command.command()
@selection_options
@json_option
@click.pass_obj
def counts(invocation: Invocation, /, as_json: bool, **selection: Any) -> None:
    """Count messages by reason: held, and refused in total (exact, whether kept or not).

    With a tenant, also show how far back held messages are complete.
    """
    asked = selected(**selection)

    async def work(administration: Administration) -> tuple[list[ReasonTotals], HeldReach | None]:
        wanted = asked.at(administration.context.now)
        causes = await quarantine_store.counts(administration.connection, wanted)
        if wanted.tenant_id is None:
            return causes, None
        return causes, await quarantine_store.reach(administration.connection, wanted.tenant_id)

    causes, reach = administer(invocation, work)
    rows = [plain(cause) for cause in causes]
    if as_json:
        show_one({"causes": rows, "holding": None if reach is None else plain(reach)}, as_json=True)
        return
    show_rows(rows, CAUSE_COLUMNS, as_json=False)
    if reach is not None:
        click.echo(_reach_in_words(reach))


@command.command("replays")
@click.option("--tenant", help="Only replays of this tenant. Default: of all tenants.")
@json_option
@click.pass_obj
def replays_(invocation: Invocation, tenant: str | None, as_json: bool) -> None:
    """List replays with their progress, newest first."""

    async def work(administration: Administration) -> list[Replay]:
        return await replays.list_replays(administration.connection, tenant, limit=REPLAYS_SHOWN)

    rows = [
        plain(job) | {"tenant_id": job.selection.tenant_id, "examined": job.examined}
        for job in administer(invocation, work)
    ]
    show_rows(rows, REPLAY_COLUMNS, as_json=as_json)


@command.command()
@click.argument("number", type=click.IntRange(1, 2**63 - 1), metavar="REPLAY")
@json_option
@click.pass_obj
def cancel(invocation: Invocation, number: int, as_json: bool) -> None:
    """Cancel a replay. Messages already replayed stay stored; the others stay held."""

    async def work(administration: Administration) -> Replay:
        return await replays.cancel(administration.connection, number, administration.context)

    show_one(plain(administer(invocation, work)), as_json=as_json)


@command.command()
@selection_options
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
@json_option
@click.pass_obj
def dismiss(invocation: Invocation, /, yes: bool, as_json: bool, **selection: Any) -> None:
    """Dismiss held messages. They can be viewed until they expire."""
    asked = selected(**selection)
    if asked == AskedSelection(Selection(), None, None):
        raise click.UsageError("select messages by tenant, device, reason, time or id")

    async def work(administration: Administration) -> int:
        wanted = asked.at(administration.context.now)
        if not (yes or as_json):
            total, _ = await replays.measure(administration.connection, wanted)
            click.confirm(f"Dismiss {counted(total, 'held message')}?", abort=True)
        return await quarantine_store.dismiss(administration.connection, wanted, administration.context)

    dismissed = administer(invocation, work)
    show_one({"dismissed": dismissed}, as_json=as_json)


@command.command("replay")
@selection_options
@click.option("--dry-run", is_flag=True, help="Only show the preview.")
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
@click.option("--no-wait", is_flag=True, help="Do not wait until the replay ends.")
@json_option
@click.pass_obj
def replay_(invocation: Invocation, /, dry_run: bool, yes: bool, no_wait: bool, as_json: bool, **selection: Any) -> int:
    """Check held messages again, and store those that pass.

    Shows first how many would pass, and why the others would not. Without --reason or --id: all messages held for
    replay. A running appliance does the work, at a pace that leaves room for live messages. It can be interrupted.
    """
    return replay(invocation, selected(**selection).at, dry_run=dry_run, yes=yes, wait=not no_wait, as_json=as_json)


def _row(event: QuarantinedMessage, *, as_json: bool) -> dict[str, Any]:
    """Return a message as JSON values, its payload as text if possible; for people, without control characters."""
    row: dict[str, Any] = plain(event)
    row = {"id": row.pop("event_id"), **row}
    del row["payload"], row["payload_bytes"]
    try:
        row["payload"] = event.payload.decode()
    except UnicodeDecodeError:
        row["payload_base64"] = base64.b64encode(event.payload).decode()
    if as_json:
        return row
    return {name: _harmless(value) if isinstance(value, str) else value for name, value in row.items()}


def _harmless(text: str) -> str:
    return "".join(letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in text)


def _reach_in_words(reach: HeldReach) -> str:
    if reach.complete_since is None:
        return f"{reach.held} held in {reach.held_bytes} bytes; none was ever evicted."
    since = reach.complete_since.astimezone(UTC).isoformat(timespec="seconds")
    evicted = counted(reach.evicted, "was", "were")
    return f"{reach.held} held in {reach.held_bytes} bytes; complete since {since}, {evicted} evicted."
