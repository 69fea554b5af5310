"""The tenant of a transaction ends with it, however often the connection is used again."""

import contextlib
import re
from collections.abc import Sequence
from uuid import uuid4

import trio

from appliance.clock import SystemClock
from appliance.db import roles
from appliance.db.pool import Pool, open_pool
from appliance.people.role import Role, Theme
from appliance.web.access.auth import Viewer
from appliance.web.access.transactions import Access
from tests.support.pipeline import arrange
from tests.support.postgres_server import Database
from tests.support.project import ROOT
from tests.support.soak import times

LOCAL = re.compile(r"set_config\('appliance\.tenant_id', [^,]+, (\w+)\)")
PLAIN = re.compile(r"(?i)\bSET\s+(?:SESSION\s+)?appliance\.")
TENANTS: Sequence[str] = ("acme", "globex", "rival")
CALLERS = 8
EACH = 150
"""Transactions of each caller; ten times as many in the long run."""


def viewer_of(tenant_id: str) -> Viewer:
    return Viewer(uuid4(), "kim@example.org", "", Role.ADMIN, tenant_id, None, Theme.SYSTEM, uuid4(), "csrf")


async def tenants_seen(pool: Pool) -> list[str]:
    async with pool.connection() as connection:
        cursor = await connection.execute("SELECT tenant_id FROM sites")
        return [tenant_id for (tenant_id,) in await cursor.fetchall()]


def test_no_statement_sets_a_tenant_beyond_its_transaction() -> None:
    files = [path for folder in ("appliance", "sql") for path in (ROOT / folder).rglob("*")]
    texts = [path.read_text() for path in files if path.suffix in {".py", ".sql"}]
    assert {local for text in texts for local in LOCAL.findall(text)} == {"true"}
    assert [found for text in texts for found in PLAIN.findall(text)] == []


async def test_connections_that_change_tenants_again_and_again_show_each_its_own(database: Database) -> None:
    for tenant_id in TENANTS:
        arrange(
            database,
            f"INSERT INTO tenants (created_at, updated_at, tenant_id) VALUES (now(), now(), '{tenant_id}')",
            "INSERT INTO sites (created_at, updated_at, tenant_id, site_id)"
            f" VALUES (now(), now(), '{tenant_id}', 'hall')",
        )
    async with (
        open_pool(database.conninfo(roles.WEB), name="web", min_size=1, max_size=2) as pool,
        trio.open_nursery() as nursery,
    ):
        access = Access(pool, pool, SystemClock())

        async def ask(first: int) -> None:
            for number in range(first, first + times(EACH)):
                tenant_id = TENANTS[number % len(TENANTS)]
                opened = access.changing if number % 7 == 0 else access.reading
                with contextlib.suppress(ZeroDivisionError):
                    async with opened(viewer_of(tenant_id)) as connection:
                        cursor = await connection.execute("SELECT tenant_id FROM sites")
                        assert await cursor.fetchall() == [(tenant_id,)]
                        if number % 11 == 0:
                            raise ZeroDivisionError
                if number % 5 == 0:
                    assert await tenants_seen(pool) == [], "what no tenant was set for shows nothing"

        for first in range(CALLERS):
            nursery.start_soon(ask, first)
