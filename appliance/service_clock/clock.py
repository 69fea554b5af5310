"""The service clock of a process: asks the machine, keeps the record, and tells those who must know when it steps.

It is opened in two phases. At once it goes by the record and the build date, so that whatever is logged or started has
a time. Once the database answers, and before anything decides by time, :meth:`ServiceClock.settle_start` adds when this
instance last received something, and what an operator has confirmed meanwhile.
"""

import time
from collections.abc import Callable
from pathlib import Path

import structlog
import trio

from appliance.runtime.activity import activity
from appliance.service_clock import record
from appliance.service_clock.build_date import BUILD_DATE
from appliance.service_clock.machine import Machine
from appliance.service_clock.service_time import Doubt, Instant, Recorded, Step, start

LOOK_SECONDS = 1.0
"""Seconds between two looks at the clocks: a doubt ends within this time."""
RECORD_SECONDS = 10.0
"""Seconds between two records: by as much the service time of a start after a power cut may be behind."""

TrustChanged = Callable[[Step | None], None]
"""Is called when a doubt begins (with None) or ends (with its step). Must not block."""

log = structlog.get_logger(__name__)


class ServiceClock:
    """A :class:`appliance.clock.Clock` whose ``now`` is the service time."""

    def __init__(self, data_dir: Path, machine: Machine, build: float = BUILD_DATE.timestamp()) -> None:
        """Begin with what ``data_dir`` has recorded."""
        self._data_dir = data_dir
        self._machine = machine
        self._build = build
        self._listeners: list[TrustChanged] = []
        self._time = start(machine.readings(), machine.boot_id, record.read(data_dir), None, build=build)
        self._known_doubt: Doubt | None = None
        self._held_at: float | None = None

    # The clock of all others

    def now(self) -> float:
        """Return the service time in seconds since 1970 UTC."""
        return self._time.at(self._machine.wall(), self._machine.elapsed())

    def settled(self) -> float:
        """Return the service time, but while in doubt, and until what it left is healed, that at which it began."""
        settled = self._time.settled(self._machine.wall(), self._machine.elapsed())
        return settled if self._held_at is None else min(settled, self._held_at)

    def wall(self) -> float:
        """Return the wall clock of the machine, right or wrong."""
        return self._machine.wall()

    def monotonic(self) -> float:
        """Return seconds from an arbitrary start; Trio's deadlines use the same clock."""
        return time.monotonic()

    @property
    def trusted(self) -> bool:
        """Return whether the wall clock agrees with service time."""
        return self.doubt is None

    # For those who show, heal or change it

    def hold(self, at: float) -> None:
        """Let settled time stand still at ``at`` after a doubt as well, until :meth:`release`."""
        self._held_at = at if self._held_at is None else min(at, self._held_at)

    def release(self) -> None:
        """Let settled time follow again: what ended by the step of a doubt alone has been given its time back."""
        self._held_at = None

    @property
    def doubt(self) -> Doubt | None:
        """Return why the wall clock is in doubt, and since when; None while it is trusted."""
        self.now()
        return self._time.doubt

    @property
    def build(self) -> float:
        """Return the build date: a wall clock before it cannot be confirmed."""
        return self._build

    def wall_instant(self) -> Instant:
        """Return what an operator confirms who says that the wall clock is right: its time at this moment."""
        return Instant(self._machine.wall(), self._machine.elapsed(), self._machine.boot_id)

    def subscribe(self, listener: TrustChanged) -> None:
        """Call ``listener`` whenever a doubt begins or ends, in the order of subscription."""
        self._listeners.append(listener)

    def settle_start(self, newest: float | None, confirmed: Instant | None) -> Step | None:
        """Decide anew how to start: ``newest`` is when this instance last received something, None if never.

        ``confirmed`` is the wall clock that an operator has confirmed while no appliance ran; returns the step if that
        ends a doubt.
        """
        machine, recorded = self._machine, record.read(self._data_dir)
        self._time = start(machine.readings(), machine.boot_id, recorded, newest, build=self._build)
        step = None if confirmed is None else self.confirm(confirmed)
        self._report(None)
        return step

    def confirm(self, confirmed: Instant) -> Step | None:
        """End the doubt if the wall clock is still the one that an operator confirmed; return the step if it did."""
        if self.trusted:
            return None
        step = self._time.confirm(confirmed, self._machine.wall(), self._machine.elapsed())
        if step is None:
            log.warning("the wall clock is not the one that was confirmed", confirmed=confirmed.time, wall=self.wall())
        else:
            self._report(step)
        return step

    def look(self) -> None:
        """Follow the wall clock once, and tell the listeners if a doubt has begun or is over."""
        self._report(self._time.observe(self._machine.readings()))

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Look every second and record every ten, for ever; record once more at the end."""
        recorded, recorded_at = await self._record(), self.monotonic()
        task_status.started()
        try:
            while True:
                activity().rests(LOOK_SECONDS)
                await trio.sleep(LOOK_SECONDS)
                activity().begins()
                self.look()
                if self.monotonic() - recorded_at >= RECORD_SECONDS or self.doubt != recorded.doubt:
                    recorded, recorded_at = await self._record(), self.monotonic()
        finally:
            self._write(self._recorded())

    async def _record(self) -> Recorded:
        recorded = self._recorded()
        await trio.to_thread.run_sync(self._write, recorded)
        return recorded

    def _recorded(self) -> Recorded:
        return self._time.record(self._machine.wall(), self._machine.elapsed())

    def _write(self, recorded: Recorded) -> None:
        """Write the record. A full disk ends nothing: the record before stays, and the next try follows."""
        try:
            record.write(self._data_dir, recorded)
        except OSError as error:
            log.debug("the service time is not recorded", error=str(error))

    def _report(self, step: Step | None) -> None:
        """Log and tell a change of trust, once."""
        before, self._known_doubt = self._known_doubt, self._time.doubt
        if step is None and (before is None) == (self._known_doubt is None):
            return
        if self._known_doubt is not None:
            doubt = self._known_doubt
            log.warning("the clock is in doubt", cause=doubt.cause.value, wall=self.wall(), service_time=self.now())
            step = None
        elif step is not None:
            log.warning("the clock is trusted again", stepped_seconds=round(step.after - step.before, 3))
        for listener in self._listeners:
            listener(step)
