"""Presence over two days: devices with bursts, with late wills, and never heard, while we are away now and then.

The model plays broker, stream and clock: what devices send while we are away waits in the broker and comes at once
when we are back; after every second absence we have started anew. The claims: no device that goes on sending is
OFFLINE once its silence was heard a single time, one that left with its will is OFFLINE soon, and one that never sent
is NEW all the time.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from heapq import heappop, heappush
from itertools import count
from random import Random
from typing import Any

import pytest
import trio

from appliance.devices.live.interval_estimator import IntervalEstimator
from appliance.devices.live.listening import LAPSE
from appliance.devices.live.offline_statuses import LOOK_SECONDS, WAIT_SECONDS, OfflineStatuses
from appliance.devices.live.presence import ListeningPeriod, Presence, PresenceThresholds, Traffic, presence_at
from appliance.devices.live.state import DeviceKey, DeviceState
from appliance.devices.live.state_book import StateBook
from tests.support import soak

TENANT = "acme"
START = 1_795_000_000.0
DAY = 86_400.0
TWO_DAYS = 2 * DAY
QUICK = 250.0
"""A period up to which no interval needs to be known."""
LOOKS = 20.0
"""Seconds between two looks at the presence of everybody."""
LIMITS = PresenceThresholds(stale_after=90, offline_after=300)


class Offline(OfflineStatuses):
    """Without a database: nobody else hears these devices."""

    async def _heard(self, due: Iterable[Any]) -> dict[DeviceKey, int]:
        return {(waiting.state.tenant_id, waiting.state.device_id): 0 for waiting in due}


@dataclass
class Sender:
    """A device: what it does is in the events, what it is at the moment here."""

    state: DeviceState
    period: float = 0.0
    connections: int = 0
    learned_from: int = 0
    """``seen_at`` of the last write."""
    shown: bool = False
    """Whether we were there for a whole silence between two of its bursts."""
    leaves_at: float = float("inf")
    """When it leaves for good, with its will."""


@dataclass
class Model:
    """The world: events by their time, and the appliance under test."""

    random: Random
    now: float = START
    events: list[tuple[float, int, Callable[[], None]]] = field(default_factory=list)
    numbers: "count[int]" = field(default_factory=count)
    queue: list[tuple[Sender, bool]] = field(default_factory=list)
    away: bool = False
    periods: list[ListeningPeriod] = field(default_factory=list)
    began: float = START
    unbroken_since: float = 0.0
    senders: dict[str, Sender] = field(default_factory=dict)
    dirty: set[str] = field(default_factory=set)
    trusted: bool = True

    def __post_init__(self) -> None:
        self.states = StateBook(1000)
        self.offline = Offline(self.states, None, self)  # type: ignore[arg-type]

    def monotonic(self) -> float:
        return self.now

    def at(self, moment: float, event: Callable[[], None]) -> None:
        heappush(self.events, (moment, next(self.numbers), event))

    def add(self, name: str, period: float) -> Sender:
        self.senders[name] = sender = Sender(DeviceState(TENANT, name), period)
        return sender

    def sends(self, sender: Sender, *, offline: bool = False) -> None:
        """A message, or a will, reaches the broker."""
        self.queue.append((sender, offline))
        if not self.away:
            self._drain()

    def _drain(self) -> None:
        at = round(self.now * 1e6)
        for sender, offline in self.queue:
            if offline:
                self.offline.note(sender.state, at)
            else:
                sender.state.seen_at = sender.state.heard_at = at
                sender.state.offline_at = 0
                self.dirty.add(sender.state.device_id)
        self.queue.clear()

    def goes_away(self) -> None:
        self.away = True
        self.periods.append(ListeningPeriod(_moment(self.began), _moment(self.now)))

    def is_back(self) -> None:
        self.away, self.began, self.unbroken_since = False, self.now, self.now
        if len(self.periods) % 2:
            self._starts_anew()
        self._drain()

    def _starts_anew(self) -> None:
        """Keep of the intervals what a new process reads from the database."""
        for sender in self.senders.values():
            sender.state.interval_estimator = IntervalEstimator(sender.state.interval_estimator.interval)

    def write(self) -> None:
        """Learn from what came since the last write, as the writer does once a second."""
        unbroken_since = round(self.unbroken_since * 1e6)
        for name in self.dirty:
            sender, state = self.senders[name], self.senders[name].state
            state.interval_estimator.observe(state.seen_at, unbroken_since)
            gap = (state.seen_at - sender.learned_from) / 1e6
            sender.shown |= sender.learned_from > unbroken_since and gap > sender.period / 2
            sender.learned_from = state.seen_at
        self.dirty.clear()

    def connected(self, _tenant: str, device: str) -> bool:
        return self.senders[device].connections > 0

    def presences(self) -> dict[str, Presence]:
        listening = [*self.periods, ListeningPeriod(_moment(self.began), _moment(self.now))]
        return {
            name: presence_at(
                Traffic(
                    _moment_of(sender.state.seen_at),
                    _moment_of(sender.state.heard_at),
                    None,
                    _moment_of(sender.state.offline_at),
                    sender.state.interval_estimator.interval or None,
                ),
                None,
                listening,
                LIMITS,
            )
            for name, sender in self.senders.items()
        }

    async def run(self, until: float, look: Callable[[dict[str, Presence]], None]) -> None:
        """Let everything happen until then; ``look`` is called while we are there."""
        tick, next_look = START, START
        while self.now < until:
            self.now = min(tick, self.events[0][0] if self.events else tick)
            if self.events and self.events[0][0] <= self.now:
                heappop(self.events)[2]()
                continue
            tick += LOOK_SECONDS
            self.write()
            await self.offline.look(self.connected, caught_up=not self.away)
            if not self.away and self.now >= next_look:
                next_look = self.now + LOOKS
                look(self.presences())


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _moment_of(microseconds: int) -> datetime | None:
    return _moment(microseconds / 1e6) if microseconds else None


def bursts(model: Model, sender: Sender) -> None:
    """Three messages 1.2 s apart, every period, by a little more or less."""

    def burst() -> None:
        for number in range(3):
            model.at(model.now + 1.2 * number, lambda: model.sends(sender))
        model.at(model.now + sender.period * model.random.uniform(0.9, 1.1), burst)

    model.at(START + model.random.uniform(0, sender.period), burst)


def reconnects(model: Model, sender: Sender, *, keep_alive: float) -> None:
    """A message a period; now and then its link dies, it comes back by another, and the old one's will is late."""

    def connect() -> None:
        sender.connections += 1
        model.sends(sender)
        if model.now + sender.period < sender.leaves_at:
            model.at(model.now + model.random.uniform(600, 6000), lose_link)

    def lose_link() -> None:
        if model.now + 2 * keep_alive < sender.leaves_at:
            model.at(model.now + 1.5 * keep_alive, give_up)  # by then it is back
            model.at(model.now + model.random.uniform(0.5, 1.4) * keep_alive, connect)

    def give_up() -> None:
        sender.connections -= 1
        model.sends(sender, offline=True)

    def send() -> None:
        if model.now < sender.leaves_at:
            model.sends(sender)
            model.at(model.now + sender.period * model.random.uniform(0.9, 1.1), send)

    def leave() -> None:
        sender.connections = 0
        model.sends(sender, offline=True)

    model.at(START + 1, connect)
    model.at(START + model.random.uniform(1, sender.period), send)
    if sender.leaves_at < START + TWO_DAYS:
        model.at(sender.leaves_at, leave)


def outages(model: Model) -> None:
    """We are away some twenty times: for seconds, minutes, and once for hours."""
    moment = START
    for seconds in [*(model.random.uniform(LAPSE, 1200) for _ in range(19)), model.random.uniform(3 * 3600, 8 * 3600)]:
        moment += model.random.uniform(0.02, 0.09) * TWO_DAYS * 0.5
        if moment + seconds < START + TWO_DAYS:
            model.at(moment, model.goes_away)
            model.at(moment + seconds, model.is_back)
            moment += seconds


SEEDS = sorted(range(30), key=lambda seed: seed not in (13, 20))[: soak.times(3)]
"""First those that once showed a device OFFLINE which was silent a second time for as long as before."""


@pytest.mark.parametrize("seed", SEEDS)
def test_over_two_days_nobody_who_sends_is_offline_and_nobody_never_heard_is_anything_but_new(seed: int) -> None:
    model = Model(Random(seed))
    for number, period in enumerate((5.0, 30.0, 120.0, 900.0, 3600.0)):
        bursts(model, model.add(f"bursty-{number}", period))
    for number, (period, keep_alive) in enumerate(((2.0, 60.0), (45.0, 60.0), (250.0, 300.0), (60.0, 15.0))):
        reconnects(model, model.add(f"willed-{number}", period), keep_alive=keep_alive)
    leaving = model.add("leaving", 20.0)
    leaving.leaves_at = START + DAY * 1.9 + model.random.uniform(0, 600)
    reconnects(model, leaving, keep_alive=30.0)
    model.add("never", 0.0)
    outages(model)
    looks = 0
    false: list[tuple[float, str, Presence]] = []

    def look(presences: dict[str, Presence]) -> None:
        nonlocal looks
        looks += 1
        for name, presence in presences.items():
            sender = model.senders[name]
            if name == "never" or sender.state.seen_at == 0:
                right = presence is Presence.NEW
            elif model.now > sender.leaves_at:
                listened = model.now - max(sender.leaves_at, model.began)
                right = presence is Presence.OFFLINE or listened < WAIT_SECONDS + LOOK_SECONDS + LOOKS
            else:
                right = presence is not Presence.OFFLINE or (not sender.shown and sender.period > QUICK)
            if not right:
                false.append((model.now - START, name, presence))

    trio.run(model.run, START + TWO_DAYS, look)
    assert false == []
    assert looks > 5_000
    assert {name for name, sender in model.senders.items() if sender.shown} == model.senders.keys() - {"never"}
    assert len(model.periods) >= 10
