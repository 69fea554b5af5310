"""``appliance doctor``: hold each promise against the database and the machine."""

import json
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import click
import psycopg
import trio
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from appliance.children.data_dir import RunFile, read_run_file
from appliance.cli.administration import operating_system_user
from appliance.cli.database import NotRunningError, endpoint
from appliance.cli.output import json_option, plain
from appliance.cli.service_time import service_clock
from appliance.config import Config
from appliance.db.audit import Actor, ActorKind
from appliance.db.change_context import ChangeContext
from appliance.db.endpoint import Endpoint
from appliance.db.roles import BACKUP, INGEST, OWNER
from appliance.db.trio_psycopg import Connection, connect
from appliance.doctor import mends
from appliance.doctor.check import Result, Sight, Status
from appliance.doctor.examination import examine
from appliance.doctor.table import CHECKS
from appliance.errors import ApplianceError
from appliance.service_clock.clock import ServiceClock

CONNECT_SECONDS = 10.0
"""Seconds for a connection as one role; whoever does not answer one does not answer the next."""
READ_ONLY = "-c default_transaction_read_only=on -c statement_timeout=60s -c lock_timeout=2s"
READERS = (BACKUP, INGEST, OWNER)
"""Roles that see all tenants, the one that may only read first: the others, if its rights are what is broken."""


@click.command()
@json_option
@click.option("--mend", is_flag=True, help="Mend what can be mended safely, after showing it and asking.")
@click.option("--yes", is_flag=True, help="With --mend: do not ask.")
@click.pass_context
def command(context: click.Context, as_json: bool, mend: bool, yes: bool) -> None:
    """Check every promise against the database and the machine, while the appliance runs or is stopped.

    Changes nothing and starts no server, unless --mend is given: it then makes missing partitions, and closes files of
    data_dir to other users. The exit code is 1 if a promise is broken, else 0.
    """
    config: Config = context.obj.config
    clock = service_clock(config)
    results = trio.run(examination_of, config, clock)
    if not as_json:
        _show(results)
    mended: Mapping[str, Mapping[str, Any]] = {}
    names = mends.possible(results)
    if mend and not names and not as_json:
        click.echo("\nThere is nothing that can be mended.")
    if mend and names and _agreed(names, as_json=as_json, yes=yes):
        mended = trio.run(_mend, config, clock, names)
        results = trio.run(examination_of, config, clock)
        if not as_json:
            click.echo("\nMended. What there is now:\n")
            _show(results)
    if as_json:
        click.echo(json.dumps(summary(results, mended), indent=2))
    if any(result.status is Status.BROKEN for result in results):
        context.exit(1)


def _agreed(names: Sequence[str], *, as_json: bool, yes: bool) -> bool:
    """Say what would be done, and return whether it may be."""
    if not as_json:
        click.echo("\nCan be mended:")
        for name in names:
            click.echo(f"  {name}: {mends.MENDS[name].announcement}")
    return yes or as_json or click.confirm("Do it?", abort=True)


async def examination_of(config: Config, clock: ServiceClock) -> list[Result]:
    """Return what the checks find of the appliance of this configuration."""
    run = read_run_file(config.data_dir)
    external = config.database.url is not None
    async with reading(config, run) as (connection, absence):
        sight = Sight(config, clock, run, connection, absence, should_answer=external or run is not None)
        return await examine(CHECKS, sight)


@asynccontextmanager
async def reading(config: Config, run: RunFile | None) -> AsyncIterator[tuple[Connection[Any] | None, str]]:
    """Yield a connection that can only read, or the reason why there is none."""
    if run is None and config.database.url is None:
        yield None, "the appliance does not run, and its own Postgres with it: start it to look at the database"
        return
    connection, absence = await _connect(endpoint(config))
    if connection is None:
        yield None, absence
        return
    async with connection:
        yield connection, ""


async def _connect(place: Endpoint) -> tuple[Connection[Any] | None, str]:
    absence = ""
    for role in READERS:
        conninfo = place.conninfo(role)
        options = " ".join(filter(None, [str(conninfo_to_dict(conninfo).get("options") or ""), READ_ONLY]))
        try:
            return await connect(make_conninfo(conninfo, options=options), timeout=CONNECT_SECONDS), ""
        except psycopg.errors.ConnectionTimeout as error:
            return None, str(error).strip().partition("\n")[0]
        except psycopg.OperationalError as error:
            absence = absence or str(error).strip().partition("\n")[0] or type(error).__name__
    return None, absence


async def _mend(config: Config, clock: ServiceClock, names: Sequence[str]) -> Mapping[str, Mapping[str, Any]]:
    """Mend what is named. Raises ApplianceError without a database, in which the audit says what was done."""
    try:
        place = endpoint(config)
    except NotRunningError as error:
        raise ApplianceError(f"a mend is recorded in the audit, which needs the database: {error}") from None
    try:
        async with await connect(place.conninfo(INGEST)) as connection:
            now, settled = (datetime.fromtimestamp(at, UTC) for at in (clock.now(), clock.settled()))
            actor = Actor(operating_system_user(), ActorKind.COMMAND)
            context = ChangeContext(actor, now, settled, user_id=None)
            return await mends.mend(names, mends.MendResources(connection, config, clock), context)
    except psycopg.OperationalError as error:
        raise ApplianceError(f"the database cannot be reached: {str(error).strip().partition(chr(10))[0]}") from error


def summary(results: Sequence[Result], mended: Mapping[str, Mapping[str, Any]]) -> Mapping[str, Any]:
    """Return the results as they stand in the JSON."""
    counts = Counter(result.status.value for result in results)
    return {
        "ok": not counts[Status.BROKEN],
        "counts": {status.value: counts[status.value] for status in Status},
        "checks": [plain(result) for result in results],
        "mended": mended,
    }


def _show(results: Sequence[Result]) -> None:
    width = max(len(result.name) for result in results)
    margin = " " * (len(Status.BROKEN) + width + 4)
    for result in results:
        text = f"not looked at: {result.reason}" if result.status is Status.UNSEEN else result.promise
        click.echo(f"{result.status:<{len(Status.BROKEN)}}  {result.name:<{width}}  {text}")
        for finding in result.findings:
            click.echo(f"{margin}{finding.status}: {finding.text}")
            click.echo(f"{margin}  do: {finding.advice}")
    counts = Counter(result.status for result in results)
    click.echo(
        f"\n{len(results)} checks: {counts[Status.OK]} ok, {counts[Status.BROKEN]} broken, "
        f"{counts[Status.ADVICE]} with advice, {counts[Status.UNSEEN]} not looked at"
    )
