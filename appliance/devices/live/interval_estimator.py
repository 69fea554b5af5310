"""The interval of a device: the longest silence between its messages that is usual for it.

Theory. Many devices send in bursts (several topics, a retry, a batch), and some send often by day and seldom by night.
The gaps inside a burst say nothing about silence, so a median of gaps is wrong for them, however many gaps it is of.
Gaps are therefore sorted into classes by length, each twice as long as the one before. A class *recurs* while its last
RECURRENCES gaps lie within a day and two hours, or within four times its length where that is more; gaps of the next
longer class count, too, or a period at the border of two would recur in neither. The interval is the mean gap of the
longest class that recurs::

    a message every 30 s                          class 16-32 s recurs                     30 s
    three messages 1.2 s apart, every 30 s        classes 1-2 s and 16-32 s recur          27.6 s
    every minute by day, every 30 min by night    both recur, all day long                 30 min
    every minute, and once 6 hours of silence     one gap of 6 hours does not recur        60 s

A device that was just met shows its bursts before its silences: three messages 1.2 s apart every hour have recurring
gaps of 1.2 s in the second hour, and of an hour only in the fourth. So silences that have not recurred yet are usual,
too, as long as nearly all of the time for which the device is known (PREVAILING) passed in them or longer ones::

    three messages 1.2 s apart, an hour, three    99.9 % of its time in gaps of an hour    1 h
    ten minutes of messages, 6 hours, messages    97 %, and after 9 more minutes 95 %      6 h, then 60 s

Until a class recurs, the interval is the gap in which most of the time has passed (the median of gaps, weighted by
their length).

The time of this module is the sum of the gaps that count. It stands still while messages are not taken, and long gaps
(PAUSE) do not count against shorter classes: neither our absence nor the device's own says that its interval is
another, and after it the bursts would recur before the silences do.
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
PREVAILING = 0.95
"""Share of the time that makes silences usual before they recur. A device that was tried for some minutes and put up
days later is judged by its real interval after a twentieth of those days; one that sends more than 5 % of its time in
one burst is known after RECURRENCES silences only."""
PAUSE = 3600.0
"""Seconds. The few gaps of this length that can come before they recur themselves hardly age what is remembered for
REMEMBERED_SECONDS."""


class _GapClass:
    """Gaps of similar length: their mean, and when the last of them ended, newest first, in seconds.

    The mean is that of all gaps for the first RECURRENCES; after that a new gap has a weight of one in RECURRENCES + 1.
    """

    __slots__ = ("ended", "mean")

    def __init__(self, mean: float, ended: tuple[float, ...]) -> None:
        self.mean = mean
        self.ended = ended

    def add(self, gap: float, at: float) -> None:
        self.mean += (gap - self.mean) / (len(self.ended) + 1)
        self.ended = (at, *self.ended[: RECURRENCES - 1])

    def recurs(self, now: float) -> bool:
        """Return whether as many gaps as it takes ended lately."""
        return len(self.ended) == RECURRENCES and now - self.ended[-1] <= self._remembered()

    def recurs_with(self, longer: "_GapClass", now: float) -> bool:
        """Return whether as many gaps of this class and the next longer one as it takes ended lately."""
        ended = sorted(self.ended + longer.ended)
        return len(ended) >= RECURRENCES and now - ended[-RECURRENCES] <= self._remembered()

    def forgotten(self, now: float) -> bool:
        """Return whether the last gap is so long ago that the class is as good as new."""
        return now - self.ended[0] > self._remembered()

    def pause(self, seconds: float) -> None:
        """Leave out ``seconds`` that say nothing about this class."""
        self.ended = tuple([at + seconds for at in self.ended])

    def _remembered(self) -> float:
        return max(REMEMBERED_SECONDS, REMEMBERED_GAPS * self.mean)


class IntervalEstimator:
    """Learns the interval of one device. Told once a second at most, so what comes at once is one message.

    ``interval`` is in seconds; 0 while nothing is known. One that was learned before a restart is handed in. It counts
    like a class that recurred just now, but for REMEMBERED_SECONDS at most: it may have been a guess. Memory: a few
    numbers for each class of gaps that the device has.
    """

    __slots__ = ("_classes", "_known", "_seen_at", "interval")

    def __init__(self, interval: float = 0.0) -> None:
        self.interval = interval
        self._seen_at = 0
        self._known = RECURRENCES * interval
        """Seconds for which the device is known: the sum of the gaps that count, and the time of this module."""
        self._classes: dict[int, _GapClass] = {}
        """By the exponent of the length: n for gaps from 2^(n-1) up to 2^n seconds."""

    def observe(self, seen_at: int, unbroken_since: int) -> None:
        """Learn that the device was seen at ``seen_at``; a time not newer than the last is ignored.

        A gap that began before ``unbroken_since``, when messages were last not taken, is not the device's and counts
        for nothing. Both in microseconds since 1970 UTC.
        """
        before = self._seen_at
        if seen_at <= before:
            return
        self._seen_at = seen_at
        if not before:
            self._recall()
            return
        if before < unbroken_since:
            return
        gap = (seen_at - before) / SECOND
        self._known = now = self._known + gap
        key, classes = frexp(gap)[1], self._classes
        if gap >= PAUSE:
            self._pause(key, gap)
        found = classes.get(key)
        if found is None:
            self._forget(now)
            classes[key] = _GapClass(gap, (now,))
        else:
            found.add(gap, now)
            if len(classes) == 1 and found.recurs(now):  # the usual device; asked once a second of each
                self.interval = found.mean
                return
        longest = classes[max(classes)]
        self.interval = longest.mean if longest.recurs(now) else self._usual(now) or self._median()

    def _recall(self) -> None:
        """Make the interval that was handed in a class that recurs."""
        if self.interval:
            longer = max(0.0, REMEMBERED_GAPS * self.interval - REMEMBERED_SECONDS)
            self._classes[frexp(self.interval)[1]] = _GapClass(self.interval, (self._known - longer,) * RECURRENCES)

    def _pause(self, key: int, gap: float) -> None:
        for shorter, known in self._classes.items():
            if shorter < key:
                known.pause(gap)

    def _forget(self, now: float) -> None:
        for key in [key for key, known in self._classes.items() if known.forgotten(now)]:
            del self._classes[key]

    def _usual(self, now: float) -> float:
        """Return the mean of the longest class that recurs, or of a longer one that prevails; 0 if none recurs."""
        passed, prevailing, longer_key, longer = 0.0, 0.0, 0, None
        for key in sorted(self._classes, reverse=True):
            known = self._classes[key]
            if known.recurs(now) or (longer and longer_key == key + 1 and known.recurs_with(longer, now)):
                return prevailing or known.mean
            passed += known.mean * len(known.ended)
            if not prevailing and passed >= PREVAILING * self._known:
                prevailing = known.mean
            longer_key, longer = key, known
        return 0.0

    def _median(self) -> float:
        """Return the gap in which most of the time passed."""
        ordered = sorted(self._classes.values(), key=lambda known: known.mean)
        half = sum(known.mean * len(known.ended) for known in ordered) / 2
        passed = 0.0
        for known in ordered:
            passed += known.mean * len(known.ended)
            if passed >= half:
                return known.mean
        return 0.0
