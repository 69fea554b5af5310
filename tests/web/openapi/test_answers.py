"""What ``/openapi.json`` promises holds for real requests: every GET of the API, asked of a dashboard with data."""

import re
from http import HTTPStatus
from typing import Any
from uuid import UUID

import httpx
import pytest

from appliance.people.role import Role
from tests.support.pipeline import arrange
from tests.support.postgres_server import Database
from tests.support.tenants import add_tenant, announce, ingest, sell
from tests.support.web.accounts import client, signed_in
from tests.support.web.contract import Contract
from tests.support.web.serving import over

KNOWN = {"device_id": "d1", "message_id": "1", "alert_id": "1", "replay_id": "1", "tenant_id": "acme"}
"""Of path parameters: what there is. Of all others there is nothing, which is 404 and described too."""
NOTHING = str(UUID(int=0))
NEEDED: dict[str, dict[str, str]] = {"/customer/devices/{device_id}/telemetry": {"metric": "temperature"}}
"""Queries that an operation cannot do without."""


async def _furnish(database: Database) -> None:
    async with ingest(database) as connection:
        await add_tenant(connection)
        await sell(connection, 5)
        await announce(connection, "d1")
    arrange(
        database,
        "INSERT INTO quarantine_events (ingested_at, topic, tenant_id, device_id, reason, payload)"
        " VALUES (now(), 't', 'acme', 'd1', 'DEVICE_INACTIVE', '{}')",
        "INSERT INTO quarantine_replays (created_at, tenant_id, selection, total, last_id, created_by)"
        " VALUES (now(), 'acme', '{}', 1, 1, 'somebody')",
        "INSERT INTO fleet_alert (id, tenant_id, device_id, alert_type, fingerprint, severity, summary, created_at,"
        " started_at, last_triggered_at, due_at)"
        " VALUES (1, 'acme', 'd1', 'SYSTEM', 'f', 'high', 's', now(), now(), now(), now())",
        "INSERT INTO alert_events (tenant_id, alert_id, at, kind) VALUES ('acme', 1, now(), 'opened')",
        "INSERT INTO ingest_ledger (minute, instance, tenant_id, received, stored) VALUES (now(), 'a', 'acme', 1, 1)",
    )


def _address(path: str) -> str:
    return path.format_map({name: KNOWN.get(name, NOTHING) for name in re.findall(r"\{(\w+)\}", path)})


async def _ask(asking: httpx.AsyncClient, contract: Contract, path: str, operation: dict[str, Any]) -> int:
    """Ask as described, and hold the answer against the document; its status."""
    parameters = {one["name"] for one in operation.get("parameters", ()) if one["in"] == "query"}
    query = NEEDED.get(path, {}) | ({"tenant": "acme"} if "tenant" in parameters else {})
    answered = await asking.get(_address(path), params=query)
    kind = answered.headers.get("content-type", "")
    contract.check("GET", _address(path), answered.status_code, kind, answered.content)
    return answered.status_code


@pytest.mark.parametrize("role", [Role.OPERATOR, Role.ADMIN, Role.VIEWER])
async def test_every_answer_is_as_described(database: Database, role: Role) -> None:
    await _furnish(database)
    person = signed_in(database.conninfo(), role)
    async with over(database) as served, client(served.url, person) as asking:
        contract = Contract((await asking.get("/openapi.json")).json())
        statuses = {
            path: await _ask(asking, contract, path, methods["get"])
            for path, methods in contract.document["paths"].items()
            if "get" in methods
        }
    assert not {path: status for path, status in statuses.items() if status >= HTTPStatus.INTERNAL_SERVER_ERROR}
    if role is Role.OPERATOR:
        there = {path: status for path, status in statuses.items() if NOTHING not in _address(path)}
        assert {path: status for path, status in there.items() if status != HTTPStatus.OK} == {}
    assert HTTPStatus.OK in statuses.values()


async def test_no_operation_takes_a_parameter_that_it_does_not_have_or_a_nul(database: Database) -> None:
    await _furnish(database)
    person = signed_in(database.conninfo(), Role.OPERATOR)
    async with over(database) as served, client(served.url, person) as asking:
        contract = Contract((await asking.get("/openapi.json")).json())
        asked = 0
        for path, methods in contract.document["paths"].items():
            if "get" not in methods or "{" in path or not path.startswith(("/customer/", "/operator/")):
                continue
            texts = [
                one["name"]
                for one in methods["get"].get("parameters", ())
                if one["in"] == "query" and one["schema"].get("type") == "string"
            ]
            for query, field in (("surely_unknown=1", "surely_unknown"), *((f"{name}=a%00", name) for name in texts)):
                answered = await asking.get(f"{_address(path)}?{query}")
                assert (answered.status_code, answered.json().get("field")) == (400, field), (
                    path,
                    query,
                    answered.text,
                )
                asked += 1
        assert asked > 40
