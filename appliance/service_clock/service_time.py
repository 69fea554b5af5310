"""What the service time is, given what the machine says: theory, then the two moments at which it is decided.

Theory. Service time runs by the time since boot, which a change of the wall clock does not touch, and follows the wall
clock while the two differ by at most TOLERANCE. The wall clock is trusted until one of these holds:

    BEFORE_BUILD  it is before the date on which this program was built
    BEHIND        at the start: it is more than TOLERANCE behind what was recorded or received before
    AHEAD         at the start: it is more than FAR_AHEAD ahead of that
    OFF           it is more than TOLERANCE off the service time, whose run is known: in a run, or since the same boot

From then on it is in doubt: service time runs on by the time since boot and does not step. Doubt ends when the wall
clock agrees with service time again, when the kernel reports a synchronised clock, or when an operator has confirmed
the wall clock; then service time steps to it. A wall clock before the build date is never trusted.

All times are seconds since 1970 UTC; ``elapsed`` is in seconds since the machine's boot, suspended time included.
"""

from dataclasses import dataclass
from enum import StrEnum

TOLERANCE = 600.0
"""Seconds by which wall clock and service time may differ: more than any drift between two looks."""
FAR_AHEAD = 30 * 86_400.0
"""Seconds for which an appliance may have been switched off without a doubt about its clock."""


class Cause(StrEnum):
    """Why the wall clock is in doubt."""

    BEFORE_BUILD = "before-build"
    BEHIND = "behind"
    AHEAD = "ahead"
    OFF = "off"


@dataclass(frozen=True, slots=True)
class Doubt:
    """The wall clock is in doubt: why, and since which service time."""

    cause: Cause
    since: float


@dataclass(frozen=True, slots=True)
class Instant:
    """A time that was known at one moment of one boot."""

    time: float
    elapsed: float
    boot_id: str

    def after(self, elapsed: float, boot_id: str) -> float | None:
        """Return the time at ``elapsed`` of the same boot; None on another one, where it is unknown how much passed."""
        same = bool(boot_id) and boot_id == self.boot_id and elapsed >= self.elapsed
        return self.time + elapsed - self.elapsed if same else None

    def fits(self, wall: float, elapsed: float, boot_id: str) -> bool:
        """Return whether a wall clock may go on from here."""
        expected = self.after(elapsed, boot_id)
        if expected is not None:
            return abs(wall - expected) <= TOLERANCE
        return self.time - TOLERANCE <= wall <= self.time + FAR_AHEAD


@dataclass(frozen=True, slots=True)
class Recorded:
    """The service time as it was recorded last, and the doubt at that moment."""

    instant: Instant
    doubt: Doubt | None


@dataclass(frozen=True, slots=True)
class Readings:
    """The machine's clocks at one moment."""

    wall: float
    elapsed: float
    synchronised: bool
    """Whether the kernel reports a synchronised clock."""


@dataclass(frozen=True, slots=True)
class Step:
    """The end of a doubt that began at ``since``: service time went from ``before`` to ``after``."""

    since: float
    before: float
    after: float


class ServiceTime:
    """The service time of one process; created by :func:`start`."""

    __slots__ = ("_build", "_elapsed", "_time", "boot_id", "doubt")

    def __init__(self, time: float, elapsed: float, boot_id: str, doubt: Doubt | None, *, build: float) -> None:
        self._time = time
        self._elapsed = elapsed
        self._build = build
        self.boot_id = boot_id
        self.doubt = doubt

    def at(self, wall: float, elapsed: float) -> float:
        """Return the service time. Doubts a wall clock that is off by now, and then does not follow it."""
        run = self._time + elapsed - self._elapsed
        if self.doubt is not None:
            return run
        if -TOLERANCE <= wall - run <= TOLERANCE and wall >= self._build:
            return wall
        self._time, self._elapsed = run, elapsed
        self.doubt = Doubt(Cause.OFF if wall >= self._build else Cause.BEFORE_BUILD, run)
        return run

    def settled(self, wall: float, elapsed: float) -> float:
        """Return the service time, but while in doubt that at which the doubt began."""
        time = self.at(wall, elapsed)
        return time if self.doubt is None else self.doubt.since

    def observe(self, readings: Readings) -> Step | None:
        """Follow the wall clock, or end a doubt that is over; return the step if it ended."""
        run = self.at(readings.wall, readings.elapsed)
        if self.doubt is None:
            self._time, self._elapsed = readings.wall, readings.elapsed
            return None
        if readings.wall < self._build:
            return None
        if readings.synchronised or abs(readings.wall - run) <= TOLERANCE:
            return self._trust(self.doubt, readings.wall, readings.elapsed)
        return None

    def confirm(self, confirmed: Instant, wall: float, elapsed: float) -> Step | None:
        """End the doubt if the wall clock is the one that was ``confirmed``; return the step, None if it is not."""
        self.at(wall, elapsed)
        if self.doubt is None or wall < self._build or not confirmed.fits(wall, elapsed, self.boot_id):
            return None
        return self._trust(self.doubt, wall, elapsed)

    def record(self, wall: float, elapsed: float) -> Recorded:
        """Return what a later start goes on from."""
        return Recorded(Instant(self.at(wall, elapsed), elapsed, self.boot_id), self.doubt)

    def _trust(self, doubt: Doubt, wall: float, elapsed: float) -> Step:
        step = Step(doubt.since, self._time + elapsed - self._elapsed, wall)
        self._time, self._elapsed, self.doubt = wall, elapsed, None
        return step


def start(
    readings: Readings, boot_id: str, recorded: Recorded | None, newest: float | None, *, build: float
) -> ServiceTime:
    """Return the service time of a process that starts now.

    ``newest``: when this instance last received something, None if never or not known yet. ``build``: the build date.
    """
    run = None if recorded is None else recorded.instant.after(readings.elapsed, boot_id)
    cause = _cause(readings, run, recorded, newest, build)
    if cause is None:
        return ServiceTime(readings.wall, readings.elapsed, boot_id, None, build=build)
    known = [time for time in (newest, run, None if recorded is None else recorded.instant.time) if time is not None]
    time = max([build, *known])
    # A doubt that goes on began when it began: nothing expires by a restart.
    since = time if recorded is None or recorded.doubt is None else min(recorded.doubt.since, time)
    return ServiceTime(time, readings.elapsed, boot_id, Doubt(cause, since), build=build)


def _cause(
    readings: Readings, run: float | None, recorded: Recorded | None, newest: float | None, build: float
) -> Cause | None:
    """Return why the wall clock is in doubt at the start; None if it is trusted."""
    wall = readings.wall
    if wall < build:
        return Cause.BEFORE_BUILD
    if readings.synchronised:
        return None
    if run is not None and recorded is not None:
        if abs(wall - run) > TOLERANCE:
            return Cause.OFF if recorded.doubt is None else recorded.doubt.cause
        if recorded.doubt is None:
            return None  # it has been trusted since this boot: a time received before may have been the wrong one
    known = [time for time in (newest, None if recorded is None else recorded.instant.time) if time is not None]
    if not known:
        return None
    if wall < max(known) - TOLERANCE:
        return Cause.BEHIND
    return Cause.AHEAD if wall > max(known) + FAR_AHEAD else None
