"""How often a caller may ask the API, and what it is told of that."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import httpx
import pytest
import trio

from appliance.clock import SystemClock
from appliance.db import roles
from appliance.db.pool import open_pool
from appliance.people.role import Role
from appliance.web.access import call_rate
from appliance.web.access.call_rate import CallLimits, CallRates
from tests.support.postgres_server import Database
from tests.support.web.accounts import client, signed_in, token_of
from tests.support.web.api_caller import calling
from tests.support.web.parts import parts
from tests.support.web.serving import Served, serving


class StillClock(SystemClock):
    """Its seconds are those that a test says."""

    seconds = 1000.0

    def monotonic(self) -> float:
        return self.seconds


def test_600_a_minute_pass_and_300_at_once() -> None:
    clock = StillClock()
    rates = CallRates(CallLimits(600, 300), clock)
    first = rates.take(b"a")
    assert (first.passes, first.remaining, first.reset, first.wait) == (True, 299, 1, 0)
    assert sum(rates.take(b"a").passes for _ in range(500)) == 299
    empty = rates.take(b"a")
    assert (empty.passes, empty.remaining, empty.reset, empty.wait) == (False, 0, 30, 1)
    assert rates.refused(b"a") == empty
    passed = 0
    for _ in range(60):
        clock.seconds += 1
        passed += sum(rates.take(b"a").passes for _ in range(12))
    assert passed == 600, "ten more each second, and what was refused costs nothing"
    clock.seconds += 30
    assert rates.take(b"a").remaining == 299
    assert rates.refused(b"a") is None


def test_callers_do_not_spend_each_others_requests_and_their_number_is_bounded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(call_rate, "MOST_CALLERS", 3)
    rates = CallRates(CallLimits(60, 1), StillClock())
    for caller in (b"a", b"b", b"c"):
        assert rates.refused(caller) is None, "nothing is known of it, and nothing is kept"
        assert rates.take(caller).passes
    assert not rates.take(b"a").passes
    assert rates.take(b"d").passes, "that of b, the longest silent one, has gone"
    assert [rates.refused(caller) is not None for caller in (b"a", b"b", b"c", b"d")] == [True, False, True, True]


def test_the_headers_say_how_it_stands() -> None:
    clock = StillClock()
    rates = CallRates(CallLimits(600, 3), clock)
    for _ in range(2):
        quota = rates.take(b"a")
    assert rates.headers(quota) == {
        "RateLimit-Policy": '"api";q=600;w=60',
        "RateLimit": '"api";r=1;t=1',
        "RateLimit-Limit": "3",
        "RateLimit-Remaining": "1",
        "RateLimit-Reset": "1",
    }
    rates.take(b"a")
    assert rates.headers(rates.take(b"a"))["Retry-After"] == "1"


@asynccontextmanager
async def limited(database: Database, limits: CallLimits) -> AsyncIterator[Served]:
    async with (
        open_pool(database.conninfo(roles.INGEST), name="ingest", min_size=1, max_size=4, timeout=20) as pool,
        open_pool(database.conninfo(roles.WEB), name="web", min_size=1, max_size=4, timeout=20) as web_pool,
        serving(parts(pool, web_pool=web_pool, api_limits=limits)) as served,
    ):
        yield served


def told(answer: httpx.Response) -> list[str]:
    return [answer.headers.get(name, "") for name in ("RateLimit-Limit", "RateLimit-Remaining")]


async def test_each_token_and_each_session_has_its_own_limit(database: Database) -> None:
    person = signed_in(database.conninfo(), Role.ADMIN, "acme")
    secrets = [token_of(database, person, "{read}") for _ in range(2)]
    async with (
        limited(database, CallLimits(1, 3)) as served,
        client(served.url, person) as browser,
        client(served.url, None) as programs,
    ):
        for secret in secrets:
            bearer = {"Authorization": f"Bearer {secret}"}
            answers = [await programs.get("/customer/sites", headers=bearer) for _ in range(4)]
            assert [one.status_code for one in answers] == [200, 200, 200, 429]
            assert list(map(told, answers)) == [["3", "2"], ["3", "1"], ["3", "0"], ["3", "0"]]
            assert answers[3].headers["content-type"] == "application/problem+json"
            assert answers[3].json()["code"] == "RATE_LIMITED"
            assert 1 <= int(answers[3].headers["Retry-After"]) <= 60
            assert "Retry-After" not in answers[2].headers
        assert [(await browser.get("/customer/sites")).status_code for _ in range(4)] == [200, 200, 200, 429]
        assert (await browser.get("/sites")).status_code == 200, "pages have no limit"
        assert told(await browser.get("/sites")) == ["", ""]


async def test_refused_and_unknown_requests_count_and_unknown_callers_have_no_bucket(database: Database) -> None:
    async with limited(database, CallLimits(1, 3)) as served, calling(served, database) as caller:
        assert told(await caller.raw("GET", "/customer/sites/none")) == ["3", "2"]
        assert told(await caller.raw("POST", "/customer/sites", json={})) == ["3", "1"]
        assert told(await caller.raw("GET", "/customer/sites?unknown=1")) == ["3", "0"]
        limited_answer = await caller.ask("POST", "/customer/sites", 429, json={})
        assert limited_answer["code"] == "RATE_LIMITED"
        async with client(served.url, None) as nobody:
            for _ in range(5):
                headers = {"Authorization": "Bearer of-nobody"}
                refused = await nobody.get("/customer/sites", headers=headers)
                assert (refused.status_code, told(refused)) == (401, ["", ""])


async def test_a_caller_that_must_wait_costs_no_query(database: Database) -> None:
    async with limited(database, CallLimits(1, 1)) as served, calling(served, database) as caller:
        await caller.ask("GET", "/customer/sites")
        before = served.platform.pool.statistics()
        async with AsyncExitStack() as stack:
            for _ in range(4):
                await stack.enter_async_context(served.platform.pool.connection())
            with trio.fail_after(10):  # each query would wait 20 seconds for a connection
                await caller.ask("GET", "/customer/sites", 429)
        assert served.platform.pool.statistics().timeouts == before.timeouts
