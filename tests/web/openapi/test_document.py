"""``/openapi.json`` says what there is, all of it, and what is true."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from enum import StrEnum
from typing import Annotated, Any

import httpx
import msgspec
import pytest
from jsonschema import Draft202012Validator
from werkzeug.datastructures import MultiDict

from appliance.diagnostics.readiness import Health
from appliance.errors import Invalid
from appliance.web.openapi.describe import PREFIXES, declared, parse_query
from appliance.web.openapi.validation import converted
from tests.support.web.accounts import http_client
from tests.support.web.contract import Contract
from tests.support.web.serving import Served, without_database


@asynccontextmanager
async def described(**given: Any) -> AsyncIterator[tuple[Served, httpx.AsyncClient, Contract]]:
    """A dashboard, a client of it, and the document it serves."""
    async with without_database(**given) as served, http_client(base_url=served.url) as client:
        answered = await client.get("/openapi.json")
        assert answered.status_code == 200
        assert answered.headers["content-type"] == "application/json"
        yield served, client, Contract(answered.json())


async def test_every_route_of_the_api_is_described() -> None:
    async with described() as (served, _, contract):
        routes = [rule for rule in served.app.url_map.iter_rules() if rule.rule.startswith(PREFIXES)]
        assert [rule.rule for rule in routes if declared(served.app.view_functions[rule.endpoint]) is None] == []
        operations = sum(len(methods) for methods in contract.document["paths"].values())
        assert operations >= sum(len((rule.methods or set()) - {"HEAD", "OPTIONS"}) for rule in routes)


async def test_every_schema_is_one_and_every_reference_leads_somewhere() -> None:
    async with described() as (_, _, contract):
        for schema in contract.schemas().values():
            Draft202012Validator.check_schema(schema)
        references = set(_references(contract.document))
        names = {one.removeprefix("#/components/schemas/") for one in references if "/schemas/" in one}
        assert names <= contract.schemas().keys()
        others = {one.removeprefix("#/components/responses/") for one in references if "/schemas/" not in one}
        assert others == contract.document["components"]["responses"].keys()
        assert "Problem" in names


async def test_operations_have_names_of_their_own_and_every_path_parameter_is_described() -> None:
    async with described() as (_, _, contract):
        operations = [
            (path, operation) for path, methods in contract.document["paths"].items() for operation in methods.values()
        ]
        names = [operation["operationId"] for _, operation in operations]
        assert len(names) == len(set(names))
        for path, operation in operations:
            inside = {one["name"] for one in operation.get("parameters", ()) if one["in"] == "path"}
            assert inside == set(_placeholders(path))


async def test_probes_answer_as_described() -> None:
    async with described() as (_, client, contract):
        for path in ("/healthz", "/readyz", "/openapi.json"):
            await _check(client, contract, "GET", path, 200)
    async with described(health=Health("is down", None, None)) as (_, client, contract):
        await _check(client, contract, "GET", "/readyz", 503)


async def test_refused_devices_are_answered_as_described() -> None:
    async with described() as (_, client, contract):
        await _check(client, contract, "POST", "/ingest/tenant/demo/device/first/telemetry", 401)
        await _check(client, contract, "POST", "/ingest/tenant/demo/device/first/claim", 401)


async def test_the_contract_turns_down_what_was_not_promised() -> None:
    async with described() as (_, _, contract):
        contract.check("GET", "/healthz", 200, "application/json", b'{"status": "ok"}')
        for status, kind, body in (
            (200, "application/json", b'{"status": "well"}'),
            (200, "text/html", b'{"status": "ok"}'),
            (201, "application/json", b'{"status": "ok"}'),
            (500, "application/problem+json", b"{}"),
        ):
            with pytest.raises(Exception):  # noqa: B017, PT011 - an assertion, or what jsonschema raises
                contract.check("GET", "/healthz", status, kind, body)


class Colour(StrEnum):
    """Of a thing."""

    RED = "red"
    BLUE = "blue"


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """A query."""

    colour: tuple[Colour, ...] = ()
    limit: Annotated[int, msgspec.Meta(ge=1, le=100)] = 50
    open_: bool = msgspec.field(default=False, name="open")


def test_a_query_is_read_as_it_is_described() -> None:
    given = MultiDict([("colour", "red"), ("colour", "blue"), ("limit", "7"), ("open", "true"), ("other", "x")])
    assert parse_query(given, Wanted) == Wanted(colour=(Colour.RED, Colour.BLUE), limit=7, open_=True)
    assert parse_query(MultiDict([("limit", ""), ("colour", "")]), Wanted) == Wanted()


@pytest.mark.parametrize(
    ("name", "value"), [("limit", "101"), ("limit", "many"), ("limit", "9" * 5000), ("colour", "green"), ("open", "so")]
)
def test_what_a_query_cannot_be_names_the_parameter(name: str, value: str) -> None:
    with pytest.raises(Invalid, match=f"`{name}`"):
        parse_query(MultiDict([(name, value)]), Wanted)


def test_what_a_body_cannot_be_names_the_field() -> None:
    for values in ({"limit": "7"}, {"limit": [1]}):
        with pytest.raises(Invalid, match="`limit`: Expected") as refused:
            converted(values, Wanted, strict=True)
        assert refused.value.field == "limit"


async def _check(client: httpx.AsyncClient, contract: Contract, method: str, path: str, status: int) -> None:
    """Ask, and hold the answer against the document."""
    answered = await client.request(method, path)
    assert answered.status_code == status
    contract.check(method, path, status, answered.headers["content-type"], answered.content)


def _references(part: Any) -> Iterator[str]:
    if isinstance(part, dict):
        if isinstance(part.get("$ref"), str):
            yield part["$ref"]
        for value in part.values():
            yield from _references(value)
    elif isinstance(part, list):
        for value in part:
            yield from _references(value)


def _placeholders(path: str) -> list[str]:
    return [step[1:-1] for step in path.split("/") if step.startswith("{")]
