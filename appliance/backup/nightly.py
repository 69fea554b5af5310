"""The service that makes a backup every night, each in a process of its own that gives way to all others.

Enters: the time, the record of the last backups, a wish for one now. Leaves: processes of ``appliance backup``, one at
a time; what became of them in the record, in the metrics, and for the pages. Never: the passphrase, which the process
reads as we did; a removal, which is the process's own.
"""

from collections import deque
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import structlog
import trio

from appliance.backup.folder import on_one_disk
from appliance.backup.record import Attempt, Record, is_overdue, read_record, write_record
from appliance.backup.schedule import DAY_SECONDS, SETTLE_SECONDS, Slots, due_at
from appliance.children.process import Command, spawn
from appliance.clock import Clock
from appliance.errors import ApplianceError, Conflict
from appliance.metrics import Metrics
from appliance.runtime.activity import activity
from appliance.runtime.periodic import every

LOOK_SECONDS = 20.0
"""Seconds between two looks at the time."""
LINES = 20
"""Lines of its output that are kept, for the reason of a failure."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Settings:
    """What is configured of nightly backups."""

    folder: Path
    keep: int
    slots: Slots


@dataclass(frozen=True, slots=True)
class BackupTrouble:
    """Why there is no good backup of last night."""

    cause: str
    since: float
    """Seconds since 1970."""


class BackupState(msgspec.Struct, frozen=True):
    """Nightly backups as they are now. Times are seconds since 1970, sizes are bytes, durations are seconds."""

    folder: str
    keep: int
    running: bool
    next_at: float | None
    """When the next one is due; null while one runs, and while the clock is in doubt."""
    last_at: float | None
    """When the last try began; null before the first."""
    last_error: str | None
    """Why it failed; null if it did not."""
    good_at: float | None
    """When the last good one was whole; null without one."""
    good_file: str | None
    good_bytes: int | None
    good_seconds: float | None
    overdue: bool
    """Whether the last good one is older than two days."""
    on_data_disk: bool
    """Whether the folder is on the disk of the data, which takes both along when it fails."""


class Nightly:
    """Makes backups by ``command``. ``data_dir`` has the record."""

    def __init__(self, command: Command, settings: Settings, data_dir: Path, clock: Clock, metrics: Metrics) -> None:
        self._command = command
        self._settings = settings
        self._data_dir = data_dir
        self._clock = clock
        self._metrics = metrics
        self._record = read_record(data_dir)
        self._running = False
        self._asked = trio.Event()
        self._counted_from = clock.monotonic()
        """Since when a day is counted while the clock is in doubt: the start, or the last try."""
        self._settled_at = clock.monotonic() + SETTLE_SECONDS
        self._on_data_disk = False
        if self._record.since is None:
            self._record = msgspec.structs.replace(self._record, since=self._now())
            write_record(data_dir, self._record)
        self._show_good()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Make a backup whenever one is due or asked for, without end."""
        await every(LOOK_SECONDS, self._round, chore="backup", woken=self._when_asked, task_status=task_status)

    def ask(self) -> None:
        """Have a backup made now. Raises Conflict while one is made."""
        if self._running or self._asked.is_set():
            raise Conflict("A backup is being made just now.")
        self._asked.set()

    def state(self) -> BackupState:
        """Return what there is to tell now."""
        record, now, settings = self._record, self._clock.now(), self._settings
        last, good = record.last, record.good
        return BackupState(
            folder=str(settings.folder),
            keep=settings.keep,
            running=self._running,
            next_at=None if self._running or not self._clock.trusted else max(now, due_at(record, settings.slots, now)),
            last_at=None if last is None else last.began_at.timestamp(),
            last_error=None if self._running else _error(record),
            good_at=None if good is None else good.at.timestamp(),
            good_file=None if good is None else Path(good.file).name,
            good_bytes=None if good is None else good.bytes,
            good_seconds=None if good is None else good.seconds,
            overdue=self._clock.trusted and is_overdue(record, self._now()),
            on_data_disk=self._on_data_disk,
        )

    def trouble(self) -> BackupTrouble | None:
        """Return why an alert is due; None while all is well. A try that runs ends none."""
        error = _error(self._record)
        if error is not None and self._record.last is not None and not (self._running and error == UNFINISHED):
            return BackupTrouble(error, self._record.last.began_at.timestamp())
        if self._clock.trusted and is_overdue(self._record, self._now()):
            good = self._record.good
            since = self._record.since if good is None else good.at
            return BackupTrouble("none was made for two days", (since or self._now()).timestamp())
        return None

    async def _when_asked(self) -> None:
        await self._asked.wait()

    async def _round(self) -> float | None:
        self._on_data_disk = await trio.to_thread.run_sync(
            on_one_disk, self._settings.folder, self._data_dir, abandon_on_cancel=True
        )  # a disk of the network may hang
        if not self._running and not self._asked.is_set():
            self._record = read_record(self._data_dir)  # `appliance backup` by a person has a part in it
        if self._asked.is_set() or self.is_due():
            await self._make()
            self._asked = trio.Event()
        activity().doing("waits for the next backup")
        return None

    def is_due(self) -> bool:
        """Return whether one is to be made now, also if nobody asks."""
        monotonic = self._clock.monotonic()
        if monotonic < self._settled_at:
            return False
        if not self._clock.trusted:
            return monotonic - self._counted_from >= DAY_SECONDS
        now = self._clock.now()
        return due_at(self._record, self._settings.slots, now) <= now

    async def _make(self) -> None:
        """Run the process to its end, and note what became of it."""
        began_at, lines = self._now(), deque[str](maxlen=LINES)
        self._running, self._counted_from = True, self._clock.monotonic()
        activity().doing("makes a backup")
        try:
            code, end = await self._run_to_end(lines)
        except ApplianceError as error:
            code, end = 1, str(error)
        finally:
            self._running = False
        self._record = read_record(self._data_dir)
        if code != 0 and not _is_told(self._record, began_at):
            reason = next((line.removeprefix("error: ") for line in lines if line.startswith("error: ")), end)
            self._record = msgspec.structs.replace(self._record, last=Attempt(began_at, self._now(), reason))
            write_record(self._data_dir, self._record)
        self._report(succeeded=code == 0)

    async def _run_to_end(self, lines: deque[str]) -> tuple[int, str]:
        """Return the exit code of the process, and how it ended in words."""
        child = spawn(self._command, lines.append)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(child.reap)
            try:
                await child.ended.wait()
            finally:
                await child.stop()
        return child.returncode or 0, f"its process ended: {child.describe_end()}"

    def _report(self, *, succeeded: bool) -> None:
        self._metrics.backups.labels("ok" if succeeded else "failed").inc()
        self._show_good()
        good = self._record.good
        if succeeded and good is not None:
            log.info("backup made", file=good.file, bytes=good.bytes, seconds=good.seconds)
        else:
            log.error("backup failed", error=_error(self._record))

    def _show_good(self) -> None:
        """Show the last good backup in the metrics."""
        good = self._record.good
        if good is not None:
            self._metrics.backup_last_success.set(good.at.timestamp())
            self._metrics.backup_seconds.set(good.seconds)
            self._metrics.backup_bytes.set(good.bytes)

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._clock.now(), UTC)


UNFINISHED = "it was not finished: its process was ended"


def _error(record: Record) -> str | None:
    """Return why the last try failed; None if it did not, or there was none."""
    if record.last is None:
        return None
    return UNFINISHED if record.last.ended_at is None else record.last.error


def _is_told(record: Record, began_at: datetime) -> bool:
    """Return whether the process itself has noted the end of the try that began at ``began_at``."""
    last = record.last
    return last is not None and last.began_at >= began_at and last.ended_at is not None
