"""Somebody holds rows of the outbox, with a hand on psql, for as long as they like: the others' notices go on."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import psycopg
import trio

from tests.support.alerts import add_alert
from tests.support.couriers import NOON, PlayedSender, close, open_couriers, rows
from tests.support.postgres_server import Database
from tests.support.routes import add_integration, add_route


@contextmanager
def holding(database: Database, query: str) -> Iterator[None]:
    """Hold the rows of a query, as somebody does who has gone to lunch."""
    with psycopg.connect(database.conninfo()) as connection:
        assert connection.execute(query.encode()).rowcount > 0
        yield
        connection.rollback()


def receiver(database: Database, **columns: Any) -> UUID:
    integration_id = add_integration(database, **columns)
    add_route(database, integration_id)
    return integration_id


def alert(database: Database) -> int:
    return add_alert(database, created_at=datetime.fromtimestamp(NOON, UTC))


async def until(sender: PlayedSender, *told: tuple[str, int]) -> None:
    with trio.fail_after(30):
        while not set(told) <= set(sender.told()):
            await trio.sleep(0.01)


async def test_a_held_notice_that_is_to_be_woken_stops_no_other_one_and_is_woken_in_the_end(database: Database) -> None:
    patient = add_integration(database, type="slack")
    add_route(database, patient, delay_seconds=600)
    receiver(database)
    prompt, delayed = PlayedSender(), PlayedSender(type="slack")
    async with open_couriers(database, prompt, delayed) as couriers:
        one = alert(database)
        await until(prompt, ("OPEN", one))
        await couriers.rest()
        with holding(database, "SELECT FROM delivery_jobs WHERE status = 'PENDING' FOR UPDATE"):
            close(database, one, couriers.clock.now())
            await until(prompt, ("CLOSED", one))
            with trio.fail_after(30):
                while not rows(database, "SELECT 1 FROM pg_locks WHERE NOT granted"):
                    await trio.sleep(0.01)
            for _ in range(5):
                await until(prompt, ("OPEN", alert(database)))
                while couriers.dispatcher.under_way:
                    await trio.sleep(0.01)
        await couriers.rest()
        assert delayed.told() == []


async def test_outcomes_that_cannot_be_written_down_stop_no_other_integration(database: Database) -> None:
    stuck = [receiver(database, type="slack", concurrency=16) for _ in range(4)]
    healthy = PlayedSender()
    held = PlayedSender(type="slack")
    async with open_couriers(database, healthy, held) as couriers:
        one = alert(database)
        await until(held, ("OPEN", one))
        await couriers.rest()
        with holding(database, "SELECT FROM integration_health FOR UPDATE"):
            two = alert(database)
            with trio.fail_after(30):
                while held.told().count(("OPEN", two)) < len(stuck):
                    await trio.sleep(0.01)
            receiver(database)
            three = alert(database)
            await until(healthy, ("OPEN", three))
        await couriers.rest()
    assert held.told().count(("OPEN", two)) == len(stuck)
