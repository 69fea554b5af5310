"""The record that a service keeps of itself while it runs: what it does now, and its last error.

Written by the service, read by the System page on request. Periodic work calls ``activity().begins()`` before a round,
``did()`` after it, ``failed(error)`` when it failed, and ``rests(seconds)`` before it sleeps. Code that runs for every
message records nothing here: its metrics exist anyway, and the supervisor gives the tree a reporter that reads them.

The record belongs to a service and is found by its tasks through a context variable, as structlog's is: a dozen
constructors need not pass it on. Outside a service, a record that nobody reads is used.
"""

import math
import time
from contextvars import ContextVar


class Activity:
    """The record of one service. It measures durations only: whoever asks knows the time of day."""

    __slots__ = ("_doing", "_failed_at", "_wakes_at", "failing", "last_error")

    def __init__(self) -> None:
        self.failing = False
        """Whether the last round failed."""
        self.last_error: str | None = None
        self._failed_at: float | None = None
        self._doing: str | None = None
        self._wakes_at: float | None = None

    def doing(self, words: str) -> None:
        """Record what the service does from now on."""
        self._doing, self._wakes_at = words, None

    def rests(self, seconds: float) -> None:
        """Record that the service sleeps for ``seconds``."""
        self._doing, self._wakes_at = None, time.monotonic() + seconds

    def begins(self) -> None:
        """Record that a round begins: what the service does now is where its task waits."""
        self._doing = self._wakes_at = None

    def did(self) -> None:
        """Record a successful round."""
        self.failing = False

    def failed(self, error: BaseException | str) -> None:
        """Record a failed round; the service goes on by itself."""
        self.failing = True
        self.last_error = str(error).strip().partition("\n")[0] or type(error).__name__
        self._failed_at = time.monotonic()

    def failed_ago(self) -> float | None:
        """Return the seconds since the last error; None if there was none."""
        return None if self._failed_at is None else time.monotonic() - self._failed_at

    def words(self) -> str | None:
        """Return what it does now; None if it was not recorded."""
        if self._wakes_at is None:
            return self._doing
        left = max(0, math.ceil(self._wakes_at - time.monotonic()))
        return f"next round in {in_words(left)}"


def in_words(seconds: float) -> str:
    """Return a duration in at most two units: ``8 s``, ``3 min 12 s``, ``12 d 4 h``."""
    rest = max(0, int(seconds))
    parts: list[str] = []
    for size, unit in ((86_400, "d"), (3600, "h"), (60, "min"), (1, "s")):
        if rest >= size or (unit == "s" and not parts):
            parts.append(f"{rest // size} {unit}")
            rest %= size
        elif parts:
            break
    return " ".join(parts[:2])


_current: ContextVar[Activity | None] = ContextVar("activity", default=None)


def activity() -> Activity:
    """Return the record of the service that this runs in; outside a service, one that nobody reads."""
    return _current.get() or Activity()


def enter(record: Activity) -> None:
    """Make ``record`` the record of the current task and of all tasks it starts."""
    _current.set(record)
