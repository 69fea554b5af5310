"""Reminders: until somebody is on it, whatever became of the notice before."""

from dataclasses import fields, replace

import pytest
import trio

from appliance.db.require import require
from appliance.delivery.outbox.job import JobEvent
from appliance.delivery.routes.store import change, get
from appliance.delivery.routes.validation import RouteDraft
from tests.delivery.outbox.test_couriers import alert, at, receive
from tests.support.couriers import (
    BROKEN,
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
from tests.support.tenants import BY, customer


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


@pytest.mark.parametrize("end", ["ACKNOWLEDGED", "CLOSED"])
async def test_an_end_waits_for_no_reminder_that_is_tried_again_in_hours(database: Database, end: str) -> None:
    receive(database, remind_minutes=30)
    sender = PlayedSender(answering(DELIVERED, BROKEN, BROKEN, BROKEN, DELIVERED))
    async with open_couriers(database, sender) as couriers:
        one = alert(database)
        await couriers.rest()
        for seconds in (1800, 5, 30):
            await couriers.pass_time(seconds)
        assert states(database)[-1][1:] == ("REMINDER", "PENDING", "retrying")
        (acknowledge if end == "ACKNOWLEDGED" else close)(database, one, NOON)
        await couriers.rest()
    assert [event for event, _ in sender.told()] == ["OPEN", "REMINDER", "REMINDER", "REMINDER", end]


async def test_reminders_follow_a_route_that_was_changed(database: Database) -> None:
    receive(database, remind_minutes=1440)
    sender = PlayedSender()
    async with open_couriers(database, sender) as couriers:
        alert(database)
        await couriers.rest()
        await change_route(database, remind_minutes=10)
        await couriers.pass_time(599)
        assert len(sender.sent) == 1
        await couriers.pass_time(1)
        assert len(sender.sent) == 2
        await change_route(database, remind_minutes=0)
        await couriers.pass_time(86_400)
    assert len(sender.sent) == 2
    assert states(database)[-1][1:] == ("REMINDER", "SKIPPED", "no_match")


async def change_route(database: Database, **changes: int) -> None:
    """Change the only route as a person does."""
    async with customer(database, "acme") as connection:
        (route_id,) = require(
            await (await connection.execute("SELECT route_id FROM integration_routes")).fetchone(), ""
        )
        known = (await get(connection, "acme", route_id)).route
        names = {field.name for field in fields(RouteDraft)} - {"quiet_hours", *changes}
        draft = RouteDraft(**{name: getattr(known, name) for name in names} | changes)
        context = replace(BY, now=at())
        await change(connection, "acme", route_id, draft, context, version=None, alert_types=())


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
