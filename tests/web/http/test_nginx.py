"""Behind a real nginx: as docs/reverse-proxy.md has it, as a bare proxy_pass, and with two hops."""

import json
import re
import ssl
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import psycopg
import pytest
import trio
from quart import request
from trio_websocket import wrap_client_stream

from appliance.people.role import Role
from appliance.people.throttle import FREE
from appliance.web.access.auth import OPEN, allow
from appliance.web.http.cookies import BROWSER, SESSION
from tests.support.certificates import Authority
from tests.support.nginx_server import free_port, nginx
from tests.support.postgres_server import Database
from tests.support.project import ROOT
from tests.support.web.accounts import PASSWORD, http_client, signed_in
from tests.support.web.browsing import send
from tests.support.web.serving import Served, over, without_database

PAGE = (ROOT / "docs" / "reverse-proxy.md").read_text()
EXAMPLE = str(re.findall(r"^```nginx\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)[0])
NAME, PROXY = "edge.example", "127.0.0.1"
GUESSER, OWNER = "127.0.0.66", "127.0.0.77"
"""Clients of nginx; it connects to the appliance from PROXY."""


@dataclass(frozen=True, slots=True)
class Behind:
    """An appliance and the TLS port of the nginx in front of it."""

    served: Served
    port: int
    address: str = "127.0.0.1"

    @asynccontextmanager
    async def client(self, source: str) -> AsyncIterator[httpx.AsyncClient]:
        """Speak to nginx by the appliance's name, from an address."""
        transport = httpx.AsyncHTTPTransport(verify=False, local_address=source)
        host = f"[{self.address}]" if ":" in self.address else self.address
        async with http_client(
            transport=transport, base_url=f"https://{host}:{self.port}", headers={"Host": NAME}, timeout=60
        ) as client:
            yield client


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return Authority().certificate(NAME).files(tmp_path_factory.mktemp("nginx"))


def example(listen: str, to: int, certificate: tuple[Path, Path]) -> str:
    """The example of the page, listening elsewhere and with files that there are."""
    text = EXAMPLE.replace("    listen [::]:443 ssl;\n", "")
    for written, here in (
        ("listen 443 ssl", f"listen {listen} ssl"),
        ("/etc/ssl/certs/edge.example.pem", str(certificate[0])),
        ("/etc/ssl/private/edge.example.key", str(certificate[1])),
        ("127.0.0.1:8080", f"127.0.0.1:{to}"),
    ):
        assert text.count(written) == 1, written
        text = text.replace(written, here)
    return text


@contextmanager
def in_front(served: Served, certificate: tuple[Path, Path]) -> Iterator[Behind]:
    """Run the example in front of an appliance."""
    port = free_port()
    with nginx(example(f"127.0.0.1:{port}", served.port, certificate), ports={"127.0.0.1": port}):
        yield Behind(served, port)


@pytest.mark.parametrize("trusted", [(PROXY,), ()], ids=["trusted", "not trusted"])
async def test_wrong_tries_lock_out_the_guessers_address_alone_if_the_proxy_is_trusted(
    database: Database, certificate: tuple[Path, Path], trusted: Sequence[str]
) -> None:
    owner = signed_in(database.conninfo(), Role.ADMIN)
    async with over(database, public_url=f"https://{NAME}", trusted_proxies=trusted) as served:
        with in_front(served, certificate) as behind:
            async with behind.client(GUESSER) as guesser:
                for n in range(FREE):
                    # spoofed: nginx appends the true address behind it
                    guesser.headers["X-Forwarded-For"] = f"198.51.100.{n}"
                    wrong = await send(guesser, "/sign-in", email=f"nobody-{n}@acme.example", password="not it")
                    assert wrong.status_code == 401
                locked = await send(guesser, "/sign-in", email="nobody-x@acme.example", password="not it")
                assert locked.status_code == 429
            async with behind.client(OWNER) as browser:
                answer = await send(browser, "/sign-in", email=owner.email, password=PASSWORD)
    if not trusted:
        assert answer.status_code == 429, "all are one address"
        return
    assert answer.status_code == 303
    cookies = answer.headers.get_list("set-cookie")
    assert [cookie.partition("=")[0] for cookie in cookies] == [f"__Host-{SESSION.name}", f"__Host-{BROWSER.name}"]
    assert all("Secure" in cookie for cookie in cookies)
    with psycopg.connect(database.conninfo()) as connection:
        sessions = connection.execute("SELECT address FROM sessions WHERE address IS NOT NULL").fetchall()
        audited = connection.execute("SELECT DISTINCT address FROM audit_log WHERE address IS NOT NULL").fetchall()
    assert sessions == [(OWNER,)]
    assert {(OWNER,)} <= set(audited) <= {(OWNER,), (GUESSER,)}


async def test_a_page_under_tls_has_commands_and_links_under_tls(
    database: Database, certificate: tuple[Path, Path]
) -> None:
    operator = signed_in(database.conninfo())
    with psycopg.connect(database.conninfo()) as connection:
        connection.execute("INSERT INTO tenants (created_at, updated_at, tenant_id) VALUES (now(), now(), 'acme')")
        connection.execute(
            "INSERT INTO device_registry (created_at, updated_at, tenant_id, device_id, status)"
            " VALUES (now(), now(), 'acme', 'd1', 'PENDING')"
        )
        connection.execute(
            "INSERT INTO device_credentials (tenant_id, device_id, mqtt_hash, token_hash, created_at)"
            " VALUES ('acme', 'd1', 'x', sha256('x'), now())"
        )
    for host in (NAME, "10.9.9.9:8443"):  # the public address, and another by which a browser comes
        async with over(
            database, public_url=None if ":" in host else f"https://{NAME}", trusted_proxies=[PROXY]
        ) as served:
            with in_front(served, certificate) as behind:
                async with behind.client(OWNER) as browser:
                    cookie = {"Cookie": f"__Host-{SESSION.name}={operator.secret}", "Host": host}
                    page = await browser.get("/devices/d1?tenant=acme", headers=cookie)
        assert page.status_code == 200
        assert f"https://{host}/ingest/tenant/acme/device/d1/telemetry" in page.text
        assert f"http://{host}" not in page.text


async def test_metrics_through_a_proxy_need_a_token_whoever_is_trusted(certificate: tuple[Path, Path]) -> None:
    """A bare proxy_pass names nobody, and passes on what the client wrote."""
    for trusted in ((), (PROXY,), ("10.0.0.1",)):
        async with without_database(trusted_proxies=trusted) as served, http_client() as client:
            port = free_port()
            bare = f"server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass http://127.0.0.1:{served.port}; }} }}"
            with nginx(bare, ports={"127.0.0.1": port}):
                for headers in ({}, {"X-Forwarded-For": "127.0.0.1"}):
                    answer = await client.get(f"http://127.0.0.1:{port}/metrics", headers=headers)
                    assert (answer.status_code, "token" in answer.text) == (401, True), (trusted, headers)
            with in_front(served, certificate) as behind:
                async with behind.client("127.0.0.1") as local:
                    answer = await local.get("/metrics", headers={"Host": "127.0.0.1"})
                    assert answer.status_code == 401
            direct = await client.get(f"{served.url}/metrics")
            assert direct.status_code == (401 if PROXY in trusted else 200)


async def test_two_hops_and_ipv6(certificate: tuple[Path, Path]) -> None:
    outer, inner = free_port("::1"), free_port()
    async with without_database(public_url=f"https://{NAME}", trusted_proxies=[PROXY]) as served:

        @served.app.get("/echo")
        @allow(OPEN)
        async def echo() -> str:
            return json.dumps([request.remote_addr, request.scheme, request.host])

        passing = example(f"127.0.0.1:{inner}", served.port, certificate).partition("server {")[2]
        for own in ("ssl;", "$scheme", "Forwarded-Host  $http_host"):
            assert own in passing
        passing = passing.replace(" ssl;", ";").replace("$scheme", "$http_x_forwarded_proto")
        passing = passing.replace("Forwarded-Host  $http_host", "Forwarded-Host  $http_x_forwarded_host")
        servers = example(f"[::1]:{outer}", inner, certificate) + "server {" + passing
        with nginx(servers, ports={"::1": outer, "127.0.0.1": inner}):
            async with Behind(served, outer, "::1").client("::1") as client:
                for spoofed in ({}, {"X-Forwarded-For": "198.51.100.1", "X-Forwarded-Host": "evil.com"}):
                    answer = await client.get("/echo", headers={**spoofed, "X-Forwarded-Proto": "http"})
                    assert answer.json() == ["::1", "https", NAME]


async def test_the_live_view_goes_through(certificate: tuple[Path, Path]) -> None:
    headers = [("Origin", f"https://{NAME}"), ("Cookie", f"__Host-{SESSION.name}=x")]
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    async with without_database(public_url=f"https://{NAME}", trusted_proxies=[PROXY]) as served:
        with in_front(served, certificate) as behind:
            stream = await trio.open_ssl_over_tcp_stream("127.0.0.1", behind.port, ssl_context=context)
            async with stream, trio.open_nursery() as nursery:
                page = await wrap_client_stream(
                    nursery,
                    stream,
                    NAME,
                    "/live?page=overview",
                    extra_headers=[(name.encode(), value.encode()) for name, value in headers],
                )
                assert "<" in await page.get_message()
                nursery.cancel_scope.cancel()
