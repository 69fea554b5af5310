"""What a delivery costs does not grow with the deliveries that were made before."""

import re

import psycopg
import pytest
import trio

from appliance.delivery.notices.facts import STATEMENTS as FACTS
from appliance.delivery.notices.notice import Notice
from appliance.delivery.outbox.cases import STATEMENTS
from appliance.delivery.outbox.claims import Claimed, Claims, IntegrationKey
from appliance.delivery.outbox.courier import FULL_SECONDS
from appliance.delivery.outbox.slots import MAX_SENDS_OF_TENANT
from appliance.delivery.senders.sender import Outcome, Target
from tests.support.alerts import add_alert
from tests.support.couriers import PlayedSender, open_couriers
from tests.support.plans import kept_plan
from tests.support.postgres_server import Database
from tests.support.routes import add_integration, add_route

BY_KEY = {
    "release_waiting": {"delivery_jobs_pkey", "delivery_jobs_merged"},
    "insert_reminders": {"delivery_jobs_pkey", "delivery_jobs_merged"},
    "merged_alerts": {"delivery_jobs_merged"},
    "settle_job": {"delivery_jobs_pkey"},
    "settle_members": {"delivery_jobs_merged"},
    "lease_jobs": {"delivery_jobs_pkey"},
    "skip_jobs": {"delivery_jobs_pkey"},
    "hold_jobs": {"delivery_jobs_pkey"},
    "select_cases": {"delivery_jobs_pkey"},
}
"""Statements that are about a few jobs, and the indexes that find those."""
OF_ALL = {f"delivery_jobs_{name}" for name in ("due", "fresh", "next", "of_tenant", "route")}
"""Indexes that lead through all jobs of a tenant or a route. (What finds an alert's few jobs may change.)"""


def test_jobs_are_found_by_key_although_nothing_is_known_of_the_table(database: Database) -> None:
    with psycopg.connect(database.conninfo()) as connection:
        connection.execute(STATEMENTS["begin_by_key"].encode(), {"milliseconds": 1000})
        for name, indexes in BY_KEY.items():
            plan = kept_plan(connection, name, STATEMENTS[name])
            assert "Seq Scan on delivery_jobs" not in plan, plan
            assert indexes <= {word for word in plan.split() if word.startswith("delivery_jobs_")}, plan
            assert not [index for index in OF_ALL if f"{index} " in plan], plan


def test_what_is_of_an_alert_is_found_by_the_alert_although_nothing_is_known_of_the_tables(database: Database) -> None:
    with psycopg.connect(database.conninfo()) as connection:
        connection.execute(STATEMENTS["begin_by_key"].encode(), {"milliseconds": 1000})
        for name in ("pick_due", "select_cases", "release_waiting", "insert_reminders"):
            plan = kept_plan(connection, name, STATEMENTS[name])
            used = set(re.findall(r"Scan (?:Backward )?(?:using|on) ((?:delivery_jobs|fleet_alert)_[a-z]\w+)", plan))
            picking = {"delivery_jobs_fresh"} if name == "pick_due" else set()
            by_key = {"delivery_jobs_pkey", "delivery_jobs_of_alert", "delivery_jobs_merged", "fleet_alert_pkey"}
            assert used - picking <= by_key | {"delivery_jobs_throttle"}, plan
        facts = kept_plan(connection, "select_facts", FACTS["select_facts"])
        assert "Index Scan using fleet_alert_pkey" in facts or "Bitmap Index Scan on fleet_alert_pkey" in facts, facts


async def test_a_courier_without_room_does_not_ask_again_whatever_is_new(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_route(database, add_integration(database, concurrency=1))
    claim, claims = Claims.claim, [0]

    async def counted(self: Claims, key: IntegrationKey, busy: set[int], room: int) -> Claimed:
        claims[0] += 1
        return await claim(self, key, busy, room)

    async def hang(_target: Target, _notice: Notice) -> Outcome:
        await trio.sleep_forever()
        raise AssertionError

    monkeypatch.setattr(Claims, "claim", counted)
    sender = PlayedSender(hang)
    async with open_couriers(database, sender) as couriers:
        began = trio.current_time()
        for _ in range(20):
            await trio.to_thread.run_sync(add_alert, database)
            seen = couriers.dispatcher.looks
            couriers.dispatcher.wake()
            with trio.fail_after(30):
                while couriers.dispatcher.looks <= seen:
                    await trio.sleep(0.01)
        asked_within = trio.current_time() - began
    assert len(sender.sent) == 1
    assert claims[0] <= 3 + asked_within / FULL_SECONDS


async def test_a_claim_keeps_from_others_only_what_its_integration_takes_at_a_time(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(MAX_SENDS_OF_TENANT):
        add_route(database, add_integration(database, concurrency=1))
    claim, rooms = Claims.claim, list[int]()

    async def noted(self: Claims, key: IntegrationKey, busy: set[int], room: int) -> Claimed:
        rooms.append(room)
        return await claim(self, key, busy, room)

    monkeypatch.setattr(Claims, "claim", noted)
    sender = PlayedSender()
    async with open_couriers(database, sender) as couriers:
        await trio.to_thread.run_sync(add_alert, database)
        await couriers.rest()
    assert len(sender.sent) == MAX_SENDS_OF_TENANT
    assert set(rooms) == {1}
