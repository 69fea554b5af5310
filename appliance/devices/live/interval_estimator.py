"""The interval of a device: the silence between two of its messages, learned from the last gaps."""

from array import array

GAPS = 20
"""Gaps that the median is of."""
SECOND = 1_000_000


class IntervalEstimator:
    """Learns the interval of one device. Told once a second at most, so what comes in one burst is one message.

    ``interval`` is the median of the last gaps in seconds; 0 while there is none.
    """

    __slots__ = ("_gaps", "_next", "_seen_at", "interval")

    def __init__(self, interval: float = 0.0) -> None:
        self.interval = interval
        self._seen_at = 0
        # What was learned before counts as half of what may be remembered: a new interval shows after as many messages.
        self._gaps = array("f", [interval] * (GAPS // 2) if interval else ())
        self._next = 0

    def observe(self, seen_at: int) -> None:
        """Learn that the device was seen at ``seen_at`` (microseconds); a time not newer than the last is ignored."""
        before, self._seen_at = self._seen_at, max(seen_at, self._seen_at)
        gap = (seen_at - before) / SECOND
        if not before or gap <= 0:
            return
        gaps = self._gaps
        if len(gaps) < GAPS:
            gaps.append(gap)
        else:
            gaps[self._next] = gap
            self._next = (self._next + 1) % GAPS
        ordered = sorted(gaps)
        middle = len(ordered) // 2
        self.interval = ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2
