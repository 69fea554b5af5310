"""People for tests: users and their sessions, put into the database without the cost of a sign-in.

``signed_in`` gives the secret of a session's cookie for a role; ``client`` an HTTP client that is signed in, and
``sign_browser_in`` does the same for a browser's context. All work on a database, whichever process serves it.
"""

import hashlib
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any
from uuid import UUID

import argon2
import httpx
import psycopg
from playwright.sync_api import BrowserContext

from appliance.people.role import Role
from appliance.web.access.gate import HEADER
from appliance.web.access.identity import csrf_token
from appliance.web.http.cookies import SESSION
from tests.support.postgres_server import Database

PASSWORD = "a walrus on a bicycle"
"""Everybody's."""
TENANT = "acme"
"""The tenant of people where a test does not care."""


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody who is signed in."""

    user_id: UUID
    email: str
    role: Role
    tenant_id: str | None
    secret: str
    """The value of the session's cookie."""

    @property
    def csrf(self) -> str:
        """Return the token that their forms carry."""
        return csrf_token(self.secret)

    def headers(self) -> dict[str, str]:
        """Return the headers that their browser sends with a change, over plain HTTP."""
        return {"Cookie": f"{SESSION.name}={self.secret}", HEADER: self.csrf}


def signed_in(
    conninfo: str, role: Role = Role.OPERATOR, tenant_id: str | None = TENANT, email: str | None = None
) -> Person:
    """Make a user of a role (operators without a tenant; the tenant is made if it is not there) with a session.

    Their password is PASSWORD.

    ``conninfo`` is of a role that may: the superuser, or ``appliance_ingest``.
    """
    tenant = None if role is Role.OPERATOR else tenant_id
    email = email or f"{role}-{secrets.token_hex(4)}@{tenant or 'appliance'}.example"
    secret, now = secrets.token_urlsafe(32), datetime.now(UTC)
    with psycopg.connect(conninfo) as connection:
        if tenant is not None:
            connection.execute(
                "INSERT INTO tenants (created_at, updated_at, tenant_id)"
                " VALUES (now(), now(), %s) ON CONFLICT DO NOTHING",
                [tenant],
            )
        row = connection.execute(
            "INSERT INTO users (created_at, tenant_id, email, role, password_hash, password_set_at)"
            " VALUES (now(), %s, %s, %s, %s, now()) RETURNING user_id",
            [tenant, email, role, _kept()],
        ).fetchone()
        assert row is not None
        connection.execute(
            "INSERT INTO sessions (session_hash, user_id, tenant_id, created_at, seen_at, idle_until, expires_at, kept)"
            " VALUES (%(hash)s, %(user)s, %(tenant)s, %(now)s, %(now)s, %(end)s, %(end)s, true)",
            {
                "hash": hashlib.sha256(secret.encode()).digest(),
                "user": row[0],
                "tenant": tenant,
                "now": now,
                "end": now + timedelta(hours=8),
            },
        )
    return Person(row[0], email, role, tenant, secret)


@cache
def _kept() -> str:
    """Return the hash of everybody's password, at a cost of nothing."""
    return argon2.PasswordHasher(time_cost=1, memory_cost=64, parallelism=1).hash(PASSWORD)


def token_of(database: Database, person: Person, scopes: str) -> str:
    """Add an API token and return its secret."""
    secret = secrets.token_urlsafe(32)
    with psycopg.connect(database.conninfo()) as connection:
        connection.execute(
            "INSERT INTO api_tokens (token_hash, user_id, tenant_id, name, scopes, created_at, expires_at)"
            " VALUES (sha256(%s), %s, %s, 't', %s::text[], now(), now() + '1 day')",
            [secret.encode(), person.user_id, person.tenant_id, scopes],
        )
    return secret


def http_client(**options: Any) -> httpx.AsyncClient:
    """Return a client for plain HTTP: it loads no certificates, which takes 30 ms, unless ``verify`` has some."""
    return httpx.AsyncClient(verify=options.pop("verify", False), **options)


def client(url: str, person: Person | None, **options: Any) -> httpx.AsyncClient:
    """Return a client of the dashboard at ``url``: signed in, with the CSRF header on everything, or as nobody."""
    headers = {} if person is None else person.headers()
    return http_client(base_url=url, headers=headers | options.pop("headers", {}), timeout=60, **options)


def sign_browser_in(context: BrowserContext, url: str, person: Person) -> None:
    """Give a browser's context the session's cookie."""
    context.add_cookies([{"name": SESSION.name, "value": person.secret, "url": url, "httpOnly": True}])
