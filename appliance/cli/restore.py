"""``appliance restore``: bring a backup to this machine, as a whole or not at all."""

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import click
import trio

from appliance.backup.contents import addresses
from appliance.cli import Invocation
from appliance.cli.administration import operating_system_user
from appliance.cli.output import json_option, show_one
from appliance.cli.secret_input import first_line
from appliance.cli.service_time import service_clock
from appliance.config import Config
from appliance.counted import counted
from appliance.db.audit import Actor, ActorKind
from appliance.db.change_context import ChangeContext
from appliance.errors import Invalid
from appliance.failpoints import Failpoints
from appliance.restore import restoring
from appliance.restore.inspection import expiring_days, is_sealed
from appliance.restore.loading import Source
from appliance.restore.restoring import Plan, Restored, Task

CLEAR_LINE = "\r\x1b[K"
SHOWN_TABLES = ("tenants", "device_registry", "telemetry", "quarantine_events", "fleet_alert", "users", "audit_log")


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--replace", is_flag=True, help="Move aside what is in data_dir, and restore in its place.")
@click.option("--dry-run", is_flag=True, help="Verify FILE, say what would be done, and touch nothing.")
@click.option("--passphrase-stdin", is_flag=True, help="Take the passphrase from the first line of standard input.")
@json_option
@click.pass_obj
def command(
    invocation: Invocation, file: Path, *, replace: bool, dry_run: bool, passphrase_stdin: bool, as_json: bool
) -> None:
    """Restore the backup FILE into data_dir, or into an empty external database.

    All of FILE is verified before anything is touched. The appliance must not run meanwhile; a dry run says whether it
    does. Afterwards people sign in anew, and notices wait until `appliance confirm-restore` says that the old machine
    is off.
    """
    config = invocation.config
    source = Source(file, _passphrase(config, from_stdin=passphrase_stdin) if is_sealed(file) else None)
    clock = service_clock(config)
    now, settled = (datetime.fromtimestamp(at, UTC) for at in (clock.now(), clock.settled()))
    context = ChangeContext(Actor(operating_system_user(), ActorKind.COMMAND), now, settled, user_id=None)
    failpoints = Failpoints.from_environment(os.environ)
    task = Task(source, config, clock, context, replace, _progress(), failpoints)
    try:
        planned = trio.run(partial(restoring.plan, task, dry_run=dry_run))
        _clear_line()
        if not as_json:
            _show_plan(planned, task)
        restored = None if dry_run else trio.run(restoring.restore, task, planned)
    finally:
        _clear_line()
    if as_json:
        show_one(_as_json(planned, restored, config), as_json=True)
    elif restored is None:
        click.echo("Nothing was touched: this was a dry run.")
    else:
        _show_restored(planned, restored, config, now)


def _passphrase(config: Config, *, from_stdin: bool) -> str:
    """Return the passphrase: of standard input, of the configuration, or asked for on a terminal. Raises Invalid."""
    if from_stdin:
        passphrase = first_line("passphrase")
    elif config.backup.passphrase is not None:
        passphrase = config.backup.passphrase.reveal()
    elif sys.stdin.isatty():
        passphrase = click.prompt("Passphrase", hide_input=True, err=True)
    else:
        raise Invalid(
            "the passphrase is missing: give it on standard input with --passphrase-stdin, or set"
            " backup.passphrase_file.",
            "passphrase",
        )
    if not passphrase:
        raise Invalid("the passphrase is empty.", "passphrase")
    return passphrase


def _progress() -> Callable[[str, int], None]:
    if not sys.stderr.isatty():
        return lambda _what, _count: None
    return lambda what, count: click.echo(
        f"{CLEAR_LINE}{what}: {count // 1_000_000} MB of the database", nl=False, err=True
    )


def _clear_line() -> None:
    if sys.stderr.isatty():
        click.echo(CLEAR_LINE, nl=False, err=True)


def _show_plan(planned: Plan, task: Task) -> None:
    manifest, place = planned.manifest, planned.place
    click.echo(f"{task.source.path} is whole.")
    click.echo(
        f"It is a backup of appliance {manifest.instance_id}, made {manifest.created_at:%Y-%m-%d %H:%M} UTC"
        f" by version {manifest.program} (schema {manifest.schema}) with PostgreSQL {manifest.postgres_major}."
    )
    click.echo(f"Disk needed: {_size(planned.needed)}; free: {_size(place.disk.free)}.")
    if place.names:
        click.echo(f"What is in {place.path} ({_size(place.bytes)}) is moved aside.")
    for remark in (*planned.remarks, *planned.in_the_way):
        click.echo(remark)


def _show_restored(planned: Plan, restored: Restored, config: Config, now: datetime) -> None:
    click.echo("Restored:")
    for table in SHOWN_TABLES:
        if table in restored.rows:
            click.echo(f"  {table:<20} {restored.rows[table]:>12,} rows")
    click.echo(f"  {'all tables':<20} {sum(restored.rows.values()):>12,} rows")
    if restored.aside is not None:
        click.echo(
            f"What was there is in {restored.aside} ({_size(planned.place.bytes)}); remove it when nothing is missing:"
            f" rm -r {restored.aside}"
        )
    if expiring := expiring_days(planned.verified.days, now, config.retention, restored.expiring_readings):
        click.echo(expiring)
    if (config.data_dir / restoring.SETTINGS).is_dir():
        click.echo(f"The settings of its machine are in {config.data_dir / restoring.SETTINGS}, to compare with yours.")
    expected, here = planned.manifest.addresses, addresses(config)
    click.echo(f"Devices expect the broker at {', '.join(expected) or 'no known address'}.")
    if _missing(expected, here):
        click.echo(
            f"This machine is {', '.join(here)}: give it one of those addresses or names, or set this one in devices."
        )
    skipped = counted(restored.skipped_notices, "unfinished one is", "unfinished ones are")
    click.echo(
        f"Notices wait ({skipped} never sent): switch the old machine"
        " off, start this one with `appliance run`, then `appliance confirm-restore`."
    )


def _missing(expected: Sequence[str], here: Sequence[str]) -> bool:
    """Return whether no address that devices expect is one of this machine."""
    return bool(expected) and not set(expected) & set(here)


def _as_json(planned: Plan, restored: Restored | None, config: Config) -> Mapping[str, Any]:
    manifest = planned.manifest
    found: dict[str, Any] = {
        "file_is_whole": True,
        "instance_id": manifest.instance_id,
        "created_at": manifest.created_at.isoformat(),
        "program": manifest.program,
        "schema": manifest.schema,
        "needed_bytes": planned.needed,
        "free_bytes": planned.place.disk.free,
        "remarks": list(planned.remarks),
        "in_the_way": list(planned.in_the_way),
        "restored": restored is not None,
        "addresses_expected": list(manifest.addresses),
        "addresses_here": addresses(config),
    }
    if restored is not None:
        found |= {
            "rows": dict(restored.rows),
            "migrations": restored.migrations,
            "skipped_notices": restored.skipped_notices,
            "expiring_readings": restored.expiring_readings,
            "replaced": None if restored.aside is None else str(restored.aside),
            "notices_held": True,
        }
    return found


def _size(count: int) -> str:
    return f"{max(1, round(count / 1_000_000)):,} MB"
