"""kill -9 at any moment: a reading and the alert that it opens are both there, or neither (P12)."""

import random
import time
from collections.abc import Iterator

import psycopg
import pytest
import trio

from appliance.db.roles import OWNER
from appliance.mqtt.client import Client
from tests.support import soak
from tests.support.appliance_process import ApplianceProcess
from tests.support.publisher import TENANT, Publisher, client, settled

MESSAGES = soak.times(5000)
KILLS = soak.times(2)
FAILPOINT_KILLS = soak.times(2)
EVERY = 100
"""Messages from one breach to the next: 7 is prime to the number of devices, so that each has its turn."""
STARTED = "SELECT device_id, (extract(epoch FROM started_at) * 1000)::bigint FROM fleet_alert"
RULE = """
INSERT INTO alert_rules (tenant_id, name, severity, kind, parameters, created_at, updated_at)
VALUES (%s, 'Too warm', 'high', 'threshold', '{"metric": "temperature", "operator": "GT", "value": 25}', now(), now())
"""


class Spiky(Publisher):
    """A sender whose readings breach now and then, each for one message; it records which in ``breaches``."""

    def __init__(self) -> None:
        super().__init__(TENANT, (int(time.time()) - 3600) * 1000)
        self.breaches: set[tuple[str, int]] = set()

    def messages(self, count: int) -> Iterator[tuple[str, bytes]]:
        """Yield the next messages."""
        for number, (topic, payload) in enumerate(super().messages(count), len(self.sent)):
            if number % EVERY == 7 + number // EVERY % 10:
                device, ts, _ = max(self.sent, key=lambda entry: entry[2])
                self.breaches.add((device, ts))
                yield topic, payload.replace(b"21.5", b"31.5")
            else:
                yield topic, payload


async def stream(sender: Spiky, through: Client, enough: trio.Event) -> None:
    """Send without an end until it is enough."""
    while not (enough.is_set() and len(sender.sent) >= MESSAGES):
        await sender.send(through, 100)
        await trio.sleep(0.01)


def add_rule(appliance: ApplianceProcess) -> None:
    with psycopg.connect(appliance.conninfo(OWNER), autocommit=True) as connection:
        connection.execute(RULE, [TENANT])


def opened(appliance: ApplianceProcess) -> list[tuple[str, int]]:
    """Return device and time of all alerts, as a sender records them."""
    return [
        (device, ts)
        for device, ts in appliance.query(
            "SELECT device_id, (extract(epoch FROM started_at) * 1000)::bigint FROM fleet_alert"
        )
    ]


def check_both_or_neither(appliance: ApplianceProcess) -> None:
    """One snapshot: each breach in the table has its alert, each alert its reading."""
    odd = appliance.query(
        "SELECT t.device_id, t.ts, a.id FROM"
        " (SELECT device_id, ts FROM telemetry WHERE (metrics ->> 'temperature')::float8 > 25) AS t"
        " FULL JOIN fleet_alert AS a ON (a.device_id, a.started_at) = (t.device_id, t.ts)"
        " WHERE t.ts IS NULL OR a.id IS NULL"
    )
    assert odd == []


async def check_everything(appliance: ApplianceProcess, sender: Spiky) -> None:
    await settled(appliance, len(sender.sent))
    found = opened(appliance)
    assert len(found) == len(set(found))
    assert set(found) == sender.breaches
    assert appliance.query("SELECT count(*) FROM fleet_alert WHERE status <> 'CLOSED'")[0][0] <= 1
    assert appliance.query("SELECT count(*) FROM alert_events WHERE kind = 'opened'") == [(len(found),)]


async def test_killed_at_random_moments_each_breach_is_one_alert(appliance: ApplianceProcess) -> None:
    chance = random.Random(5)
    appliance.start()
    appliance.tenant(TENANT)
    add_rule(appliance)
    sender, enough = Spiky(), trio.Event()
    async with client(appliance, "sender") as connection, trio.open_nursery() as nursery:
        nursery.start_soon(stream, sender, connection, enough)
        for _ in range(KILLS):
            await trio.sleep(0.3 + chance.random() * 0.5)
            appliance.kill()
            await trio.to_thread.run_sync(appliance.start)
            check_both_or_neither(appliance)
        enough.set()
    await check_everything(appliance, sender)
    assert len(sender.breaches) >= MESSAGES // EVERY - 1


@pytest.mark.parametrize("failpoint", ["before_commit", "after_commit"])
async def test_killed_at_a_failpoint_reading_and_alert_are_both_there_or_neither(
    appliance: ApplianceProcess, failpoint: str
) -> None:
    chance = random.Random(failpoint)
    appliance.start()
    appliance.tenant(TENANT)
    add_rule(appliance)
    appliance.kill()
    sender, enough = Spiky(), trio.Event()
    async with client(appliance, "sender") as connection, trio.open_nursery() as nursery:
        nursery.start_soon(stream, sender, connection, enough)
        for _ in range(FAILPOINT_KILLS):
            appliance.launch(EDGE_FAILPOINT=f"{failpoint}:{chance.randrange(1, 6)}")
            assert appliance.process is not None
            code = await trio.to_thread.run_sync(appliance.process.wait, 60)
            assert code == -9, appliance.tail()
        appliance.start()
        check_both_or_neither(appliance)
        enough.set()
    await check_everything(appliance, sender)
