"""The users of the embedded broker that are not let in for a while.

Enters: a user and for how long. Leaves: who must be left out of the broker's files now, and when that changes. Never:
more than MAX_USERS users in memory, and nothing across a restart of the process.
"""

from collections import OrderedDict
from collections.abc import Callable

from appliance.clock import Clock

MAX_USERS = 1000


class ShutOut:
    """Remembers who is shut out."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._listeners: list[Callable[[], None]] = []
        self._until: OrderedDict[str, float] = OrderedDict()
        """User -> when it is let in again, in monotonic seconds."""

    def on_change(self, listener: Callable[[], None]) -> None:
        """Call ``listener`` from now on whenever somebody is shut out."""
        self._listeners.append(listener)

    def add(self, user: str, seconds: float) -> None:
        """Shut a user out from now on. Past MAX_USERS the one that was shut out first is let in again."""
        now = self._clock.monotonic()
        self._until = OrderedDict((one, until) for one, until in self._until.items() if now < until)
        self._until[user] = now + seconds
        if len(self._until) > MAX_USERS:
            self._until.popitem(last=False)
        for listener in self._listeners:
            listener()

    def users(self) -> frozenset[str]:
        """Return who is shut out now."""
        now = self._clock.monotonic()
        return frozenset(user for user, until in self._until.items() if now < until)

    def seconds_left(self, user: str) -> float | None:
        """Return for how long a user is still shut out; None: it is not."""
        left = self._until.get(user, 0.0) - self._clock.monotonic()
        return left if left > 0 else None

    def seconds_until_change(self) -> float | None:
        """Return after how many seconds somebody is let in again; None: nobody is shut out."""
        now = self._clock.monotonic()
        return min((until - now for until in self._until.values() if now < until), default=None)
