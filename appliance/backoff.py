"""Growing delays between tries, with jitter so that many callers do not come back at once."""

import random
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(slots=True)
class Backoff:
    """Delays of ``first``, ``first * factor``, ... up to ``maximum`` seconds, each shortened by up to ``jitter``.

    ``jitter`` is a fraction (0 to 1): a delay d becomes a value in [d * (1 - jitter), d].
    ``random`` returns a float in [0, 1) and is a parameter so that tests are exact.
    """

    first: float = 0.1
    factor: float = 2.0
    maximum: float = 30.0
    jitter: float = 0.2
    random: Callable[[], float] = random.random
    _next: float = field(default=0.0, init=False)

    def next(self) -> float:
        """Return the seconds to wait before the coming try."""
        delay = self._next or self.first
        self._next = min(delay * self.factor, self.maximum)
        return delay * (1 - self.jitter * self.random())

    def reset(self) -> None:
        """Begin anew at ``first``: the last try succeeded."""
        self._next = 0.0
