"""Keeps one child running: restarts it after a crash with growing delays, gives up after too many.

A child that dies five times within a minute will not recover by itself: the process ends with an error that shows the
last lines the child printed. Not where the disk is full, which passes: that is waited out. A child that lives may hang
all the same: while it serves it is asked again and again for a small piece of work, and one that does not do it in time
is killed and started again.
"""

import enum
import errno
import math
import re
import signal
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import structlog
import trio

from appliance.backoff import Backoff
from appliance.children.first_of import first_of
from appliance.children.process import Child, Command, spawn
from appliance.clock import Clock
from appliance.errors import ApplianceError

log = structlog.get_logger(__name__)

LAST_LINES = 20
SHOWN_LINES = 8
QUESTIONS = 3
"""How often a child is asked before it is taken to hang."""
OUR_OWN_LACK = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS})
"""Why a question cannot even be put: it says nothing of the child."""
NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT})
NO_ROOM_LINE = re.compile("No space left on device|Disk quota exceeded")
"""What the C library says of those two, in every program's lines."""
NO_ROOM_TEXT = "it found no room on the disk"
FULL_DISK_SECONDS = 5.0
"""Seconds between two starts at most while the disk is full: each may read all of Postgres's log."""
REFUSED_SECONDS = 0.2
"""Seconds until a child is asked again that did not even take the connection."""


class ChildState(enum.Enum):
    """The states of a child."""

    STOPPED = "stopped"
    STARTING = "starting"
    READY = "ready"
    WAITING = "waiting"  # dead, and waiting for its next start


@dataclass(frozen=True, slots=True)
class ChildStatus:
    """A snapshot for the System page and for readiness. Times are seconds since 1970."""

    name: str
    state: ChildState
    pid: int | None
    started_at: float | None
    restarts: int
    last_error: str | None


@dataclass(frozen=True, slots=True)
class Patience:
    """When to give up: after ``deaths`` within ``window`` seconds. All values but ``deaths`` are in seconds."""

    deaths: int = 5
    window: float = 60.0
    start: float = 60.0
    """What a start may take."""
    served: float = 5.0
    """A child that has served for so long was a good one: after it the delays start at the first again."""
    ask: float = 2.0
    """From one answer to the next question."""
    slow: float = 3.0
    """A child that has not answered for so long is said not to."""
    hang: float = 15.0
    """A child that has not answered for so long is killed. Its answer needs no disk; a machine that swaps is slow."""


class Readiness:
    """An event that can be unset again: set while the child can serve."""

    def __init__(self) -> None:
        self._event = trio.Event()

    def is_set(self) -> bool:
        """Return whether the child can serve now."""
        return self._event.is_set()

    async def wait(self) -> None:
        """Return when the child can serve; it may be gone again by the time the caller runs."""
        await self._event.wait()

    def set(self) -> None:
        """Mark the child as able to serve."""
        self._event.set()

    def clear(self) -> None:
        """Mark the child as down."""
        if self._event.is_set():
            self._event = trio.Event()


class Program(Protocol):
    """What a keeper needs to know of the program it runs."""

    name: str

    async def prepare(self) -> Command:
        """Prepare a start. :class:`ApplianceError` ends the keeper: a person is needed."""
        ...

    async def until_ready(self, child: Child) -> None:
        """Return once the child can serve."""
        ...

    async def answer(self, child: Child) -> None:
        """Ask the child for a small piece of work; return once it is done.

        Raises OSError or trio.BrokenResourceError when the child does not even take the question.
        """
        ...

    def heard(self, line: str) -> str | None:
        """Handle one line of output; return the line to keep for an error message, or None."""
        ...

    async def ended(self, child: Child) -> None:
        """Record what the next start needs to know; the child has ended, on purpose or not."""
        ...


class Keeper:
    """Runs one :class:`Program` until cancelled."""

    def __init__(
        self,
        program: Program,
        clock: Clock,
        patience: Patience | None = None,
        disk_full: Callable[[], str | None] = lambda: None,
    ) -> None:
        """``disk_full`` says why the disk of the child's data is full, None while it is not."""
        self.ready = Readiness()
        self._program = program
        self._clock = clock
        self._patience = patience or Patience()
        self._disk_full = disk_full
        self._met_full_disk = False
        self._backoff = Backoff(first=0.1, factor=2.0, maximum=10.0)
        self._deaths: deque[float] = deque(maxlen=self._patience.deaths)
        self._last_lines: deque[str] = deque(maxlen=LAST_LINES)
        self._state = ChildState.STOPPED
        self._child: Child | None = None
        self._restarts = 0
        self._last_error: str | None = None
        self._restart_wanted = trio.Event()
        self._asked_at: float | None = None
        self._served_from: float | None = None
        self._announce: Callable[[], None] = _nothing

    @property
    def silent(self) -> bool:
        """Return whether the child serves and yet does not do what it was asked for some seconds ago."""
        if self._asked_at is None or not self.ready.is_set():
            return False
        return self._clock.monotonic() - self._asked_at >= self._patience.slow

    @property
    def status(self) -> ChildStatus:
        """Return the child's current status."""
        child = self._child
        return ChildStatus(
            name=self._program.name,
            state=self._state,
            pid=child.pid if child else None,
            started_at=self._clock.now() - child.age if child else None,
            restarts=self._restarts,
            last_error=self._last_error,
        )

    @property
    def child(self) -> Child | None:
        """The running process, to send it a signal."""
        return self._child

    async def run(self, announce: Callable[[], None]) -> None:
        """Keep the child running; ``announce()`` once, when it serves for the first time.

        Raises :class:`ApplianceError` when it dies too often, or when preparing a start shows what a person must mend.
        Cancelled, it stops the child before it returns.
        """
        self._announce = announce
        try:
            while True:
                self._state = ChildState.STARTING
                self._restart_wanted = trio.Event()
                self._met_full_disk = False
                try:
                    command = await self._program.prepare()
                except OSError as error:  # a full disk, a folder taken away: it may mend itself
                    self._met_full_disk = error.errno in NO_ROOM
                    died: str | None = f"cannot be prepared ({error})"
                else:
                    died = await self._live(command)
                if died is not None:
                    await self._record_failure(died)
        finally:
            self.ready.clear()
            self._state = ChildState.STOPPED

    async def restart(self) -> None:
        """Stop the child and start it again; return when it can serve."""
        self._restart_wanted.set()
        self._stop_serving()
        await self.ready.wait()

    def _stop_serving(self) -> None:
        """Say that the child does not serve: it ends, and is started again after that."""
        self.ready.clear()
        if self._state is ChildState.READY:
            self._state = ChildState.STARTING

    async def _live(self, command: Command) -> str | None:
        """Run the child once. Return how it died, or None if it was stopped on purpose."""
        async with trio.open_nursery() as nursery:
            self._served_from = None
            child = spawn(command, self._hear)
            nursery.start_soon(child.reap)
            self._child = child
            try:
                log.info("child started", child=command.name, pid=child.pid)
                nursery.start_soon(self._watch_start, child)
                await first_of(child.ended.wait, self._restart_wanted.wait)
                died = child.describe_end() if child.ended.is_set() else None
            finally:
                self._stop_serving()
                self._asked_at = None
                await child.stop()
                with trio.CancelScope(shield=True):
                    await self._program.ended(child)
                self._child = None
                log.info("child ended", child=command.name, pid=child.pid, how=child.describe_end())
                nursery.cancel_scope.cancel()
        return died

    async def _watch_start(self, child: Child) -> None:
        began = self._clock.monotonic()
        with trio.move_on_after(self._patience.start):
            await self._program.until_ready(child)
            if self._restart_wanted.is_set() or child.ended.is_set():
                return
            self._state = ChildState.READY
            self._served_from = self._clock.monotonic()
            self.ready.set()
            seconds = round(self._clock.monotonic() - began, 3)
            log.info("child serves", child=child.command.name, pid=child.pid, seconds=seconds)
            announce, self._announce = self._announce, _nothing
            announce()
        if not self.ready.is_set():
            self._hear(f"not ready after {self._patience.start:.0f} s")
            await child.stop()
            return
        await self._watch_answers(child)

    async def _watch_answers(self, child: Child) -> None:
        """Ask the child again and again while it is to serve; when it hangs, kill it."""
        while await self._answers(child):
            self._asked_at = None
            await trio.sleep(self._patience.ask)
        if not self.ready.is_set():  # it is being stopped on purpose
            return
        log.error("child hangs, killing it", child=child.command.name, pid=child.pid)
        self._hear(f"no answer for {self._patience.hang:.0f} s")
        child.signal(signal.SIGKILL)  # a frozen process takes no other signal

    async def _answers(self, child: Child) -> bool:
        """Return whether the child does a small piece of work in time.

        It is asked several times: when we have been frozen ourselves, the first deadline is over before we look.
        """
        self._asked_at = self._clock.monotonic()
        for _ in range(QUESTIONS):
            with trio.move_on_after(self._patience.hang / QUESTIONS):
                while True:
                    try:
                        await self._program.answer(child)
                    except (OSError, trio.BrokenResourceError) as error:  # its queue is full, or it is ending
                        if isinstance(error, OSError) and error.errno in OUR_OWN_LACK:
                            return True  # nothing was asked, so nothing is known of the child
                        await trio.sleep(REFUSED_SECONDS)
                    else:
                        return True
        return False

    async def _record_failure(self, died: str) -> None:
        """Count a death and wait before the next start, or give up."""
        now = self._clock.monotonic()
        name = self._program.name
        self._last_error = f"{died}: {self._last_lines[-1]}" if self._last_lines else died
        if self._served_from is not None and now - self._served_from >= self._patience.served:
            self._backoff.reset()
        full = self._disk_full() or (NO_ROOM_TEXT if self._met_full_disk else None)
        if full is not None:
            await self._wait_for_room(died, full)
            return
        self._deaths.append(now)
        first = self._deaths[0] if len(self._deaths) == self._patience.deaths else -math.inf
        if now - first <= self._patience.window:
            words = "".join(f"\n  {line}" for line in list(self._last_lines)[-SHOWN_LINES:])
            raise ApplianceError(
                f"{name} died {self._patience.deaths} times within {self._patience.window:.0f} s "
                f"({died}) and was given up. Its last lines:{words or ' none'}"
            )
        delay = self._backoff.next()
        self._restarts += 1
        self._state = ChildState.WAITING
        log.error("child died", child=name, how=died, starts_again_in=round(delay, 3), last=self._last_error)
        await trio.sleep(delay)

    async def _wait_for_room(self, died: str, full: str) -> None:
        """Wait before the next start, without counting the death."""
        delay = min(self._backoff.next(), FULL_DISK_SECONDS)
        self._restarts += 1
        self._state = ChildState.WAITING
        log.error("child died, the disk is full", child=self._program.name, how=died, cause=full, starts_again_in=delay)
        await trio.sleep(delay)

    def _hear(self, line: str) -> None:
        if NO_ROOM_LINE.search(line):
            self._met_full_disk = True
        kept = self._program.heard(line)
        if kept is not None:
            self._last_lines.append(kept)


def _nothing() -> None:
    """What is announced when the child serves again."""
