"""The folder of nightly backups: what they are called, and which of them are kept.

A file has its final name only once it was verified. Only files that this appliance has named are ever removed; those of
another appliance, and whatever else is in the folder, are left alone.
"""

import re
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from appliance.errors import ApplianceError

ENDING = ".age"
_TIME = "%Y%m%dT%H%M%SZ"
_NAME = re.compile(r"appliance-(?P<instance>[0-9a-f]{12})-(?P<at>\d{8}T\d{6}Z)\.age")
TOLERANCE = timedelta(days=1)
"""Later than now by more than this, a file was named by a wrong clock: it neither counts nor goes."""


def name_of(instance: str, at: datetime) -> str:
    """Return the name of the backup that ``instance`` makes at ``at``."""
    return f"appliance-{instance}-{at.astimezone(UTC).strftime(_TIME)}{ENDING}"


def made_at(name: str, instance: str) -> datetime | None:
    """Return when a backup of ``instance`` was begun, by its name; None for other names."""
    found = _NAME.fullmatch(name)
    if found is None or found["instance"] != instance:
        return None
    try:
        return datetime.strptime(found["at"], _TIME).replace(tzinfo=UTC)
    except ValueError:
        return None


def surplus(names: Iterable[str], instance: str, *, keep: int, now: datetime, newest: str) -> list[str]:
    """Return the backups of ``instance`` that may go, the oldest first, so that ``keep`` are left.

    ``newest`` was just verified, and stays. Files of the future were named by a wrong clock and are left alone.
    """
    dated = sorted(
        (at, name)
        for name in names
        if name != newest and (at := made_at(name, instance)) is not None and at <= now + TOLERANCE
    )
    return [name for _, name in dated[: max(0, len(dated) - (keep - 1))]]


def require(folder: Path) -> Path:
    """Return ``folder`` if it is there; it is never made, as its disk may not be mounted. Raises ApplianceError."""
    if not folder.is_dir():
        raise ApplianceError(f"backup.folder {folder} is not there: mount the disk, or make the folder")
    return folder


def on_one_disk(folder: Path, data_dir: Path) -> bool:
    """Return whether ``folder`` is on the disk of the data folder, and so goes when that does; False if not known."""
    try:
        return folder.stat().st_dev == data_dir.stat().st_dev
    except OSError:
        return False
