"""The interval of a device: the longest silence between its messages that is usual for it.

Theory. Many devices send in bursts (several topics, a retry, a batch), and some send often by day and seldom by night.
The gaps inside a burst say nothing about silence, so a median of gaps is wrong for them, however many gaps it is of.
Gaps are therefore sorted into classes by length, each twice as long as the one before. A class *recurs* while its last
RECURRENCES gaps lie within a day and two hours, or within four times its length where that is more. The interval is the
mean gap of the longest class that recurs::

    a message every 30 s                          class 16-32 s recurs                     30 s
    three messages 1.2 s apart, every 30 s        classes 1-2 s and 16-32 s recur          27.6 s
    every minute by day, every 30 min by night    both recur, all day long                 30 min
    every minute, and once 6 hours of silence     one gap of 6 hours does not recur        60 s

Until a class recurs, the interval is the gap in which most of the time has passed (the median of gaps, weighted by
their length): the best guess for a device that was just met.
"""

from math import frexp

SECOND = 1_000_000
"""Microseconds."""
RECURRENCES = 3
"""Gaps of a class that make it usual: two can be two accidents."""
REMEMBERED_SECONDS = 26 * 3600.0
"""A class is remembered from one night to the next, a change of the clocks included."""
REMEMBERED_GAPS = 4.0
"""A class of long gaps is remembered for so many of them: RECURRENCES of them, and one that is late."""
WEIGHT = 0.25
"""Share of a new gap in the mean of its class."""


class _GapClass:
    """Gaps of similar length: their mean, and when the last of them ended, newest first, in seconds."""

    __slots__ = ("ended", "mean")

    def __init__(self, mean: float, ended: tuple[float, ...]) -> None:
        self.mean = mean
        self.ended = ended

    def add(self, gap: float, at: float) -> None:
        self.mean += WEIGHT * (gap - self.mean)
        self.ended = (at, *self.ended[: RECURRENCES - 1])

    def recurs(self, now: float) -> bool:
        """Return whether as many gaps as it takes ended lately."""
        return len(self.ended) == RECURRENCES and now - self.ended[-1] <= self._remembered()

    def forgotten(self, now: float) -> bool:
        """Return whether the last gap is so long ago that the class is as good as new."""
        return now - self.ended[0] > self._remembered()

    def _remembered(self) -> float:
        return max(REMEMBERED_SECONDS, REMEMBERED_GAPS * self.mean)


class IntervalEstimator:
    """Learns the interval of one device. Told once a second at most, so what comes at once is one message.

    ``interval`` is in seconds; 0 while nothing is known. One that was learned before a restart is handed in, and counts
    like a class that recurs. Memory: a few numbers for each class of gaps that the device has.
    """

    __slots__ = ("_classes", "_seen_at", "interval")

    def __init__(self, interval: float = 0.0) -> None:
        self.interval = interval
        self._seen_at = 0
        self._classes: dict[int, _GapClass] = {}
        """By the exponent of the length: n for gaps from 2^(n-1) up to 2^n seconds."""

    def observe(self, seen_at: int, unbroken_since: int) -> None:
        """Learn that the device was seen at ``seen_at``; a time not newer than the last is ignored.

        A gap that began before ``unbroken_since``, when messages were last not taken, is not the device's and counts
        for nothing. Both in microseconds since 1970 UTC.
        """
        before, self._seen_at = self._seen_at, max(seen_at, self._seen_at)
        now = seen_at / SECOND
        if not before:
            if self.interval:
                self._classes[frexp(self.interval)[1]] = _GapClass(self.interval, (now,) * RECURRENCES)
            return
        if seen_at <= before or before < unbroken_since:
            return
        gap = (seen_at - before) / SECOND
        key, classes = frexp(gap)[1], self._classes
        found = classes.get(key)
        if found is None:
            self._forget(now)
            classes[key] = _GapClass(gap, (now,))
        else:
            found.add(gap, now)
            if len(classes) == 1 and found.recurs(now):  # the usual device; asked once a second of each
                self.interval = found.mean
                return
        self.interval = self._longest_recurring(now) or self._prevailing()

    def _forget(self, now: float) -> None:
        for key in [key for key, known in self._classes.items() if known.forgotten(now)]:
            del self._classes[key]

    def _longest_recurring(self, now: float) -> float:
        return max((known.mean for known in self._classes.values() if known.recurs(now)), default=0.0)

    def _prevailing(self) -> float:
        """Return the gap in which most of the time passed."""
        ordered = sorted(self._classes.values(), key=lambda known: known.mean)
        half = sum(known.mean * len(known.ended) for known in ordered) / 2
        passed = 0.0
        for known in ordered:
            passed += known.mean * len(known.ended)
            if passed >= half:
                return known.mean
        return 0.0
