"""Segments of Postgres's log, made ahead on a small disk, so that Postgres finds them there when the disk is full.

Postgres stops for good when its log finds no room. Segments that it does not need any more it uses again, and a new
cluster has none of those yet. It takes a file that has the name of its next segment as it takes one that it has renamed
itself: what is in it does not count. Made only while the server does not run.
"""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import structlog

from appliance.children import postgres_files
from appliance.children.account import Account
from appliance.children.files import sync_folder

log = structlog.get_logger(__name__)

UNFINISHED = "xlogtemp.appliance"
"""A name that Postgres removes at its start, as it does with its own."""
LOG_FILE_BYTES = 1 << 32
"""What the segments of one number in the middle of their names hold together."""
CHUNK = bytes(postgres_files.MIB)


def further_segments(names: Sequence[str], segment: int, wanted: int) -> Iterator[str]:
    """Yield the names of segments of ``segment`` MB after the newest of ``names``, until there are ``wanted``."""
    if not names:
        return
    newest, each = max(names), LOG_FILE_BYTES // (segment * postgres_files.MIB)
    number = int(newest[8:16], 16) * each + int(newest[16:], 16)
    for further in range(number + 1, number + 1 + wanted - len(names)):
        yield f"{newest[:8]}{further // each:08X}{further % each:08X}"


def make_segments(cluster: Path, sizes: postgres_files.LogSizes, owner: Account | None) -> int:
    """Make as many segments as are kept; return how many were missing and are there now.

    Stops without an error where there is no room: Postgres makes those itself, when it needs them.
    """
    folder, made = cluster / "pg_wal", 0
    names = segments(cluster)
    unfinished = folder / UNFINISHED
    try:
        for name in further_segments(names, sizes.segment, sizes.kept // sizes.segment):
            _write(unfinished, sizes.segment, owner)
            unfinished.rename(folder / name)
            made += 1
    except OSError as error:
        unfinished.unlink(missing_ok=True)
        log.warning("no room for the log of Postgres", error=str(error))
    if made:
        sync_folder(folder)
    return made


def segments(cluster: Path) -> list[str]:
    """Return the names of the segments of a cluster."""
    try:
        names = [file.name for file in (cluster / "pg_wal").iterdir()]
    except FileNotFoundError:
        return []
    return [name for name in names if postgres_files.SEGMENT.fullmatch(name)]


def segment_size(cluster: Path) -> int | None:
    """Return the size of the log's segments in MB, which are files of that size; None without a cluster."""
    sizes = [(cluster / "pg_wal" / name).stat().st_size for name in segments(cluster)]
    return max(sizes) // postgres_files.MIB if sizes else None


def _write(path: Path, size: int, owner: Account | None) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        if owner is not None:
            os.fchown(file.fileno(), owner.uid, owner.gid)
        for _ in range(size):
            file.write(CHUNK)
        file.flush()
        os.fsync(file.fileno())
