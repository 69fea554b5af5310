"""The copy of an embedded database before it is migrated: whether there is room, one that serves already, a new one."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import structlog
import trio

from appliance.backup.archive import open_backup, read_archive
from appliance.backup.writing import Task, write_backup
from appliance.children.files import make_folder
from appliance.clock import Clock
from appliance.config import Config
from appliance.db import statements
from appliance.db.endpoint import Endpoint
from appliance.db.require import require
from appliance.db.trio_psycopg import Connection
from appliance.disk.levels import levels_of_bytes
from appliance.disk.reserve import measure
from appliance.errors import ApplianceError
from appliance.upgrade.copies import FOLDER, Copy, find, interrupted, name_of, prune

STATEMENTS = statements.load("upgrade")

MIB = 1024 * 1024
PROGRESS_BYTES = 256 * MIB
"""Bytes of the dump between two lines of the log."""
DUMP_PART = 2
"""A dump takes at most this part of its tables, compressed as it is; of readings of five metrics, a fifth."""
WITHOUT_COPY = "`appliance migrate --without-copy` migrates without one"

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class UpgradeContext:
    """What a copy is made of, and where."""

    endpoint: Endpoint
    config: Config
    data_dir: Path
    clock: Clock
    failpoint: Callable[[str], None]


async def copy_before(context: UpgradeContext, connection: Connection[Any], schema: int, target: int) -> Copy:
    """Return a copy of the database as it is before it is migrated from ``schema`` to ``target``.

    That of an upgrade that was interrupted serves again, if nothing but migrations has written since. Raises
    ApplianceError, upon which nothing may be migrated.
    """
    folder = context.data_dir / FOLDER
    try:
        copy = await _reusable(connection, find(context.data_dir), schema, target)
        if copy is not None:
            log.info("the copy before the upgrade is there already", file=str(copy.path))
        else:
            if not folder.is_symlink():  # to another disk, by the owner of data_dir
                make_folder(folder, 0o700)
            prune(context.data_dir)
            await _require_room(folder, connection)
            copy = await _make(context, folder, schema, target)
        # Also one that is there already: it leads back from this upgrade, however long ago it was made.
        copy.keep_from(None)
        return copy
    except (ApplianceError, OSError) as error:
        raise ApplianceError(
            f"the database is not migrated, since it was not copied before: {error}; {WITHOUT_COPY}"
        ) from error


async def _reusable(connection: Connection[Any], copies: list[Copy], schema: int, target: int) -> Copy | None:
    """Return the copy that serves again, if there is one. Raises ApplianceError when a new one cannot replace it.

    A copy is verified when it is made, and read again here: since then a disk may have failed.
    """
    begun = interrupted(copies, schema, target)
    copy = begun or await _unchanged(connection, copies, schema, target)
    damage = None if copy is None else await _damage(copy)
    if copy is None or damage is None:
        return copy
    if begun is not None:
        raise ApplianceError(f"the upgrade was interrupted, and the copy made before it cannot be used: {damage}")
    log.warning("the copy before the upgrade cannot be used, and is made anew", error=damage)
    return None


async def _damage(copy: Copy) -> str | None:
    """Return what is wrong with a copy; None: it is whole."""
    try:
        await trio.to_thread.run_sync(_read_to_its_end, copy.path, abandon_on_cancel=True)
    except (ApplianceError, OSError) as error:
        return str(error)
    return None


def _read_to_its_end(path: Path) -> None:
    with open_backup(path, None) as stream:
        for _ in read_archive(stream):
            pass


async def _make(context: UpgradeContext, folder: Path, schema: int, target: int) -> Copy:
    at = datetime.fromtimestamp(int(context.clock.now()), UTC)
    while (path := folder / name_of(schema, target, at)).exists():  # of this very second
        at += timedelta(seconds=1)
    log.info("copying the database before the upgrade", file=str(path))
    written = await write_backup(
        Task(
            file=path,
            passphrase=None,
            config=context.config,
            config_file=None,
            endpoint=context.endpoint,
            clock=context.clock,
            failpoint=context.failpoint,
            progress=_Progress(),
        )
    )
    log.info("copied and verified", file=str(path), bytes=written.bytes, seconds=round(written.seconds, 1))
    made = Copy(path, schema, target, at)
    for removed in prune(context.data_dir, made):
        log.info("removed the copy before an earlier upgrade", file=str(removed))
    return made


async def _unchanged(connection: Connection[Any], copies: list[Copy], schema: int, target: int) -> Copy | None:
    """Return the copy of a migration that failed at once, if no appliance has run since and nobody changed anything."""
    same = next((copy for copy in copies if (copy.schema, copy.target) == (schema, target)), None)
    if same is None:
        return None
    try:
        cursor = await connection.execute(STATEMENTS["newest_activity"])
    except psycopg.Error:  # a schema of long ago has not both tables
        return None
    newest = require(await cursor.fetchone(), "an answer")[0]
    return same if newest is None or newest < same.at else None


async def _require_room(folder: Path, connection: Connection[Any]) -> None:
    """Raise ApplianceError when the copy finds no room, or leaves the disk full."""
    cursor = await connection.execute(STATEMENTS["table_bytes"])
    size = int(require(await cursor.fetchone(), "an answer")[0])
    room = measure(folder)
    needed = size // DUMP_PART + levels_of_bytes(room.total).full
    if room.free < needed:
        raise ApplianceError(
            f"a copy needs up to {size // DUMP_PART // MIB + 1:,} MB, and the disk of {folder} has"
            f" {room.free // MIB:,} MB free, of which {levels_of_bytes(room.total).full // MIB:,} MB must stay:"
            f" make {(needed - room.free) // MIB + 1:,} MB of room there"
        )


class _Progress:
    """Tells the log how far a copy is. Called by a thread."""

    def __init__(self) -> None:
        self._told: tuple[str, int] = ("", 0)

    def __call__(self, doing: str, count: int) -> None:
        if (doing, count // PROGRESS_BYTES) > self._told or doing != self._told[0]:
            self._told = (doing, count // PROGRESS_BYTES)
            log.info("copying goes on", doing=doing, megabytes=count // MIB)
