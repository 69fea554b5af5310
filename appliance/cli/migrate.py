"""``appliance migrate``: bring the database's schema to this program's version, without starting anything."""

import json
from collections.abc import Sequence

import click
import psycopg
import trio

from appliance.cli import Invocation
from appliance.cli.database import endpoint
from appliance.cli.service_time import service_clock
from appliance.clock import Clock
from appliance.db import bootstrap
from appliance.db.endpoint import Endpoint
from appliance.db.migrations import Migration, migrate, schema_version
from appliance.db.roles import OWNER
from appliance.db.trio_psycopg import connect
from appliance.errors import ApplianceError


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.pass_obj
def command(invocation: Invocation, as_json: bool) -> None:
    """Migrate the database now; `appliance run` does the same at its start."""
    version, applied = trio.run(_migrate, endpoint(invocation.config), service_clock(invocation.config))
    if as_json:
        click.echo(json.dumps({"version": version, "applied": [migration.file_name for migration in applied]}))
        return
    for migration in applied:
        click.echo(f"applied {migration.file_name}")
    click.echo(f"schema version {version}" + ("" if applied else ", nothing to do"))


async def _migrate(place: Endpoint, clock: Clock) -> tuple[int, Sequence[Migration]]:
    """The schema's version after the migration, and the steps taken."""
    try:
        if not place.login_is_role:  # the embedded one was prepared when it was started
            await bootstrap.prepare(place.base, place.database)
        async with await connect(place.conninfo(OWNER)) as connection:
            applied = await migrate(connection, clock=clock)
            return await schema_version(connection), applied
    except psycopg.OperationalError as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ApplianceError(f"the database cannot be reached: {reason}") from error
