"""The copies in ``data_dir/upgrades``: their names, which there are, which an older program can use, which stay.

A copy is a plain archive (:mod:`appliance.backup.archive`) of mode 0600. Its name says from which schema it was made,
before which, and when by service time: ``schema-0037-before-0040-20260501T031502Z.tar``.

Its time of modification says since when it is kept, for its name may not: a copy of long ago may serve again, and a
machine that was switched on after months may show the time of its last run until it has asked for the real one.
"""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from appliance.children.files import sync_folder

FOLDER = "upgrades"
KEPT = 2
"""Copies that stay: of the last upgrade, and of the one before it."""
KEPT_FOR = timedelta(days=30)
"""How long a copy leads back. Afterwards it goes: nobody gives up the readings of a month to go back, and it has what
was deleted since, such as a tenant."""
TOLERANCE = timedelta(days=1)
"""Later than now by more than this, a time is of a wrong clock."""
UNDATED = 0.0
"""The time of modification of a copy that no program has seen yet that ran for a while with a sure clock."""
UNFINISHED = ".part"
_NAME = re.compile(r"schema-(\d{4,})-before-(\d{4,})-(\d{8}T\d{6}Z)\.tar")
_TIME = "%Y%m%dT%H%M%SZ"


@dataclass(frozen=True, slots=True)
class Copy:
    """A copy of the database before an upgrade."""

    path: Path
    schema: int
    target: int
    """The schema that the program wanted which made it."""
    at: datetime
    """Service time."""

    @classmethod
    def of(cls, path: Path) -> "Copy | None":
        """Return the copy of that name; None if it is none."""
        match = _NAME.fullmatch(path.name)
        if match is None:
            return None
        try:
            at = datetime.strptime(match[3], _TIME).replace(tzinfo=UTC)
        except ValueError:  # a month 13
            return None
        return cls(path, int(match[1]), int(match[2]), at)

    def kept_since(self, now: datetime) -> datetime | None:
        """Return since when it is kept; None: no program has seen it yet (UNDATED). Raises OSError."""
        latest, modified = now + TOLERANCE, self.path.stat().st_mtime
        if not UNDATED < modified <= latest.timestamp():
            return None
        since = datetime.fromtimestamp(modified, UTC)
        return max(self.at, since) if self.at <= latest else since

    def keep_from(self, now: datetime | None) -> None:
        """Keep it for KEPT_FOR from ``now`` on; None: from when a program sees it (UNDATED). Raises OSError."""
        at = UNDATED if now is None else now.timestamp()
        os.utime(self.path, (at, at))


def name_of(schema: int, target: int, at: datetime) -> str:
    """Return the name of a copy."""
    return f"schema-{schema:04}-before-{target:04}-{at.astimezone(UTC):{_TIME}}.tar"


def find(data_dir: Path) -> list[Copy]:
    """Return the copies, the newest schema first and of the same schema the newest. Raises OSError."""
    folder = data_dir / FOLDER
    if not folder.exists() and not folder.is_symlink():  # a link that leads nowhere: its disk is away
        return []
    copies = [Copy.of(path) for path in folder.iterdir()]
    return sorted((copy for copy in copies if copy is not None), key=lambda copy: (copy.schema, copy.at), reverse=True)


def newest_usable(copies: Sequence[Copy], known: int) -> Copy | None:
    """Return the newest copy that a program which knows ``known`` migrations can use."""
    return next((copy for copy in copies if copy.schema <= known), None)


def interrupted(copies: Sequence[Copy], schema: int, target: int) -> Copy | None:
    """Return the copy of an upgrade to ``target`` that has come as far as ``schema``, and was interrupted there.

    Nothing but migrations has written since: a program that knows the schema in between was never released.
    """
    return next((copy for copy in copies if copy.schema < schema < copy.target <= target), None)


def prune(data_dir: Path, made: Copy | None = None) -> list[Path]:
    """Remove what is not kept, and what was not finished; return it.

    Of each schema the newest stays, so that an upgrade that fails again and again does not push out the one before.
    ``made``, which was made just now, stays whatever the names of others say: a wrong clock may have named them, and an
    older schema may have been restored.
    """
    folder, removed = data_dir / FOLDER, []
    kept = {} if made is None else {made.schema: made}
    for copy in find(data_dir):
        if copy == made:
            continue
        if copy.schema in kept or len(kept) == KEPT:
            removed.append(copy.path)
        else:
            kept[copy.schema] = copy
    removed += folder.glob(f"*{UNFINISHED}")
    _remove(folder, removed)
    return removed


def prune_old(data_dir: Path, now: datetime) -> list[Path]:
    """Remove the copies that were kept for long enough, and return them. ``now`` must be trusted. Raises OSError."""
    removed = []
    for copy in find(data_dir):
        since = copy.kept_since(now)
        if since is None:
            copy.keep_from(now)
        elif now - since > KEPT_FOR:
            removed.append(copy.path)
    _remove(data_dir / FOLDER, removed)
    return removed


def postpone(data_dir: Path, now: datetime, by: timedelta) -> None:
    """Keep all copies for longer: the clock has stepped to ``now``, and so much did not pass. Raises OSError."""
    for copy in find(data_dir):
        if (since := copy.kept_since(now)) is not None:
            copy.keep_from(since + by)


def _remove(folder: Path, paths: Sequence[Path]) -> None:
    for path in paths:
        path.unlink(missing_ok=True)
    if paths:
        sync_folder(folder)
