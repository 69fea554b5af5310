"""A browser without script: somebody with a password, forms that are filled in and sent."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import psycopg

from appliance.people.passwords import Hasher
from appliance.people.role import Role
from tests.support.postgres_server import Database
from tests.support.web.accounts import Person, client, signed_in
from tests.support.web.serving import CHEAP, Served

PASSWORD = "a walrus on a bicycle"


CSRF = re.compile(r'name="csrf_token" value="([^"]+)"')


async def with_password(database: Database, role: Role = Role.ADMIN, **rest: Any) -> Person:
    """Sign in somebody who has a password."""
    person, kept = signed_in(database.conninfo(), role, **rest), await Hasher(CHEAP).hash(PASSWORD)
    with psycopg.connect(database.conninfo()) as connection:
        connection.execute(
            "UPDATE users SET password_hash = %s, password_set_at = now() WHERE user_id = %s", [kept, person.user_id]
        )
    return person


@asynccontextmanager
async def browsing(served: Served, **options: Any) -> AsyncIterator[httpx.AsyncClient]:
    """Open a browser without script, without a session."""
    async with client(served.url, None, **options) as browser:
        yield browser


async def send(browser: httpx.AsyncClient, path: str, page: str | None = None, **fields: str) -> httpx.Response:
    """Fill in the form at ``path`` and send it."""
    shown = await browser.get(page or path)
    token = CSRF.search(shown.text)
    assert token is not None, shown.text
    return await browser.post(path, data={"csrf_token": token[1], **fields})
