"""The copies of the database that this appliance keeps, which have what a deletion has removed since they were made.

Nothing can be removed from within a copy. So people are told which copies there are, and when each of them goes. Not
known here: exports, backups that somebody moved or made elsewhere, and those of other appliances on the database.
"""

import contextlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path

from appliance.backup import folder as nightly
from appliance.children.replacement import REPLACED
from appliance.upgrade import copies as upgrades

_REPLACED = re.compile(rf"{REPLACED}(\d{{8}}T\d{{6}}Z)(-\d+)?")
_TIME = "%Y%m%dT%H%M%SZ"


class CopyKind(StrEnum):
    """Why a copy was made, which decides when it goes."""

    BACKUP = "backup"
    """At night, into ``backup.folder``: it goes when so many newer ones were made."""
    UPGRADE = "upgrade"
    """Before an upgrade: it goes by its age."""
    REPLACED = "replaced"
    """A restore moved it aside: it stays until a person removes it."""


@dataclass(frozen=True, slots=True)
class KeptCopy:
    """One copy."""

    kind: CopyKind
    path: str
    made_at: datetime
    until: datetime | None = None
    """When it goes by its age; None: not by that, or its time has not begun."""
    newer_backups: int | None = None
    """After how many more nightly backups it goes; None: not by that. One of a wrong clock stays."""


@dataclass(frozen=True, slots=True)
class CopyPlaces:
    """Where an appliance keeps copies."""

    data_dir: Path
    instance: str
    folder: Path | None
    """Of nightly backups; None: there are none."""
    keep: int
    """How many of them stay."""


def kept_copies(places: CopyPlaces, now: datetime) -> list[KeptCopy]:
    """Return the copies there are, the oldest first. Blocks. Raises OSError when a folder cannot be read."""
    found = [*_backups(places, now), *_upgrades(places.data_dir, now), *_replaced(places.data_dir)]
    return sorted(found, key=lambda copy: (copy.made_at, copy.path))


def made_before(copies: Sequence[KeptCopy], gone_at: datetime | None, now: datetime) -> list[KeptCopy]:
    """Return the copies that may have what was gone at that time; None: some is still there, and all of them may.

    One that is of later than now was named by a wrong clock, and may have been made at any time.
    """
    return [copy for copy in copies if gone_at is None or copy.made_at <= gone_at or copy.made_at > now]


def _backups(places: CopyPlaces, now: datetime) -> Iterator[KeptCopy]:
    if places.folder is None:
        return
    dated = sorted(
        ((at, path) for path in places.folder.iterdir() if (at := nightly.made_at(path.name, places.instance))),
        reverse=True,
    )
    newer = 0
    for at, path in dated:
        if at > now + nightly.TOLERANCE:  # it neither counts nor goes
            yield KeptCopy(CopyKind.BACKUP, str(path), at)
        else:
            yield KeptCopy(CopyKind.BACKUP, str(path), at, newer_backups=max(1, places.keep - newer))
            newer += 1


def _upgrades(data_dir: Path, now: datetime) -> Iterator[KeptCopy]:
    for copy in upgrades.find(data_dir):
        try:
            since = copy.kept_since(now)
        except FileNotFoundError:  # it has just gone
            continue
        until = None if since is None else since + upgrades.KEPT_FOR
        yield KeptCopy(CopyKind.UPGRADE, str(copy.path), copy.at, until=until)


def _replaced(data_dir: Path) -> Iterator[KeptCopy]:
    for path in data_dir.iterdir() if data_dir.is_dir() else ():
        match = _REPLACED.fullmatch(path.name)
        if match is None:
            continue
        with contextlib.suppress(ValueError):  # a month 13
            yield KeptCopy(CopyKind.REPLACED, str(path), datetime.strptime(match[1], _TIME).replace(tzinfo=UTC))
