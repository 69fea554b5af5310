"""A change with an Idempotency-Key, and whatever fails in the middle of it: it is made once, or not at all."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import psycopg
import pytest
import trio

from appliance.clock import Correction
from appliance.db import roles
from appliance.db.pool import open_pool
from appliance.devices.credentials import broker_sync
from appliance.devices.credentials.broker_sync import SyncStatus
from appliance.people import healing, kept_answers
from appliance.people.kept_answers import KeptAnswers
from appliance.people.role import Role
from tests.support.commit_thief import CommitThief, Theft, commit_thief
from tests.support.postgres_server import Database
from tests.support.web.accounts import client, signed_in
from tests.support.web.api_caller import calling, dashboard
from tests.support.web.parts import parts
from tests.support.web.serving import Served, serving
from tests.web.access.test_idempotency import REPLAYED, SITES, SUBSCRIPTION, a_key, callers, count, rows, same

BODY = {"site_id": "hall", "name": "Hall"}
MADE = "sites WHERE site_id = 'hall'"


@asynccontextmanager
async def robbed_dashboard(database: Database, thief: CommitThief) -> AsyncIterator[Served]:
    """A dashboard whose customers' transactions pass the thief."""
    async with (
        open_pool(database.conninfo(roles.INGEST), name="ingest", min_size=1, max_size=4, timeout=20) as pool,
        open_pool(thief.conninfo(database, roles.WEB), name="web", min_size=1, max_size=4, timeout=20) as web_pool,
        serving(parts(pool, web_pool=web_pool)) as served,
    ):
        yield served


@pytest.mark.parametrize("theft", list(Theft))
async def test_a_commit_or_its_answer_that_is_lost_is_made_up_for_by_asking_again(
    database: Database, theft: Theft, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep = KeptAnswers.keep
    async with (
        commit_thief(database) as thief,
        robbed_dashboard(database, thief) as served,
        calling(served, database) as caller,
    ):

        async def keep_and_steal(*args: Any) -> bytes:
            sealed = await keep(*args)
            thief.plan = theft if thief.stolen == 0 else None
            return sealed

        monkeypatch.setattr(KeptAnswers, "keep", keep_and_steal)
        key = a_key()
        lost = await caller.ask("POST", SITES, 503, json=BODY, headers=key)
        assert "send it again with the same Idempotency-Key" in lost["detail"]
        assert thief.stolen == 1
        again = await caller.raw("POST", SITES, json=BODY, headers=key)
        assert (again.status_code, again.json()["name"]) == (201, "Hall")
        assert (REPLAYED in again.headers) == (theft is Theft.ANSWER)
    assert count(database, MADE) == 1


async def test_without_its_answer_kept_nothing_is_made(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(*_: Any) -> bytes:
        raise psycopg.errors.DiskFull("no space left on device")

    async with callers(database) as (_, caller):
        key = a_key()
        with monkeypatch.context() as patched:
            patched.setattr(KeptAnswers, "keep", fail)
            assert (await caller.raw("POST", SITES, json=BODY, headers=key)).status_code >= 500
        assert count(database, MADE) == 0
        assert (await caller.raw("POST", SITES, json=BODY, headers=key)).headers.get(REPLAYED) is None
    assert count(database, MADE) == 1


async def test_a_caller_that_hangs_up_and_asks_again_finds_it_made_once(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At any step: nothing of the first is there, or all of it."""
    steps = ("find", "claim", "keep")
    async with callers(database) as (served, caller):
        for number, step in enumerate((*steps, None)):
            key, body = a_key(), {"site_id": f"hall-{number}", "name": "Hall"}
            reached = trio.Event()
            with monkeypatch.context() as patched:
                if step is not None:
                    original = getattr(KeptAnswers, step)

                    async def slow(*args: Any, original: Any = original, reached: trio.Event = reached) -> Any:
                        done = await original(*args)
                        reached.set()
                        await trio.sleep(0.2)
                        return done

                    patched.setattr(KeptAnswers, step, slow)
                async with client(served.url, caller.person) as hasty, trio.open_nursery() as nursery:
                    nursery.start_soon(_ask_and_leave, hasty, body, key, reached)
                    if step is not None:
                        await reached.wait()
                        nursery.cancel_scope.cancel()
            again = await caller.raw("POST", SITES, json=body, headers=key)
            assert again.status_code == 201, (step, again.text)
            assert count(database, f"sites WHERE site_id = 'hall-{number}'") == 1


async def _ask_and_leave(hasty: Any, body: dict[str, Any], key: dict[str, str], _: trio.Event) -> None:
    await hasty.post(SITES, json=body, headers=key)


async def test_two_at_once_that_take_too_long_are_told_to_come_again(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In this process and in another one; the first is not disturbed."""
    keep, kept, go_on = KeptAnswers.keep, trio.Event(), trio.Event()
    statuses: dict[str, int] = {}

    async def held(*args: Any) -> bytes:
        sealed = await keep(*args)
        kept.set()
        await go_on.wait()
        return sealed

    async with callers(database) as (_, caller), dashboard(database) as other, client(other.url, caller.person) as far:
        key = a_key()
        with monkeypatch.context() as patched:
            patched.setattr(KeptAnswers, "keep", held)
            patched.setattr("appliance.web.access.idempotency.WAIT_MS", 100)
            patched.setattr(kept_answers, "WAIT_MS", 100)

            async def ask(name: str, asking: Any) -> None:
                answered = await asking("POST", SITES, json=BODY, headers=key)
                statuses[name] = answered.status_code
                if name != "first":
                    assert answered.json()["code"] == "SERVICE_UNAVAILABLE"
                    assert "still under way" in answered.json()["detail"]
                    assert int(answered.headers["Retry-After"]) > 0

            async with trio.open_nursery() as nursery:
                nursery.start_soon(ask, "first", caller.raw)
                await kept.wait()
                await ask("here", caller.raw)
                await ask("there", far.request)
                go_on.set()
        assert statuses == {"first": 201, "here": 503, "there": 503}
        assert (await far.post(SITES, json=BODY, headers=key)).headers[REPLAYED] == "true"
    assert count(database, MADE) == 1


async def test_what_the_broker_knows_is_waited_for_after_the_commit_and_kept(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []

    async def applied(*_: Any, patience: float) -> SyncStatus:
        assert patience == broker_sync.PATIENCE
        seen.append(count(database, "device_registry WHERE device_id = 'd'"))
        return SyncStatus.APPLIED

    monkeypatch.setattr(broker_sync, "wait", applied)
    with psycopg.connect(database.conninfo()) as connection:
        signed_in(database.conninfo(), Role.VIEWER, "acme")
        connection.execute(SUBSCRIPTION)
    async with callers(database) as (_, caller):
        key = a_key()
        first = await caller.raw("POST", "/customer/devices", json={"device_id": "d"}, headers=key)
        assert (first.json()["broker"], seen) == ("applied", [1]), "seen by others when the broker is asked"
        same(first, await caller.raw("POST", "/customer/devices", json={"device_id": "d"}, headers=key))


async def test_while_the_broker_is_waited_for_in_vain_the_change_and_its_answer_stay(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def lost(*_: Any, patience: float) -> SyncStatus:
        raise psycopg.OperationalError(f"the connection was lost within {patience} s")

    monkeypatch.setattr(broker_sync, "wait", lost)
    with psycopg.connect(database.conninfo()) as connection:
        signed_in(database.conninfo(), Role.VIEWER, "acme")
        connection.execute(SUBSCRIPTION)
    async with callers(database) as (_, caller):
        key = a_key()
        first = await caller.raw("POST", "/customer/devices", json={"device_id": "d"}, headers=key)
        assert (first.status_code, first.json()["broker"]) == (201, "pending")
        same(first, await caller.raw("POST", "/customer/devices", json={"device_id": "d"}, headers=key))


async def test_an_answer_that_cannot_be_opened_is_never_made_up_for_by_doing_it_again(database: Database) -> None:
    async with callers(database) as (_, caller):
        key = a_key()
        await caller.ask("POST", SITES, 201, json=BODY, headers=key)
        with psycopg.connect(database.conninfo()) as connection:
            connection.execute("UPDATE api_requests SET sealed = set_byte(sealed, 40, get_byte(sealed, 40) # 1)")
        refused = await caller.ask("POST", SITES, 409, json=BODY, headers=key)
        assert "was carried out before" in refused["detail"]
    assert count(database, MADE) == 1


async def test_answers_that_are_too_large_to_keep_are_refused_and_nothing_is_made(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with callers(database) as (_, caller):
        with monkeypatch.context() as patched:
            patched.setattr(kept_answers, "MOST_BYTES", 10)
            refused = await caller.ask("POST", SITES, 400, json=BODY, headers=a_key())
            assert refused["field"] == "Idempotency-Key"
        with monkeypatch.context() as patched:
            patched.setattr(kept_answers, "LARGE_BYTES", 10)
            patched.setattr(kept_answers, "MOST_BYTES_A_USER", 1500)
            for number in range(10):
                answer = await caller.raw("POST", SITES, json={"site_id": f"s{number}", "name": "x"}, headers=a_key())
                if answer.status_code != 201:
                    break
            assert (answer.status_code, "Too many large answers" in answer.text) == (409, True)
        assert count(database, MADE) == 0
        assert count(database, "sites WHERE tenant_id = 'acme'") == count(database, "api_requests") == number
        await caller.ask("POST", SITES, 201, json=BODY, headers=a_key())


async def test_a_wrong_clock_neither_keeps_an_answer_for_years_nor_ends_it_at_once(database: Database) -> None:
    async with callers(database) as (_, caller):
        await caller.ask("POST", SITES, 201, json=BODY, headers=a_key())
    async with (
        open_pool(database.conninfo(roles.INGEST), name="healing", min_size=1, max_size=1) as pool,
        pool.connection() as connection,
    ):
        [(now,)] = rows(database, "SELECT asked_at FROM api_requests")
        await healing.carry(connection, now, now + timedelta(days=400), timedelta(days=400))
        assert rows(database, "SELECT until - asked_at FROM api_requests") == [(timedelta(days=401),)]
        await healing.heal(connection, Correction(now, now + timedelta(minutes=10), None))
        assert rows(database, "SELECT until - asked_at FROM api_requests") == [(timedelta(days=1),)]
        await kept_answers.forget_over(connection, now + timedelta(hours=23))
        assert count(database, "api_requests") == 1
        await kept_answers.forget_over(connection, now + timedelta(hours=24))
        assert count(database, "api_requests") == 0
