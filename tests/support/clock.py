"""What the clocks of tests have in common."""

from abc import ABC, abstractmethod
from datetime import UTC, datetime, timedelta

from appliance.clock import SystemClock
from appliance.service_clock.service_time import Doubt, Instant, Step


def latest_now() -> datetime:
    """Return the latest time that a right clock writes now."""
    return datetime.now(UTC) + timedelta(minutes=10)


class TrustedClock(ABC):
    """A clock that is never in doubt; what it shows is up to the test."""

    __slots__ = ()
    trusted: bool = True

    @abstractmethod
    def now(self) -> float:
        """Return the service time in seconds since 1970 UTC."""

    def settled(self) -> float:
        """Return the service time."""
        return self.now()

    def wall(self) -> float:
        """Return the service time, which is that of the machine."""
        return self.now()


class DoubtfulClock(TrustedClock):
    """A clock whose doubt a test begins and ends: ``at`` is service time, ``wall_at`` the machine's."""

    def __init__(self, at: float, wall_at: float, *, trusted: bool = False) -> None:
        self.at = at
        self.wall_at = wall_at
        self.settled_at = at
        self.trusted = trusted

    def now(self) -> float:
        """Return the service time."""
        return self.at

    def settled(self) -> float:
        """Return the service time at the begin of the doubt."""
        return self.at if self.trusted else self.settled_at

    def wall(self) -> float:
        """Return what the machine shows."""
        return self.wall_at

    def monotonic(self) -> float:
        """Return seconds from an arbitrary start."""
        return self.at


class StubServiceClock(SystemClock):
    """The clock of a process, trusted until a test says otherwise; what is confirmed is noted."""

    def __init__(self, doubt: Doubt | None = None, ahead: float = 0.0) -> None:
        self.doubt = doubt
        self.ahead = ahead
        self.confirmed: list[Instant] = []

    @property
    def trusted(self) -> bool:  # type: ignore[override]
        """Return whether there is no doubt."""
        return self.doubt is None

    def settled(self) -> float:
        """Return the service time, in doubt that at its begin."""
        return self.now() if self.doubt is None else self.doubt.since

    def wall(self) -> float:
        """Return what the machine shows."""
        return self.now() + self.ahead

    def wall_instant(self) -> Instant:
        """Return what would be confirmed."""
        return Instant(self.wall(), 1000.0, "boot")

    def confirm(self, confirmed: Instant) -> Step | None:
        """Take note of what was confirmed."""
        self.confirmed.append(confirmed)
        return None
