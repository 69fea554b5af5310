"""Looks at the disk twice a second, says what it finds, and gives the reserve back or takes it again."""

from pathlib import Path

import structlog
import trio

from appliance.disk.levels import DiskState, Judgement, Room, levels_of_bytes, may_reserve
from appliance.disk.reserve import Reserve, measure
from appliance.metrics import Metrics
from appliance.runtime.periodic import First, every

LOOK_SECONDS = 0.5
"""Seconds between two looks. A fast stream writes some megabytes in them, and the disk counts as full long before."""
RETRY_SECONDS = 60.0
"""Seconds until the reserve is tried again that could not be taken."""

log = structlog.get_logger(__name__)


class DiskWatch:
    """The state of the disk of one data folder."""

    def __init__(self, data_dir: Path, metrics: Metrics) -> None:
        """Look once. Raises OSError when the folder cannot be looked at."""
        self._data_dir = data_dir
        self._metrics = metrics
        self.room: Room = measure(data_dir)
        self.reserve = Reserve(data_dir, self.room.total)
        self._judgement = self._at_first()
        self._has_room = trio.Event()
        self._has_room.set()
        self._look_soon = trio.Event()
        self._said: str | None = None
        self._take_again_at = float("-inf")
        self.look()

    @property
    def state(self) -> DiskState:
        """The state as of the last look."""
        return self._judgement.state

    @property
    def full(self) -> str | None:
        """Why the disk is full, as of the last look; None: it is not."""
        return self._judgement.text(self.room)

    @property
    def spare(self) -> int:
        """Return the bytes that must be free for the disk to be neither low nor full, with all of the reserve held."""
        return levels_of_bytes(self.room.total).low_over + self.reserve.owed_bytes

    async def until_room(self) -> None:
        """Return at once while the disk is not full, else once it is not any more."""
        while not self._has_room.is_set():
            await self._has_room.wait()

    def suspect(self) -> None:
        """Look at once: something found no room."""
        self._look_soon.set()

    def look(self) -> str | None:
        """Look now, and give the reserve back if the disk has become full. Returns :attr:`full`. Raises OSError."""
        self.room = measure(self._data_dir)
        before, now = self._judgement, self._judge()
        if now.state is DiskState.FULL or before.state is not DiskState.FULL:
            self._settle(now)
        # else the round takes the reserve first: until then the disk stays full
        return self.full

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Look again and again, for ever."""
        first = First.BEFORE_START
        await every(LOOK_SECONDS, self._round, chore="disk", first=first, woken=self._woken, task_status=task_status)

    async def _woken(self) -> None:
        await self._look_soon.wait()
        self._look_soon = trio.Event()

    async def _round(self) -> None:
        self.look()
        reserve = self.reserve
        due = reserve.owed_files and trio.current_time() >= self._take_again_at
        if due and may_reserve(self.room, reserve.owed_bytes, reserve.owed_files):
            await self._take_reserve()
        elif self._judge().state is not self.state:
            self._settle(self._judge())

    async def _take_reserve(self) -> None:
        """Take the reserve, and judge what is left then."""
        try:
            # In a thread: where a file system cannot reserve, it is written block by block.
            await trio.to_thread.run_sync(self.reserve.take)
            if self.reserve.owed_files:  # it compresses, or shows blocks only later: each try may write all of them
                self._take_again_at = trio.current_time() + RETRY_SECONDS
            self._said = None
        except OSError as error:  # somebody was faster; a quota; a file system that cannot
            self._take_again_at = trio.current_time() + RETRY_SECONDS
            if self._said is None:
                self._said = str(error)
                log.warning("no reserve on the disk", error=self._said)
            if self.state is DiskState.FULL:
                self.reserve.give_back()
        self.room = measure(self._data_dir)
        self._settle(self._judge())

    def _at_first(self) -> Judgement:
        """Return the judgement to go on from: what was given back before is still owed, by this process too."""
        full = DiskState.FULL if self.reserve.was_given_back else DiskState.OK
        return Judgement(full, full).after(self.room, self.reserve.owed_bytes, self.reserve.owed_files)

    def _judge(self) -> Judgement:
        return self._judgement.after(self.room, self.reserve.owed_bytes, self.reserve.owed_files)

    def _settle(self, now: Judgement) -> None:
        """Make ``now`` the state: say it, and let those that wait go on or wait."""
        before, self._judgement = self._judgement, now
        if now.state is DiskState.FULL and (before.state is not DiskState.FULL or self.reserve.held_bytes):
            given = self.reserve.give_back()
            log.error("the disk is full", cause=self.full, free=self.room.free, reserve_given_back=given)
        elif now.state is not before.state:
            note = log.info if now.state is DiskState.OK else log.warning
            note("disk", state=now.state.name.lower(), free=self.room.free, total=self.room.total)
        full = now.state is DiskState.FULL
        if full and self._has_room.is_set():
            self._has_room = trio.Event()
        elif not full:
            self._has_room.set()
        self._metrics.disk(self.room.free, self.room.total, self.reserve.held_bytes, full=full)
