"""Metrics of the process itself: rates of its tasks, latencies of the last hour, memory, disk, the broker's queue.

Sampled once a second and once a minute, so that the System page has a history to show and reading it costs nothing.
"""

import os
import resource
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import trio

from appliance.children.replacement import BUILT, REPLACED
from appliance.clock import Clock
from appliance.diagnostics.latency import STEP, LatencyHistory
from appliance.disk.reserve import FOLDER as RESERVE
from appliance.metrics import Metrics
from appliance.runtime.periodic import every

SECOND = 1.0
DISK_SECONDS = 60.0
"""Seconds between two measurements of the data folder."""
MINUTES = 60
"""Minutes for which the longest queue is kept."""
LOG = Path("postgres", "pg_wal")
"""Where Postgres has its log, in the data folder."""
CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")


@dataclass(frozen=True, slots=True)
class Disk:
    """Bytes. ``total`` and ``free`` are of the file system that holds the data folder, the others of its parts."""

    total: int
    free: int
    postgres: int
    """Its log included."""
    postgres_log: int
    broker: int
    rest: int
    reserve: int
    """Kept back for a full disk."""
    aside: int = 0
    """Of the rest: what a restore builds, and what it replaced."""


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes of this process without its children: now, the most since its start, and what the machine has."""

    now: int
    highest: int
    total: int


@dataclass(frozen=True, slots=True)
class QueueHistory:
    """Messages that wait in the broker: now (None if unknown), and the most within the last hour."""

    now: int | None
    longest: int
    longest_at: float | None
    """Seconds since 1970, to the minute."""


class ProcessMetrics:
    """The sampled metrics of the process."""

    def __init__(
        self,
        metrics: Metrics,
        clock: Clock,
        folder: Path,
        *,
        queue: Callable[[], int | None],
        each_second: Callable[[float], None],
    ) -> None:
        """``queue`` returns how many messages wait in the broker; ``each_second`` is called with the monotonic time."""
        self._each_second = each_second
        self._clock = clock
        self._folder = folder
        self._queue = queue
        self._next_reading = clock.monotonic() + STEP
        self._longest: deque[tuple[int, int]] = deque(maxlen=MINUTES)
        self.receive_to_commit = LatencyHistory(metrics.latency_seconds)
        self.commit = LatencyHistory(metrics.commit_seconds)
        self.disk: Disk | None = None
        """None until first measured."""

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Sample every second, until cancelled."""
        await every(SECOND, self._round, chore="process metrics", task_status=task_status)

    async def watch_disk(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Measure the data folder from time to time, until cancelled."""
        await every(DISK_SECONDS, self._count_disk, chore="disk usage", task_status=task_status)

    async def _round(self) -> None:
        self.look()

    def look(self) -> None:
        """Sample once; :meth:`run` does so every second."""
        now = self._clock.monotonic()
        self._each_second(now)
        self._note_queue()
        if now >= self._next_reading:
            self._next_reading = now + STEP
            self.receive_to_commit.sample()
            self.commit.sample()

    def memory(self) -> Memory:
        """Return the memory of the process."""
        page = os.sysconf("SC_PAGE_SIZE")
        now = int(Path("/proc/self/statm").read_text().split()[1]) * page
        highest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        return Memory(now, max(now, highest), _memory_limit())

    def queue(self) -> QueueHistory:
        """Return how many messages wait in the broker."""
        if not self._longest:
            return QueueHistory(self._queue(), 0, None)
        minute, longest = max(self._longest, key=lambda seen: (seen[1], seen[0]))
        return QueueHistory(self._queue(), longest, minute * 60.0)

    async def _count_disk(self) -> None:
        # abandoned at the end of the process: it only reads
        self.disk = await trio.to_thread.run_sync(measure, self._folder, abandon_on_cancel=True)

    def _note_queue(self) -> None:
        waiting, minute = self._queue() or 0, int(self._clock.now() // 60)
        if self._longest and self._longest[-1][0] == minute:
            waiting = max(waiting, self._longest.pop()[1])
        self._longest.append((minute, waiting))


def measure(folder: Path) -> Disk:
    """Return the size of the parts of the data folder, as the file system counts it. Raises OSError."""
    place = os.statvfs(folder)
    parts = {"postgres": 0, "mosquitto": 0, RESERVE: 0}
    rest = aside = 0
    for entry in os.scandir(folder):
        size = _taken(entry)
        if entry.name in parts:
            parts[entry.name] += size
        else:
            rest += size
            aside += size if entry.name == BUILT or entry.name.startswith(REPLACED) else 0
    total, free = place.f_blocks * place.f_frsize, place.f_bavail * place.f_frsize
    log = _below(folder / LOG)
    return Disk(total, free, parts["postgres"], log, parts["mosquitto"], rest, parts[RESERVE], aside)


def _below(folder: Path) -> int:
    """Return the bytes of what is in a folder, 0 if it is not there."""
    try:
        with os.scandir(folder) as inside:
            return sum(_taken(one) for one in inside)
    except OSError:
        return 0


def _taken(entry: "os.DirEntry[str]") -> int:
    """Return the bytes of a file or of all below a folder; files may come and go meanwhile."""
    try:
        size = entry.stat(follow_symlinks=False).st_blocks * 512
        if not entry.is_dir(follow_symlinks=False):
            return size
        with os.scandir(entry) as inside:
            return size + sum(_taken(one) for one in inside)
    except (FileNotFoundError, PermissionError):
        return 0


def _memory_limit() -> int:
    """Return the memory of the machine, or the container's limit."""
    machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    try:
        return min(machine, int(CGROUP_LIMIT.read_text()))
    except (OSError, ValueError):  # no limit says "max"
        return machine
