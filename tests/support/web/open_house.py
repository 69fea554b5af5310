"""A dashboard that takes everybody for an operator, for tests in which it does not matter who asks."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx

from appliance.db import roles
from appliance.db.pool import open_pool
from appliance.web.http.cookies import SESSION
from tests.support.postgres_server import Database
from tests.support.web.accounts import http_client
from tests.support.web.parts import parts
from tests.support.web.serving import Served, serving
from tests.support.web.stand_ins import Always


@asynccontextmanager
async def over(database: Database, *, timeout: float = 5) -> AsyncIterator[Served]:
    """Serve a dashboard over a database, as the role that operators' pages read as."""
    async with (
        open_pool(database.conninfo(roles.INGEST), name="web", min_size=1, max_size=2, timeout=timeout) as pool,
        serving(parts(pool, identity=Always())) as served,
    ):
        yield served


async def get(served: Served, path: str = "/") -> httpx.Response:
    """Return what it answers at ``path``."""
    async with http_client(cookies={SESSION.name: "x"}) as client:
        return await client.get(served.url + path)
