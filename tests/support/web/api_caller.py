"""A caller of the JSON API: a program of one person, whose every answer is held against ``/openapi.json``."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import msgspec
from quart import Quart

from appliance.db import roles
from appliance.db.pool import open_pool
from appliance.delivery.outgoing.network import Network
from appliance.people.role import Role
from appliance.web.openapi import document
from tests.delivery.senders.network import LOCAL
from tests.support.postgres_server import Database
from tests.support.web.accounts import Person, client, signed_in
from tests.support.web.contract import Contract
from tests.support.web.parts import parts
from tests.support.web.serving import Served, serving


@asynccontextmanager
async def dashboard(
    database: Database, *, public_url: str | None = None, network: Network = LOCAL
) -> AsyncIterator[Served]:
    """A dashboard over a database, with its real people, customers under row-level security."""
    async with (
        open_pool(database.conninfo(roles.INGEST), name="ingest", min_size=1, max_size=4, timeout=20) as pool,
        open_pool(database.conninfo(roles.WEB), name="web", min_size=1, max_size=4, timeout=20) as web_pool,
        serving(parts(pool, web_pool=web_pool, public_url=public_url, network=network)) as served,
    ):
        yield served


class Caller:
    """Asks as one person."""

    def __init__(self, http: httpx.AsyncClient, contract: Contract, person: Person) -> None:
        self.person = person
        self._http = http
        self._contract = contract

    async def ask(self, method: str, path: str, status: int = 200, **options: Any) -> Any:
        """The JSON of an answer, which must have this status and be as the document promises; None without a body."""
        answer = await self._http.request(method, path, **options)
        assert answer.status_code == status, (method, path, answer.status_code, answer.text)
        kind = answer.headers.get("content-type", "")
        self._contract.check(method, path.partition("?")[0], status, kind, answer.content)
        return answer.json() if answer.content and "json" in kind else None

    async def raw(self, method: str, path: str, **options: Any) -> httpx.Response:
        """An answer as it is."""
        return await self._http.request(method, path, **options)


_contracts: dict[int, Contract] = {}


def contract_of(dashboard: Quart) -> Contract:
    """Return the promises of a dashboard's document, which equal dashboards share: see ``compile_once``."""
    described = document.document(dashboard)
    if id(described) not in _contracts:
        _contracts[id(described)] = Contract(msgspec.json.decode(msgspec.json.encode(described)))
    return _contracts[id(described)]


@asynccontextmanager
async def calling(
    served: Served, database: Database, role: Role = Role.ADMIN, tenant_id: str = "acme"
) -> AsyncIterator[Caller]:
    """A caller of ``served`` with a role in a tenant."""
    person = signed_in(database.conninfo(), role, tenant_id)
    async with client(served.url, person) as http:
        yield Caller(http, contract_of(served.app), person)
