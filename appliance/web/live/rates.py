"""Messages per second: a ring of counts, one a second, over the last hour. Pure; time is a parameter."""

from array import array
from dataclasses import dataclass

HOUR = 3600
"""Seconds that a window covers."""
CURRENT = 10
"""Seconds over which the current rate is averaged: devices that report every few seconds give a steady number."""


@dataclass(frozen=True, slots=True)
class RatePoint:
    """Messages per second over one step of a series; None for a time before the start."""

    accepted: float | None
    refused: float | None


class RateWindow:
    """Counts a second of one hour. Seconds are monotonic; ``start`` is when counting began."""

    __slots__ = ("_accepted", "_newest", "_refused", "_start")

    def __init__(self, start: float) -> None:
        self._start = int(start)
        self._newest = int(start)
        self._accepted = array("I", bytes(HOUR * array("I").itemsize))
        self._refused = array("I", bytes(HOUR * array("I").itemsize))

    def add(self, at: float, accepted: int, refused: int) -> None:
        """Count messages at second ``at``; later than any before, or within the last hour."""
        second = int(at)
        self._advance(second)
        if second > self._newest - HOUR:
            self._accepted[second % HOUR] += accepted
            self._refused[second % HOUR] += refused
            self._start = min(self._start, second)

    def current(self, now: float) -> float:
        """Return messages per second, refused ones included, averaged over the last CURRENT seconds."""
        self._advance(int(now))
        first = max(int(now) - CURRENT + 1, self._start)
        total = sum(self._accepted[s % HOUR] + self._refused[s % HOUR] for s in range(first, int(now) + 1))
        return total / max(now - first, 1.0)

    def series(self, now: float, step: int, points: int) -> list[RatePoint]:
        """Return the last ``points`` complete steps of ``step`` seconds each, oldest first."""
        self._advance(int(now))
        end = int(now) // step * step
        return [self._mean(end - (index + 1) * step, step) for index in reversed(range(points))]

    def _mean(self, first: int, step: int) -> RatePoint:
        """Return the mean over ``[first, first + step)``, as far as the window covers it."""
        counted = range(max(first, self._start, self._newest - HOUR + 1), first + step)
        if not counted:
            return RatePoint(None, None)
        accepted = sum(self._accepted[second % HOUR] for second in counted)
        refused = sum(self._refused[second % HOUR] for second in counted)
        return RatePoint(accepted / len(counted), refused / len(counted))

    def _advance(self, second: int) -> None:
        """Clear the slots of the seconds that passed since the newest one."""
        for passed in range(max(self._newest + 1, second - HOUR + 1), second + 1):
            self._accepted[passed % HOUR] = 0
            self._refused[passed % HOUR] = 0
        self._newest = max(self._newest, second)
