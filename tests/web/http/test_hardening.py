"""One test a line of appliance.web.http.hardening, over the real socket."""

import re
from collections.abc import AsyncIterator

import pytest
import trio
from quart import request

from appliance.db import roles
from appliance.db.pool import open_pool
from appliance.web.access.auth import OPEN, allow
from appliance.web.http.cookies import SESSION
from appliance.web.http.hardening import (
    CONTENT_SECURITY_POLICY,
    SECURITY_HEADERS,
    ConnectionSlots,
    HostPolicy,
    RequestLimits,
    affordable_connections,
    same_origin,
)
from tests.support.busy import within
from tests.support.postgres_server import Database
from tests.support.web.accounts import http_client
from tests.support.web.parts import parts
from tests.support.web.serving import Served, read_all, serving, without_database
from tests.support.web.stand_ins import Always
from tests.web.access.role_table import TABLE

HEAD = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n"
UPGRADE = (
    b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    async with without_database() as running:
        yield running


def status(answer: bytes) -> int:
    """The status of the first response in ``answer``."""
    found = re.match(rb"HTTP/1\.1 (\d{3}) ", answer)
    assert found is not None, answer[:200]
    return int(found[1])


def get(target: bytes, *headers: bytes, host: bytes = b"localhost", method: bytes = b"GET") -> bytes:
    """The bytes of a request that asks the server to close afterwards."""
    lines = [method + b" " + target + b" HTTP/1.1", b"Host: " + host, b"Connection: close", *headers]
    return b"\r\n".join(lines) + b"\r\n\r\n"


@pytest.mark.parametrize(
    ("request_bytes", "expected"),
    [
        pytest.param(b"GET /healthz HTTP/1.1\r\n\r\n", 400, id="no Host"),
        pytest.param(b"GET /healthz HTTP/1.0\r\n\r\n", 400, id="no Host in HTTP/1.0"),
        pytest.param(HEAD + b"Host: localhost\r\n\r\n", 400, id="two Hosts"),
        pytest.param(b"G(T /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n", 400, id="bad method"),
        pytest.param(HEAD + b"X: a\0b\r\n\r\n", 400, id="NUL in a header"),
        pytest.param(b"GET /\xff HTTP/1.1\r\nHost: localhost\r\n\r\n", 400, id="raw FF in the path"),
        pytest.param(b"GET /healthz HTTP/9.9\r\nHost: localhost\r\n\r\n", 505, id="HTTP/9.9"),
        pytest.param(HEAD + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n", 400, id="two lengths"),
        pytest.param(HEAD + b"Content-Length: -1\r\n\r\n", 400, id="negative length"),
        pytest.param(HEAD + b"Transfer-Encoding: xchunked\r\n\r\n", 501, id="unknown transfer encoding"),
        pytest.param(
            HEAD + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400, id="a length and chunks"
        ),
        pytest.param(HEAD + b"X : a\r\n\r\n", 400, id="space before a colon"),
        pytest.param(HEAD + b"Content-Length: 20000000\r\n\r\n", 413, id="20 MB announced"),
        pytest.param(HEAD + b"Content-Length: 10000000000000000000\r\n\r\n", 413, id="10^19 bytes announced"),
        pytest.param(HEAD + b"Content-Length: 100000000000000000000\r\n\r\n", 400, id="a length of 21 digits"),
        pytest.param(HEAD + b"X: " + b"a" * 20_000 + b"\r\n\r\n", 431, id="20 kB header"),
        pytest.param(HEAD + b"X: " + b"a" * 70_000 + b"\r\n\r\n", 431, id="70 kB header"),
        pytest.param(HEAD + b"X: a\r\n" * 101 + b"\r\n", 431, id="102 headers"),
        pytest.param(get(b"/" + b"a" * 9000), 414, id="9 kB address"),
        pytest.param(get(b"/?" + b"&".join([b"a="] * 1000)), 400, id="1,000 query fields"),
        pytest.param(get(b"/healthz", host=b"evil.com"), 421, id="foreign Host"),
        pytest.param(get(b"/healthz", host=b""), 400, id="empty Host"),
        pytest.param(get(b"/healthz", host=b"evil.com@localhost"), 421, id="Host with a user"),
        pytest.param(get(b"/healthz", host=b"localhost:999999"), 421, id="Host with no port there is"),
        pytest.param(get(b"http://evil.com/healthz"), 400, id="absolute address of another host"),
        pytest.param(get(b"//evil.com"), 400, id="network-path reference"),
        pytest.param(get(b"/..%2f"), 404, id="parent folder"),
        pytest.param(get(b"/static/%2e%2e/"), 404, id="parent of static"),
        pytest.param(get(b"/static/..%2f..%2fpyproject.toml"), 404, id="file outside static"),
        pytest.param(get(b"/%00"), 400, id="NUL in the path"),
        pytest.param(get(b"/%ff"), 404, id="no UTF-8 in the path"),
        pytest.param(get(b"/a%0d%0aX:1"), 400, id="line break in the path"),
        pytest.param(get(b"/nothing", *UPGRADE.splitlines()), 404, id="WebSocket where there is none"),
        pytest.param(get(b"/healthz", *UPGRADE.splitlines()), 400, id="WebSocket on a plain route"),
        pytest.param(get(b"/healthz", method=b"TRACE"), 405, id="TRACE"),
        pytest.param(get(b"/", method=b"DELETE"), 405, id="DELETE on a page"),
        pytest.param(get(b"localhost:1", method=b"CONNECT"), 400, id="CONNECT"),
    ],
)
async def test_refused_with_the_expected_status(served: Served, request_bytes: bytes, expected: int) -> None:
    assert status(await served.exchange(request_bytes)) == expected


async def test_a_bad_chunk_is_refused(served: Served) -> None:
    head = b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert status(await served.exchange(head + b"zz\r\n")) in {400, 405}


@pytest.mark.parametrize(
    ("path", "method", "allowed"),
    [
        (b"/healthz", b"PUT", b"GET, HEAD, OPTIONS"),
        (b"/sign-out", b"PUT", b"OPTIONS, POST"),
        (b"/sign-out", b"DELETE", b"OPTIONS, POST"),
        (b"/sign-out", b"GET", b"OPTIONS, POST"),
        (b"/sign-in", b"TRACE", b"GET, HEAD, OPTIONS, POST"),
    ],
)
async def test_405_names_what_is_allowed(served: Served, path: bytes, method: bytes, allowed: bytes) -> None:
    answer = await served.exchange(get(path, method=method))
    assert status(answer) == 405
    named = re.search(rb"(?i)\r\nallow: ([^\r]+)", answer)
    assert named is not None
    assert sorted(named[1].split(b", ")) == allowed.split(b", ")


async def test_what_comes_behind_a_body_is_a_request_of_its_own(served: Served) -> None:
    answer = await served.exchange(
        get(b"/sign-in", b"Content-Length: 1", method=b"POST").replace(b"close", b"keep-alive") + b"abc\r\n\r\n"
    )
    assert [int(code) for code in re.findall(rb"HTTP/1\.1 (\d{3}) ", answer)][1:] == [400]


async def test_lines_that_end_with_lf_alone_are_one_request(served: Served) -> None:
    answer = await served.exchange(b"GET /healthz HTTP/1.1\nHost: localhost\nConnection: close\n\n")
    assert re.findall(rb"HTTP/1\.1 (\d{3}) ", answer) == [b"200"]


async def test_clear_text_http2_upgrade_is_ignored(served: Served) -> None:
    answer = await served.exchange(
        b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade, HTTP2-Settings, close\r\nUpgrade: h2c\r\n"
        b"HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n\r\n"
    )
    assert status(answer) == 200


async def test_http2_by_prior_knowledge_is_refused(served: Served) -> None:
    answer = await served.exchange(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(9))
    assert status(answer) == 505


async def test_a_head_request_that_is_refused_has_no_body(served: Served) -> None:
    answer = await served.exchange(get(b"/healthz", host=b"evil.com", method=b"HEAD"))
    assert status(answer) == 421
    assert answer.endswith(b"\r\n\r\n")


@pytest.mark.parametrize(
    ("request_bytes", "expected"),
    [
        pytest.param(get(b"/healthz"), 200, id="200"),
        pytest.param(b"nonsense\r\n\r\n", 400, id="400"),
        pytest.param(get(b"/metrics", b"X-Forwarded-For: 203.0.113.9"), 401, id="401"),
        pytest.param(get(b"/nothing"), 404, id="404"),
        pytest.param(get(b"/static/nothing.css"), 404, id="404 below static"),
        pytest.param(get(b"/healthz", method=b"DELETE"), 405, id="405"),
        pytest.param(HEAD + b"Content-Length: 2000000\r\n\r\n", 413, id="413"),
        pytest.param(get(b"/healthz", host=b"evil.com"), 421, id="421"),
        pytest.param(HEAD + b"X: " + b"a" * 70_000 + b"\r\n\r\n", 431, id="431"),
        pytest.param(get(b"/"), 303, id="303"),
        pytest.param(get(b"/", b"Cookie: appliance-session=x"), 503, id="503"),
        pytest.param(b"GET / HTTP/3.0\r\nHost: localhost\r\n\r\n", 505, id="505"),
    ],
)
async def test_each_answer_has_the_security_headers_and_no_server_name(
    served: Served, request_bytes: bytes, expected: int
) -> None:
    answer = await served.exchange(request_bytes)
    assert status(answer) == expected
    head = answer.partition(b"\r\n\r\n")[0].lower()
    for name, value in SECURITY_HEADERS:
        assert head.count(b"\r\n" + name + b": " + value.lower()) == 1, name
    assert b"\r\nserver:" not in head


async def test_every_answer_of_every_route_has_them_and_keeps_out_of_caches(database: Database) -> None:
    """Nothing stands in for anything in the addresses, so that error pages are among them; no page holds a script."""
    expected = {name.decode(): value.decode() for name, value in SECURITY_HEADERS}
    seen = set()
    async with (
        open_pool(database.conninfo(roles.INGEST), name="web", min_size=1, max_size=2, timeout=20) as pool,
        serving(parts(pool, identity=Always())) as served,
        http_client(cookies={SESSION.name: "x"}, base_url=served.url, timeout=20) as client,
    ):
        for route in TABLE:
            method, path = route.split(" ", 1)
            if method != "GET" or path == "/live":
                continue
            answer = await client.get(re.sub(r"<[^>]*>", "1", path))
            seen.add(answer.status_code)
            assert expected.items() <= dict(answer.headers).items(), route
            assert answer.headers["cache-control"] == "no-store" or path.startswith("/static"), route
            assert answer.status_code < 500, route
            if answer.headers["content-type"].startswith("text/html"):
                assert not re.search(
                    r"<script(?![^>]* src=)|<style|\sstyle=|\son\w+=|(?:src|href|action)=\"(?:https?:)?//", answer.text
                ), route
    assert {200, 404} <= seen


@pytest.mark.parametrize("path", [b"/", b"/nothing", b"/healthz", b"/readyz", b"/metrics"])
async def test_nothing_but_files_may_be_kept_by_a_cache(served: Served, path: bytes) -> None:
    assert b"\r\ncache-control: no-store\r\n" in (await served.exchange(get(path))).lower()


def test_the_policy_lets_nothing_in_from_elsewhere() -> None:
    assert CONTENT_SECURITY_POLICY.startswith("default-src 'none'; ")
    assert "unsafe" not in CONTENT_SECURITY_POLICY
    assert "http" not in CONTENT_SECURITY_POLICY


@pytest.mark.parametrize(
    ("host", "admitted"),
    [
        ("localhost", True),
        ("LOCALHOST:8080", True),
        ("localhost.", True),
        ("edge", True),
        ("edge.local:8080", True),
        ("dash.example.com", True),
        ("127.0.0.1:8080", True),
        ("[::1]:8080", True),
        ("192.168.1.20", True),
        ("10.0.0.7:8080", True),
        ("[fe80::1]", True),
        ("198.18.0.1", True),
        ("93.184.216.34", True),  # the very address that the client reached
        ("8.8.8.8", False),
        ("evil.com", False),
        ("edge.evil.com", False),
        ("localhost.evil.com", False),
        ("localhost:99999999", False),
        ("127.1", False),
        ("0x7f000001", False),
        ("localhost@evil.com", False),
        ("", False),
        ("[::1", False),
        ("edge/..", False),
    ],
)
def test_host_names_that_are_ours(host: str, admitted: bool) -> None:
    policy = HostPolicy(frozenset({"localhost", "edge", "edge.local", "dash.example.com"}))
    assert policy.admits(host, local="93.184.216.34") is admitted


@pytest.mark.parametrize(
    ("origin", "host", "same"),
    [
        ("http://localhost:8080", "localhost:8080", True),
        ("HTTPS://LOCALHOST:8080", "localhost:8080", True),
        ("https://dash.example.com", "10.0.0.7:8080", True),
        ("http://localhost", "localhost:8080", False),
        ("http://evil.com", "localhost:8080", False),
        ("null", "localhost:8080", False),
        ("file://localhost:8080", "localhost:8080", False),
        (None, "localhost:8080", False),
        ("http://localhost:8080", None, False),
    ],
)
def test_origins_that_are_ours(origin: str | None, host: str | None, same: bool) -> None:
    assert same_origin(origin, "http", host, "https://dash.example.com") is same


@pytest.mark.parametrize("scheme", ["https", "wss"])
def test_under_tls_no_page_over_plain_http_is_ours(scheme: str) -> None:
    assert same_origin("https://dash.example.com", scheme, "dash.example.com", None)
    assert not same_origin("http://dash.example.com", scheme, "dash.example.com", "http://dash.example.com")


def test_connections_leave_files_for_postgres_and_the_broker() -> None:
    assert [affordable_connections(512, files) for files in (-1, 20_000, 128, 64, 10)] == [512, 512, 72, 8, 8]


def test_one_address_cannot_take_every_place() -> None:
    slots = ConnectionSlots(RequestLimits(connections=5, connections_per_address=2))
    assert [slots.take("192.0.2.1", for_many=False) for _ in range(3)] == [True, True, False]
    assert [slots.take("192.0.2.9", for_many=True) for _ in range(3)] == [True, True, True]
    assert not slots.take("192.0.2.2", for_many=False), "no place is left at all"
    slots.release("192.0.2.1")
    assert slots.take("192.0.2.2", for_many=False)


async def test_past_the_last_place_the_answer_is_503_with_retry_after() -> None:
    async with without_database(limits=RequestLimits(connections=1)) as served, await served.connect() as first:
        await first.send_all(HEAD + b"\r\n")
        assert (await first.receive_some()).startswith(b"HTTP/1.1 200")
        answer = await served.exchange(b"")
        assert status(answer) == 503
        assert b"\r\nretry-after: 5\r\n" in answer


async def test_a_silent_or_slow_peer_is_closed() -> None:
    async with without_database(limits=RequestLimits(head_time=0.2)) as served:
        assert await served.exchange(b"", seconds=20) == b""
        assert await served.exchange(b"GET /healthz HT", seconds=20) == b""


async def test_a_head_that_comes_byte_by_byte_is_closed() -> None:
    """However lively it looks: the time is for the whole head."""
    async with without_database(limits=RequestLimits(head_time=0.3)) as served, await served.connect() as slow:
        began = trio.current_time()
        with pytest.raises(trio.BrokenResourceError), trio.fail_after(20):  # noqa: PT012 - each byte may be the last
            for byte in HEAD + b"X: " + b"a" * 1000:
                await slow.send_all(bytes([byte]))
                await trio.sleep(0.02)
        assert trio.current_time() - began < within(2)


async def test_a_body_that_stalls_is_answered_408() -> None:
    async with without_database(limits=RequestLimits(body_grace=0.2)) as served:

        @served.app.post("/echo")
        @allow(OPEN)
        async def echo() -> bytes:
            return await request.get_data(True, False, False)

        stalling = b"POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\nabc"
        assert status(await served.exchange(stalling, seconds=20)) == 408


async def test_a_chunked_body_past_the_limit_is_refused() -> None:
    async with without_database(limits=RequestLimits(body=1000)) as served:

        @served.app.post("/echo")
        @allow(OPEN)
        async def echo() -> bytes:
            return await request.get_data(True, False, False)

        head = get(b"/echo", b"Transfer-Encoding: chunked", method=b"POST")
        assert status(await served.exchange(head + b"7d0\r\n" + b"x" * 2000 + b"\r\n0\r\n\r\n")) == 413


async def test_a_peer_that_stops_reading_is_cut_off_and_its_place_is_free() -> None:
    async with without_database(limits=RequestLimits(send_time=0.3, connections=1)) as served:

        @served.app.get("/large")
        @allow(OPEN)
        async def large() -> bytes:
            return bytes(50_000_000)

        async with await served.connect() as stuck:
            await stuck.send_all(b"GET /large HTTP/1.1\r\nHost: localhost\r\n\r\n")
            await served.places_free()
            assert len(await read_all(stuck)) < 50_000_000
