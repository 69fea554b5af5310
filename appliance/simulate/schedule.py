"""When each message is sent, and when the run is over. Pure."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Schedule:
    """``rate`` messages a second in all, None: as the fleet's own time says, 0: as fast as the broker takes them.

    The run ends after ``messages`` or ``duration`` seconds, whichever comes first; None: no such bound.
    """

    rate: float | None = None
    messages: int | None = None
    duration: float | None = None

    def due(self, sent: int, fleet_due: float) -> float:
        """Return seconds after the start at which the message after ``sent`` others is sent."""
        if self.rate is None:
            return fleet_due
        return sent / self.rate if self.rate else 0.0

    def over(self, sent: int, due: float) -> bool:
        """Return whether the message after ``sent`` others, due ``due`` seconds after the start, is not to be sent."""
        if self.messages is not None and sent >= self.messages:
            return True
        return self.duration is not None and due >= self.duration
