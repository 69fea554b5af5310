"""What machines ask of the dashboard."""

from appliance.diagnostics.readiness import Health
from appliance.people.role import Role
from tests.support.postgres_server import Database
from tests.support.web.accounts import client, http_client, signed_in, token_of
from tests.support.web.api_caller import dashboard
from tests.support.web.serving import without_database


async def test_healthz_says_that_the_process_lives_whatever_is_away() -> None:
    async with without_database(health=Health("away", "away", "old")) as served, http_client() as client:
        answer = await client.get(f"{served.url}/healthz")
    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


async def test_readyz_is_200_when_all_is_there() -> None:
    async with without_database() as served, http_client() as client:
        answer = await client.get(f"{served.url}/readyz")
    assert (answer.status_code, answer.json()) == (200, {"status": "ready"})


async def test_readyz_names_what_is_not_there() -> None:
    async with without_database(health=Health("restarting", None, None)) as served, http_client() as client:
        answer = await client.get(f"{served.url}/readyz")
    assert answer.status_code == 503
    assert answer.json() == {"status": "not ready", "missing": {"postgres": "restarting"}}


async def test_readyz_is_degraded_while_nothing_is_stored_though_all_parts_are_there() -> None:
    health = Health(None, None, None, storing="the disk is full")
    async with without_database(health=health) as served, http_client() as client:
        answer = await client.get(f"{served.url}/readyz")
    assert answer.status_code == 503
    assert answer.json() == {"status": "degraded", "failing": {"storing": "the disk is full"}}


async def test_readyz_names_a_broker_that_is_nearly_out_of_memory_and_stays_ready() -> None:
    health = Health(None, None, None, broker_memory="the broker has allocated 700 of 805 MB")
    async with without_database(health=health) as served, http_client() as client:
        answer = await client.get(f"{served.url}/readyz")
    assert answer.status_code == 200
    assert answer.json() == {
        "status": "ready",
        "warnings": {"broker_memory": "the broker has allocated 700 of 805 MB"},
    }


async def test_readyz_names_a_full_disk_and_messages_over_http_are_refused_until_there_is_room() -> None:
    health = Health(None, None, None, storing="nothing was stored", disk="the disk is full")
    async with without_database(health=health) as served, http_client() as client:
        answer = await client.get(f"{served.url}/readyz")
        sent = await client.post(f"{served.url}/ingest/tenant/acme/device/d1/telemetry", json={"temperature": 21})
    assert (answer.status_code, answer.json()) == (503, {"status": "degraded", "failing": {"disk": "the disk is full"}})
    assert (sent.status_code, sent.json()["code"], sent.headers["retry-after"]) == (503, "DISK_FULL", "5")


async def test_metrics_are_prometheus_text() -> None:
    async with without_database() as served, http_client() as client:
        answer = await client.get(f"{served.url}/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert answer.text == "appliance_messages_total 42.0\n"


async def test_metrics_are_for_this_machine_or_want_an_operators_token(database: Database) -> None:
    elsewhere = {"X-Forwarded-For": "203.0.113.9"}
    tokens = {
        role: token_of(database, signed_in(database.conninfo(), role), scopes)
        for role, scopes in ((Role.OPERATOR, "{read}"), (Role.ADMIN, "{read}"))
    }
    writes_only = token_of(database, signed_in(database.conninfo()), "{write}")
    async with dashboard(database) as served, client(served.url, None) as program:
        for header in ("Forwarded", "X-Forwarded-For", "Via"):
            answer = await program.get("/metrics", headers={header: "x"})
            assert (answer.status_code, "42" in answer.text) == (401, False)
        for token, status in ((tokens[Role.OPERATOR], 200), (tokens[Role.ADMIN], 401), (writes_only, 401), ("x", 401)):
            answer = await program.get("/metrics", headers={**elsewhere, "Authorization": f"Bearer {token}"})
            assert answer.status_code == status
