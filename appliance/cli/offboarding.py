"""``appliance tenant export`` and ``delete``: an archive of all that belongs to a tenant, and the end of the tenant.

The deletion asks twice and is followed to its end; while no appliance runs, the command does the work.
"""

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import click
import trio

from appliance import __version__
from appliance.children.data_dir import read_instance
from appliance.cli import Invocation
from appliance.cli.administration import Administration, administer
from appliance.cli.output import json_option, plain, show_one
from appliance.config import Config
from appliance.counted import counted
from appliance.db.pool import open_pool
from appliance.db.roles import INGEST
from appliance.db.trio_psycopg import Connection
from appliance.devices import tenants
from appliance.errors import ApplianceError, Invalid
from appliance.failpoints import Failpoints
from appliance.new_file import new_file
from appliance.offboarding import deletion, export
from appliance.offboarding.deletion import Deletion, DeletionStatus
from appliance.offboarding.kept_copies import CopyKind, CopyPlaces, KeptCopy, kept_copies, made_before
from appliance.offboarding.worker import DeletionWorker

CLEAR_LINE = "\r\x1b[K"
LOOK_SECONDS = 0.3
INSTANCE = "command line"
"""Under which the accounting counts readings that the command deletes."""

WITHOUT_DATE = {
    CopyKind.REPLACED: "moved aside by a restore, and there until somebody removes it",
    CopyKind.UPGRADE: "removed after 30 days, which begin when the appliance has run for an hour with a sure clock",
    CopyKind.BACKUP: "named by a wrong clock, and there until somebody removes it",
}
"""When a copy goes of which neither a time nor a number of backups says so."""


@click.command("export")
@click.argument("tenant")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@json_option
@click.pass_obj
def export_(invocation: Invocation, tenant: str, file: Path, as_json: bool) -> None:
    """Write all that belongs to TENANT into the new archive FILE: CSV and JSON, readings by day, without secrets."""
    if file.exists():
        raise Invalid(f"{file} exists already: name a new file.", "file")

    async def work(administration: Administration) -> int:
        connection, context = administration.connection, administration.context
        await tenants.get(connection, tenant)
        async with connection.transaction():
            await export.record_export(connection, tenant, context)

        @asynccontextmanager
        async def reading() -> AsyncIterator[Connection[Any]]:
            async with connection.transaction():
                yield connection

        pieces = export.archive(reading, tenant, now=context.now, version=__version__)
        return await _write(pieces, file)

    written = administer(invocation, work)
    if as_json:
        show_one({"tenant_id": tenant, "file": str(file), "bytes": written}, as_json=True)
    else:
        click.echo(f"{file}: {written} bytes")


async def _write(pieces: AsyncIterator[bytes], file: Path) -> int:
    """Write ``pieces`` into the new ``file``; return their bytes."""
    shows, written = sys.stderr.isatty(), 0
    try:
        with new_file(file) as new:
            async for piece in pieces:
                new.write(piece)
                written += len(piece)
                if shows:
                    click.echo(f"{CLEAR_LINE}{written // 1000} kB written", nl=False, err=True)
    finally:
        if shows:
            click.echo(CLEAR_LINE, nl=False, err=True)
    return written


@click.command()
@click.argument("tenant")
@click.option("--confirm", metavar="TENANT", help="Answer the first question with the id of the tenant.")
@click.option("--for-good", is_flag=True, help="Answer the second question with yes.")
@click.option("--wait/--no-wait", default=True, show_default=True, help="Wait until no row is left.")
@json_option
@click.pass_obj
def delete(invocation: Invocation, tenant: str, confirm: str | None, for_good: bool, wait: bool, as_json: bool) -> None:
    """Delete TENANT with everything that belongs to it. Asks twice; nothing brings it back."""

    async def work(administration: Administration) -> tuple[Deletion, datetime]:
        connection = administration.connection
        seen = await tenants.get(connection, tenant)
        goes = await deletion.count_tenant(connection, tenant)
        _ask(seen.title, tenant, goes, confirm, for_good=for_good)
        async with administration.changing():
            deletion_id = await deletion.request(connection, tenant, administration.context, version=seen.version)
        ended = await _follow(administration, deletion_id) if wait else await deletion.get(connection, deletion_id)
        return ended, administration.context.now

    ended, now = administer(invocation, work)
    copies = _copies(invocation.config, ended, now)
    if as_json:
        show_one({**plain(ended), "copies": None if copies is None else [plain(each) for each in copies]}, as_json=True)
        return
    if ended.status is DeletionStatus.DONE:
        click.echo(f"deleted {ended.tenant_id}: {counted(ended.rows_deleted, 'row')}; none is left in any table")
    else:
        click.echo(f"deletion {ended.deletion_id} has begun; Tenants > Deletions shows how far it is")
    _show_copies(copies)


def _copies(config: Config, ended: Deletion, now: datetime) -> list[KeptCopy] | None:
    """Return the copies that may have what was deleted; None if they cannot be read."""
    try:
        return made_before(kept_copies(_places(config), now), ended.finished_at, now)
    except (ApplianceError, OSError) as error:
        click.echo(f"the copies that are kept cannot be read: {error}", err=True)
        return None


def _places(config: Config) -> CopyPlaces:
    path, backup = config.data_dir, config.backup
    return CopyPlaces(path, read_instance(path).instance_id, backup.folder, backup.keep)


def _show_copies(copies: list[KeptCopy] | None) -> None:
    for copy in copies or ():
        if copy.until is not None:
            goes = f"removed after {copy.until:%Y-%m-%d %H:%M} UTC"
        elif copy.newer_backups is not None:
            goes = f"removed after {copy.newer_backups} more nightly backup{'' if copy.newer_backups == 1 else 's'}"
        else:
            goes = WITHOUT_DATE[copy.kind]
        click.echo(f"still in {copy.path} of {copy.made_at:%Y-%m-%d %H:%M} UTC: {goes}")
    if copies is not None:
        none = "" if copies else "no copy made before is kept here; "
        click.echo(f"{none}exports, and backups that are kept elsewhere, still have it")


def _ask(title: str, tenant: str, goes: deletion.TenantCounts, confirm: str | None, *, for_good: bool) -> None:
    """Ask twice. Raises Invalid for another id; click.Abort for a no."""
    if confirm is None:
        click.echo(
            f"{title}: {counted(goes.devices, 'device')} with all of their readings, {counted(goes.users, 'user')},"
            f" {counted(goes.rules, 'alert rule')}, {counted(goes.integrations, 'integration')},"
            f" {counted(goes.open_alerts, 'open alert')}, of whose end nobody is told.",
            err=True,
        )
        confirm = click.prompt(f"Type {tenant} to delete it", err=True)
    if confirm != tenant:
        raise Invalid(f"{confirm} is not {tenant}: nothing was deleted.", "confirm")
    if not for_good:
        click.confirm("Delete it for good? Nothing brings it back", abort=True, err=True)


async def _follow(administration: Administration, deletion_id: int) -> Deletion:
    """Work, or wait for the appliance that does, until the deletion is done; say how far it is on a terminal."""
    shows = sys.stderr.isatty()
    async with open_pool(administration.endpoint.conninfo(INGEST), name="deletion", max_size=1) as pool:
        worker = DeletionWorker(pool, administration.clock, INSTANCE, failpoint=Failpoints())
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_work, worker)
            while True:
                now = await deletion.get(administration.connection, deletion_id)
                if shows:
                    text = f"{now.rows_deleted} of {now.rows_expected or '?'} rows deleted"
                    click.echo(CLEAR_LINE + text, nl=False, err=True)
                if now.status is DeletionStatus.DONE:
                    break
                await trio.sleep(LOOK_SECONDS)
            nursery.cancel_scope.cancel()
    if shows:
        click.echo(CLEAR_LINE, nl=False, err=True)
    return now


async def _work(worker: DeletionWorker) -> None:
    while True:
        await worker.work()
        await trio.sleep(LOOK_SECONDS)
