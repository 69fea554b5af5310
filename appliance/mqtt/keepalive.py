"""When to ping, and when silence means that the connection is dead (MQTT 5 §3.1.2.10)."""

import math
from dataclasses import dataclass
from enum import Enum

DEAD_FACTOR = 1.5
"""After this many silent keep-alive intervals a connection is dead; the broker applies the same factor to us."""


class Due(Enum):
    """The action that is due."""

    NOTHING = "nothing"
    PING = "ping"
    DEAD = "dead"


@dataclass(slots=True)
class KeepAlive:
    """The keep-alive timer of one connection. Times are seconds of any clock; an interval of 0 switches it off.

    A ping is due when either direction was quiet for an interval: the broker must receive something, and a client
    that only sends would otherwise never notice that the peer is gone.
    """

    interval: float
    last_sent: float
    last_received: float
    ping_sent: float | None = None

    @property
    def patience(self) -> float:
        """Return the seconds of silence after which a connection is dead; infinite when switched off."""
        return self.interval * DEAD_FACTOR if self.interval else math.inf

    def sent(self, now: float) -> None:
        """Note that bytes were sent."""
        self.last_sent = now

    def received(self, now: float) -> None:
        """Note that bytes were received: whatever they are, the peer is alive."""
        self.last_received = now
        self.ping_sent = None

    def pinged(self, now: float) -> None:
        """Note that a PINGREQ was queued."""
        self.last_sent = self.ping_sent = now

    def next_deadline(self) -> float:
        """Return the time at which ``due`` next returns something else than NOTHING; infinite when switched off."""
        if not self.interval:
            return math.inf
        if self.ping_sent is None:
            return min(self.last_sent, self.last_received) + self.interval
        # The answer gets at least half an interval, even when the ping was sent late.
        patience = self.ping_sent + self.interval * (DEAD_FACTOR - 1)
        return max(patience, self.last_received + self.interval * DEAD_FACTOR)

    def due(self, now: float) -> Due:
        """Return what to do at this moment."""
        if now < self.next_deadline():
            return Due.NOTHING
        return Due.PING if self.ping_sent is None else Due.DEAD
