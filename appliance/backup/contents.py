"""What a backup is of: one snapshot of the database, and the small files beside it."""

import base64
import hashlib
import re
import tomllib
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import psycopg
from psycopg import IsolationLevel, sql

from appliance import __version__
from appliance.backup.archive import Manifest
from appliance.backup.dump import LEFT_OUT
from appliance.children.data_dir import read_instance, read_run_file
from appliance.clock import Clock
from appliance.config import Config, masked
from appliance.db import locks, statements
from appliance.db.endpoint import Endpoint
from appliance.db.migrations import schema_version
from appliance.db.roles import BACKUP
from appliance.db.trio_psycopg import Connection, connect
from appliance.errors import ApplianceError
from appliance.keyring import decode
from appliance.runtime.addresses import EVERYWHERE, lan_addresses

LOCK_SECONDS = 60
"""Seconds that a backup waits for a migration, or for a day of readings that is being dropped."""
TLS_FILES = re.compile(r"[A-Za-z0-9_-]+\.(pem|key)")
_PEM = re.compile(rb"-----BEGIN CERTIFICATE-----\s+([A-Za-z0-9+/=\s]+?)-----END CERTIFICATE-----")
_WITHHELD = "# The passphrase of backups is left out of them.\n"

STATEMENTS = statements.load("backup")


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The database at one moment; it can be read for as long as the transaction is open."""

    id: str
    """By which another session sees the same."""
    schema: int
    postgres_major: int
    rows: Mapping[str, int]
    """Of each table whose rows are dumped."""
    bytes: int
    """Of the database on its disk."""


@asynccontextmanager
async def open_snapshot(endpoint: Endpoint) -> AsyncIterator[Snapshot]:
    """Yield a snapshot, read by the role of backups. Meanwhile nobody migrates and no day of readings is dropped.

    Raises ApplianceError when the database cannot be reached, or something else holds it for too long.
    """
    try:
        connection = await connect(endpoint.conninfo(BACKUP))
    except psycopg.OperationalError as error:
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise ApplianceError(f"the database cannot be reached: {reason}") from error
    async with connection:
        await connection.execute(STATEMENTS["wait_at_most"], {"milliseconds": LOCK_SECONDS * 1000})
        try:
            await connection.execute(STATEMENTS["exclude_locks"], {"key": locks.BACKUP_LOCK})
        except psycopg.errors.LockNotAvailable:
            raise ApplianceError(
                "the database is being migrated, or a day of readings is being dropped: make the backup later"
            ) from None
        await connection.execute(STATEMENTS["no_parallel"])  # ingest needs the other processors
        await connection.set_isolation_level(IsolationLevel.REPEATABLE_READ)
        await connection.set_read_only(True)
        async with connection.transaction():
            schema = await schema_version(connection)
            (snapshot,) = await _row(connection, STATEMENTS["export_snapshot"])
            rows = await _count(connection)
            (size,) = await _row(connection, STATEMENTS["database_size"])
            yield Snapshot(snapshot, schema, connection.info.server_version // 10000, rows, size)


async def _count(connection: Connection[Any]) -> dict[str, int]:
    cursor = await connection.execute(STATEMENTS["tables"])
    names = [name for (name,) in await cursor.fetchall() if name not in LEFT_OUT]
    counted = {}
    for name in names:
        (counted[name],) = await _row(
            connection, sql.SQL("SELECT count(*) FROM public.{}").format(sql.Identifier(name))
        )
    return counted


async def _row(connection: Connection[Any], statement: Any) -> tuple[Any, ...]:
    row = await (await connection.execute(statement)).fetchone()
    assert row is not None, "one row is returned"  # noqa: S101 - narrows the type
    return tuple(row)


def describe(
    snapshot: Snapshot, config: Config, files: Mapping[str, bytes], clock: Clock, *, dump_major: int
) -> Manifest:
    """Return the manifest of a backup with these files. Raises ApplianceError for damaged keys."""
    authority = files.get("tls/ca.pem")
    return Manifest(
        program=__version__,
        schema=snapshot.schema,
        postgres_major=snapshot.postgres_major,
        dump_major=dump_major,
        instance_id=read_instance(config.data_dir).instance_id,
        key_ids=tuple(key.id for key in decode(files["keys.json"])),
        ca_fingerprint=None if authority is None else fingerprint_of(authority),
        created_at=datetime.fromtimestamp(clock.now(), UTC),
        clock_trusted=clock.trusted,
        addresses=tuple(addresses(config)),
        rows=dict(snapshot.rows),
        database_bytes=snapshot.bytes,
    )


def addresses(config: Config) -> list[str]:
    """Return where devices reach the broker now: as addresses of the network with ports, or that of an external one."""
    if config.broker.url is not None:
        return [str(config.broker.address())]
    run = read_run_file(config.data_dir)
    port = config.broker.port if run is None else run.mqtt_port
    hosts = lan_addresses() if config.broker.host in EVERYWHERE else [config.broker.host]
    return [f"{host}:{port}" for host in hosts]


def gather(config: Config, config_file: Path | None) -> dict[str, bytes]:
    """Return the small files of a backup: identity, keys, certificates, and the configuration.

    Raises ApplianceError when one cannot be read.
    """
    folder = config.data_dir
    found = {name: _read(folder / name) for name in ("instance.json", "keys.json")}
    tls = folder / "tls"
    for path in sorted(tls.iterdir()) if tls.is_dir() else ():
        if TLS_FILES.fullmatch(path.name) and path.is_file() and not path.is_symlink():
            found[f"tls/{path.name}"] = _read(path)
    if config_file is not None:
        found["appliance.toml"] = without_passphrase(_read(config_file))
    found["settings.json"] = msgspec.json.format(msgspec.json.encode(masked(config))) + b"\n"
    return found


def without_passphrase(document: bytes) -> bytes:
    """Return a configuration file without the passphrase of backups, should it stand there."""
    text = document.decode()
    if not _has_passphrase(text):
        return document
    for number, line in enumerate(lines := text.splitlines(keepends=True)):
        shorter = "".join([*lines[:number], _WITHHELD, *lines[number + 1 :]])
        if "passphrase" in line and not _has_passphrase(shorter):
            return shorter.encode()
    return _WITHHELD.encode()  # it stands in a form that cannot be cut out: nothing is better than that


def _has_passphrase(text: str) -> bool:
    """Return whether the document sets it; a text that is no document any more counts as one that does."""
    try:
        section = tomllib.loads(text).get("backup")
    except tomllib.TOMLDecodeError:
        return True
    return isinstance(section, dict) and "passphrase" in section


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        mend = ": run this command as the user who runs the appliance, or as root" if error.errno == 13 else ""
        raise ApplianceError(f"{path} cannot be read ({error.strerror}){mend}") from error


def fingerprint_of(pem: bytes) -> str | None:
    """Return the SHA-256 of a certificate in hex with colons; None when it is none."""
    found = _PEM.search(pem)
    if found is None:
        return None
    return hashlib.sha256(base64.b64decode(found[1])).digest().hex(":").upper()
