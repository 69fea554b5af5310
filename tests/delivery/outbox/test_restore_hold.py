"""After a restore nothing is sent until an operator confirms that the old machine is off; then a summary a route."""

from datetime import UTC, datetime

import psycopg
import pytest
import trio

from appliance.db.audit import Actor, ActorKind
from appliance.db.change_context import ChangeContext
from appliance.db.roles import INGEST
from appliance.db.trio_psycopg import connect
from appliance.delivery.notices.text import text_of
from appliance.delivery.outbox import restore_hold
from appliance.errors import Conflict
from tests.support.alerts import add_alert
from tests.support.couriers import NOON, Couriers, PlayedSender, close, open_couriers, rows, states
from tests.support.postgres_server import Database
from tests.support.routes import add_integration, add_route

AT = datetime.fromtimestamp(NOON, UTC)
CONTEXT = ChangeContext(Actor("kim", ActorKind.COMMAND), AT, AT, user_id=None)


def hold(database: Database) -> None:
    """Write what a restore writes."""
    with psycopg.connect(database.conninfo(), autocommit=True) as connection:
        connection.execute("INSERT INTO restores (restored_at, made_at) VALUES (now(), now() - interval '1 day')")


async def look(couriers: Couriers) -> None:
    """Return after two looks of the dispatcher: one may have been under way."""
    looks = couriers.dispatcher.looks + 2
    with trio.fail_after(30):
        while couriers.dispatcher.looks < looks:
            couriers.dispatcher.wake()
            await trio.sleep(0.01)


async def confirm(database: Database) -> int:
    async with await connect(database.conninfo(INGEST)) as connection:
        return await restore_hold.confirm(connection, CONTEXT)


def opened(database: Database) -> int:
    return add_alert(database, created_at=AT)


async def test_nothing_is_sent_until_it_is_confirmed_and_then_one_summary_a_route(database: Database) -> None:
    for name in ("one", "two"):
        add_route(database, add_integration(database, name=name), name=name, deliver_on=["OPEN", "CLOSED"], burst=0)
    sender = PlayedSender()
    async with open_couriers(database, sender) as couriers:
        before = opened(database)
        await couriers.rest()
        assert len(sender.sent) == 2
        hold(database)
        stays, ends = opened(database), opened(database)
        close(database, ends, NOON)
        close(database, before, NOON)
        await look(couriers)
        assert len(sender.sent) == 2
        assert {reason for *_, status, reason in states(database) if status == "PENDING"} == {"unconfirmed"}
        assert await confirm(database) == 8
        await couriers.rest()
    told = sender.sent[2:]
    assert sorted((n.event.value, n.alert.alert_id, n.merged_count) for n in told) == [
        ("CLOSED", before, 0), ("CLOSED", before, 0), ("OPEN", stays, 1), ("OPEN", stays, 1),
    ]  # fmt: skip
    summary = next(notice for notice in told if notice.event == "OPEN")
    assert [alert.alert_id for alert in summary.merged] == [ends]
    assert text_of(summary).others[0][0].endswith(", closed"), "the summary says what has ended meanwhile"
    assert {status for *_, status, _ in states(database)} == {"COMPLETED", "SKIPPED"}
    assert rows(database, "SELECT action, actor FROM audit_log WHERE action = 'restore.confirm'") == [
        ("restore.confirm", "kim")
    ]
    with pytest.raises(Conflict):
        await confirm(database)


async def test_what_keeps_an_incident_of_each_alert_is_told_of_each_that_is_still_open(database: Database) -> None:
    add_route(database, add_integration(database, type="pagerduty"), deliver_on=["OPEN", "CLOSED"])
    sender = PlayedSender(type="pagerduty", may_merge=False)
    async with open_couriers(database, sender) as couriers:
        hold(database)
        one, two, ended = (opened(database) for _ in range(3))
        close(database, ended, NOON)
        await look(couriers)
        assert sender.sent == []
        await confirm(database)
        await couriers.rest()
    assert sorted(sender.told()) == [("OPEN", one), ("OPEN", two)]
    assert (ended, "OPEN", "SKIPPED", "overtaken") in states(database)
