"""``appliance backup``: one file with everything, sealed and verified; or the proof that one is whole.

It works while the appliance runs, while it does not, and on an external database. The appliance itself runs it every
night.
"""

import os
import socket
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import click
import msgspec
import trio

from appliance.backup import folder as backup_folder
from appliance.backup.passphrase import make_passphrase, sheet, write_passphrase
from appliance.backup.record import Attempt, GoodBackup, read_record, write_record
from appliance.backup.verifying import Verified, verify
from appliance.backup.writing import Task, Written, remove_parts, write_backup
from appliance.children.data_dir import read_instance
from appliance.children.programs import find_postgres_clients
from appliance.cli import Invocation
from appliance.cli.administration import Administration, administer
from appliance.cli.database import of_our_parent, opened
from appliance.cli.output import json_option, show_one
from appliance.cli.secret_input import first_line
from appliance.cli.service_time import service_clock
from appliance.config import Config, weakness
from appliance.db.audit import Actor, ActorKind, Entry, record
from appliance.db.bootstrap import MINIMUM_VERSION
from appliance.errors import ApplianceError, ConfigurationError, Invalid
from appliance.failpoints import Failpoints
from appliance.restore.inspection import is_sealed

CLEAR_LINE = "\r\x1b[K"
ITSELF = Actor("backup", ActorKind.APPLIANCE)
"""Who makes the backup of the night."""


@click.command()
@click.argument("file", required=False, type=click.Path(path_type=Path))
@click.option("--verify", "verifies", is_flag=True, help="Write nothing: read all of FILE and say whether it is whole.")
@click.option("--passphrase-stdin", is_flag=True, help="Take the passphrase from the first line of standard input.")
@click.option(
    "--make-passphrase",
    "new_passphrase",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="NEW_FILE",
    help="Write a random passphrase to NEW_FILE, for backup.passphrase_file, and print the sheet to keep.",
)
@click.option("--sheet", "prints", is_flag=True, help="Print the sheet to keep, with the configured passphrase.")
@click.option("--nightly", is_flag=True, hidden=True)
@json_option
@click.pass_obj
def command(
    invocation: Invocation,
    file: Path | None,
    *,
    verifies: bool,
    passphrase_stdin: bool,
    new_passphrase: Path | None,
    prints: bool,
    nightly: bool,
    as_json: bool,
) -> None:
    """Write a backup of everything to FILE, sealed with a passphrase, and verify it.

    FILE may be a folder, in which the backup gets a name. Without FILE it goes to backup.folder, as every night, and
    older ones are removed. The passphrase is that of the configuration; else it is asked for.
    """
    if new_passphrase is not None:
        _make_passphrase(invocation, new_passphrase)
    elif prints:
        click.echo(_sheet(invocation, _passphrase(invocation.config, from_stdin=passphrase_stdin, new=False)), nl=False)
    elif verifies:
        if file is None:
            raise Invalid("FILE is missing: name the backup that is verified.", "file")
        sealed = is_sealed(file)  # copies made before an upgrade are not
        given = _passphrase(invocation.config, from_stdin=passphrase_stdin, new=False) if sealed else None
        _show_verified(file, _verify(file, given), as_json=as_json)
    else:
        instance = read_instance(invocation.config.data_dir).instance_id
        given = _passphrase(invocation.config, from_stdin=passphrase_stdin, new=True)
        _back_up(invocation, file, given, instance, actor=ITSELF if nightly else None, as_json=as_json)


def _back_up(
    invocation: Invocation, given: Path | None, passphrase: str, instance: str, *, actor: Actor | None, as_json: bool
) -> None:
    """Write a backup, remove what the folder need not keep, and note all of it."""
    config, clock = invocation.config, service_clock(invocation.config)
    shows = sys.stderr.isatty()

    def make() -> Written:
        file = _target(config, given, backup_folder.name_of(instance, _time(clock.now())))
        if given is None:
            remove_parts(file.parent, lambda name: backup_folder.made_at(name, instance) is not None)

        async def work(administration: Administration) -> Written:
            await _audit(administration, file, actor)
            return await write_backup(
                Task(
                    file,
                    passphrase,
                    config,
                    invocation.loaded.file,
                    administration.endpoint,
                    administration.clock,
                    Failpoints.from_environment(os.environ),
                    _show_progress if shows else _silent,
                )
            )

        return administer(invocation, work, database=of_our_parent if actor is ITSELF else opened)

    try:
        written = _noted(config, clock.now, make) if given is None else make()
    finally:
        if shows:
            click.echo(CLEAR_LINE, nl=False, err=True)
    # In doubt of the clock nothing is removed: the names would tell a wrong order.
    removed = _remove_surplus(config, written.file, instance) if given is None and clock.trusted else []
    _show_written(written, removed, as_json=as_json)


def _target(config: Config, given: Path | None, name: str) -> Path:
    """Return the file to write. Raises Invalid, ApplianceError when there is no folder for it."""
    if given is None:
        if config.backup.folder is None:
            raise Invalid("FILE is missing: name the file to write, or set backup.folder.", "file")
        return backup_folder.require(config.backup.folder) / name
    return (given / name if given.is_dir() else given).absolute()


async def _audit(administration: Administration, file: Path, actor: Actor | None) -> None:
    context, connection = administration.context, administration.connection
    entry = Entry(actor or context.actor, "backup.make", "backup", str(file))
    async with connection.transaction():
        await record(connection, entry, now=context.now)


def _noted(config: Config, now: Callable[[], float], make: Callable[[], Written]) -> Written:
    """Return what ``make`` does, with its beginning and its end in the record."""
    began_at = _time(now())
    _note(config, last=Attempt(began_at, None))
    try:
        written = make()
    except BaseException as error:
        _note(config, last=Attempt(began_at, _time(now()), _reason(error)))
        raise
    ended_at = _time(now())
    good = GoodBackup(str(written.file), ended_at, written.bytes, round(written.seconds, 3))
    _note(config, last=Attempt(began_at, ended_at), good=good)
    return written


def _note(config: Config, **changes: Attempt | GoodBackup) -> None:
    write_record(config.data_dir, msgspec.structs.replace(read_record(config.data_dir), **changes))


def _reason(error: BaseException) -> str:
    """Return why a backup failed, in words; nurseries wrap even a single error."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if isinstance(error, ApplianceError):
        return str(error)
    return "it was interrupted" if isinstance(error, KeyboardInterrupt) else f"unexpected {type(error).__name__}"


def _remove_surplus(config: Config, newest: Path, instance: str) -> list[str]:
    """Remove the backups in the folder that need not be kept; return their names."""
    names = [path.name for path in newest.parent.iterdir()]
    now, failpoint = _time(service_clock(config).now()), Failpoints.from_environment(os.environ)
    removed = backup_folder.surplus(names, instance, keep=config.backup.keep, now=now, newest=newest.name)
    for name in list(removed):
        try:
            (newest.parent / name).unlink(missing_ok=True)
        except OSError as error:  # the new one is whole all the same
            removed.remove(name)
            click.echo(f"warning: {newest.parent / name} cannot be removed: {error.strerror}", err=True)
        failpoint("backup_removing")
    return removed


def _verify(file: Path, passphrase: str | None) -> Verified:
    shows = sys.stderr.isatty()
    clients = trio.run(find_postgres_clients, MINIMUM_VERSION)
    try:
        return verify(
            file, passphrase, clients.folder / "pg_restore", partial(_show_progress, "verifying") if shows else _ignore
        )
    finally:
        if shows:
            click.echo(CLEAR_LINE, nl=False, err=True)


def _passphrase(config: Config, *, from_stdin: bool, new: bool) -> str:
    """Return the passphrase: of standard input, of the configuration, or asked for on a terminal. Raises Invalid."""
    if from_stdin:
        passphrase = first_line("passphrase")
    elif config.backup.passphrase is not None:
        passphrase = config.backup.passphrase.reveal()
    elif sys.stdin.isatty():
        passphrase = click.prompt("Passphrase", hide_input=True, confirmation_prompt=new, err=True)
    else:
        raise Invalid(
            "the passphrase is missing: set backup.passphrase_file, or give it on standard input with "
            "--passphrase-stdin; `appliance backup --make-passphrase NEW_FILE` makes one.",
            "passphrase",
        )
    if not passphrase or not passphrase.isprintable():
        raise Invalid("the passphrase must be one line without control characters.", "passphrase")
    if new and (weak := weakness(passphrase)):
        raise Invalid(f"the passphrase {weak}.", "passphrase")
    return passphrase


def _make_passphrase(invocation: Invocation, file: Path) -> None:
    passphrase = make_passphrase()
    write_passphrase(file, passphrase)
    click.echo(_sheet(invocation, passphrase), nl=False)
    click.echo(f'written to {file}: set passphrase_file = "{file.absolute()}" in [backup]', err=True)


def _sheet(invocation: Invocation, passphrase: str) -> str:
    try:
        config = invocation.config
        instance = read_instance(config.data_dir).instance_id
        printed = _time(service_clock(config).now())
    except ConfigurationError:  # it may be refused because there is no passphrase yet
        instance, printed = None, None
    except ApplianceError:  # nothing was started here yet
        instance, printed = None, _time(service_clock(config).now())
    return sheet(passphrase, instance=instance, host=socket.gethostname(), printed=printed)


def _show_progress(what: str, count: int) -> None:
    click.echo(f"{CLEAR_LINE}{what}: {count // 1_000_000} MB of the database", nl=False, err=True)


def _silent(what: str, count: int) -> None:
    """Tell nobody."""


def _ignore(count: int) -> None:
    """Tell nobody."""


def _show_written(written: Written, removed: list[str], *, as_json: bool) -> None:
    shown = {
        "file": str(written.file),
        "bytes": written.bytes,
        "seconds": round(written.seconds, 3),
        **_described(written.verified),
        "removed": removed,
    }
    if as_json:
        show_one(shown, as_json=True)
        return
    click.echo(f"{written.file}: {written.bytes} bytes, verified")
    for name in removed:
        click.echo(f"removed {name}")


def _show_verified(file: Path, verified: Verified, *, as_json: bool) -> None:
    if as_json:
        show_one({"file": str(file), **_described(verified)}, as_json=True)
        return
    manifest = verified.manifest
    click.echo(f"{file} is whole: appliance {manifest.instance_id}, {manifest.created_at:%Y-%m-%d %H:%M} UTC")
    click.echo(f"{sum(manifest.rows.values())} rows, schema {manifest.schema}, PostgreSQL {manifest.postgres_major}")


def _described(verified: Verified) -> Mapping[str, Any]:
    manifest: dict[str, Any] = msgspec.to_builtins(verified.manifest)
    return {**manifest, "dump_bytes": verified.summary.dump.bytes}


def _time(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
