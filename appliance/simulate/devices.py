"""The behaviours of simulated devices: the next message, and how long the device is silent after it. Pure and seeded.

Seconds here are the fleet's own time, which the shell replays at the requested rate.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from random import Random
from typing import Protocol

from appliance.reading import Kind, Reason
from appliance.simulate.refused import CATALOGUE, Speaker
from appliance.simulate.sensors import FULL_VOLTS, Battery, Climate


class Behaviour(StrEnum):
    """The kinds of device that ``--mix`` names."""

    NORMAL = "normal"  # a reading a second, a heartbeat now and then
    NOISY = "noisy"  # bursts far above its rate, with spikes in its values
    DYING = "dying"  # its battery runs down, readings grow rare, then silence until somebody changes the battery
    FLAPPING = "flapping"  # sends online, readings for some seconds, offline, and again
    MALFORMED = "malformed"  # nothing it sends can be accepted
    NEW = "new"  # each message comes from a device that was never seen


@dataclass(frozen=True, slots=True)
class SimulatedMessage:
    """One message. ``ts``: its own time in milliseconds since 1970, None if it carries none that can be read.

    ``refusal`` is the reason that the message itself earns, None if there is none: a full subscription or a
    limiter may still refuse it.
    """

    topic: str
    payload: bytes
    ts: int | None
    seq: int
    refusal: Reason | None = None


class SimulatedDevice(Protocol):
    """One device, or a source of ever new ones."""

    def speak(self, now: float) -> tuple[SimulatedMessage, float]:
        """Return the next message, at ``now`` (seconds since 1970), and the seconds until the one after it."""
        ...


@dataclass(frozen=True, slots=True)
class SimulatedIdentity:
    """The identity of a device. ``run`` marks the run, so that new devices are new in each run."""

    tenant: str
    name: str
    run: str


class _Voice:
    """A device's sensors and its numbering."""

    def __init__(self, identity: SimulatedIdentity, random: Random, battery: Battery) -> None:
        self.identity = identity
        self.climate = Climate.somewhere(random)
        self.battery = battery
        self._seq = -1

    def speaker(self, now: float) -> Speaker:
        """Return the speaker of its next message."""
        self._seq += 1
        return Speaker(self.identity.tenant, self.identity.name, self._seq, round(now * 1000))

    def telemetry(self, now: float, spike: float = 0.0) -> SimulatedMessage:
        """Return a reading; ``spike`` is added to the temperature."""
        speaker = self.speaker(now)
        temperature, humidity = self.climate.read(now)
        body = speaker.body(temperature=round(temperature + spike, 2), humidity=humidity, battery=self.battery.read())
        return SimulatedMessage(speaker.topic(), body, speaker.ts, speaker.seq)

    def heartbeat(self, now: float) -> SimulatedMessage:
        """Return a heartbeat without values."""
        speaker = self.speaker(now)
        return SimulatedMessage(speaker.topic(Kind.HEARTBEAT), speaker.body(), speaker.ts, speaker.seq)

    def status(self, now: float, word: str) -> SimulatedMessage:
        """Return a status message: ``online`` or ``offline``."""
        speaker = self.speaker(now)
        return SimulatedMessage(speaker.topic(Kind.STATUS), word.encode(), None, speaker.seq)


class Normal:
    """A reading a second; every 30th message is a heartbeat."""

    def __init__(self, identity: SimulatedIdentity, random: Random) -> None:
        self._voice = _Voice(identity, random, Battery(random.uniform(3.6, FULL_VOLTS), drain=1e-6))
        self._random = random
        self._count = 0

    def speak(self, now: float) -> tuple[SimulatedMessage, float]:
        """See ``SimulatedDevice``."""
        self._count += 1
        message = self._voice.telemetry(now) if self._count % 30 else self._voice.heartbeat(now)
        return message, self._random.uniform(0.9, 1.1)


class Noisy:
    """Bursts of 100 messages, 50 a second, then 10 s of silence; every 20th value is a spike."""

    def __init__(self, identity: SimulatedIdentity, random: Random) -> None:
        self._voice = _Voice(identity, random, Battery(FULL_VOLTS, drain=1e-5))
        self._random = random
        self._left = 100

    def speak(self, now: float) -> tuple[SimulatedMessage, float]:
        """See ``SimulatedDevice``."""
        spike = self._random.choice((-40.0, 60.0)) if self._random.random() < 0.05 else self._random.gauss(0, 1.5)
        self._left -= 1
        if self._left:
            return self._voice.telemetry(now, spike), 0.02
        self._left = 100
        return self._voice.telemetry(now, spike), 10.0


class Dying:
    """Empty after some 60 readings, which grow rare from one a second to one in five; silent for two minutes then."""

    def __init__(self, identity: SimulatedIdentity, random: Random) -> None:
        self._voice = _Voice(identity, random, Battery(random.uniform(3.5, FULL_VOLTS), drain=1 / 60))

    def speak(self, now: float) -> tuple[SimulatedMessage, float]:
        """See ``SimulatedDevice``."""
        message = self._voice.telemetry(now)
        charge = self._voice.battery.charge
        if charge:
            return message, 1 + 4 * (1 - charge)
        self._voice.battery.volts = FULL_VOLTS
        return message, 120.0


class Flapping:
    """``online``, 3 to 10 readings, ``offline``, 5 to 20 s away."""

    def __init__(self, identity: SimulatedIdentity, random: Random) -> None:
        self._voice = _Voice(identity, random, Battery(random.uniform(3.6, FULL_VOLTS), drain=1e-6))
        self._random = random
        self._left = 0
        self._online = False

    def speak(self, now: float) -> tuple[SimulatedMessage, float]:
        """See ``SimulatedDevice``."""
        if not self._online:
            self._online = True
            self._left = self._random.randint(3, 10)
            return self._voice.status(now, "online"), 0.2
        if self._left:
            self._left -= 1
            return self._voice.telemetry(now), 1.0
        self._online = False
        return self._voice.status(now, "offline"), self._random.uniform(5, 20)


class Malformed:
    """Sends every refused message of the catalogue, one every 2 s, starting anywhere in it."""

    def __init__(self, identity: SimulatedIdentity, random: Random) -> None:
        self._voice = _Voice(identity, random, Battery(FULL_VOLTS, drain=0))
        self._next = random.randrange(len(CATALOGUE))

    def speak(self, now: float) -> tuple[SimulatedMessage, float]:
        """See ``SimulatedDevice``."""
        example = CATALOGUE[self._next]
        self._next = (self._next + 1) % len(CATALOGUE)
        speaker = self._voice.speaker(now)
        topic, payload = example.message(speaker)
        return SimulatedMessage(topic, payload, None, speaker.seq, example.reason), 2.0


class New:
    """Every message is the first one of a device that no run has seen before."""

    def __init__(self, identity: SimulatedIdentity, random: Random) -> None:
        self._identity = identity
        self._random = random
        self._count = 0

    def speak(self, now: float) -> tuple[SimulatedMessage, float]:
        """See ``SimulatedDevice``."""
        self._count += 1
        own = self._identity
        identity = SimulatedIdentity(own.tenant, f"{own.name}-{own.run}-{self._count:05d}", own.run)
        return _Voice(identity, self._random, Battery(FULL_VOLTS, drain=0)).telemetry(now), 2.0


BEHAVIOURS: dict[Behaviour, Callable[[SimulatedIdentity, Random], SimulatedDevice]] = {
    Behaviour.NORMAL: Normal,
    Behaviour.NOISY: Noisy,
    Behaviour.DYING: Dying,
    Behaviour.FLAPPING: Flapping,
    Behaviour.MALFORMED: Malformed,
    Behaviour.NEW: New,
}
