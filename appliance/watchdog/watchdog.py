"""The watchdog: follows the proof, and calls the heartbeat URL once an interval, and when the proof begins or ends."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import structlog
import trio

from appliance.clock import Clock
from appliance.metrics import Metrics
from appliance.runtime.activity import activity
from appliance.runtime.periodic import every
from appliance.watchdog.heartbeat import Heartbeat
from appliance.watchdog.proof import Part, Proof

LOOK_SECONDS = 5.0
"""Seconds between two looks at the most; else a twentieth of the interval."""
LOOKS_AN_INTERVAL = 20
CALL_SHARE, RETRY_SHARE = 0.25, 0.1
"""Shares of an interval that a call may take, and after which one that failed is made again: an end of the proof is
told within two intervals, although a call before it was under way and failed."""

BrokerPassed = Callable[[], float]
"""Returns a number that changes whenever the broker has passed a message."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class HeartbeatCall:
    """The last call of the heartbeat URL."""

    seconds_ago: float
    ok: bool
    """What it said: whether the proof held."""
    trouble: str | None
    """Why it did not arrive; None: it did."""


@dataclass(frozen=True, slots=True)
class EndToEnd:
    """Whether messages get from the broker to the outbox, as pages show it."""

    proven_seconds: float | None
    """Seconds since the newest message that has passed everything; None: none has since the start."""
    holds: bool | None
    """Whether that is not longer ago than the interval; None: there was no time for the first one yet."""
    missing: Sequence[Part]
    interval: float
    heartbeat: bool
    """Whether there is a URL to call."""
    called: HeartbeatCall | None


@dataclass(frozen=True, slots=True)
class _Told:
    at: float
    ok: bool
    trouble: str | None


class Watchdog:
    """Calls, for ever. ``heartbeat`` is None where nobody outside watches: what is proven is shown all the same."""

    def __init__(
        self, proof: Proof, broker_passed: BrokerPassed, heartbeat: Heartbeat | None, clock: Clock, metrics: Metrics
    ) -> None:
        self._proof = proof
        self._broker_passed = broker_passed
        self._passed = broker_passed()
        self._heartbeat = heartbeat
        self._clock = clock
        self._metrics = metrics
        self._look = min(LOOK_SECONDS, proof.interval / LOOKS_AN_INTERVAL)
        self._held: bool | None = None
        """Whether the proof held at the last look; None before the first one."""
        self._turned = trio.Event()
        self._told: _Told | None = None

    def view(self) -> EndToEnd:
        """Return what is proven now, and the last call."""
        told = self._told
        return EndToEnd(
            self._proof.age,
            self._proof.holds,
            tuple(self._proof.missing),
            self._proof.interval,
            self._heartbeat is not None,
            None if told is None else HeartbeatCall(self._clock.monotonic() - told.at, told.ok, told.trouble),
        )

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Follow the proof and call for ever."""
        self._proof.begin()
        self._metrics.proven_seconds.set_function(lambda: self._proof.unproven)
        async with trio.open_nursery() as nursery:
            if self._heartbeat is not None:
                nursery.start_soon(self._report, self._heartbeat)
            await every(self._look, self._round, chore="watchdog", task_status=task_status)

    async def _round(self) -> None:
        passed = self._broker_passed()
        if passed != self._passed:
            self._passed = passed
            self._proof.broker_passed()
        holds = self._proof.holds
        if holds is False and self._held is not False:
            log.error("not proven end to end", missing=[part.value for part in self._proof.missing])
        elif holds and self._held is False:
            log.info("proven end to end again")
        if holds is not None and holds != self._held:
            self._held = holds
            self._turned.set()
            self._turned = trio.Event()
        activity().doing("proven end to end" if holds else "waits for a proof")

    async def _report(self, heartbeat: Heartbeat) -> None:
        """Call once an interval, and at once when the proof begins, ends or begins again."""
        told: bool | None = None
        while True:
            began = trio.current_time()
            if self._held is not None:
                told = self._held
                await self._call(heartbeat, ok=told)
            with trio.move_on_at(began + self._proof.interval):
                while self._held == told:
                    await self._turned.wait()

    async def _call(self, heartbeat: Heartbeat, *, ok: bool) -> None:
        """Call, and if that fails once more."""
        seconds = CALL_SHARE * self._proof.interval
        trouble = await heartbeat.call(self._text(), ok=ok, seconds=seconds)
        if trouble is not None:
            await trio.sleep(RETRY_SHARE * self._proof.interval)
            trouble = await heartbeat.call(self._text(), ok=ok, seconds=seconds)
        failed_before = self._told is not None and self._told.trouble is not None
        self._told = _Told(self._clock.monotonic(), ok, trouble)
        self._metrics.heartbeats.labels("lost" if trouble is not None else "ok" if ok else "fail").inc()
        if trouble is not None:
            note = log.debug if failed_before else log.warning  # the others of a row say nothing new
            note("the heartbeat URL was not reached", error=trouble)
        elif failed_before:
            log.info("the heartbeat URL is reached again")

    def _text(self) -> str:
        """Return what the call says to people."""
        missing = ", ".join(part.value for part in self._proof.missing)
        seconds = round(self._proof.unproven)
        return f"Not proven for {seconds} s. Missing: {missing}." if missing else f"Proven end to end {seconds} s ago."
