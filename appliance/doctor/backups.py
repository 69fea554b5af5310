"""The check of nightly backups: a good one that is not old, in a folder that is there and on another disk."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from appliance.backup.folder import on_one_disk
from appliance.backup.record import Record, is_overdue, read_record
from appliance.doctor.check import Finding, Sight, UnseenError, advised, broken


@dataclass(frozen=True, slots=True)
class BackupSight:
    """What there is of backups."""

    folder: Path
    is_there: bool
    same_disk: bool
    record: Record
    overdue: bool


async def look_at_backups(sight: Sight) -> BackupSight:
    """Return what is known of nightly backups. Raises UnseenError where none are configured."""
    folder = sight.config.backup.folder
    if folder is None:
        raise UnseenError("no folder for nightly backups is configured (backup.folder)")
    record, now = read_record(sight.config.data_dir), datetime.fromtimestamp(sight.clock.now(), UTC)
    return BackupSight(
        folder,
        folder.is_dir(),
        on_one_disk(folder, sight.config.data_dir),
        record,
        sight.clock.trusted and is_overdue(record, now),
    )


def judge_backups(seen: BackupSight) -> Iterable[Finding]:
    """Judge whether the last night's backup could be restored."""
    last = seen.record.last
    if not seen.is_there:
        yield broken(f"the folder of backups {seen.folder} is not there", "mount its disk, or make the folder")
    elif last is not None and last.error is not None:
        yield broken(f"the last backup failed: {last.error}", "mend that, then run `appliance backup`")
    elif seen.overdue:
        yield broken("the last good backup is older than two days", "run `appliance backup`, and see what it says")
    if seen.same_disk:
        yield advised(
            f"backups are on the disk of the data ({seen.folder}): one that fails takes both along",
            "set backup.folder to another disk or machine",
        )
