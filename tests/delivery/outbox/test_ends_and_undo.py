"""What was told gets its end, whatever is disabled by now; what an acknowledgement ended goes on when it is undone."""

import psycopg
import pytest
import trio

from appliance.delivery.outbox.job import JobEvent
from tests.delivery.outbox.test_couriers import ALL, alert, at, receive
from tests.support.couriers import NOON, PlayedSender, acknowledge, close, open_couriers, rows, states, undo, unsilence
from tests.support.postgres_server import Database

WAITS = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"


async def test_a_disabled_route_ends_what_it_told_and_opens_nothing(database: Database) -> None:
    receive(database, remind_minutes=30)
    sender = PlayedSender()
    async with open_couriers(database, sender) as couriers:
        told = alert(database)
        await couriers.rest()
        rows(database, "UPDATE integration_routes SET enabled = false")
        untold = alert(database)
        acknowledge(database, told, NOON)
        await couriers.rest()
        close(database, told, NOON)
        close(database, untold, NOON)
        await couriers.pass_time(3600)
    assert sender.told() == [("OPEN", told), ("ACKNOWLEDGED", told), ("CLOSED", told)]
    assert states(database, [untold]) == []


async def test_an_end_that_waits_goes_on_when_its_route_is_disabled_or_deleted(database: Database) -> None:
    receive(database, burst=1)
    sender = PlayedSender()
    async with open_couriers(database, sender) as couriers:
        first = alert(database)
        await couriers.rest()
        close(database, first, NOON)
        await couriers.rest()
        assert states(database)[-1] == (first, "CLOSED", "PENDING", "merging")
        rows(database, "DELETE FROM integration_routes")
        await couriers.pass_time(60)
    assert sender.told() == [("OPEN", first), ("CLOSED", first)]


async def test_a_disabled_integration_cannot_be_told_the_end_and_says_so(database: Database) -> None:
    receive(database)
    sender = PlayedSender()
    async with open_couriers(database, sender) as couriers:
        one = alert(database)
        await couriers.rest()
        rows(database, "UPDATE integrations SET enabled = false")
        close(database, one, NOON)
        await couriers.rest()
    assert states(database) == [(one, "OPEN", "COMPLETED", None), (one, "CLOSED", "SKIPPED", "integration_off")]
    assert sender.told() == [("OPEN", one)]


async def test_an_escalation_that_an_acknowledgement_ended_comes_when_that_is_undone(database: Database) -> None:
    receive(database, delay_seconds=900)
    sender = PlayedSender()
    async with open_couriers(database, sender) as couriers:
        soon, late = alert(database), alert(database)
        await couriers.rest()
        for one in (soon, late):
            acknowledge(database, one, NOON)
        await couriers.rest()
        assert {row[2:] for row in states(database) if row[1] == "OPEN"} == {("SKIPPED", "overtaken")}
        undo(database, soon, NOON)
        await couriers.rest()
        assert (sender.sent, states(database, [soon])[0][2:]) == ([], ("PENDING", "delayed"))
        await couriers.pass_time(900)
        assert sender.told() == [("OPEN", soon)]
        undo(database, late, NOON + 900)
        await couriers.rest()
        assert sender.told() == [("OPEN", soon), ("OPEN", late)]
        close(database, late, NOON + 900)
        await couriers.rest()
    assert sender.told()[2:] == [("CLOSED", late)]


async def test_reminders_go_on_when_a_silence_is_taken_back(database: Database) -> None:
    receive(database, remind_minutes=30)
    sender = PlayedSender()
    async with open_couriers(database, sender) as couriers:
        on_it, nobody = alert(database), alert(database)
        await couriers.rest()
        acknowledge(database, on_it, NOON)
        rows(database, "UPDATE fleet_alert SET silenced_until = %s", at(86_400))
        await couriers.pass_time(3600)
        for one in (on_it, nobody):
            unsilence(database, one, NOON + 3600)
        await couriers.pass_time(1800)
    assert sorted(sender.told()) == [("ACKNOWLEDGED", on_it), ("OPEN", on_it), ("OPEN", nobody), ("REMINDER", nobody)]


@pytest.mark.parametrize("acknowledged", ["before", "after"])
async def test_reminders_go_on_when_an_acknowledgement_is_undone(database: Database, acknowledged: str) -> None:
    """Before the opening is delivered no reminder is written; one that was written is skipped."""
    receive(database, remind_minutes=30, deliver_on=["OPEN", "CLOSED"])
    sender = PlayedSender()
    async with open_couriers(database, sender) as couriers:
        one = alert(database)
        if acknowledged == "after":
            await couriers.rest()
        acknowledge(database, one, NOON)
        await couriers.rest()
        await couriers.pass_time(7200)
        undo(database, one, NOON + 7200)
        await couriers.rest()
        assert [event for event, _ in sender.told()] == ["OPEN"]
        await couriers.pass_time(1799)
        assert len(sender.sent) == 1
        await couriers.pass_time(1)
        await couriers.pass_time(1800)
    assert [notice.event for notice in sender.sent[1:]] == [JobEvent.REMINDER] * 2
    assert [notice.occurrence for notice in sender.sent[1:]] == [1, 2]


async def test_an_undo_waits_for_the_claim_that_is_about_to_skip(database: Database) -> None:
    """A claim has read that the alert is acknowledged; what it writes afterwards must not stay."""
    receive(database, delay_seconds=900)
    one = alert(database)
    acknowledge(database, one, NOON)
    undone = trio.Event()
    with psycopg.connect(database.conninfo()) as claim:
        claim.execute("SELECT FROM delivery_jobs FOR UPDATE")

        async def take_back() -> None:
            await trio.to_thread.run_sync(undo, database, one, NOON)
            undone.set()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(take_back)
            with trio.fail_after(30):
                while rows(database, WAITS) == [(0,)]:
                    await trio.sleep(0.01)
            claim.execute(
                "UPDATE delivery_jobs SET status = 'SKIPPED', reason = 'overtaken', finished_at = created_at"
                " WHERE event = 'OPEN'"
            )
            claim.commit()
    assert undone.is_set()
    assert states(database)[0] == (one, "OPEN", "PENDING", None)


async def test_what_was_told_before_is_not_told_again_by_an_undo(database: Database) -> None:
    receive(database, deliver_on=ALL)
    sender = PlayedSender()
    async with open_couriers(database, sender) as couriers:
        one = alert(database)
        await couriers.rest()
        for step in (acknowledge, undo, acknowledge):
            step(database, one, NOON)
            await couriers.rest()
    assert sender.told() == [("OPEN", one), ("ACKNOWLEDGED", one), ("ACKNOWLEDGED", one)]
