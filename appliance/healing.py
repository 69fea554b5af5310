"""Heals what a wrong clock has written, once it is right again: times ahead of service time.

A time that lies after the latest possible one was written by a wrong clock. It moves by the step that service time has
just made; where that is unknown, as at a start, it becomes unknown, or the present where there must be one. What was
written while service time was behind is right enough and stays, but sessions and links, which would end by the step,
go on. Readings, counts and the audit keep what was written: they say what happened then.

It is done at the start, before anything is read or decided by time, and whenever a doubt has ended.
"""

import math
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

import structlog
import trio

from appliance.alerts import healing as alert_healing
from appliance.clock import Correction
from appliance.db.pool import Pool
from appliance.db.trio_psycopg import Connection
from appliance.delivery import healing as delivery_healing
from appliance.devices import healing as device_healing
from appliance.ingest.quarantine import healing as quarantine_healing
from appliance.people import healing as people_healing
from appliance.runtime.periodic import every
from appliance.service_clock.service_time import Step

AGAIN_SECONDS = 30.0
"""Seconds after which it is done once more: what was in flight at the step is committed by then."""

log = structlog.get_logger(__name__)


async def heal(pool: Pool, instance: str, now: float, step: Step | None, skew: float, *, again: bool = False) -> None:
    """Heal once. ``skew``: seconds by which a right time may lie ahead; ``again``: the step was healed before.

    Raises psycopg.Error and OSError.
    """
    correction = _correction(now, step, skew)
    async with pool.connection() as connection, connection.transaction():
        # Quarantine before the states, as every batch and replay locks them; the row of the instance last of all.
        messages = await quarantine_healing.heal(connection, correction)
        sessions = await people_healing.heal(connection, correction)
        if step is not None and step.after > step.before and not again:
            sessions += await _carry(connection, step)
        states = await device_healing.heal(connection, instance, correction)
    async with pool.connection() as connection, connection.transaction():
        alerts = await alert_healing.heal(connection, correction)
    async with pool.connection() as connection, connection.transaction():
        deliveries = await delivery_healing.heal(connection, correction)
    healed = {"devices": states, "messages": messages, "sessions": sessions, "alerts": alerts, "deliveries": deliveries}
    if any(healed.values()):
        log.warning("times of a wrong clock healed", **healed)


def _correction(now: float, step: Step | None, skew: float) -> Correction:
    at = datetime.fromtimestamp(now, UTC)
    latest = at + timedelta(seconds=skew)
    return Correction(at, latest, None if step is None else timedelta(seconds=step.after - step.before))


async def _carry(connection: Connection[Any], step: Step) -> int:
    since, before = datetime.fromtimestamp(step.since, UTC), datetime.fromtimestamp(step.before, UTC)
    return await people_healing.carry(connection, since, before, timedelta(seconds=step.after - step.before))


class HealedClock(Protocol):
    """A clock whose settled time can be held: :class:`appliance.service_clock.clock.ServiceClock`."""

    def now(self) -> float: ...
    def monotonic(self) -> float: ...
    def hold(self, at: float) -> None: ...
    def release(self) -> None: ...


class Healing:
    """Heals whenever a doubt ends; while Postgres is away, as soon as it is back. Nothing ends before."""

    def __init__(self, pool: Pool, instance: str, clock: HealedClock, skew: float, healed: Callable[[], None]) -> None:
        """``healed`` is called after each time, for what was read from the database before."""
        self._pool = pool
        self._instance = instance
        self._clock = clock
        self._skew = skew
        self._healed = healed
        self._due: list[Step] = []
        self._again: list[tuple[float, Step]] = []
        """Steps that are healed once more, and when, in monotonic seconds."""
        self._noted = trio.Event()

    def note(self, step: Step | None) -> None:
        """Take note that a doubt has begun (None), or ended with ``step``."""
        if step is not None:
            self._clock.hold(step.since)
            self._due.append(step)
            self._noted.set()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Heal what was noted, for ever."""
        await every(AGAIN_SECONDS, self._make_round, chore="healing", task_status=task_status)

    async def _make_round(self) -> float:
        """Heal what is due, then wait for what is due next."""
        while self._due:
            await self._heal(self._due[0], again=False)
            self._again.append((self._clock.monotonic() + AGAIN_SECONDS, self._due.pop(0)))
        self._clock.release()
        while self._again and self._again[0][0] <= self._clock.monotonic():
            await self._heal(self._again[0][1], again=True)
            del self._again[0]
        wait = self._again[0][0] - self._clock.monotonic() if self._again else math.inf
        with trio.move_on_after(max(0.0, wait)):
            await self._noted.wait()
        self._noted = trio.Event()
        return 0.0

    async def _heal(self, step: Step, *, again: bool) -> None:
        await heal(self._pool, self._instance, self._clock.now(), step, self._skew, again=again)
        self._healed()
