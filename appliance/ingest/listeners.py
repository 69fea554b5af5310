"""Listeners: functions that are told of each committed batch, once its sources have their answers.

They are for what may be lost: the live view, a wake-up of somebody who would look later anyway. What must not be lost
is written in the transaction of the batch (``appliance.ingest.observer``).
"""

from collections.abc import Callable, Sequence

import structlog

from appliance.ingest.summary import BatchSummary

Listener = Callable[[BatchSummary], None]
"""Called in the task that acknowledges batches, so it must be quick and must not wait."""

log = structlog.get_logger(__name__)


class Listeners:
    """Passes summaries on to all listeners, in their order."""

    def __init__(self, listeners: Sequence[Listener]) -> None:
        self._listeners = tuple(listeners)
        self._failing: set[Listener] = set()

    def notify(self, summary: BatchSummary) -> None:
        """Tell all listeners. One that raises is logged, once until it works again, and does not keep the others."""
        for listener in self._listeners:
            try:
                listener(summary)
            except Exception as error:
                # Later batches must still be acknowledged, whatever a listener does.
                if listener not in self._failing:
                    self._failing.add(listener)
                    log.error("a listener failed after a commit", listener=repr(listener), exc_info=error)
            else:
                self._failing.discard(listener)
