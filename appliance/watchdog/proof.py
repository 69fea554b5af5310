"""What was last proven of each part, and of all of them together. Pure but for the clock that it is handed."""

from collections.abc import Sequence
from enum import StrEnum

from appliance.clock import Clock

MOST_UNDER_WAY = 64
"""Probes that are remembered until the outbox takes them; beyond them the oldest one is forgotten."""


class Part(StrEnum):
    """What a message passes, in its order."""

    BROKER = "broker"
    COMMIT = "commit"
    RULE = "rule"
    OUTBOX = "outbox"


class Proof:
    """Remembers when each part last did its work. Times are monotonic seconds.

    A part is *missing* once it has not worked for ``interval`` seconds.
    """

    def __init__(self, clock: Clock, interval: float) -> None:
        self._clock = clock
        self.interval = interval
        self._began = clock.monotonic()
        self._heard_at: float | None = None
        self._rule_right_at: float | None = None
        self._committed_at: float | None = None
        self._taken_at: float | None = None
        self._proven_at: float | None = None
        self._under_way: dict[int, float | None] = {}
        """Committed and not taken yet: by number, what it proves."""

    def begin(self) -> None:
        """Count from now: the appliance has started."""
        self._began = self._clock.monotonic()

    def broker_passed(self) -> None:
        """Take note that the broker has passed a message."""
        self._heard_at = self._clock.monotonic()

    @property
    def heard_at(self) -> float | None:
        """Return when the broker last passed a message: what a probe that is made now can prove."""
        return self._heard_at

    def committed(self, number: int, heard_at: float | None, *, right: bool) -> None:
        """Take note that a probe was committed.

        ``heard_at``: as it was when the probe was made; ``right``: whether the rule judged it as it must.
        """
        self._committed_at = self._clock.monotonic()
        if right:
            self._rule_right_at = self._committed_at
        self._under_way[number] = heard_at if right else None
        while len(self._under_way) > MOST_UNDER_WAY:
            del self._under_way[next(iter(self._under_way))]

    @property
    def awaited(self) -> bool:
        """Return whether the outbox has a probe to take."""
        return bool(self._under_way)

    def taken(self, numbers: Sequence[int]) -> None:
        """Take note that the outbox has taken probes; those of an earlier process prove nothing."""
        for number in numbers:
            if number in self._under_way:
                self._taken_at = self._clock.monotonic()
                proves = self._under_way.pop(number)
                if proves is not None:
                    self._proven_at = proves if self._proven_at is None else max(proves, self._proven_at)

    @property
    def age(self) -> float | None:
        """Return the seconds since the newest message that has passed everything; None: none has since the start."""
        return None if self._proven_at is None else self._clock.monotonic() - self._proven_at

    @property
    def unproven(self) -> float:
        """Return the seconds for which nothing was proven: since the last proof, before the first since the start."""
        return self._clock.monotonic() - max(self._began, self._proven_at or self._began)

    @property
    def holds(self) -> bool | None:
        """Return whether a proof is not older than an interval; None: there was no time for the first one yet."""
        if self._proven_at is None and self.unproven <= self.interval:
            return None
        return self._proven_at is not None and self.age_within(self._proven_at)

    def age_within(self, at: float | None) -> bool:
        """Return whether a time is not longer ago than an interval."""
        return at is not None and self._clock.monotonic() - at <= self.interval

    @property
    def missing(self) -> Sequence[Part]:
        """Return the parts of which nothing was seen for an interval; empty while the proof holds or has not failed.

        Of the outbox nothing is said while there is nothing to take. Where each part has worked, and yet not in time
        after the others, it is the one that was seen least.
        """
        if self.holds is not False:
            return ()
        seen = {
            Part.BROKER: self._heard_at,
            Part.COMMIT: self._committed_at,
            Part.RULE: self._rule_right_at,
            Part.OUTBOX: self._taken_at,
        }
        found = [part for part, at in seen.items() if not self.age_within(at)]
        if Part.COMMIT in found:  # without a commit there is no judgement to keep, and no row to take
            found = [part for part in found if part in (Part.BROKER, Part.COMMIT)]
        return found or [min(seen, key=lambda part: seen[part] or 0.0)]
