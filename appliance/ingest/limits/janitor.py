"""The janitor: the task that clears buckets the limiter no longer needs, in slices, beside the message path."""

from collections.abc import Callable

import structlog
import trio

from appliance.clock import Clock
from appliance.ingest.limits.limiter import Limiter
from appliance.runtime.periodic import First, every

log = structlog.get_logger(__name__)


class Janitor:
    """Clears the limiter's idle buckets every ``interval`` seconds.

    ``report`` is called after each pass with the buckets cleared in it and the buckets left, for metrics. While
    ``resting`` returns true there is no pass: no messages are taken, and time that will be credited afterwards must not
    fill a bucket that was cleared meanwhile.
    """

    def __init__(
        self,
        limiter: Limiter,
        clock: Clock,
        *,
        interval: float,
        report: Callable[[int, int], None],
        resting: Callable[[], bool],
    ) -> None:
        self._limiter = limiter
        self._clock = clock
        self._interval = interval
        self._report = report
        self._resting = resting

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Sweep for ever; the first pass comes after one interval."""
        first = First.AFTER_INTERVAL
        await every(self._interval, self._round, chore="sweep of buckets", first=first, task_status=task_status)

    async def _round(self) -> None:
        if not self._resting():
            await self.sweep()

    async def sweep(self) -> int:
        """Sweep all buckets once, in slices; return the number of buckets cleared."""
        cleared, done = 0, False
        while not done:
            swept = self._limiter.sweep(self._clock.monotonic())
            cleared, done = cleared + swept.cleared, swept.done
            await trio.lowlevel.checkpoint()
        log.info("buckets cleared", cleared=cleared, tracked=self._limiter.tracked)
        self._report(cleared, self._limiter.tracked)
        return cleared
