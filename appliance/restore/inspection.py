"""What a backup is compared with before anything is touched: the place where it is to live, and this program."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import msgspec

from appliance import __version__
from appliance.backup.age_file import MAGIC
from appliance.backup.archive import Manifest, open_backup, read_archive
from appliance.backup.contents import TLS_FILES, fingerprint_of
from appliance.children import postgres_files
from appliance.children.data_dir import Instance, lock_holder, require_owner
from appliance.children.replacement import BUILT, JOURNAL, belongings, refuse_mounts, size
from appliance.config import Retention
from appliance.counted import counted
from appliance.db.migrations import shipped
from appliance.disk.levels import Room
from appliance.disk.reserve import measure
from appliance.errors import ApplianceError, Conflict
from appliance.keyring import decode

MIB = 1024 * 1024
GROWTH = 20
"""Bytes of a database for each byte of a dump that does not tell it, as measured with rows that are much alike."""
CLUSTER_BYTES = 128 * MIB
"""What a cluster takes that holds nothing yet."""
FILE_NAMES = frozenset({"instance.json", "keys.json", "appliance.toml", "settings.json"})


@dataclass(frozen=True, slots=True)
class Place:
    """A data folder, as it is before a restore."""

    path: Path
    names: Sequence[str]
    """What belongs to the appliance there; empty: it was never used."""
    bytes: int
    disk: Room
    instance_id: str | None
    key_ids: Sequence[str]
    ca_fingerprint: str | None
    holder: str | None
    """The pid of what has locked the folder, an appliance that runs mostly; None: nothing has."""


def is_sealed(file: Path) -> bool:
    """Return whether it takes a passphrase to open ``file``. Raises ApplianceError when it cannot be read."""
    try:
        with file.open("rb") as opened:
            return opened.read(len(MAGIC)) == MAGIC
    except OSError as error:
        raise ApplianceError(f"{file} cannot be read: {error.strerror}") from error


def peek(file: Path, passphrase: str | None) -> Manifest:
    """Return what a backup says of itself. Raises WrongPassphrase, Damaged, ApplianceError."""
    with open_backup(file, passphrase) as stream:
        first = next(read_archive(stream))
    assert isinstance(first, Manifest), "it comes first, or the archive is damaged"  # noqa: S101 - narrows the type
    return first


def look(path: Path, stays: Collection[str]) -> Place:
    """Return what is in a data folder; nothing is written. Raises ApplianceError when it is not ours to restore into.

    It may be in use.
    """
    path = path.absolute()
    holder = lock_holder(path)
    try:
        names = belongings(path, stays)
        refuse_mounts(path, names)
        there = path
        while not there.exists():
            there = there.parent
        if there == path:
            require_owner(path, path)
        return Place(
            path,
            names,
            sum(size(path / name) for name in names),
            measure(there),
            _instance_id(path / "instance.json"),
            _key_ids(path / "keys.json"),
            fingerprint_of(authority.read_bytes()) if (authority := path / "tls" / "ca.pem").exists() else None,
            holder,
        )
    except PermissionError as error:
        raise ApplianceError(
            f"{error.filename or path} cannot be read: run this command as the user who runs the appliance"
        ) from None


def staying(path: Path, file: Path, folder: Path | None) -> set[str]:
    """Return the names in the data folder ``path`` that a restore leaves: what leads to the backup and its folder."""
    path, found = path.absolute().resolve(), set()
    for kept in (file, folder):
        if kept is not None and (inside := kept.absolute().resolve()).is_relative_to(path) and inside != path:
            found.add(inside.relative_to(path).parts[0])
    return found


def refuse(manifest: Manifest, place: Place, *, replace: bool) -> None:
    """Raise ApplianceError when this program cannot restore the backup, or not there."""
    known = shipped()[-1].version
    if manifest.schema > known:
        raise ApplianceError(
            f"the backup was made by version {manifest.program} (schema {manifest.schema}), and this is version"
            f" {__version__} (schema {known}): install version {manifest.program} or newer, then restore"
        )
    if place.names and not replace:
        whose = "" if place.instance_id is None else f", of appliance {place.instance_id}"
        raise Conflict(
            f"{place.path} is not empty ({_megabytes(place.bytes)}{whose}): give --replace to move aside what is there,"
            " or name another data_dir"
        )


def refuse_used(place: Place) -> None:
    """Raise ApplianceError when an appliance runs on the place, or another restore works on it."""
    if _is_restored_into(place):
        raise ApplianceError(f"another restore (pid {place.holder}) works on {place.path}: wait for its end")
    if place.holder is not None:
        raise ApplianceError(f"an appliance (pid {place.holder}) runs on {place.path}: stop it, then restore")


def _is_restored_into(place: Place) -> bool:
    return place.holder is not None and (place.path / BUILT).exists()


def in_the_way(place: Place) -> Iterator[str]:
    """Yield what has to end before a restore can begin, in sentences with what to do."""
    if _is_restored_into(place):
        yield f"Another restore (pid {place.holder}) works on {place.path}: wait for its end."
    elif place.holder is not None:
        yield f"An appliance (pid {place.holder}) runs on {place.path}: stop it before you restore."
    if (place.path / JOURNAL).exists():
        yield f"A restore into {place.path} was interrupted, and is finished first: start and stop the appliance."


def expiring_days(
    days: Collection[date], now: datetime, retention: Retention, readings: int | None = None
) -> str | None:
    """Return which days of the backup the present retention drops soon, in sentences; None if it drops none.

    ``readings``: how many are in them, None while they are not counted.
    """
    old = sorted(day for day in days if day < oldest_kept(now, retention))
    if not old or readings == 0:
        return None
    what = counted(len(old), "day")
    what = f"{what} of readings" if readings is None else f"{counted(readings, 'reading')} of {what}"
    span = f"{old[0]}" if len(old) == 1 else f"{old[0]} to {old[-1]}"
    return (
        f"Older than retention.days = {retention.days}, and dropped soon after the start: {what} ({span}). Roll-ups of"
        f" hours stay for {counted(retention.rollup_days, 'day')}. To keep the readings, raise retention.days before"
        " you start the appliance."
    )


def oldest_kept(now: datetime, retention: Retention) -> date:
    """Return the oldest UTC day of which readings are kept at ``now``."""
    return (now.astimezone(UTC) - timedelta(days=retention.days)).date()


def refuse_small_disk(place: Place, needed: int) -> None:
    """Raise ApplianceError when the disk has not the room."""
    if place.disk.free < needed:
        raise ApplianceError(
            f"the restore needs {_megabytes(needed)} on the disk of {place.path}, which has"
            f" {_megabytes(place.disk.free)} free: make room, or name a data_dir elsewhere"
        )


def most_log(place: Place) -> int:
    """Return the bytes that the log of a Postgres of our own takes there at most."""
    return postgres_files.log_sizes(place.disk.total, None).most * MIB


def needed_bytes(manifest: Manifest, dump: int, most_log: int) -> int:
    """Return the room that a restore takes on the disk of the data folder. ``dump``: bytes of the dump.

    ``most_log``: bytes that the log of a Postgres of our own may take; 0 where the database is elsewhere.
    """
    if not most_log:
        return MIB
    database = manifest.database_bytes or GROWTH * dump
    return CLUSTER_BYTES + database + min(most_log, database)  # what is loaded stands in the log once


def compared(manifest: Manifest, place: Place) -> Iterator[str]:
    """Yield how the backup differs from this program and from what is there, in sentences."""
    known = shipped()[-1].version
    if manifest.schema < known:
        yield f"Its schema {manifest.schema} is older than that of this program and is migrated to {known}."
    if not manifest.clock_trusted:
        yield "The clock of its machine was in doubt when it was made: its time may be wrong."
    if place.instance_id is not None and place.instance_id != manifest.instance_id:
        yield (
            f"{place.path} holds another appliance, {place.instance_id}: that is moved aside, and its devices are not"
            " known here afterwards."
        )
    elif place.instance_id is not None:
        if not set(place.key_ids) <= set(manifest.key_ids):
            yield "The keys there are newer than those of the backup: secrets sealed since are lost with what is there."
        if place.ca_fingerprint is not None and place.ca_fingerprint != manifest.ca_fingerprint:
            yield "Its certificate authority is another one than the one there."


def accepts(name: str) -> bool:
    """Return whether a small file of a backup is one that a restore knows; no other name is ever written."""
    folder, _, rest = name.rpartition("/")
    return name in FILE_NAMES or (folder == "tls" and TLS_FILES.fullmatch(rest) is not None)


def _instance_id(path: Path) -> str | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=Instance).instance_id
    except (FileNotFoundError, NotADirectoryError, msgspec.MsgspecError):
        return None


def _key_ids(path: Path) -> Sequence[str]:
    try:
        return [key.id for key in decode(path.read_bytes())]
    except (FileNotFoundError, NotADirectoryError, ApplianceError):
        return []


def _megabytes(count: int) -> str:
    return f"{max(1, round(count / 1_000_000)):,} MB"
