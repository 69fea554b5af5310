"""Couriers of two processes on one database: what is counted, is counted over both."""

from datetime import UTC, datetime
from typing import Any

import psycopg
import trio

from appliance.delivery.outbox.job import JobEvent
from tests.support.alerts import insert_alert, insert_event
from tests.support.couriers import Couriers, PlayedSender, SetClock, open_couriers, states
from tests.support.postgres_server import Database
from tests.support.routes import add_integration, add_route

FLAPS = 300
HOUR = 3600.0
LOOKS = 6
"""Moments of the hour at which the couriers have seen everything so far."""
THROTTLE = 600
FLAPPING = {"fingerprint": "rule:x:d1"}


async def rest(*couriers: Couriers) -> None:
    async with trio.open_nursery() as nursery:
        for one in couriers:
            nursery.start_soon(one.rest)


async def test_an_hour_of_flaps_is_told_once_in_the_throttle_and_the_last_state_is_told(database: Database) -> None:
    add_route(database, add_integration(database), throttle_seconds=THROTTLE, burst=0)
    clock, sent = SetClock(), PlayedSender()
    begun = clock.at
    async with (
        open_couriers(database, sent, clock=clock, instance="one") as one,
        open_couriers(database, sent, clock=clock, instance="two") as two,
    ):
        with psycopg.connect(database.conninfo(), autocommit=True) as connection:
            for number in range(FLAPS):
                clock.at = begun + number * HOUR / FLAPS
                alert = insert_alert(connection, created_at=datetime.fromtimestamp(clock.at, UTC), **FLAPPING)
                if number % (FLAPS // LOOKS) == 0:
                    await rest(one, two)
                if number < FLAPS - 1:
                    clock.at += HOUR / FLAPS / 2
                    end(connection, alert, datetime.fromtimestamp(clock.at, UTC))
                await trio.lowlevel.checkpoint()
        await rest(one, two)
        opened = [notice.alert.alert_id for notice in sent.sent if notice.event is JobEvent.OPEN]
        assert 4 <= len(opened) <= HOUR / THROTTLE
        clock.at += THROTTLE
        await rest(one, two)
    told = [notice.alert.alert_id for notice in sent.sent if notice.event is JobEvent.OPEN]
    assert told[-1] == alert, "the last one is open, and told when the throttle ends"
    assert len(told) == len(set(told)), "none twice"
    ended = [notice.alert.alert_id for notice in sent.sent if notice.event is JobEvent.CLOSED]
    assert sorted(ended) == sorted(told)[:-1], "what was told got its end, and nothing else did"
    assert {row[2] for row in states(database)} == {"COMPLETED", "SKIPPED"}


def end(connection: psycopg.Connection[Any], alert_id: int, at: datetime) -> None:
    """Close an alert, as its condition does."""
    with connection.transaction():
        connection.execute(
            "UPDATE fleet_alert SET status = 'CLOSED', closed_at = %s, close_reason = 'cleared' WHERE id = %s",
            [at, alert_id],
        )
        insert_event(connection, alert_id, "closed", at=at)
