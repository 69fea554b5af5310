"""``appliance psql``: the database's own console, wherever the database is."""

import os
import shutil
from pathlib import Path
from typing import NoReturn

import click
from psycopg.conninfo import make_conninfo

from appliance.cli import Invocation
from appliance.cli.database import SUPERUSER, endpoint
from appliance.db.endpoint import environment
from appliance.db.roles import INGEST
from appliance.errors import ApplianceError

DEBIAN_PLACES = Path("/usr/lib/postgresql")


@click.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.argument("args", nargs=-1, type=click.UNPROCESSED)
@click.pass_obj
def command(invocation: Invocation, args: tuple[str, ...]) -> NoReturn:
    """Open psql on the appliance's database, passing ARGS on.

    On the embedded database as its superuser; on an external one as its login, in the role that sees all tenants.
    """
    place = endpoint(invocation.config)
    conninfo = make_conninfo(place.base, user=SUPERUSER) if place.login_is_role else place.conninfo(INGEST)
    program = find_psql()
    os.execve(program, [program, *args], {**os.environ, **environment(conninfo)})  # noqa: S606 - no shell is meant


def find_psql() -> str:
    """Return the path of psql, from PATH or Debian's newest. Raises ApplianceError that names the package."""
    if found := shutil.which("psql"):
        return found
    places = sorted(DEBIAN_PLACES.glob("*/bin/psql"), key=lambda place: int(place.parts[-3]))
    if not places:
        raise ApplianceError("psql was not found: `apt-get install postgresql-client`")
    return str(places[-1])
