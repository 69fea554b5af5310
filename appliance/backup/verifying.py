"""The proof that a backup is whole: all of it is decrypted, held against its hashes, and its dump read by Postgres."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path

from appliance.backup.age_file import Damaged
from appliance.backup.archive import DumpPart, File, Manifest, Summary, open_backup, read_archive
from appliance.backup.dump import listing

DAY_TABLE = re.compile(r"telemetry_(\d{8})")
"""The partition of one UTC day."""


@dataclass(frozen=True, slots=True)
class Verified:
    """What a whole backup holds."""

    manifest: Manifest
    summary: Summary
    days: tuple[date, ...]
    """The UTC days that have a partition of readings, the oldest first."""


def verify(path: Path, passphrase: str | None, pg_restore: Path, read: Callable[[int], None]) -> Verified:
    """Read all of the backup in ``path``. ``read`` is told the bytes of the dump so far, and may raise.

    Raises WrongPassphrase, Damaged, ApplianceError for what cannot be read or a program that is missing.
    """
    manifest = summary = None
    names: set[str] = set()
    count = 0
    with open_backup(path, passphrase) as stream, listing(pg_restore) as contents:
        for entry in read_archive(stream):
            match entry:
                case Manifest():
                    manifest = entry
                case File():
                    names.add(entry.name)
                case DumpPart():
                    contents.feed(entry.data)
                    count += len(entry.data)
                    read(count)
                case Summary():
                    summary = entry
        if manifest is None or summary is None:
            raise Damaged("it has no beginning or no end")
        tables = contents.tables()
        _check(manifest, names, tables)
    return Verified(manifest, summary, tuple(_days(tables)))


def _days(tables: frozenset[str]) -> Iterator[date]:
    for name in sorted(tables):
        if found := DAY_TABLE.fullmatch(name):
            yield datetime.strptime(found[1], "%Y%m%d").replace(tzinfo=UTC).date()


def _check(manifest: Manifest, names: set[str], tables: frozenset[str]) -> None:
    """Raise Damaged when something that it takes to go on is missing."""
    if missing := {"instance.json", "keys.json"} - names:
        raise Damaged(f"{', '.join(sorted(missing))} is missing in it")
    whole = {table for table in manifest.rows if table != "telemetry"}  # its rows are in its partitions
    if missing := whole - tables:
        raise Damaged(f"its dump has no rows of {', '.join(sorted(missing))}")
