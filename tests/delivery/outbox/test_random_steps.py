"""Whatever happens to alerts and to their route, in whatever order: nothing is lost, and nothing is told twice."""

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import time
from typing import Any

import pytest

from appliance.delivery.notices.notice import Notice
from appliance.delivery.outbox.job import JobEvent
from appliance.delivery.senders.sender import Outcome, Target
from tests.delivery.outbox.test_couriers import alert, at, receive
from tests.support import soak
from tests.support.couriers import (
    BROKEN,
    DELIVERED,
    NOON,
    TIMED_OUT,
    UNREACHED,
    Couriers,
    PlayedSender,
    PlayedWindows,
    SetClock,
    acknowledge,
    close,
    open_couriers,
    rows,
    undo,
    unsilence,
)
from tests.support.postgres_server import Database

STEPS = 12
SETTLING = (1, 61, 61, 1000, 3000, 61, 61, 90_000, 61, 61)
"""Seconds that pass at the end, in which everything is told that is to be told."""
OPEN, REMINDER, CLOSED = JobEvent.OPEN, JobEvent.REMINDER, JobEvent.CLOSED


@dataclass
class World:
    """Alerts as somebody sees them who knows nothing of jobs."""

    database: Database
    chance: random.Random
    clock: SetClock
    windows: PlayedWindows
    route: dict[str, Any]
    statuses: dict[int, str] = field(default_factory=dict)
    unreminded: set[int] = field(default_factory=set)
    """Alerts whose reminders a silence has ended, or that the route may have missed while it was off."""
    untold: set[int] = field(default_factory=set)
    """Alerts that the route may have missed while it was off."""
    on: bool = True

    def one(self, *statuses: str) -> int | None:
        """Return one of the alerts of these statuses."""
        found = [one for one, status in self.statuses.items() if status in statuses]
        return self.chance.choice(found) if found else None

    def open_some(self) -> None:
        for _ in range(self.chance.choice([1, 1, 3])):
            due_at = at(self.clock.at - NOON + self.chance.choice([0, 0, 60]))
            flapping = {"fingerprint": "flapping"} if self.chance.random() < 0.3 and not self._flapping() else {}
            self.statuses[alert(self.database, self.clock.at - NOON, due_at=due_at, **flapping)] = "OPEN"

    def _flapping(self) -> bool:
        query = "SELECT 1 FROM fleet_alert WHERE fingerprint = 'flapping' AND status <> 'CLOSED'"
        return bool(rows(self.database, query))

    def step(self, done: Callable[[Database, int, float], None], status: str, *present: str) -> None:
        """Take a step with one of the alerts that can take it."""
        one = self.one(*present)
        if one is not None:
            done(self.database, one, self.clock.at)
            self.statuses[one] = status

    def silence(self) -> None:
        one = self.one("OPEN", "ACKNOWLEDGED")
        if one is not None:
            until = at(self.clock.at - NOON + self.chance.choice([100, 1000]))
            rows(self.database, "UPDATE fleet_alert SET silenced_until = %s WHERE id = %s", until, one)
            self.unreminded.add(one)

    def unsilence(self) -> None:
        one = self.one("OPEN", "ACKNOWLEDGED")
        if one is not None:
            unsilence(self.database, one, self.clock.at)
            self.unreminded -= {one} - self.untold

    def switch(self, *, on: bool) -> None:
        self.on = on
        rows(self.database, "UPDATE integration_routes SET enabled = %s, version = version + 1", on)
        self.untold |= set(self.statuses)
        self.unreminded |= self.untold

    def window(self, couriers: Couriers) -> None:
        self.windows.ends = None if self.windows.ends else self.clock.at + self.chance.choice([200, 2000])
        couriers.dispatcher.routes_changed('{"tenants": ["acme"]}')

    async def act(self, couriers: Couriers) -> None:
        """Let something happen."""
        steps: list[Callable[[], None]] = [
            self.open_some, self.open_some, self.silence, self.unsilence,
            lambda: self.step(close, "CLOSED", "OPEN", "ACKNOWLEDGED"),
            lambda: self.step(acknowledge, "ACKNOWLEDGED", "OPEN"),
            lambda: self.step(undo, "OPEN", "ACKNOWLEDGED"),
            lambda: self.switch(on=not self.on),
            lambda: self.window(couriers),
        ]  # fmt: skip
        self.chance.choice(steps)()
        if self.chance.random() < 0.4:
            seconds = self.chance.choice([1, 61, 301, 700])
            if self.windows.ends and self.windows.ends <= self.clock.at + seconds:
                self.windows.ends = None
            await couriers.pass_time(seconds)

    def faults(self, one: int, heard: list[JobEvent]) -> list[str]:
        """Return what is wrong with what was told of an alert."""
        status, told = self.statuses[one], OPEN in heard or REMINDER in heard
        found = [f"{event} twice" for event in (OPEN, CLOSED) if heard.count(event) > 1]
        if CLOSED in heard and heard[-1] is not CLOSED:
            found.append("something after its end")
        if status == "CLOSED" and told and CLOSED not in heard:
            found.append("no end")
        if status == "OPEN" and not told and one not in self.untold:
            found.append("not told")
        if status == "OPEN" and self.route["remind_minutes"] and REMINDER not in heard and one not in self.unreminded:
            found.append("not reminded of")
        return found


def any_route(chance: random.Random) -> dict[str, Any]:
    quiet = {
        "quiet_from": time(12, 5),
        "quiet_until": time(12, 40),
        "quiet_zone": "UTC",
        "quiet_spares_critical": False,
    }
    return {
        "delay_seconds": chance.choice([0, 60, 900]),
        "remind_minutes": chance.choice([0, 10, 30]),
        "throttle_seconds": chance.choice([0, 0, 600]),
        "burst": chance.choice([0, 1, 2, 10]),
        **(quiet if chance.random() < 0.4 else {}),
    }


@pytest.mark.parametrize("seed", range(1, 1 + soak.times(1)))
async def test_nothing_is_lost_and_nothing_is_told_twice(database: Database, seed: int) -> None:
    chance = random.Random(seed)
    world = World(database, chance, SetClock(), PlayedWindows(), any_route(chance))
    receive(database, **world.route)
    heard: dict[int, list[JobEvent]] = {}
    arrived: set[object] = set()
    reliable = chance.random() < 0.5

    async def answer(_target: Target, notice: Notice) -> Outcome:
        outcome = DELIVERED if reliable else chance.choice([DELIVERED, DELIVERED, TIMED_OUT, UNREACHED, BROKEN])
        if outcome is DELIVERED and notice.message_id not in arrived:
            arrived.add(notice.message_id)
            for one in (notice.alert, *notice.merged):
                heard.setdefault(one.alert_id, []).append(notice.event)
        return outcome

    sender = PlayedSender(answer, may_merge=chance.random() < 0.7)
    async with open_couriers(database, sender, clock=world.clock, windows=world.windows) as couriers:
        for _ in range(STEPS):
            await world.act(couriers)
        reliable = True
        world.switch(on=True) if not world.on else None
        world.windows.ends = None
        couriers.dispatcher.routes_changed('{"tenants": ["acme"]}')
        for seconds in SETTLING:
            await couriers.pass_time(seconds)
    faults = {one: found for one in world.statuses if (found := world.faults(one, heard.get(one, [])))}
    assert faults == {}, (world.route, heard)
    waiting = rows(database, "SELECT alert_id, event FROM delivery_jobs WHERE status IN ('PENDING', 'PROCESSING')")
    assert {(one, event) for one, event in waiting if event != "REMINDER" or world.statuses[one] != "OPEN"} == set()
