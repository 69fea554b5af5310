"""The process looks at itself: memory, disk, the broker's queue, and the rates of its tasks."""

import os
from collections.abc import Callable
from pathlib import Path

import trio

from appliance.diagnostics.process_metrics import ProcessMetrics, measure
from appliance.metrics import Metrics
from tests.support.clock import TrustedClock


class Clock(TrustedClock):
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.seconds = 1_700_000_000.0

    def now(self) -> float:
        """As it was moved."""
        return self.seconds

    def monotonic(self) -> float:
        """The same."""
        return self.seconds


def _process(folder: Path, queue: Callable[[], int | None], seconds: list[float], clock: Clock) -> ProcessMetrics:
    return ProcessMetrics(Metrics(), clock, folder, queue=queue, each_second=seconds.append)


def test_every_look_is_passed_on_with_its_time(tmp_path: Path) -> None:
    seconds, clock = list[float](), Clock()
    process = _process(tmp_path, lambda: None, seconds, clock)
    process.look()
    clock.seconds += 1
    process.look()
    assert seconds == [clock.seconds - 1, clock.seconds]


async def test_the_disk_is_counted_beside_the_stream(tmp_path: Path) -> None:
    process = _process(tmp_path, lambda: 0, [], Clock())
    async with trio.open_nursery() as nursery:
        await nursery.start(process.watch_disk)
        with trio.fail_after(20):
            while process.disk is None:
                await trio.sleep(0.01)
        nursery.cancel_scope.cancel()
    assert process.disk is not None
    assert process.disk.total > process.disk.free > 0


def test_the_longest_queue_of_the_hour_is_remembered_and_then_forgotten(tmp_path: Path) -> None:
    waiting, clock = [5], Clock()
    process = _process(tmp_path, lambda: waiting[-1], [], clock)
    for now in (5, 412, 7):
        waiting.append(now)
        process.look()
        clock.seconds += 1
    assert (process.queue().now, process.queue().longest) == (7, 412)
    waiting.append(0)
    for _ in range(59):
        clock.seconds += 60
        process.look()
    queue = process.queue()
    assert (queue.now, queue.longest) == (0, 412)
    assert queue.longest_at is not None
    assert 0 <= queue.longest_at - 1_700_000_000 + 60 < 120
    clock.seconds += 60
    process.look()
    assert process.queue().longest == 0


def test_a_broker_that_has_not_told_has_no_queue(tmp_path: Path) -> None:
    process = _process(tmp_path, lambda: None, [], Clock())
    process.look()
    assert (process.queue().now, process.queue().longest) == (None, 0)


def test_memory_is_that_of_this_process(tmp_path: Path) -> None:
    memory = _process(tmp_path, lambda: 0, [], Clock()).memory()
    assert 10_000_000 < memory.now <= memory.highest < memory.total


def test_the_folder_is_counted_by_its_parts_and_links_lead_nowhere(tmp_path: Path) -> None:
    postgres = {"postgres/base/1": 200_000, "postgres/pg_wal/1": 100_000}
    for name, size in {**postgres, "mosquitto/mosquitto.db": 50_000, "run.json": 100}.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(os.urandom(size))
    (tmp_path / "sockets").symlink_to("/usr")
    disk = measure(tmp_path)
    (tmp_path / "copies").mkdir()
    with (tmp_path / "copies" / "sparse").open("wb") as sparse:
        sparse.truncate(10**9)
    assert measure(tmp_path).rest < 30_000, "a hole takes nothing"
    assert 300_000 <= disk.postgres < 400_000
    assert 100_000 <= disk.postgres_log < 150_000
    assert 50_000 <= disk.broker < 80_000
    assert disk.rest < 20_000
