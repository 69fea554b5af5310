"""When to ping, and when silence means that the connection is dead (MQTT 5 §3.1.2.10)."""

import math
from dataclasses import dataclass
from enum import Enum

DEAD_FACTOR = 1.5
"""Silence of this many keep-alive intervals is death; the broker judges us by the same factor."""


class Due(Enum):
    """What the moment asks for."""

    NOTHING = "nothing"
    PING = "ping"
    DEAD = "dead"


@dataclass(slots=True)
class KeepAlive:
    """Bookkeeping of one connection. Times are seconds of any one clock; an interval of 0 switches it off.

    A ping is due when either direction was quiet for an interval: the broker must hear from us, and a client that
    only sends would otherwise never learn that nobody listens any more.
    """

    interval: float
    last_sent: float
    last_received: float
    ping_sent: float | None = None

    def sent(self, now: float) -> None:
        """Bytes were handed to the network."""
        self.last_sent = now

    def received(self, now: float) -> None:
        """Bytes came in: whatever they are, the peer lives."""
        self.last_received = now
        self.ping_sent = None

    def pinged(self, now: float) -> None:
        """A PINGREQ was queued."""
        self.last_sent = self.ping_sent = now

    def next_deadline(self) -> float:
        """When ``due`` will next say something else than NOTHING; infinite when switched off."""
        if not self.interval:
            return math.inf
        if self.ping_sent is None:
            return min(self.last_sent, self.last_received) + self.interval
        # The answer gets half an interval at least, also when the ping itself went out late.
        patience = self.ping_sent + self.interval * (DEAD_FACTOR - 1)
        return max(patience, self.last_received + self.interval * DEAD_FACTOR)

    def due(self, now: float) -> Due:
        """What to do at this moment."""
        if now < self.next_deadline():
            return Due.NOTHING
        return Due.PING if self.ping_sent is None else Due.DEAD
