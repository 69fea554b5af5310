"""What is known of the last backups: a small file in the data folder, for System, the doctor and the alert.

It holds no secret. A file that is damaged or missing counts as empty: backups are made without it.
"""

from datetime import datetime, timedelta
from pathlib import Path

import msgspec
import structlog

from appliance.children.files import write_atomically

FILE = "backups.json"
OVERDUE_AFTER = timedelta(days=2)
"""Age of the last good backup past which there is an alert, where one is made every night."""

log = structlog.get_logger(__name__)


class GoodBackup(msgspec.Struct, frozen=True):
    """A backup that was verified."""

    file: str
    at: datetime
    """Service time at which it was whole."""
    bytes: int
    seconds: float


class Attempt(msgspec.Struct, frozen=True):
    """The last try, good or not. Times are service time."""

    began_at: datetime
    ended_at: datetime | None
    """None: it runs, or its process has ended without a word."""
    error: str | None = None


class Record(msgspec.Struct, frozen=True):
    """The last try, the last good backup, and since when there is something to be expected."""

    since: datetime | None = None
    """When nightly backups were first configured."""
    last: Attempt | None = None
    good: GoodBackup | None = None


def read_record(data_dir: Path) -> Record:
    """Return what is known; an empty record when nothing is."""
    try:
        return msgspec.json.decode((data_dir / FILE).read_bytes(), type=Record)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
        return Record()


def write_record(data_dir: Path, record: Record) -> None:
    """Keep ``record``. A disk that takes nothing is logged: the backup matters more."""
    try:
        write_atomically(data_dir / FILE, msgspec.json.format(msgspec.json.encode(record)) + b"\n")
    except OSError as error:
        log.warning("the record of backups cannot be written", error=error.strerror)


def is_overdue(record: Record, now: datetime) -> bool:
    """Return whether the last good backup is too old, where one is made every night; ``now`` must be trusted."""
    good_at = None if record.good is None else record.good.at
    begun = [at for at in (record.since, good_at) if at is not None and at <= now]  # the others are of a wrong clock
    return bool(begun) and now - max(begun) > OVERDUE_AFTER
