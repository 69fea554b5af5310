"""Nightly backups: a process of our own program for each, with our environment and our configuration."""

import signal
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, time
from pathlib import Path

import structlog
import trio

from appliance import local_time
from appliance.backup.nightly import Nightly, Settings
from appliance.backup.schedule import Slots
from appliance.children.data_dir import DataDir
from appliance.children.process import Command
from appliance.clock import Clock
from appliance.config import Config
from appliance.metrics import Metrics
from appliance.offboarding.kept_copies import CopyPlaces, KeptCopy, kept_copies
from appliance.own_command import own_command

STOP_SECONDS = 2.0
"""What it takes at most to remove a half-written file; then it is killed, and the next one removes it."""
COPIES_SECONDS = 2.0
"""Seconds for which a page waits for the list of copies."""

log = structlog.get_logger(__name__)


def make_nightly(
    config: Config, data: DataDir, clock: Clock, metrics: Metrics, environ: Mapping[str, str]
) -> Nightly | None:
    """Return the service, to be started once the database is open; None where no folder is configured."""
    backup = config.backup
    if backup.folder is None:
        return None
    slots = Slots(time.fromisoformat(backup.at), local_time.zone_of(backup.time_zone))
    settings = Settings(backup.folder, backup.keep, slots)
    return Nightly(_command(config, environ), settings, data.path, clock, metrics)


def copy_places(config: Config, data_dir: Path, instance: str) -> CopyPlaces:
    """Return where this appliance keeps copies of its database."""
    return CopyPlaces(data_dir, instance, config.backup.folder, config.backup.keep)


class ReadableCopies:
    """Reads which copies there are, for pages: a disk of the network may hang, and takes one thread then, not all."""

    def __init__(self, places: CopyPlaces, clock: Clock) -> None:
        self._places = places
        self._clock = clock
        self._turn = trio.CapacityLimiter(1)

    async def read(self) -> Sequence[KeptCopy] | None:
        """Return the copies there are; None where they cannot be read, or not in time."""
        now = datetime.fromtimestamp(self._clock.now(), UTC)
        with trio.move_on_after(COPIES_SECONDS):
            try:
                return await trio.to_thread.run_sync(
                    kept_copies, self._places, now, abandon_on_cancel=True, limiter=self._turn
                )
            except OSError as error:
                log.warning("the kept copies cannot be read", error=str(error))
        return None


def _command(config: Config, environ: Mapping[str, str]) -> Command:
    return Command(
        "backup",
        ("nice", "-n", "10", *own_command("backup", "--nightly")),
        stop_signal=signal.SIGINT,
        stop_seconds=STOP_SECONDS,
        environment={**environ, "APPLIANCE_DATA_DIR": str(config.data_dir)},
        folder=Path.cwd(),
    )
