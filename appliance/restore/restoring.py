"""A restore from its first look to its end, in the order in which nothing is ever half."""

import shutil
import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
import trio
from psycopg import sql
from psycopg.conninfo import make_conninfo

from appliance import __version__
from appliance.backup.archive import File, Manifest, open_backup, read_archive
from appliance.backup.verifying import Verified, verify
from appliance.children import replacement
from appliance.children.data_dir import locked_data_dir, open_data_dir, refuse_unusable
from appliance.children.files import make_folder, sync_folder, write_atomically
from appliance.children.leftovers import stop_leftovers
from appliance.children.postgres import Postgres
from appliance.children.programs import find_postgres, find_postgres_clients
from appliance.clock import Clock
from appliance.config import Config
from appliance.db import bootstrap
from appliance.db.change_context import ChangeContext
from appliance.db.endpoint import DATABASE, Endpoint
from appliance.db.migrations import migrate
from appliance.db.roles import OWNER, ROLES
from appliance.db.trio_psycopg import Connection, connect
from appliance.errors import ApplianceError, Conflict
from appliance.restore import inspection, reset
from appliance.restore.loading import Loading, Source

SUPERUSER = "postgres"
"""The superuser of the embedded Postgres; it owns nothing of ours."""
SETTINGS = "restored-settings"
"""The folder in the data folder with the configuration of the machine of the backup, for people to compare."""
STEP = "restore_step"
"""The failpoint between any two changes on disk."""


@dataclass(frozen=True, slots=True)
class Task:
    """What is restored, and where."""

    source: Source
    config: Config
    clock: Clock
    context: ChangeContext
    replace: bool
    progress: Callable[[str, int], None]
    """Called with what is being done, and the bytes of the dump so far."""
    failpoint: Callable[[str], None]

    def step(self) -> None:
        """Pass the failpoint between two changes on disk."""
        self.failpoint(STEP)


@dataclass(frozen=True, slots=True)
class Plan:
    """What a restore would do; nothing has been touched."""

    verified: Verified
    place: inspection.Place
    needed: int
    """Bytes on the disk of the data folder."""
    programs: Path
    """The folder of pg_restore and psql."""
    remarks: Sequence[str]
    in_the_way: Sequence[str]
    """What has to end before a restore can begin; none but in a dry run."""

    @property
    def manifest(self) -> Manifest:
        """Return what the backup says of itself."""
        return self.verified.manifest


@dataclass(frozen=True, slots=True)
class Restored:
    """What a restore has done."""

    rows: Mapping[str, int]
    migrations: int
    skipped_notices: int
    expiring_readings: int
    """How many the retention drops soon."""
    aside: Path | None
    """The folder that has what was there."""


async def plan(task: Task, *, dry_run: bool) -> Plan:
    """Verify all of the backup and compare it with the place; nothing is touched.

    Raises WrongPassphrase, Damaged, and ApplianceError for what cannot be restored there. With ``dry_run`` the place
    may be in use: that is part of the plan.
    """
    source, config = task.source, task.config
    stays = inspection.staying(config.data_dir, source.path, config.backup.folder)
    place = inspection.look(config.data_dir, stays)
    if not dry_run:
        inspection.refuse_used(place)
    manifest = await trio.to_thread.run_sync(inspection.peek, source.path, source.passphrase)
    inspection.refuse(manifest, place, replace=task.replace)
    refuse_unusable(place.path)
    programs = await _programs(config, manifest)
    verified = await trio.to_thread.run_sync(
        verify, source.path, source.passphrase, programs / "pg_restore", partial(task.progress, "verifying")
    )
    if verified.manifest != manifest:
        raise ApplianceError(f"{source.path} is being changed: restore it when it is complete")
    most_log = 0 if config.database.url is not None else inspection.most_log(place)
    needed = inspection.needed_bytes(manifest, verified.summary.dump.bytes, most_log)
    inspection.refuse_small_disk(place, needed)
    if config.database.url is not None:
        await refuse_filled(Endpoint.external(config.database.url.reveal()), manifest.created_at)
    remarks = [*inspection.compared(manifest, place)]
    expiring = inspection.expiring_days(verified.days, task.context.now, config.retention)
    if expiring is not None:
        remarks.append(expiring)
    return Plan(verified, place, needed, programs, remarks, list(inspection.in_the_way(place)) if dry_run else [])


async def refuse_filled(endpoint: Endpoint, made_at: datetime) -> None:
    """Raise ApplianceError when the external database has something else in it than a restore, killed before.

    ``made_at``: when the backup was made.
    """
    try:
        connection = await connect(endpoint.base)
    except psycopg.OperationalError:  # the server was asked: there is no such database yet, and it is made
        return
    async with connection:
        if await reset.is_empty(connection):
            return
        try:
            await connection.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(OWNER)))
            begun = await reset.restored_before(connection, made_at)
        except (psycopg.DataError, psycopg.ProgrammingError):  # it has not our roles or not our tables
            begun = None
    if begun is None:
        raise _filled(endpoint)


def _filled(endpoint: Endpoint) -> ApplianceError:
    return ApplianceError(
        f"the database {endpoint.database} is not empty, and a restore into it would mix two appliances: make an empty"
        " one (CREATE DATABASE), name it in database.url, and restore again"
    )


async def _programs(config: Config, manifest: Manifest) -> Path:
    """Return the folder of pg_restore and psql for the server that takes the dump."""
    if config.database.url is None:
        found = await find_postgres(None)
        folder, major = found.folder, found.major
    else:
        base = Endpoint.external(config.database.url.reveal()).base
        async with await bootstrap.enter(base) as connection:
            major = connection.info.server_version // 10000
        clients = await find_postgres_clients(major)
        folder, major = clients.folder, clients.major
    if major < manifest.dump_major:
        raise ApplianceError(
            f"the backup was made with PostgreSQL {manifest.dump_major}, and this machine has {major}: "
            f"`apt-get install postgresql-{manifest.dump_major}`, or restore into a newer server"
        )
    for name in ("pg_restore", "psql"):
        if not (folder / name).exists():
            raise ApplianceError(f"{folder / name} was not found: `apt-get install postgresql-client-{major}`")
    return folder


async def restore(task: Task, planned: Plan) -> Restored:
    """Restore as planned: the old content of the place is there, or all of the new one.

    Raises ApplianceError, with everything as it was before.
    """
    config, stays = task.config, inspection.staying(task.config.data_dir, task.source.path, task.config.backup.folder)
    with locked_data_dir(config.data_dir) as path:
        if replacement.belongings(path, stays) != list(planned.place.names):
            raise Conflict(f"{path} has changed meanwhile: restore again")
        for name in ("postgres", "mosquitto"):
            await stop_leftovers(path / name, replacement.SERVERS, polite=signal.SIGINT)
        built = path / replacement.BUILT
        try:
            make_folder(built, 0o700)
            task.step()
            into = await trio.to_thread.run_sync(_write_files, task, built)
            task.step()
            if config.database.url is None:
                loaded = await _build_database(task, planned, built)
                into = [*into, "postgres"]
            else:
                loaded = await _fill_external(task, planned, Endpoint.external(config.database.url.reveal()))
            task.step()
        except BaseException as error:
            replacement.discard(path)
            raise_untouched(path, error)
            raise
        aside = replacement.begin(path, into, _aside(task), stays, task.step)
    return Restored(*loaded, None if aside is None else path / aside)


def raise_untouched(path: Path, error: BaseException) -> None:
    """Raise ApplianceError for what failed before anything was moved, if it is of a kind that people can mend."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:  # nurseries wrap even a single error
        (error,) = error.exceptions
    if type(error) is ApplianceError or isinstance(error, OSError):
        raise ApplianceError(f"{error}. What was in {path} is as it was") from error


def _aside(task: Task) -> str:
    return f"{replacement.REPLACED}{datetime.fromtimestamp(task.clock.now(), UTC):%Y%m%dT%H%M%SZ}"


def _write_files(task: Task, built: Path) -> list[str]:
    """Write the small files of the backup; return the names at the top."""
    written: set[str] = set()
    with open_backup(task.source.path, task.source.passphrase) as stream:
        for entry in read_archive(stream):
            if isinstance(entry, File) and inspection.accepts(entry.name):
                name = f"{SETTINGS}/{entry.name}" if entry.name.startswith(("appliance", "settings")) else entry.name
                target = built / name
                make_folder(target.parent, 0o700 if target.parent != built else 0o711)
                write_atomically(target, entry.data)
                written.add(name.partition("/")[0])
            elif not isinstance(entry, File | Manifest):
                break
    sync_folder(built)
    return sorted(written)


Loaded = tuple[Mapping[str, int], int, int, int]
"""Rows by table, migrations applied, notices skipped, readings that expire soon."""


async def _build_database(task: Task, planned: Plan, built: Path) -> Loaded:
    """Build a cluster of our own in ``built``, and stop its server."""
    loaded: Loaded | None = None
    with open_data_dir(built) as data:
        async with trio.open_nursery() as nursery:
            postgres = Postgres(data, roles=[role.name for role in ROLES], clock=task.clock)
            place = await nursery.start(postgres.run)
            endpoint = Endpoint.local(place.socket_dir, place.port)
            as_superuser = make_conninfo(endpoint.base, user=SUPERUSER)
            await bootstrap.prepare_own(make_conninfo(as_superuser, dbname="postgres"), DATABASE)
            task.step()
            await _load(task, planned, as_superuser)
            task.step()
            async with await connect(as_superuser) as connection:
                rows = await _counted(connection, planned.manifest)
            async with await connect(endpoint.conninfo(OWNER)) as connection:
                loaded = (rows, *await _bring_up(task, planned, connection))
            nursery.cancel_scope.cancel()
    assert loaded is not None, "or an error was raised"  # noqa: S101 - narrows the type
    shutil.rmtree(built / "reserve", ignore_errors=True)
    return loaded


async def _fill_external(task: Task, planned: Plan, endpoint: Endpoint) -> Loaded:
    """Load the dump into an empty database elsewhere; go on with one that a killed restore had loaded."""
    await bootstrap.prepare(endpoint.base, endpoint.database)
    made_at = planned.manifest.created_at
    async with await connect(endpoint.conninfo(OWNER)) as connection:
        if await reset.is_empty(connection):
            await _load(task, planned, endpoint.conninfo(OWNER))
            task.step()
        elif (begun := await reset.restored_before(connection, made_at)) is None:
            raise _filled(endpoint)
        elif begun:  # all that is left are the small files
            return planned.manifest.rows, 0, 0, await _expiring(task, connection)
        rows = await _counted(connection, planned.manifest)
        return (rows, *await _bring_up(task, planned, connection))


async def _load(task: Task, planned: Plan, conninfo: str) -> None:
    guard = reset.guard(task.context.now, planned.manifest.created_at)
    loading = Loading(task.source, planned.programs, conninfo, guard)
    try:
        await trio.to_thread.run_sync(loading.run, partial(task.progress, "restoring"), abandon_on_cancel=True)
    finally:
        loading.close()


async def _counted(connection: Connection[Any], manifest: Manifest) -> Mapping[str, int]:
    """Return the rows of each table of the backup. Raises ApplianceError when they are not what it says."""
    counted = {}
    for table, expected in manifest.rows.items():
        statement = sql.SQL("SELECT count(*) FROM public.{}").format(sql.Identifier(table))
        row = await (await connection.execute(statement)).fetchone()
        counted[table] = 0 if row is None else int(row[0])
        if counted[table] != expected + (table == "restores"):  # this one is in it already
            raise ApplianceError(f"{table} has {counted[table]} rows after the restore, and {expected} in the backup")
    return counted


async def _bring_up(task: Task, planned: Plan, connection: Connection[Any]) -> tuple[int, int, int]:
    """Migrate and reset a restored database; return how many migrations, skipped notices and expiring readings."""
    manifest = planned.manifest
    applied = await migrate(connection, clock=task.clock)
    task.step()
    facts = {"instance": manifest.instance_id, "made_by": manifest.program, "restored_by": __version__}
    skipped = await reset.reset_database(connection, task.context, manifest.created_at, facts)
    return len(applied), skipped, await _expiring(task, connection)


async def _expiring(task: Task, connection: Connection[Any]) -> int:
    return await reset.count_before(connection, inspection.oldest_kept(task.context.now, task.config.retention))
