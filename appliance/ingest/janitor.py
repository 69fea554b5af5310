"""The janitor: the task that forgets what the limiter no longer needs, a slice at a time, beside the message path."""

from collections.abc import Callable

import structlog
import trio

from appliance.clock import Clock
from appliance.ingest.limiter import Limiter

log = structlog.get_logger(__name__)


class Janitor:
    """Clears the limiter's idle buckets every ``interval`` seconds.

    ``report`` is called after each pass with the buckets cleared in it and the buckets left, for metrics.
    """

    def __init__(self, limiter: Limiter, clock: Clock, *, interval: float, report: Callable[[int, int], None]) -> None:
        self._limiter = limiter
        self._clock = clock
        self._interval = interval
        self._report = report

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Sweep for ever; the first pass comes after one interval."""
        task_status.started()
        while True:
            await trio.sleep(self._interval)
            await self.sweep()

    async def sweep(self) -> int:
        """One pass over all buckets, others running between its slices. Returns how many were cleared."""
        cleared, done = 0, False
        while not done:
            swept = self._limiter.sweep(self._clock.monotonic())
            cleared, done = cleared + swept.cleared, swept.done
            await trio.lowlevel.checkpoint()
        log.info("buckets cleared", cleared=cleared, tracked=self._limiter.tracked)
        self._report(cleared, self._limiter.tracked)
        return cleared
