"""The life of subscriptions over a real Postgres: recorded, audited and warned of once, by one of many workers."""

import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import trio

from appliance.alerts import actions
from appliance.alerts.actions import AskedStep
from appliance.alerts.lifecycle import AlertStep
from appliance.db.pool import Pool, open_pool
from appliance.db.trio_psycopg import Connection, connect
from appliance.renewals import life
from appliance.renewals.life import TURN_LOCK, SubscriptionLife, forget_over
from appliance.renewals.plan import Request
from appliance.renewals.policy import RenewalPolicy
from appliance.renewals.renewal import renew
from appliance.subscriptions import store
from appliance.subscriptions.lifecycle import Subscription, SubscriptionType
from appliance.subscriptions.store import Changes
from tests.support.clock import DoubtfulClock
from tests.support.postgres_server import Database
from tests.support.routes import add_integration, add_route, jobs
from tests.support.tenants import BY, GRACE, INGEST, NOW, TENANT, add_tenant, customer, ingest, rows, sell

DAY, HOUR = timedelta(days=1), timedelta(hours=1)
TERM = 200 * DAY
END = NOW + TERM
POLICY = RenewalPolicy(GRACE, opens_days=30, plans={})
ALERTS = "SELECT severity, status, close_reason, (details ->> 'days')::int FROM fleet_alert ORDER BY id"
EVENTS = """
SELECT previous_state ->> 'status', new_state ->> 'status', at, (details ->> 'began_at')::timestamptz
FROM subscription_audit WHERE event_type = 'status' ORDER BY event_id
"""
WARNED = [
    ("info", "CLOSED", "superseded", 90),
    ("low", "CLOSED", "superseded", 60),
    ("low", "CLOSED", "superseded", 30),
    ("medium", "CLOSED", "superseded", 14),
    ("high", "CLOSED", "superseded", 7),
    ("critical", "CLOSED", "cleared", 1),
]


@dataclass
class Lived:
    """A tenant with a subscription of 200 days, and the worker, with a clock of the test."""

    connection: Connection[Any]
    pool: Pool
    clock: DoubtfulClock
    main: Subscription

    async def at(self, moment: datetime) -> None:
        """Make a round at a time."""
        self.clock.at = moment.timestamp()
        await SubscriptionLife(self.pool, self.clock, grace=GRACE).look()  # a new one each time: it keeps nothing

    async def alerts(self) -> list[tuple[Any, ...]]:
        return await rows(self.connection, ALERTS)

    async def change(self, moment: datetime, **differs: Any) -> None:
        by = replace(BY, now=moment, settled=moment)
        await store.change(self.connection, TENANT, self.main.subscription_id, Changes(**differs), by, grace=GRACE)

    async def renew(self, moment: datetime, days: int = 365) -> None:
        by = replace(BY, now=moment, settled=moment)
        request = Request(self.main.subscription_id, days)
        await renew(self.connection, TENANT, request, by, key=None, policy=POLICY, trusted=True, seen=None)


@asynccontextmanager
async def lived(database: Database) -> AsyncIterator[Lived]:
    clock = DoubtfulClock(NOW.timestamp(), NOW.timestamp(), trusted=True)
    async with (
        ingest(database) as connection,
        open_pool(database.conninfo(INGEST), name="life", min_size=1, max_size=1) as pool,
    ):
        await add_tenant(connection)
        main = await sell(connection, 5, term=TERM)
        yield Lived(connection, pool, clock, main)


async def test_400_days_record_and_warn_once_and_leave_an_audit_row_each(database: Database) -> None:
    async with lived(database) as one:
        addon = await sell(one.connection, 2, SubscriptionType.ADDON)
        for day in range(400):
            await one.at(NOW + day * DAY + timedelta(minutes=day))
        assert await one.alerts() == WARNED
        events = await rows(one.connection, EVENTS)
        lapse = END + GRACE + 90 * DAY
        steps = [("ACTIVE", "GRACE", END), ("GRACE", "SUSPENDED", END + GRACE), ("SUSPENDED", "EXPIRED", lapse)]
        assert [(before, after, began) for before, after, _, began in events] == [step for step in steps for _ in "ma"]
        assert all(began <= at < began + 2 * DAY for _, _, at, began in events)
        audit = await rows(
            one.connection, "SELECT object_id, after ->> 'status', actor, actor_kind FROM audit_log"
            " WHERE action = 'subscription.status' ORDER BY id",
        )  # fmt: skip
        expected = [(row.subscription_id, after) for _, after, _ in steps for row in (one.main, addon)]
        assert audit == [(*step, "subscriptions", "appliance") for step in expected]


async def test_a_round_that_is_40_days_late_warns_of_the_nearest_step_and_records_what_it_missed(
    database: Database,
) -> None:
    async with lived(database) as one:
        await one.at(END - 20 * DAY)
        await one.at(END + 20 * DAY)
        assert await one.alerts() == [("low", "CLOSED", "superseded", 30), ("critical", "OPEN", None, 1)]
        assert await rows(one.connection, EVENTS) == [
            ("ACTIVE", "GRACE", END + 20 * DAY, END),
            ("GRACE", "SUSPENDED", END + 20 * DAY, END + GRACE),
        ]
        assert (await store.get(one.connection, TENANT, one.main.subscription_id)).status == "SUSPENDED"


async def test_in_doubt_nothing_is_recorded_and_nobody_is_warned(database: Database) -> None:
    async with lived(database) as one:
        one.clock.trusted = False
        for settled in (NOW, END + DAY):  # whatever was reached before the doubt began waits for its end, too
            one.clock.settled_at = settled.timestamp()
            await one.at(END + 3650 * DAY)
            assert (await one.alerts(), await rows(one.connection, EVENTS)) == ([], [])
        one.clock.trusted = True
        await one.at(NOW + DAY)
        assert (await one.alerts(), await rows(one.connection, EVENTS)) == ([], [])


async def test_what_a_clock_ahead_has_recorded_is_set_right_and_warned_of_again_when_it_is_time(
    database: Database,
) -> None:
    async with lived(database) as one:
        await one.at(END - 5 * DAY)
        await one.at(NOW)
        assert await one.alerts() == [("high", "CLOSED", "cleared", 7)]
        await one.at(END + 3650 * DAY)
        await one.at(NOW)
        assert [(before, after) for before, after, _, _ in await rows(one.connection, EVENTS)][-1] == (
            "EXPIRED",
            "ACTIVE",
        )
        await one.at(END - 6 * DAY)
        assert (await one.alerts())[-1] == ("high", "OPEN", None, 7)


async def test_a_renewal_closes_the_warning_and_tells_so(database: Database) -> None:
    async with lived(database) as one:
        add_route(database, add_integration(database), deliver_on=["OPEN", "CLOSED"])
        await one.at(END - 14 * DAY)
        await one.renew(END - 13 * DAY)
        await one.at(END - 13 * DAY)
        assert await one.alerts() == [("medium", "CLOSED", "cleared", 14)]
        assert [event for _, event in jobs(database)] == ["OPEN", "CLOSED"]
        await one.at(END + 365 * DAY - 14 * DAY)
        assert (await one.alerts())[1:] == [("medium", "OPEN", None, 14)]


async def test_a_closed_or_deleted_warning_is_not_given_again_in_its_term(database: Database) -> None:
    async with lived(database) as one:
        await one.at(END - 29 * DAY)
        by = replace(BY, now=END - 28 * DAY, settled=END - 28 * DAY)
        for step in (AlertStep.CLOSE, AlertStep.DELETE):
            async with customer(database, TENANT) as connection:
                [(alert,)] = await rows(connection, "SELECT id FROM fleet_alert")
                await actions.take(connection, TENANT, alert, AskedStep(step), by)
            for day in range(28, 15, -1):
                await one.at(END - day * DAY)
                assert not [row for row in await one.alerts() if row[1] != "CLOSED"]
        await one.at(END - 14 * DAY)
        assert await one.alerts() == [("medium", "OPEN", None, 14)]


async def test_a_shorter_end_and_a_hold_give_no_second_warning(database: Database) -> None:
    async with lived(database) as one:
        await one.at(END - 29 * DAY)
        await one.change(END - 28 * DAY, term_end=END - 3 * DAY)
        await one.at(END - 28 * DAY)
        assert await one.alerts() == [("low", "OPEN", None, 30)]
        await one.change(END - 27 * DAY, hold_reason="unpaid")
        await one.at(END - 27 * DAY)
        assert await one.alerts() == [("low", "CLOSED", "cleared", 30)]
        await one.change(END - 26 * DAY, hold_reason="")
        await one.at(END - 26 * DAY)
        assert len(await one.alerts()) == 1


async def test_people_of_a_suspended_tenant_are_not_warned_and_statuses_are_recorded_all_the_same(
    database: Database,
) -> None:
    async with lived(database) as one:
        await one.connection.execute("UPDATE tenants SET status = 'SUSPENDED' WHERE tenant_id = 'acme'")
        await one.at(END)
        assert await one.alerts() == []
        assert [after for _, after, _, _ in await rows(one.connection, EVENTS)] == ["GRACE"]


async def test_the_warning_of_a_subscription_that_is_gone_ends(database: Database) -> None:
    async with lived(database) as one:
        await one.at(END - DAY)
        async with await connect(database.conninfo()) as superuser:
            await superuser.execute("DELETE FROM subscriptions")
        await one.at(END - DAY)
        assert await one.alerts() == [("critical", "CLOSED", "cleared", 1)]


async def test_days_before_the_end_are_days_of_the_tenants_calendar(database: Database) -> None:
    async with lived(database) as one:
        await one.connection.execute("UPDATE tenants SET time_zone = 'America/New_York' WHERE tenant_id = 'acme'")
        end = datetime(2027, 3, 20, 12, tzinfo=UTC)  # after the change of the clock there, on 14 March
        await one.change(NOW, term_end=end)
        await one.at(end - 14 * DAY + 59 * timedelta(minutes=1))
        assert [row[-1] for row in await one.alerts()] == [30]
        await one.at(end - 14 * DAY + HOUR)
        assert [row[-1] for row in await one.alerts()] == [30, 14]


async def test_while_another_appliance_has_its_turn_nothing_is_done(database: Database) -> None:
    async with lived(database) as one, ingest(database) as other:
        async with other.transaction():
            await other.execute("SELECT pg_advisory_xact_lock(%s)", [TURN_LOCK])
            await one.at(END - DAY)
            assert await one.alerts() == []
        await one.at(END - DAY)
        assert [row[-1] for row in await one.alerts()] == [1]


async def test_one_tenant_whose_rows_are_held_delays_no_other(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(life, "LOCK_WAIT_MS", 20)
    async with lived(database) as one, ingest(database) as other:
        await add_tenant(one.connection, "zeta")
        await sell(one.connection, 1, tenant_id="zeta", term=TERM)
        async with other.transaction():
            await other.execute("SELECT FROM subscriptions WHERE tenant_id = %s FOR UPDATE", [TENANT])
            await one.at(END - DAY)
            assert await rows(one.connection, "SELECT tenant_id FROM fleet_alert") == [("zeta",)]
        await one.at(END - DAY)
        assert len(await one.alerts()) == 2


async def test_a_renewal_closes_the_warning_at_once_and_nothing_waits_for_the_next_round(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(life, "ROUND_SECONDS", 3600.0)
    async with lived(database) as one, trio.open_nursery() as nursery:
        one.clock.at = (END - 14 * DAY).timestamp()
        worker = SubscriptionLife(one.pool, one.clock, grace=GRACE)
        nursery.start_soon(worker.run)
        await _until(one, [("medium", "OPEN", None, 14)])
        for payload in (f'{{"tenants": ["{TENANT}"]}}', '{"all": true}', "what is this"):
            await one.connection.execute("UPDATE subscriptions SET hold_reason = 'unpaid'")
            await one.connection.execute("DELETE FROM subscription_warnings")
            worker.changed('{"devices": [["acme", "d"]]}')
            worker.changed(payload)
            await _until(one, [("medium", "CLOSED", "cleared", 14)])
            await one.connection.execute("UPDATE subscriptions SET hold_reason = NULL")
            await one.connection.execute("DELETE FROM fleet_alert")
            worker.changed('{"tenants": ["acme", "gone"]}')
            await _until(one, [("medium", "OPEN", None, 14)])
        nursery.cancel_scope.cancel()


async def _until(one: Lived, expected: list[tuple[Any, ...]]) -> None:
    with trio.fail_after(20):
        while await one.alerts() != expected:
            await trio.sleep(0.02)


WORKER = """
import sys, trio
from datetime import timedelta
from appliance.db.pool import open_pool
from appliance.renewals.life import SubscriptionLife
from tests.support.clock import DoubtfulClock

async def work(conninfo):
    clock = DoubtfulClock(0.0, 0.0, trusted=True)
    async with open_pool(conninfo, name="life", min_size=1, max_size=1) as pool:
        life = SubscriptionLife(pool, clock, grace=timedelta(days=14))
        while line := sys.stdin.readline():
            clock.at = float(line)
            await life.look()
            print("looked", file=sys.stderr, flush=True)

trio.run(work, sys.argv[1])
"""
"""Makes a round at each time that it reads."""


async def test_two_processes_on_one_database_record_and_warn_once(database: Database) -> None:
    async with lived(database) as one:
        command = [sys.executable, "-c", WORKER, database.conninfo(INGEST)]
        pipe = subprocess.PIPE
        workers = [
            subprocess.Popen(command, stdin=pipe, stdout=subprocess.DEVNULL, stderr=pipe, text=True)  # noqa: ASYNC220
            for _ in range(2)
        ]
        try:
            for day in range(-35, 7):
                for worker in workers:
                    assert worker.stdin is not None
                    print((END + day * DAY).timestamp(), file=worker.stdin, flush=True)
                for worker in workers:
                    assert worker.stderr is not None
                    assert worker.stderr.readline() == "looked\n"
        finally:
            for worker in workers:
                worker.communicate()
        assert [row[-1] for row in await one.alerts()] == [60, 30, 14, 7, 1]
        assert [row[1] for row in await one.alerts()] == [*["CLOSED"] * 4, "OPEN"]
        assert [after for _, after, _, _ in await rows(one.connection, EVENTS)] == ["GRACE"]


async def test_requests_whose_keys_are_free_and_warnings_of_terms_long_over_are_dropped(database: Database) -> None:
    async with lived(database) as one:
        await one.at(END - DAY)
        await one.renew(END - DAY, 30)
        for moment, left in ((END - HOUR, 1), (END, 0)):  # without a key it is kept for 24 hours
            await forget_over(one.connection, moment)
            assert await rows(one.connection, "SELECT count(*) FROM renewal_requests") == [(left,)]
        for moment, left in ((END + 390 * DAY, 1), (END + 400 * DAY, 0)):
            await forget_over(one.connection, moment)
            assert await rows(one.connection, "SELECT count(*) FROM subscription_warnings") == [(left,)]


async def test_what_was_warned_of_in_the_present_term_is_kept_however_long_it_is(database: Database) -> None:
    async with lived(database) as one:
        await one.at(END - DAY)
        await forget_over(one.connection, END + 4000 * DAY)
        assert await rows(one.connection, "SELECT days FROM subscription_warnings") == [(1,)]
