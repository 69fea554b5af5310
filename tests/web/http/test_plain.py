"""What a plain connection gets on the TLS port: every route there is, by what must be open and by what must not."""

import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from tests.support.certificates import Authority
from tests.support.web.accounts import http_client
from tests.support.web.serving import Served, without_database
from tests.support.web.tls import FileCertificates
from tests.web.access.role_table import TABLE
from tests.web.live.test_socket import refused_with

OPEN = {
    "GET /ca.crt",
    "GET /trust",
    "GET /healthz",
    "GET /readyz",
    "GET /metrics",
    "GET /static/<path:address>",
    "POST /ingest/tenant/<tenant_id>/device/<device_id>/<any(telemetry, heartbeat):kind>",
    "POST /ingest/tenant/<tenant_id>/device/<device_id>/claim",
}
OPEN_EVEN_IF_NOT_PLAIN = {"GET /ca.crt", "GET /healthz"}
QUERY = "?next=%2Fdevices&q=a%20b"
FOR_PROGRAMS = ("/customer/", "/operator/", "/ingest/", "/openapi.json")
PROBES = {"/readyz", "/metrics"}


@asynccontextmanager
async def served_with(
    folder: Path, *, plain: bool, proxies: Sequence[str] = (), public_url: str | None = None
) -> AsyncIterator[Served]:
    """A dashboard under TLS."""
    certificates = FileCertificates(Authority(), folder, plain=plain)
    async with without_database(certificates=certificates, trusted_proxies=proxies, public_url=public_url) as served:
        yield served


def check_not_open(answer: httpx.Response, method: str, path: str, port: int) -> None:
    """A page is sent to TLS with its whole address; the rest is refused with the address, to programs as a problem."""
    if method in {"GET", "HEAD"} and path != "/live" and not (path in PROBES or path.startswith(FOR_PROGRAMS)):
        assert answer.status_code == 307
        assert answer.headers["location"] == f"https://127.0.0.1:{port}{path}{QUERY}"
        return
    assert answer.status_code == 403
    assert f"ask https://127.0.0.1:{port}{path}" in answer.text
    assert "next=" not in answer.text, "the query may hold a secret"
    if path.startswith(FOR_PROGRAMS):
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["code"] == "HTTPS_REQUIRED"
        assert answer.json()["status"] == 403


@pytest.mark.parametrize("plain", [True, False])
async def test_every_route_over_plain_http(tmp_path: Path, *, plain: bool) -> None:
    expected = OPEN if plain else OPEN_EVEN_IF_NOT_PLAIN
    seen = set()
    async with served_with(tmp_path, plain=plain) as served, http_client() as client:
        for route in TABLE:
            method, path = route.split(" ", 1)
            path = re.sub(r"<any\((\w+).*?>", r"\1", path)
            path = re.sub(r"<[^>]*>", "a", path)
            url = f"http://127.0.0.1:{served.port}{path}{QUERY}"
            answer = await client.request(method, url)
            if answer.status_code in {307, 403} and (answer.status_code == 307 or "https://" in answer.text):
                check_not_open(answer, method, path, served.port)
            else:
                seen.add(route)
            assert "set-cookie" not in answer.headers
    assert seen == expected


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("HEAD", "/devices", 307),
        ("HEAD", "/healthz", 200),
        ("POST", "/healthz", 403),
        ("PUT", "/static/app.css", 403),
        ("OPTIONS", "/", 403),
        ("DELETE", "/ingest", 403),
        ("GET", "/ingest", 307),
        ("GET", "/customer/no-such-thing", 403),
        ("HEAD", "/operator/tenants", 403),
        ("GET", "/ca.crt/", 307),
        ("GET", "/trusting", 307),
        ("GET", "/healthz/x", 307),
        ("GET", "/%68ealthz", 307),
    ],
)
async def test_what_only_looks_open_is_not(tmp_path: Path, method: str, path: str, status: int) -> None:
    async with served_with(tmp_path, plain=True) as served, http_client() as client:
        assert (await client.request(method, f"http://127.0.0.1:{served.port}{path}")).status_code == status


async def test_a_foreign_host_is_refused_and_never_redirected_to(tmp_path: Path) -> None:
    async with served_with(tmp_path, plain=True) as served, http_client() as client:
        for host, path in (("evil.com", "/"), ("localhost@evil.com", "/"), ("localhost", "//evil.com/")):
            answer = await client.get(f"http://127.0.0.1:{served.port}{path}", headers={"Host": host})
            assert answer.status_code in {400, 421}
            assert "location" not in answer.headers
        for path in ("/\\evil.com", "/@evil.com", "/https://evil.com", "/.evil.com"):
            raw = f"GET {path} HTTP/1.1\r\nHost: edge.example:8080\r\nConnection: close\r\n\r\n"
            answer_bytes = await served.exchange(raw.encode())
            found = re.search(rb"\r\nlocation: ([^\r]+)\r\n", answer_bytes)
            assert found is not None
            assert urlsplit(found[1].decode()).netloc == "edge.example:8080"


@pytest.mark.parametrize("host", ["edge.example", "192.168.1.20", "[fd12::20]"])
async def test_who_came_to_port_80_is_sent_to_tls_on_that_port(tmp_path: Path, host: str) -> None:
    async with served_with(tmp_path, plain=True) as served, http_client() as client:
        answer = await client.get(f"http://127.0.0.1:{served.port}/devices", headers={"Host": host})
        assert answer.headers["location"] == f"https://{host}:80/devices"


async def test_the_public_address_is_no_proof_of_tls_where_the_appliance_speaks_it_itself(tmp_path: Path) -> None:
    async with served_with(tmp_path, plain=True, public_url="https://edge.example") as served, http_client() as client:
        answer = await client.get(f"http://127.0.0.1:{served.port}/sign-in", headers={"Host": "edge.example"})
        assert (answer.status_code, answer.headers["location"]) == (307, "https://edge.example/sign-in")


async def test_a_websocket_over_plain_http_is_refused_not_redirected(tmp_path: Path) -> None:
    async with served_with(tmp_path, plain=True) as served:
        assert await refused_with(served) == 403


async def test_what_a_trusted_proxy_took_over_tls_is_answered_and_the_rest_redirected_to_its_name(
    tmp_path: Path,
) -> None:
    named = {"X-Forwarded-For": "203.0.113.9", "X-Forwarded-Host": "edge.example"}
    async with served_with(tmp_path, plain=False, proxies=["127.0.0.1"]) as served, http_client() as proxy:
        url = f"http://127.0.0.1:{served.port}/sign-in"
        over_tls = await proxy.get(url, headers=named | {"X-Forwarded-Proto": "https"})
        assert over_tls.status_code != 307
        plain = await proxy.get(url, headers=named | {"X-Forwarded-Proto": "http"})
        assert (plain.status_code, plain.headers["location"]) == (307, "https://edge.example/sign-in")
    async with served_with(tmp_path, plain=False) as served, http_client() as liar:
        url = f"http://127.0.0.1:{served.port}/sign-in"
        assert (await liar.get(url, headers={"X-Forwarded-Proto": "https"})).status_code == 307
