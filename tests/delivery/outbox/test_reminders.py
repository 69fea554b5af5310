"""Reminders: until somebody is on it, whatever became of the notice before."""

import pytest
import trio

from appliance.delivery.outbox.job import JobEvent
from tests.delivery.outbox.test_couriers import alert, at, receive
from tests.support.couriers import (
    DELIVERED,
    NOON,
    REFUSED,
    PlayedSender,
    acknowledge,
    answering,
    close,
    open_couriers,
    rows,
    states,
)
from tests.support.postgres_server import Database


async def test_reminders_come_until_somebody_is_on_it(database: Database) -> None:
    receive(database, remind_minutes=30)
    sender = PlayedSender()
    async with open_couriers(database, sender) as couriers:
        one = alert(database)
        await couriers.rest()
        await couriers.pass_time(1799.0)
        assert len(sender.sent) == 1
        await couriers.pass_time(1.0)
        await couriers.pass_time(1800.0)
        acknowledge(database, one, NOON)
        await couriers.rest()
        await couriers.pass_time(86_400.0)
        close(database, one, NOON)
        await couriers.rest()
    assert [notice.event.value for notice in sender.sent] == ["OPEN", "REMINDER", "REMINDER", "ACKNOWLEDGED", "CLOSED"]
    assert [notice.occurrence for notice in sender.sent[1:3]] == [1, 2]
    assert ("REMINDER", "SKIPPED", "overtaken") in [row[1:] for row in states(database)]


async def test_a_notice_that_failed_does_not_end_reminders_and_one_that_arrives_gets_its_end(
    database: Database,
) -> None:
    receive(database, remind_minutes=30)
    sender = PlayedSender(answering(REFUSED, REFUSED, DELIVERED))
    async with open_couriers(database, sender) as couriers:
        one = alert(database)
        await couriers.rest()
        await couriers.pass_time(1800)
        assert [row[1:] for row in states(database)] == [
            ("OPEN", "DEAD", "refused"),
            ("REMINDER", "DEAD", "refused"),
            ("REMINDER", "PENDING", "delayed"),
        ]
        await couriers.pass_time(1800)
        close(database, one, NOON)
        await couriers.rest()
    assert [event for event, _ in sender.told()] == ["OPEN", "REMINDER", "REMINDER", "CLOSED"]
    assert [notice.opening_id for notice in sender.sent[3:]] == [sender.sent[0].message_id]


@pytest.mark.parametrize("end", ["silence", "close"])
async def test_a_silence_and_an_end_are_the_end_of_reminders(database: Database, end: str) -> None:
    receive(database, remind_minutes=30)
    sender = PlayedSender()
    async with open_couriers(database, sender) as couriers:
        one = alert(database)
        await couriers.rest()
        if end == "silence":
            rows(database, "UPDATE fleet_alert SET silenced_until = %s", at(600))
        else:
            close(database, one, NOON)
        with trio.fail_after(30):
            while ("REMINDER", "PENDING") in [row[1:3] for row in states(database)]:
                await trio.sleep(0.01)
        await couriers.pass_time(86_400.0)
    assert JobEvent.REMINDER not in {notice.event for notice in sender.sent}
