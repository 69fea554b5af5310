"""What machines ask of the dashboard."""

import httpx

from appliance.web.services import Health
from tests.web.serving import without_database


async def test_healthz_says_that_the_process_lives_whatever_is_away() -> None:
    async with without_database(health=Health("away", "away", "old")) as served, httpx.AsyncClient() as client:
        answer = await client.get(f"{served.url}/healthz")
    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


async def test_readyz_is_200_when_all_is_there() -> None:
    async with without_database() as served, httpx.AsyncClient() as client:
        answer = await client.get(f"{served.url}/readyz")
    assert (answer.status_code, answer.json()) == (200, {"status": "ready"})


async def test_readyz_names_what_is_not_there() -> None:
    async with without_database(health=Health("restarting", None, None)) as served, httpx.AsyncClient() as client:
        answer = await client.get(f"{served.url}/readyz")
    assert answer.status_code == 503
    assert answer.json() == {"status": "not ready", "missing": {"postgres": "restarting"}}


async def test_metrics_are_prometheus_text() -> None:
    async with without_database() as served, httpx.AsyncClient() as client:
        answer = await client.get(f"{served.url}/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert answer.text == "appliance_messages_total 42.0\n"


async def test_metrics_are_for_this_machine_only_also_behind_a_proxy() -> None:
    async with without_database() as served, httpx.AsyncClient() as client:
        for header in ("Forwarded", "X-Forwarded-For", "Via"):
            answer = await client.get(f"{served.url}/metrics", headers={header: "x"})
            assert answer.status_code == 403
            assert "42" not in answer.text
