"""The clocks of the process, as a value that can be handed in and replaced in tests.

Everything that is recorded or decided by time uses the *service time* of one ``Clock``. It is the wall clock as long as
that can be trusted (``appliance.service_clock``); the program never asks the machine or the database directly.
"""

import time
from typing import Protocol


class Clock(Protocol):
    """What the appliance asks of time."""

    def now(self) -> float:
        """Return the service time in seconds since 1970-01-01 UTC: for records, decisions and people."""
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

    def monotonic(self) -> float:
        """Return seconds from an arbitrary start."""
        return time.monotonic()
