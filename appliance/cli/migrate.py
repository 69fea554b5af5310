"""``appliance migrate``: bring the database's schema to this program's version, without starting the appliance."""

import json
import logging
import sys
from collections.abc import Sequence

import click
import psycopg
import trio

from appliance.cli import Invocation
from appliance.cli.database import as_it_is, upgrade
from appliance.config import Config
from appliance.db import bootstrap
from appliance.db.migrations import Migration, schema_version
from appliance.db.roles import OWNER
from appliance.db.trio_psycopg import connect
from appliance.errors import ApplianceError
from appliance.upgrade.migration import MigrationOptions

SHOWN = ("appliance.upgrade", "appliance.db.migrations")
"""Loggers that a person at a terminal reads: the copy and the steps may take a while."""


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option("--without-copy", is_flag=True, help="Make no copy of an embedded database before it is migrated.")
@click.option("--despite-peers", is_flag=True, help="Migrate although other appliances run on the database.")
@click.pass_obj
def command(invocation: Invocation, as_json: bool, without_copy: bool, despite_peers: bool) -> None:
    """Migrate the database now; `appliance run` does the same at its start.

    An embedded database is copied first, to the folder upgrades of data_dir, and is started for that if no appliance
    runs. Other appliances on the database have to be stopped: an older program does not know the new schema. With
    --despite-peers, those that run end by themselves.
    """
    if sys.stderr.isatty():
        for name in SHOWN:
            logging.getLogger(name).setLevel(logging.INFO)
    options = MigrationOptions(without_copy=without_copy, despite_peers=despite_peers)
    version, applied = trio.run(_migrate, invocation.config, options)
    if as_json:
        click.echo(json.dumps({"version": version, "applied": [migration.file_name for migration in applied]}))
        return
    for migration in applied:
        click.echo(f"applied {migration.file_name}")
    click.echo(f"schema version {version}" + ("" if applied else ", nothing to do"))


async def _migrate(config: Config, options: MigrationOptions) -> tuple[int, Sequence[Migration]]:
    """The schema's version after the migration, and the steps taken."""
    async with as_it_is(config) as place:
        try:
            if not place.login_is_role:  # the embedded one was prepared when it was started
                await bootstrap.prepare(place.base, place.database)
            applied = await upgrade(config, place, options).run()
            async with await connect(place.conninfo(OWNER)) as connection:
                return await schema_version(connection), applied
        except psycopg.OperationalError as error:
            reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            raise ApplianceError(f"the database cannot be reached: {reason}") from error
