"""A step of the service time, as it moves times in memory that a wrong clock wrote (``appliance.devices.healing``)."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ClockStep:
    """A step of the service time, in microseconds. ``skew``: by how much a right time may lie ahead of it."""

    step: int
    skew: int

    def moved(self, at: int, now: int) -> int:
        """Return a time as it should have been written, 0 (never) if that is unknown; ``now`` is the present."""
        if at <= now + self.skew:
            return at
        return at + self.step if at + self.step <= now else 0
