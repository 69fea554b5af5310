"""Backlog credit: messages that devices sent while we took none are not refused when they arrive at once (P11).

Time away (our own stop, Postgres or the broker's link) is credited to the limiter until the backlog is drained. It is
drained when the broker no longer fills our window (with messages queued it always sends as many as it may) and devices
have had the time to come back.
"""

from collections.abc import Callable

import structlog
import trio

from appliance.clock import Clock
from appliance.ingest.limits.limiter import Limiter
from appliance.runtime.periodic import First, every

NOTICEABLE = 1.0
"""Seconds below which a wait is not credited."""
LONGEST = 14 * 86_400.0
"""Seconds credited at most: the broker keeps our session no longer, and a wall clock may have jumped."""
LOOK_SECONDS = 0.5
CALM_LOOKS = 4
"""Rounds in a row with a window that is not full, until the broker's queue counts as empty."""
RETURNING = 300.0
"""Seconds after an absence in which devices still come back with queues of their own: no backlog is drained before."""

log = structlog.get_logger(__name__)


class BacklogCredit:
    """Credits absences, and ends the credit. ``window``: messages that the broker sends without acknowledgement."""

    def __init__(self, limiter: Limiter, clock: Clock, window: int) -> None:
        self._limiter = limiter
        self._clock = clock
        self._full = window // 2
        self._credited = False
        self._calm = 0
        self._back_since = 0.0

    def away(self, seconds: float) -> None:
        """Credit the last ``seconds``, in which no messages were taken."""
        if seconds < NOTICEABLE:
            return
        self._limiter.credit(min(seconds, LONGEST), self._clock.monotonic())
        self._calm = 0
        self._back_since = self._clock.monotonic()
        if not self._credited:
            self._credited = True
            log.info("backlog credited", seconds=round(seconds, 1))

    def look(self, in_flight: int) -> None:
        """Examine the window once: ``in_flight`` messages are received and not acknowledged."""
        if not self._credited:
            return
        self._calm = 0 if in_flight >= self._full else self._calm + 1
        if self._calm >= CALM_LOOKS and self._clock.monotonic() - self._back_since >= RETURNING:
            self._credited = False
            self._limiter.backlog_drained()
            log.info("backlog drained")

    async def run(
        self, in_flight: Callable[[], int], *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Run rounds for ever."""

        async def make_round() -> None:
            self.look(in_flight())

        first = First.AFTER_INTERVAL
        await every(LOOK_SECONDS, make_round, chore="backlog credit", first=first, task_status=task_status)
