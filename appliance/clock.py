"""The clocks of the process, as a value that can be handed in and replaced in tests.

Everything that is recorded or decided by time uses the *service time* of one ``Clock``. It is the wall clock as long as
that can be trusted (``appliance.service_clock``); the program never asks the machine or the database directly.
"""

import time
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol


class Clock(Protocol):
    """What the appliance asks of time."""

    def now(self) -> float:
        """Return the service time in seconds since 1970-01-01 UTC: for records, decisions and people."""
        ...

    def settled(self) -> float:
        """Return the time for decisions that end something: terms, sessions, links, tokens.

        It is the service time while the clock is trusted, and stands still while it is in doubt.
        """
        ...

    def wall(self) -> float:
        """Return the wall clock of the machine, right or wrong: only what others reckon by it is compared with it."""
        ...

    def monotonic(self) -> float:
        """Return seconds from an arbitrary start, never backwards: for buckets, leases and waits."""
        ...

    @property
    def trusted(self) -> bool:
        """Return whether the wall clock agrees with service time.

        While it does not, nothing may be dropped, expired, renewed or called silent.
        """
        ...


class SystemClock:
    """The machine's own clocks, trusted as they are."""

    __slots__ = ()
    trusted = True

    def now(self) -> float:
        """Return seconds since 1970-01-01 UTC."""
        return time.time()

    settled = wall = now

    def monotonic(self) -> float:
        """Return seconds from an arbitrary start."""
        return time.monotonic()


def offset_in_doubt(clock: Clock) -> float | None:
    """Return the seconds by which a wall clock in doubt is ahead of service time; None while it is trusted."""
    return None if clock.trusted else clock.wall() - clock.now()


@dataclass(frozen=True, slots=True)
class Correction:
    """What has to be known to heal times that a wrong clock wrote. See ``appliance.healing``."""

    now: datetime
    """The service time, right again."""
    latest: datetime
    """The latest time that a right clock can have written: a device may be ahead of us by the allowed skew."""
    step: timedelta | None
    """By how much service time has stepped just now; None: a wrong clock ran before, and nobody knows how wrong."""

    def moved(self, moment: datetime) -> datetime | None:
        """Return a time as it should have been written, None if that is unknown: the function time_healed of SQL."""
        if moment <= self.latest:
            return moment
        return None if self.step is None or moment + self.step > self.now else moment + self.step

    def parameters(self) -> dict[str, datetime | timedelta | None]:
        """Return the parameters of statements that heal."""
        return {"now": self.now, "latest": self.latest, "step": self.step}
