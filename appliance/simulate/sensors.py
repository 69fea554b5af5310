"""The values a device measures, which drift as real ones do. Pure: the same random generator, the same values."""

import math
from dataclasses import dataclass
from random import Random

DAY_SECONDS = 86_400
EMPTY_VOLTS = 3.2
FULL_VOLTS = 4.2


@dataclass(slots=True)
class Climate:
    """Temperature and humidity of one place: a daily swing, and a random walk that returns to the place's mean."""

    random: Random
    mean: float  # degrees Celsius
    humid: float  # per cent
    _off: float = 0.0
    _wet: float = 0.0

    @classmethod
    def somewhere(cls, random: Random) -> "Climate":
        """Return a place between a cellar and a boiler room."""
        return cls(random, mean=random.uniform(12, 28), humid=random.uniform(35, 65))

    def read(self, now: float) -> tuple[float, float]:
        """Temperature and humidity at ``now`` (seconds since 1970), each a step on from the reading before."""
        self._off += 0.05 * -self._off + self.random.gauss(0, 0.08)
        self._wet += 0.05 * -self._wet + self.random.gauss(0, 0.3)
        # warmest in the afternoon; warm air is drier
        swing = 2.5 * math.sin((now % DAY_SECONDS / DAY_SECONDS - 0.375) * 2 * math.pi)
        temperature = self.mean + swing + self._off
        humidity = self.humid - 2 * (swing + self._off) + self._wet
        return round(temperature, 2), round(min(max(humidity, 0), 100), 1)


@dataclass(slots=True)
class Battery:
    """A cell that loses ``drain`` volts with each reading."""

    volts: float
    drain: float

    def read(self) -> float:
        """Return the volts now, and drain it by one reading."""
        volts = self.volts
        self.volts = max(self.volts - self.drain, 0)
        return round(volts, 3)

    @property
    def charge(self) -> float:
        """What is left, 1 full to 0 empty."""
        return min(max((self.volts - EMPTY_VOLTS) / (FULL_VOLTS - EMPTY_VOLTS), 0), 1)
