"""The two clocks of the process, as a value that can be handed in and replaced in tests."""

import time
from typing import Protocol


class Clock(Protocol):
    """What the appliance asks of time."""

    def wall(self) -> float:
        """Return seconds since 1970-01-01 UTC: for records and for people, may jump."""
        ...

    def monotonic(self) -> float:
        """Return seconds from an arbitrary start, never backwards: for buckets, leases and waits."""
        ...


class SystemClock:
    """The machine's own clocks."""

    __slots__ = ()

    def wall(self) -> float:
        """Return seconds since 1970-01-01 UTC."""
        return time.time()

    def monotonic(self) -> float:
        """Return seconds from an arbitrary start."""
        return time.monotonic()
