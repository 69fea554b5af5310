"""When the heartbeat URL is called, and with what."""

import random
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, cast

import trio
from trio.testing import MockClock

from appliance.ingest.batch import Batch, BatchOutcome
from appliance.metrics import Metrics
from appliance.watchdog.heartbeat import Heartbeat
from appliance.watchdog.probes import ProbeObserver
from appliance.watchdog.proof import Part, Proof
from appliance.watchdog.watchdog import Watchdog
from tests.support.couriers import SetClock

INTERVAL = 60.0
HOUR = 3600.0
NOTHING = BatchOutcome(Batch([], 0), [], [], [])


@dataclass
class PlayedUrl:
    """A URL that a test plays: each call is noted with its time."""

    calls: list[tuple[float, bool]] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    takes: float = 0.0
    trouble: str | None = None

    async def call(self, text: str, *, ok: bool, seconds: float) -> str | None:
        """Note the call, and answer as the test says."""
        self.calls.append((trio.current_time(), ok))
        self.texts.append(text)
        await trio.sleep(min(self.takes, seconds))
        return self.trouble if self.takes <= seconds else "timeout"


class Appliance:
    """The parts that a probe passes, played in time; one of them may stop."""

    def __init__(self, url: PlayedUrl) -> None:
        self.clock = SetClock()
        self.proof = Proof(self.clock, INTERVAL)
        self.passed = 0
        self.stopped: Part | None = None
        self.metrics = Metrics()
        heartbeat = cast("Heartbeat", url)
        self.watchdog = Watchdog(self.proof, lambda: self.passed, heartbeat, self.clock, self.metrics)
        self._chance = random.Random(20261130)

    async def run(self, nursery: trio.Nursery) -> None:
        """Start everything."""
        await nursery.start(self.watchdog.run)
        nursery.start_soon(self._broker)
        nursery.start_soon(self._stream)

    async def _broker(self) -> None:
        while True:
            await trio.sleep(10 + self._chance.random())
            if self.stopped is not Part.BROKER:
                self.passed += 1

    async def _stream(self) -> None:
        """Tick as the writer does; a restart of Postgres may take some seconds."""
        observer = ProbeObserver(self.proof, "one", self.clock)
        number = 0
        while True:
            await trio.sleep(3 + 6 * (self._chance.random() < 0.01))
            if self.stopped is Part.COMMIT or not observer.due(0):
                continue
            number += 1
            effect = observer.prepare(NOTHING, number)
            assert effect is not None
            effect.committed()
            await trio.sleep(self._chance.random() / 10)
            if self.stopped is not Part.OUTBOX:
                self.proof.taken([number])


async def test_a_healthy_day_never_fails(autojump_clock: MockClock) -> None:
    del autojump_clock
    url = PlayedUrl(takes=0.2)
    appliance = Appliance(url)
    began = trio.current_time()
    async with trio.open_nursery() as nursery:
        await appliance.run(nursery)
        await trio.sleep(24 * HOUR)
        nursery.cancel_scope.cancel()
    assert all(ok for _, ok in url.calls)
    times = [began, *(at for at, _ in url.calls)]
    assert max(after - before for before, after in pairwise(times)) <= INTERVAL + 5


async def stops(part: Part, **played: Any) -> tuple[list[tuple[float, bool]], PlayedUrl, Appliance]:
    """Stop a part after ten minutes for ten more; return the calls since, in seconds from the stop."""
    url = PlayedUrl(**played)
    appliance = Appliance(url)
    async with trio.open_nursery() as nursery:
        await appliance.run(nursery)
        await trio.sleep(600)
        appliance.stopped, stopped_at = part, trio.current_time()
        await trio.sleep(600)
        appliance.stopped = None
        await trio.sleep(90)
        nursery.cancel_scope.cancel()
    return [(at - stopped_at, ok) for at, ok in url.calls if at > stopped_at], url, appliance


async def test_a_part_that_stops_is_told_within_two_intervals_and_so_is_its_return(autojump_clock: MockClock) -> None:
    del autojump_clock
    for part in (Part.BROKER, Part.COMMIT, Part.OUTBOX):
        calls, url, _ = await stops(part)
        first = min(at for at, ok in calls if not ok)
        assert first <= 2 * INTERVAL
        failing = [at for at, ok in calls if not ok]
        assert len(failing) >= 600 / INTERVAL - 2
        assert min(at for at, ok in calls if ok and at > first) <= 600 + INTERVAL
        assert any(f"Missing: {part}" in text for text in url.texts)


async def test_a_url_that_hangs_delays_the_failure_by_less_than_an_interval(autojump_clock: MockClock) -> None:
    del autojump_clock
    calls, _, appliance = await stops(Part.COMMIT, takes=HOUR)
    assert min(at for at, ok in calls if not ok) <= 2 * INTERVAL
    lost = appliance.metrics.registry.get_sample_value("appliance_heartbeats_total", {"outcome": "lost"})
    assert lost
    called = appliance.watchdog.view().called
    assert called is not None
    assert called.trouble == "timeout"


async def test_a_call_that_fails_is_made_once_more(autojump_clock: MockClock) -> None:
    del autojump_clock
    url = PlayedUrl(trouble="status: answered 500")
    appliance = Appliance(url)
    async with trio.open_nursery() as nursery:
        await appliance.run(nursery)
        await trio.sleep(INTERVAL - 1)
        nursery.cancel_scope.cancel()
    first, second = (at for at, _ in url.calls)
    assert 0 < second - first < INTERVAL / 2


async def test_the_metric_and_the_view_tell_the_age(autojump_clock: MockClock) -> None:
    del autojump_clock
    appliance = Appliance(PlayedUrl())
    async with trio.open_nursery() as nursery:
        await appliance.run(nursery)
        assert appliance.watchdog.view().proven_seconds is None
        await trio.sleep(120)
        proven = appliance.watchdog.view()
        assert proven.proven_seconds is not None
        assert proven.proven_seconds < INTERVAL
        sample = appliance.metrics.registry.get_sample_value("appliance_end_to_end_proven_seconds")
        assert sample == proven.proven_seconds
        nursery.cancel_scope.cancel()
