"""Appliances on one database: operators see them on System, and remove one that does not come back."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from appliance.people.role import Role
from appliance.service_clock.service_time import Cause, Doubt
from tests.support.clock import StubServiceClock
from tests.support.pipeline import arrange, look
from tests.support.postgres_server import Database
from tests.support.web.accounts import Person, client, signed_in
from tests.support.web.contract import Contract
from tests.support.web.serving import over
from tests.support.web.stand_ins import INSTANCE

HALL, YARD = "aaaaaaaaaaaa", "bbbbbbbbbbbb"
QUESTION, REMOVAL = f"/system/peers/{HALL}/remove", f"/operator/system/peers/{HALL}"


def furnish(database: Database) -> None:
    """Put three appliances on the database: this one, one that listens, and one that is away and heard two devices."""
    arrange(
        database,
        f"""
        INSERT INTO ingest_instances (instance, name, version)
        VALUES ('{INSTANCE}', 'office', '1.0.0'), ('{YARD}', 'yard', '1.0.0'), ('{HALL}', 'hall', '0.9.0')
        """,
        f"""
        INSERT INTO listening (instance, began_at, ended_at) VALUES
          ('{YARD}', now() - interval '1 day', now()),
          ('{HALL}', now() - interval '1 day', now() - interval '2 hours')
        """,
        "INSERT INTO tenants (created_at, updated_at, tenant_id) VALUES (now(), now(), 'acme') ON CONFLICT DO NOTHING",
        """
        INSERT INTO subscriptions (created_at, tenant_id, subscription_id, subscription_type, device_limit, term_start,
          term_end, status)
        SELECT now(), tenant_id, 'main', 'MAIN', 10, now(), now() + interval '90 days', 'ACTIVE' FROM tenants
        WHERE tenant_id <> 'appliance'
        """,
        """
        INSERT INTO device_registry (created_at, updated_at, tenant_id, device_id, status, subscription_id)
        SELECT now(), now(), 'acme', 'd-' || n, 'ACTIVE', 'main' FROM generate_series(1, 3) AS n
        """,
        f"""
        INSERT INTO device_state (tenant_id, device_id, last_seen_at, last_heard_at, heard_by)
        VALUES ('acme', 'd-1', now(), now(), '{HALL}'), ('acme', 'd-2', now(), now(), '{HALL}'),
          ('acme', 'd-3', now(), now(), '{YARD}')
        """,
    )


@asynccontextmanager
async def operator(database: Database, **given: Any) -> AsyncIterator[tuple[httpx.AsyncClient, Person]]:
    furnish(database)
    person = signed_in(database.conninfo())
    async with over(database, **given) as served, client(served.url, person) as asking:
        yield asking, person


def instances(database: Database) -> list[str]:
    return [row[0] for row in look(database, "SELECT name FROM ingest_instances ORDER BY name")]


async def test_a_single_appliance_shows_no_card_of_peers(database: Database) -> None:
    arrange(database, f"INSERT INTO ingest_instances (instance, name) VALUES ('{INSTANCE}', 'office')")
    person = signed_in(database.conninfo())
    async with over(database) as served, client(served.url, person) as asking:
        html = (await asking.get("/system")).text
    assert '<div id="sys-peers" hidden>' in html
    assert "Appliances" not in html


async def test_each_appliance_has_its_state_and_only_one_that_is_away_can_be_removed(database: Database) -> None:
    async with operator(database) as (asking, _):
        html = (await asking.get("/system")).text
        shown = (await asking.get("/operator/system")).json()["peers"]
        told = (await asking.get("/operator/system/diagnostics")).json()["system"]["peers"]
    for text in ("Appliances", "This appliance", "Listening", "Away", "hall", "0.9.0", QUESTION):
        assert text in html
    assert html.count("Remove…") == 1
    states = [(one["name"], one["state"], one["devices"]) for one in shown]
    assert states == [("hall", "away", 2), ("office", "here", 0), ("yard", "listening", 1)]
    assert datetime.now(UTC).timestamp() - shown[0]["listened_at"] == pytest.approx(7200, abs=600)
    assert [one["name"] for one in told] == ["hall", "office", "yard"]


async def test_the_question_says_what_happens_and_the_form_removes(database: Database) -> None:
    async with operator(database) as (asking, person):
        question = (await asking.get(QUESTION)).text
        assert "Remove hall?" in question
        assert "Its 2 devices stay" in question
        without = await asking.post(QUESTION, headers={"Cookie": person.headers()["Cookie"], "X-CSRF-Token": ""})
        assert without.status_code == 403
        done = await asking.post(QUESTION, data={"csrf_token": person.csrf})
        assert (done.status_code, done.headers["location"]) == (303, "/system?done=removed")
        html = (await asking.get("/system?done=removed")).text
        assert "The appliance is removed." in html
        assert QUESTION not in html, "what was kept in memory is read anew"
        assert (await asking.post(QUESTION, data={"csrf_token": person.csrf})).status_code == 404
    assert instances(database) == ["office", "yard"]
    assert look(database, "SELECT actor_kind, object_id FROM audit_log WHERE action = 'peer.remove'") == [
        ("user", HALL)
    ]


async def test_the_api_removes_it_once(database: Database) -> None:
    async with operator(database) as (asking, _):
        contract = Contract((await asking.get("/openapi.json")).json())
        for status in (204, 404):
            answered = await asking.delete(REMOVAL)
            assert answered.status_code == status, answered.text
            contract.check("DELETE", REMOVAL, status, answered.headers.get("content-type", ""), answered.content)
    assert instances(database) == ["office", "yard"]


@pytest.mark.parametrize(("instance", "why"), [(YARD, "is listening"), (INSTANCE, "cannot remove itself")])
async def test_one_that_is_there_is_not_removed(database: Database, instance: str, why: str) -> None:
    async with operator(database) as (asking, person):
        answered = await asking.delete(f"/operator/system/peers/{instance}")
        assert answered.status_code == 409
        assert why in answered.text
        page = await asking.post(f"/system/peers/{instance}/remove", data={"csrf_token": person.csrf})
        assert page.status_code == 409
        assert why in page.text
    assert instances(database) == ["hall", "office", "yard"]


async def test_while_the_clock_is_in_doubt_nobody_is_called_away_or_removed(database: Database) -> None:
    doubt = Doubt(Cause.OFF, datetime.now(UTC).timestamp())
    async with operator(database, service_clock=StubServiceClock(doubt, ahead=86_400)) as (asking, _):
        html = (await asking.get("/system")).text
        assert "Away" not in html
        assert "Unknown" in html
        assert "Remove…" not in html
        assert "hall" not in (await asking.get("/")).text
        refused = await asking.delete(REMOVAL)
        assert (refused.status_code, "clock is in doubt" in refused.text) == (409, True)


@pytest.mark.parametrize("role", [Role.ADMIN, Role.VIEWER])
async def test_it_is_for_operators(database: Database, role: Role) -> None:
    furnish(database)
    person = signed_in(database.conninfo(), role)
    async with over(database) as served, client(served.url, person) as asking:
        assert (await asking.get(QUESTION)).status_code == 403
        assert (await asking.delete(REMOVAL)).status_code == 403
    assert instances(database) == ["hall", "office", "yard"]
