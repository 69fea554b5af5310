"""The fleet: its devices, and the order in which they send. Pure and seeded."""

import heapq
from collections.abc import Mapping, Sequence
from random import Random

from appliance.simulate.devices import BEHAVIOURS, Behaviour, SimulatedIdentity, SimulatedMessage

DEFAULT_MIX: Mapping[Behaviour, float] = {
    Behaviour.NORMAL: 80,
    Behaviour.NOISY: 4,
    Behaviour.DYING: 5,
    Behaviour.FLAPPING: 5,
    Behaviour.MALFORMED: 3,
    Behaviour.NEW: 3,
}


def parse_mix(text: str) -> dict[Behaviour, float]:
    """Weights from ``normal=80,noisy=5``; behaviours not named have no devices. Raises ValueError."""
    weights: dict[Behaviour, float] = {}
    for part in text.split(","):
        name, equals, number = part.strip().partition("=")
        if name not in BEHAVIOURS:
            raise ValueError(f"{name!r} is no behaviour: one of {', '.join(Behaviour)}")
        try:
            weight = float(number) if equals else 1.0
        except ValueError:
            raise ValueError(f"{number!r} is no weight of {name}: a number such as 80") from None
        if not 0 <= weight < 1e9:
            raise ValueError(f"the weight of {name} must be from 0 to 1e9")
        weights[Behaviour(name)] = weight
    if not any(weights.values()):
        raise ValueError("all weights are 0")
    return weights


def deal(mix: Mapping[Behaviour, float], devices: int) -> list[Behaviour]:
    """Return a behaviour for each of ``devices``, in proportion; each one of the mix at least once if there is room."""
    wanted = [behaviour for behaviour in Behaviour if mix.get(behaviour, 0) > 0]
    wanted.sort(key=lambda behaviour: -mix[behaviour])
    total = sum(mix[behaviour] for behaviour in wanted)
    counts = dict.fromkeys(wanted, 0)
    for behaviour in wanted[:devices]:
        counts[behaviour] = 1
    for _ in range(devices - sum(counts.values())):
        # whoever is furthest behind its share gets the next device
        counts[max(wanted, key=lambda behaviour: mix[behaviour] / total * devices - counts[behaviour])] += 1
    return [behaviour for behaviour in wanted for _ in range(counts[behaviour])]


class Fleet:
    """The devices of one run; each speaks when it is due in the fleet's own time, which starts at 0 seconds.

    The names of all but the new devices are the same in every run, so that a second run brings back the first one's
    devices; ``run`` is part of the names of the new ones.
    """

    def __init__(self, tenant: str, behaviours: Sequence[Behaviour], *, seed: int, run: str) -> None:
        self.behaviours = tuple(behaviours)
        self._devices = []
        self._due: list[tuple[float, int]] = []
        for index, behaviour in enumerate(behaviours):
            random = Random(f"{seed}/{index}")  # noqa: S311 - values of sensors that do not exist
            identity = SimulatedIdentity(tenant, f"sim-{index + 1:05d}", run)
            self._devices.append(BEHAVIOURS[behaviour](identity, random))
            self._due.append((random.random(), index))
        heapq.heapify(self._due)

    @property
    def due(self) -> float:
        """The fleet's time of the next message."""
        return self._due[0][0]

    def speak(self, now: float) -> tuple[int, SimulatedMessage]:
        """Return the number of the device whose turn it is, and its message, at ``now`` (seconds since 1970)."""
        due, index = self._due[0]
        message, pause = self._devices[index].speak(now)
        heapq.heapreplace(self._due, (due + pause, index))
        return index, message
