"""The pages of what went wrong: Postgres away, a surprise of the program, an address that is not there."""

import re

import httpx
import psycopg
import pytest
import trio

from appliance.web.access.auth import OPEN, allow
from appliance.web.access.gate import HEADER
from appliance.web.http.cookies import SESSION
from appliance.web.overview import query
from tests.support.busy import within
from tests.support.postgres_server import Database
from tests.support.web.accounts import http_client
from tests.support.web.open_house import get, over
from tests.support.web.serving import Served, without_database
from tests.support.web.stand_ins import OPERATOR


async def test_postgres_away_is_503_that_says_so_and_comes_again() -> None:
    async with without_database() as served:
        page = await get(served)
        async with http_client(cookies={SESSION.name: "x"}, headers={HEADER: OPERATOR.csrf}) as client:
            change = await client.post(f"{served.url}/sites/+new?tenant=acme", data={"site_id": "quay"})
    assert page.status_code == 503
    assert page.headers["retry-after"] == "5"
    assert '<noscript><meta http-equiv="refresh" content="5"></noscript>' in page.text
    assert (change.status_code, "/away." in page.text, "/away." in change.text) == (503, True, False)
    assert "check before you send it again" in change.text
    assert "The database is not reachable" in page.text
    assert "13,210 of 200,000 places" in page.text


async def test_only_a_change_that_takes_a_key_is_promised_to_be_made_once_when_it_is_sent_again() -> None:
    headers = {HEADER: OPERATOR.csrf, "Idempotency-Key": "0123456789abcdef"}
    async with without_database() as served, http_client(cookies={SESSION.name: "x"}, headers=headers) as client:
        made = await client.post(f"{served.url}/customer/sites?tenant=acme", json={"site_id": "quay"})
        edited = await client.patch(f"{served.url}/customer/sites/quay?tenant=acme", json={"name": "Quay"})
    assert (made.status_code, edited.status_code) == (503, 503)
    assert "it is made once" in made.json()["detail"]
    assert "check before you send it again" in edited.json()["detail"]


async def test_pages_go_with_postgres_and_come_back_with_it(database: Database) -> None:
    with psycopg.connect(database.server.conninfo(), autocommit=True) as admin:
        async with over(database, timeout=0.2) as served:
            admin.execute(f'ALTER DATABASE "{database.name}" WITH ALLOW_CONNECTIONS false')
            admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (database.name,))
            assert (await get(served)).status_code == 503
            admin.execute(f'ALTER DATABASE "{database.name}" WITH ALLOW_CONNECTIONS true')
            with trio.fail_after(60):
                while (await get(served)).status_code != 200:
                    pass


async def test_many_pages_wait_no_longer_than_one_for_a_database_that_does_not_answer(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(query, "DEADLINE", 0.3)
    statuses = []

    async def one(client: httpx.AsyncClient, served: Served) -> None:
        statuses.append((await client.get(served.url, timeout=30)).status_code)

    async with over(database) as served, http_client(cookies={SESSION.name: "x"}) as client:
        with psycopg.connect(database.conninfo()) as connection:
            connection.execute("LOCK TABLE device_state")
            with trio.fail_after(within(10)):  # one after the other: 15 s
                async with trio.open_nursery() as nursery:
                    for _ in range(50):
                        nursery.start_soon(one, client, served)
    assert statuses == [503] * 50


async def test_a_surprise_is_500_with_a_reference_and_nothing_else(capsys: pytest.CaptureFixture[str]) -> None:
    async with without_database() as served:

        @served.app.get("/broken")
        @allow(OPEN)
        async def broken() -> str:
            raise RuntimeError("secret detail")

        page = await get(served, "/broken")
    assert page.status_code == 500
    reference = re.search(r'Reference <span class="mono">([0-9a-f]{16})</span>', page.text)
    assert reference is not None
    assert "secret detail" not in page.text
    logged = capsys.readouterr().out
    assert reference[1] in logged
    assert "secret detail" in logged


async def test_error_pages_have_the_frame_and_a_way_on() -> None:
    async with without_database() as served:
        page = await get(served, "/nothing")
    assert page.status_code == 404
    assert '<nav class="nav" aria-label="Main">' in page.text
    assert 'href="/">Go to the overview</a>' in page.text
