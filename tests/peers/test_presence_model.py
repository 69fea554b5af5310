"""Presence of peers' devices over two days: each appliance is away now and then, one of them for hours.

The model plays appliances and devices: what a device sends while its appliance is away waits in the broker and comes at
once when that is back. The claims: no device that goes on sending is ever OFFLINE, whoever is away, and one that went
silent is OFFLINE once the appliance that heard it last listened to its silence without a break for long enough, and no
sooner.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from random import Random
from typing import Any

import psycopg
import pytest

from tests.support import soak
from tests.support.pipeline import TENANT, furnish
from tests.support.postgres_server import Database

START = 1_795_000_000.0
HOUR = 3600.0
TWO_DAYS = 48 * HOUR
OFFLINE_AFTER, OFFLINE_INTERVALS = 300.0, 10
LOOKS = 100
PERIODS = (5.0, 60.0, 600.0, 3600.0)

PRESENCES = """
SELECT d.device_id, presence_of(s, d.interval_seconds, own), presence_of(s, d.interval_seconds, everybody)
FROM device_registry AS d JOIN device_state AS s USING (tenant_id, device_id)
JOIN presence_watch AS own ON own.instance = coalesce(s.heard_by, '')
JOIN presence_watch AS everybody ON everybody.instance = ''
"""

Outages = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Device:
    name: str
    period: float
    phase: float
    instances: tuple[str, str]
    """Where it sends before and after it moves."""
    moves_at: float
    silent_from: float

    def last_heard(self, outages: dict[str, Outages], now: float) -> tuple[float, str] | None:
        """Return when an appliance received something of it last, and which one."""
        sent, first = min(now, self.silent_from), START + self.phase
        while sent >= first:
            sent = first + (sent - first) // self.period * self.period
            instance = self.instances[sent >= self.moves_at]
            gone, back = next((one for one in outages[instance] if one[0] <= sent < one[1]), (0.0, sent))
            if back <= now:
                return back, instance
            sent = gone - 0.001  # it still waits in the broker, and so does all that it sent since then
        return None


def _stretches(outages: Outages, now: float) -> list[tuple[float, float]]:
    """Return when an appliance listened until now."""
    begins = [START, *(back for _, back in outages)]
    ends = [*(gone for gone, _ in outages), now]
    return [(began, min(ended, now)) for began, ended in zip(begins, ends, strict=True) if began < now]


def _longest_silence(outages: Outages, since: float, now: float) -> float:
    return max((ended - max(began, since) for began, ended in _stretches(outages, now)), default=0.0)


def _outages(random: Random, number: int, hours: float) -> Outages:
    """Return some outages of minutes, and a long one."""
    starts = sorted(random.uniform(0.03, 0.95) * TWO_DAYS for _ in range(number))
    lengths = [random.uniform(20, 1500) for _ in starts]
    lengths[random.randrange(number)] = hours * HOUR
    outages: list[tuple[float, float]] = []
    for start, length in zip(starts, lengths, strict=True):
        gone = START + start
        if not outages or gone > outages[-1][1] + 60:
            outages.append((gone, gone + length))
    return outages


def _devices(random: Random) -> list[Device]:
    never = START + 10 * TWO_DAYS
    here = [
        Device(f"{instance}-{period:.0f}", period, random.uniform(0, period), (instance, instance), never, never)
        for instance in ("one", "two")
        for period in PERIODS
    ]
    silent = [
        Device(f"silent-{instance}-{n}", 30.0, random.uniform(0, 30), (instance, instance), never, START + at)
        for instance in ("one", "two")
        for n, at in enumerate(random.uniform(0.1, 0.8) * TWO_DAYS for _ in range(3))
    ]
    moves = START + random.uniform(0.3, 0.7) * TWO_DAYS
    return [*here, *silent, Device("roaming", 60.0, 1.0, ("two", "one"), moves, never)]


def _write(connection: psycopg.Connection, devices: Sequence[Device], outages: dict[str, Outages], now: float) -> None:
    """Make the database what the appliances have written until now."""
    cursor = connection.cursor()
    cursor.execute("DELETE FROM listening")
    cursor.executemany(
        "INSERT INTO listening (instance, began_at, ended_at) VALUES (%s, %s, %s)",
        [(name, _at(began), _at(ended)) for name, own in outages.items() for began, ended in _stretches(own, now)],
    )
    heard = [(one.name, one.last_heard(outages, now)) for one in devices]
    cursor.executemany(
        """
        INSERT INTO device_state (tenant_id, device_id, last_seen_at, last_heard_at, heard_by)
        VALUES (%(tenant)s, %(device)s, %(at)s, %(at)s, %(by)s) ON CONFLICT (tenant_id, device_id) DO UPDATE
        SET last_seen_at = EXCLUDED.last_seen_at, last_heard_at = EXCLUDED.last_heard_at, heard_by = EXCLUDED.heard_by
        """,
        [
            {"tenant": TENANT, "device": name, "at": _at(found[0]), "by": found[1]}
            for name, found in heard
            if found is not None
        ],
    )


def _at(moment: float) -> datetime:
    return datetime.fromtimestamp(moment, UTC)


def _register(connection: psycopg.Connection, devices: Sequence[Device]) -> None:
    connection.execute("INSERT INTO ingest_instances (instance) VALUES ('one'), ('two') ON CONFLICT DO NOTHING")
    connection.cursor().executemany(
        """
        INSERT INTO device_registry (created_at, updated_at, tenant_id, device_id, status, interval_seconds)
        VALUES (now(), now(), %s, %s, 'INACTIVE', %s)
        """,
        [(TENANT, one.name, one.period) for one in devices],
    )


@pytest.mark.parametrize("seed", range(soak.times(2)))
async def test_over_two_days_only_devices_that_went_silent_are_offline_and_only_once_their_own_appliance_heard_it(
    database: Database, seed: int
) -> None:
    await furnish(database)
    random = Random(seed)
    outages = {"one": _outages(random, 8, 2.0), "two": _outages(random, 5, 11.0)}
    devices = {one.name: one for one in _devices(random)}
    wrong: list[tuple[Any, ...]] = []
    laid_together = fell_silent = 0
    with psycopg.connect(database.conninfo(), autocommit=True) as connection:
        _register(connection, list(devices.values()))
        for now in sorted(START + random.uniform(0.01, 1) * TWO_DAYS for _ in range(LOOKS)):
            _write(connection, list(devices.values()), outages, now)
            for name, presence, by_everybody in connection.execute(PRESENCES).fetchall():
                device = devices[name]
                found = device.last_heard(outages, now)
                assert found is not None
                silence = _longest_silence(outages[found[1]], found[0], now)
                offline = now > device.silent_from and silence >= max(OFFLINE_INTERVALS * device.period, OFFLINE_AFTER)
                if (presence == "OFFLINE") is not offline:
                    wrong.append((now - START, name, presence, silence))
                laid_together += by_everybody == "OFFLINE" and not offline
                fell_silent += offline
    assert wrong == []
    assert laid_together > 10, "the model has what it is for: all listening laid together calls them OFFLINE"
    assert fell_silent > 10
