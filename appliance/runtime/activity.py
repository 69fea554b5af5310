"""What a service says of itself while it runs: what it does now, what it has done, what went wrong last.

Written by the service, read by the System page whenever somebody looks. A chore that wakes now and then says
``activity().did()`` after a round, ``failed(error)`` when it was put off, and ``rests(seconds)`` before it sleeps. What
runs for every message says nothing here: its figures are there anyway, and the supervisor tells the tree where.

The record belongs to a service and is found by its tasks through a context variable, as structlog's is: a dozen
constructors need not hand it on. Outside of a service whatever is said is said to nobody.
"""

import time
from contextvars import ContextVar


class Activity:
    """The record of one service. Times are seconds since 1970."""

    __slots__ = ("_doing", "_wakes_at", "failing", "last_error", "last_error_at", "rounds")

    def __init__(self) -> None:
        self.rounds = 0
        """Things done, whatever the service does."""
        self.failing = False
        """Whether the last round failed."""
        self.last_error: str | None = None
        self.last_error_at: float | None = None
        self._doing: str | None = None
        self._wakes_at: float | None = None

    def doing(self, words: str) -> None:
        """From now on the service does this."""
        self._doing, self._wakes_at = words, None

    def rests(self, seconds: float) -> None:
        """Nothing to do for ``seconds``."""
        self._doing, self._wakes_at = None, time.monotonic() + seconds

    def did(self, count: int = 1) -> None:
        """So many things are done; all is well."""
        self.rounds += count
        self.failing = False

    def failed(self, error: BaseException | str) -> None:
        """A round failed; the service goes on by itself."""
        self.failing = True
        self.last_error = str(error).strip().partition("\n")[0] or type(error).__name__
        self.last_error_at = time.time()

    def words(self) -> str | None:
        """What it does now; None if it does not tell."""
        if self._wakes_at is None:
            return self._doing
        left = max(0, round(self._wakes_at - time.monotonic()))
        return f"next round in {in_words(left)}"


def in_words(seconds: float) -> str:
    """A span in at most two units: ``8 s``, ``3 min 12 s``, ``12 d 4 h``."""
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
    """The record of the service that this runs in; one that nobody reads, where there is none."""
    return _current.get() or Activity()


def enter(record: Activity) -> None:
    """Make ``record`` that of the current task and of all it will start."""
    _current.set(record)
