"""One notice tells at most so many alerts: the next one tells those that are left, and each is counted once."""

import pytest

from appliance.delivery.outbox import claims
from appliance.delivery.outbox.job import JobEvent
from tests.delivery.outbox.test_couriers import alert, at, receive
from tests.support.couriers import (
    DELIVERED,
    NOON,
    UNREACHED,
    PlayedSender,
    answering,
    close,
    open_couriers,
    rows,
    states,
)
from tests.support.postgres_server import Database

MOST = 10
"""In place of a thousand."""


@pytest.fixture(autouse=True)
def small_summaries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claims, "SUMMARY_JOBS", MOST)


def counted(sender: PlayedSender) -> list[tuple[JobEvent, int]]:
    """Return of each notice how many alerts it tells."""
    return [(notice.event, 1 + notice.merged_count) for notice in sender.sent]


def told_once(sender: PlayedSender, database: Database) -> bool:
    """Return whether each alert is in one notice, and each job says which."""
    named = [one.alert_id for notice in sender.sent for one in (notice.alert, *notice.merged)]
    left = rows(
        database, "SELECT status, reason FROM delivery_jobs WHERE NOT (status = 'COMPLETED' OR reason = 'merged')"
    )
    return left == [] and len(named) == len(set(named)) == sum(count for _, count in counted(sender))


@pytest.mark.parametrize("alerts", [MOST, MOST + 1, 2 * MOST + 5])
async def test_more_past_alerts_than_one_summary_holds(database: Database, alerts: int) -> None:
    receive(database)
    sender = PlayedSender()
    async with open_couriers(database, sender) as couriers:
        for one in [alert(database, due_at=at(60)) for _ in range(alerts)]:
            close(database, one, NOON + 1)
        await couriers.rest()
        await couriers.pass_time(60.0)
    assert {event for event, _ in counted(sender)} == {JobEvent.CLOSED}
    assert sum(count for _, count in counted(sender)) == alerts
    assert len(sender.sent) <= -(-alerts // MOST)
    assert told_once(sender, database)


async def test_more_alerts_beyond_the_burst_than_one_summary_holds(database: Database) -> None:
    receive(database, burst=1)
    sender = PlayedSender()
    async with open_couriers(database, sender) as couriers:
        alerts = [alert(database) for _ in range(2 * MOST + 2)]
        await couriers.rest()
        await couriers.pass_time(60.0)
        assert {event for event, _ in counted(sender)} == {JobEvent.OPEN}
        assert sum(count for _, count in counted(sender)) == len(alerts)
        assert len(sender.sent) <= 4
        assert told_once(sender, database)
        del sender.sent[:]
        for one in alerts:
            close(database, one, NOON + 60)
        await couriers.rest()
        await couriers.pass_time(60.0)
        await couriers.pass_time(60.0)
    assert {event for event, _ in counted(sender)} == {JobEvent.CLOSED}
    assert sum(count for _, count in counted(sender)) == len(alerts)
    assert told_once(sender, database)


async def test_more_alerts_that_ended_without_a_way_out_than_one_summary_holds(database: Database) -> None:
    receive(database)
    sender = PlayedSender(answering(*[UNREACHED] * 8, DELIVERED))
    async with open_couriers(database, sender) as couriers:
        alerts = [alert(database) for _ in range(2 * MOST + 5)]
        await couriers.rest()
        for one in alerts:
            close(database, one, NOON + 1)
        await couriers.rest()
        while len(sender.sent) < 8:
            await couriers.pass_time(61.0)
        del sender.sent[:]
        for _ in range(3):
            await couriers.pass_time(61.0)
    assert {event for event, _ in counted(sender)} == {JobEvent.CLOSED}
    assert sum(count for _, count in counted(sender)) == len(alerts), states(database)
    assert told_once(sender, database)
