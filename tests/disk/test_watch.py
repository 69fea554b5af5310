"""The watch over a disk: it says when it is full, gives the reserve back, lets others wait, and goes on by itself."""

import errno
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import trio
import trio.testing
from structlog.testing import capture_logs

from appliance.disk import watch as watching
from appliance.disk.levels import MIB, RESERVE_FILES, DiskState, Room, levels_of_bytes
from appliance.disk.reserve import Reserve
from appliance.disk.watch import DiskWatch
from appliance.metrics import Metrics
from tests.support.pipeline import until

TOTAL = 260 * MIB
LEVELS = levels_of_bytes(TOTAL)


@dataclass
class Disk:
    """A disk whose free room is what a test says, less the reserve that lies on it."""

    folder: Path
    others: int = 0
    """Bytes that others take."""
    metrics: Metrics = field(default_factory=Metrics)
    looks: int = 0

    def measure(self, _path: Path) -> Room:
        self.looks += 1
        held = Reserve(self.folder, TOTAL).held_bytes
        return Room(TOTAL, TOTAL - self.others - held, 0, 0)

    def fill(self, free: int) -> None:
        self.others = TOTAL - Reserve(self.folder, TOTAL).held_bytes - free

    async def looked_at(self, times: int = 3) -> None:
        """Return when it was looked at so often."""
        wanted = self.looks + times
        await until(lambda: self.looks >= wanted)


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Disk:
    found = Disk(tmp_path)
    monkeypatch.setattr(watching, "measure", found.measure)
    monkeypatch.setattr(watching, "LOOK_SECONDS", 0.002)
    return found


def told(metrics: Metrics, name: str) -> float:
    [line] = [line for line in metrics.exposition().decode().splitlines() if line.startswith(f"{name} ")]
    return float(line.split()[1])


async def test_the_reserve_is_taken_at_the_first_start_and_nobody_waits(disk: Disk, nursery: trio.Nursery) -> None:
    watch = DiskWatch(disk.folder, disk.metrics)
    await nursery.start(watch.run)
    assert watch.reserve.owed_bytes == 0
    assert (watch.state, watch.full) == (DiskState.OK, None)
    await watch.until_room()
    assert told(disk.metrics, "appliance_disk_reserve_bytes") == LEVELS.reserve


async def test_a_full_disk_gives_the_reserve_back_and_takes_it_again_before_anybody_goes_on(
    disk: Disk, nursery: trio.Nursery
) -> None:
    watch = DiskWatch(disk.folder, disk.metrics)
    await nursery.start(watch.run)
    with capture_logs() as logs:
        disk.fill(LEVELS.full - 1)
        await disk.looked_at()
        assert watch.full
        assert watch.reserve.held_bytes == 0
        assert told(disk.metrics, "appliance_disk_full") == 1
        waited = trio.Event()

        async def wait() -> None:
            await watch.until_room()
            assert watch.reserve.owed_bytes == 0, "nobody may write what is the reserve's"
            waited.set()

        nursery.start_soon(wait)
        disk.fill(LEVELS.full_over + LEVELS.reserve - 1)
        await disk.looked_at(20)
        assert not waited.is_set()
        disk.fill(TOTAL - LEVELS.reserve)
        await until(waited.is_set)
        await disk.looked_at()
    assert watch.state is DiskState.OK
    assert [(entry["event"], entry["log_level"]) for entry in logs] == [("the disk is full", "error"), ("disk", "info")]
    assert logs[0]["reserve_given_back"] == LEVELS.reserve
    assert told(disk.metrics, "appliance_disk_full") == 0


async def test_who_finds_no_room_has_it_looked_at_at_once(
    disk: Disk, nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "LOOK_SECONDS", 3600.0)
    watch = DiskWatch(disk.folder, disk.metrics)
    await nursery.start(watch.run)
    await trio.testing.wait_all_tasks_blocked()
    disk.fill(0)
    watch.suspect()
    await trio.testing.wait_all_tasks_blocked()
    assert watch.full is not None


async def test_a_start_after_a_full_disk_is_full_until_there_is_room_for_the_reserve_too(disk: Disk) -> None:
    Reserve(disk.folder, TOTAL).take()
    Reserve(disk.folder, TOTAL).give_back()
    disk.fill(LEVELS.full + LEVELS.reserve)
    assert DiskWatch(disk.folder, disk.metrics).full is not None


async def test_a_reserve_that_cannot_be_taken_stops_nobody_and_is_tried_again_later(
    disk: Disk, nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries: list[float] = []

    def cannot(_self: Reserve) -> None:
        tries.append(1)
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")

    monkeypatch.setattr(Reserve, "take", cannot)
    monkeypatch.setattr(watching, "RETRY_SECONDS", 0.1)
    watch = DiskWatch(disk.folder, disk.metrics)
    with capture_logs() as logs:
        await nursery.start(watch.run)
        disk.fill(0)
        await disk.looked_at()
        told = [watch.full]
        disk.fill(TOTAL)
        await until(lambda: len(tries) >= 3)
        told.append(watch.full)
    assert told[0] is not None
    assert told[1] is None
    assert disk.looks > len(tries), "it is not tried at every look"
    assert [entry["event"] for entry in logs].count("no reserve on the disk") == 1


async def test_a_reserve_that_the_file_system_compresses_is_not_written_again_at_every_look(
    disk: Disk, nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[int] = []
    monkeypatch.setattr("os.posix_fallocate", lambda *_: written.append(1))
    watch = DiskWatch(disk.folder, disk.metrics)
    await nursery.start(watch.run)
    await disk.looked_at(10)
    assert len(written) == RESERVE_FILES
    assert watch.state is DiskState.OK


async def test_a_low_disk_is_said_and_holds_nobody(disk: Disk, nursery: trio.Nursery) -> None:
    watch = DiskWatch(disk.folder, disk.metrics)
    await nursery.start(watch.run)
    disk.fill(LEVELS.low - 1)
    await disk.looked_at()
    assert (watch.state, watch.full) == (DiskState.LOW, None)
    await watch.until_room()
