"""Whose request it is: with and without trusted proxies, over the real socket where the server decides."""

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
from quart import request, websocket

from appliance.web.access.auth import OPEN, allow
from appliance.web.http.cookies import SESSION
from appliance.web.http.forwarding import Forwarding, own_url
from appliance.web.http.hardening import RequestLimits
from tests.support.web.accounts import http_client
from tests.support.web.serving import Served, page_socket, without_database
from tests.web.live.test_socket import refused_with

HOPS = ("127.0.0.1", "10.20.0.0/24", "2001:db8:f::/48")
PEER = "127.0.0.1"
NAMED = {"X-Forwarded-For": "203.0.113.9", "X-Forwarded-Proto": "https", "X-Forwarded-Host": "10.9.9.9:8443"}
CLIENT = "X-Forwarded-For"


def encoded(headers: dict[str, str]) -> list[tuple[bytes, bytes]]:
    """Headers as the server has them: names in lower case."""
    return [(name.lower().encode(), value.encode()) for name, value in headers.items()]


@pytest.mark.parametrize(
    ("written", "client"),
    [
        pytest.param("203.0.113.9", "203.0.113.9", id="one hop"),
        pytest.param("198.51.100.1, 203.0.113.9", "203.0.113.9", id="what the client wrote itself"),
        pytest.param("203.0.113.9, 10.20.0.7", "203.0.113.9", id="two hops"),
        pytest.param("127.0.0.1, 203.0.113.9, 10.20.0.7,10.20.0.8", "203.0.113.9", id="three hops, and a lie"),
        pytest.param("203.0.113.9, 10.20.1.7", "10.20.1.7", id="a hop that is not trusted"),
        pytest.param("2001:DB8:1::9, 2001:db8:f::2", "2001:db8:1::9", id="two hops over IPv6"),
        pytest.param("[2001:db8:1::9]:4711, [2001:db8:f::2]", "2001:db8:1::9", id="IPv6 with a port"),
        pytest.param("203.0.113.9:4711", "203.0.113.9", id="IPv4 with a port"),
        pytest.param("::ffff:203.0.113.9, ::ffff:10.20.0.7", "203.0.113.9", id="IPv4 written as IPv6"),
        pytest.param("10.20.0.9, 10.20.0.7", "10.20.0.9", id="all trusted"),
        pytest.param("unknown", PEER, id="unknown"),
        pytest.param("203.0.113.9, _hidden, 10.20.0.7", PEER, id="a name among the hops"),
        pytest.param("<script>, 203.0.113.9", "203.0.113.9", id="garbage further left"),
        pytest.param("203.0.113.9, ", PEER, id="an empty entry"),
        pytest.param("", PEER, id="empty"),
        pytest.param("203.0.113.9.1", PEER, id="five numbers"),
        pytest.param("[2001:db8::1", PEER, id="a bracket without its end"),
        pytest.param("[2001:db8::1]x", PEER, id="more behind a bracket"),
        pytest.param("3405803785", PEER, id="a number"),
    ],
)
def test_the_client_is_the_first_from_the_right_that_is_no_trusted_proxy(written: str, client: str) -> None:
    forwarding = Forwarding(HOPS, None, own_tls=False)
    assert forwarding.sender_of(PEER, encoded({CLIENT: written}), b"1.1", secure=False).address == client


def test_several_lines_of_a_header_are_one_list() -> None:
    lines = [(b"x-forwarded-for", b"198.51.100.1"), (b"x-forwarded-for", b"203.0.113.9"), (b"host", b"localhost")]
    assert Forwarding(HOPS, None, own_tls=False).sender_of(PEER, lines, b"1.1", secure=False).address == "203.0.113.9"


@pytest.mark.parametrize(
    ("client", "proto", "host", "expected"),
    [
        pytest.param("203.0.113.9", "https", "edge.example", ("https", b"edge.example"), id="one hop"),
        pytest.param("203.0.113.9", "HTTPS", "edge.example:8443", ("https", b"edge.example:8443"), id="with a port"),
        pytest.param("203.0.113.9", "wss", "edge.example", ("https", b"edge.example"), id="a WebSocket"),
        pytest.param("203.0.113.9", "gopher", "edge.example", ("http", b"edge.example"), id="no scheme there is"),
        pytest.param("203.0.113.9, 10.20.0.7", "https", "a.example", ("https", b"a.example"), id="written once"),
        pytest.param(
            "203.0.113.9, 10.20.0.7", "https, http", "a.example, b", ("https", b"a.example"), id="written by each hop"
        ),
        pytest.param(
            "1.1.1.1, 203.0.113.9", "http, https", "x.example, a.example", ("https", b"a.example"), id="with a lie"
        ),
        pytest.param("203.0.113.9", "", "", ("http", b"localhost"), id="empty"),
    ],
)
def test_scheme_and_host_are_those_of_the_hop_that_wrote_the_client(
    client: str, proto: str, host: str, expected: tuple[str, bytes]
) -> None:
    headers = {"Host": "localhost", CLIENT: client, "X-Forwarded-Proto": proto, "X-Forwarded-Host": host}
    sender = Forwarding(HOPS, None, own_tls=False).sender_of(PEER, encoded(headers), b"1.1", secure=False)
    assert (sender.scheme, sender.host) == expected


@pytest.mark.parametrize(
    ("trusted", "public_url", "peer", "headers", "version", "here"),
    [
        ((), None, "127.0.0.1", {}, b"1.1", True),
        ((), None, "::1", {}, b"1.1", True),
        ((), None, "::ffff:127.0.0.1", {}, b"1.1", True),
        ((), "http://edge.example", "127.0.0.1", {}, b"1.1", True),
        (("10.20.0.7",), "https://edge.example", "127.0.0.1", {}, b"1.1", True),
        ((), None, "192.168.1.2", {}, b"1.1", False),
        ((), None, "nonsense", {}, b"1.1", False),
        ((), None, "127.0.0.1", {}, b"1.0", False),
        ((), None, "127.0.0.1", {CLIENT: "127.0.0.1"}, b"1.1", False),
        ((), None, "127.0.0.1", {"X-Forwarded-Server": "x"}, b"1.1", False),
        ((), None, "127.0.0.1", {"X-Real-IP": "127.0.0.1"}, b"1.1", False),
        ((), None, "127.0.0.1", {"Forwarded": "for=127.0.0.1"}, b"1.1", False),
        ((), None, "127.0.0.1", {"Via": "1.1 x"}, b"1.1", False),
        ((), "https://edge.example", "127.0.0.1", {}, b"1.1", False),
        (("127.0.0.1",), None, "127.0.0.1", {}, b"1.1", False),
        (("127.0.0.0/8",), None, "127.0.0.1", {CLIENT: "127.0.0.1"}, b"1.1", False),
        (("10.20.0.7",), None, "10.20.0.7", {CLIENT: "127.0.0.1"}, b"1.1", False),
    ],
)
def test_here_is_only_what_can_be_no_proxy(
    trusted: tuple[str, ...], public_url: str | None, peer: str, headers: dict[str, str], version: bytes, here: bool
) -> None:
    forwarding = Forwarding(trusted, public_url, own_tls=False)
    assert forwarding.sender_of(peer, encoded(headers), version, secure=False).here is here


def test_what_connects_for_many_is_a_proxy_that_is_named_or_may_be_on_this_machine() -> None:
    forwarding = Forwarding(["10.20.0.0/24"], None, own_tls=False)
    peers = ("10.20.0.7", "::ffff:10.20.0.7", "127.0.0.1", "::1", "10.20.1.7", "203.0.113.9")
    assert [forwarding.is_for_many(peer) for peer in peers] == [True, True, True, True, False, False]


@asynccontextmanager
async def echoing(trusted_proxies: Sequence[str], *, public_url: str | None = None) -> AsyncIterator[Served]:
    """A dashboard that says whose request it takes one for, over HTTP at /echo and over a WebSocket at /echoes."""
    async with without_database(trusted_proxies=trusted_proxies, public_url=public_url) as served:

        def said(asked: Any) -> str:
            proxied = [name for name, _ in asked.headers if "forward" in name.lower() or name == "Via"]
            return json.dumps([asked.remote_addr, asked.scheme, asked.host, proxied])

        @served.app.get("/echo")
        @allow(OPEN)
        async def echo() -> str:
            return f"{said(request)[:-1]}, {json.dumps(own_url(public_url))}]"

        @served.app.websocket("/echoes")
        @allow(OPEN)
        async def echoes() -> None:
            await websocket.accept()
            await websocket.send(said(websocket))

        yield served


async def heard(served: Served, headers: dict[str, str]) -> Any:
    """What a request with these headers is taken for."""
    async with http_client() as client:
        return (await client.get(f"{served.url}/echo", headers=headers)).json()


SPOOFS = {**NAMED, "X-Real-IP": "203.0.113.9", "Forwarded": "for=203.0.113.9;proto=https;host=evil.com"}


@pytest.mark.parametrize("trusted", [(), ("192.0.2.1",), ("::1",), ("10.0.0.0/8",)], ids=str)
async def test_from_an_address_that_is_not_trusted_nothing_changes(trusted: tuple[str, ...]) -> None:
    async with echoing(trusted) as served:
        host = f"127.0.0.1:{served.port}"
        assert await heard(served, SPOOFS) == await heard(served, {})
        assert await heard(served, SPOOFS) == ["127.0.0.1", "http", host, [], f"http://{host}"]
        async with page_socket(served, path="/echoes", headers=list(SPOOFS.items())) as page:
            assert json.loads(await page.get_message()) == ["127.0.0.1", "ws", host, []]


async def test_from_a_trusted_proxy_client_scheme_and_host_are_those_that_it_names() -> None:
    async with echoing(["127.0.0.1"]) as served:
        told = ["203.0.113.9", "https", "10.9.9.9:8443", [], "https://10.9.9.9:8443"]
        assert await heard(served, NAMED) == told
        assert await heard(served, {**NAMED, "Forwarded": "for=1.1.1.1", "Via": "1.1 x"}) == told
        async with page_socket(served, path="/echoes", headers=list(NAMED.items())) as page:
            assert json.loads(await page.get_message()) == ["203.0.113.9", "wss", "10.9.9.9:8443", []]


async def test_forwarded_alone_never_counts() -> None:
    async with echoing(["127.0.0.1"]) as served:
        forwarded = {"Forwarded": "for=203.0.113.9;proto=https;host=evil.com"}
        assert await heard(served, forwarded) == await heard(served, {})


async def test_each_request_of_a_proxys_connection_has_a_client_of_its_own() -> None:
    async with echoing(["127.0.0.1"]) as served, http_client() as proxy:
        for client in ("203.0.113.9", "2001:db8:1::9", "203.0.113.10"):
            answer = await proxy.get(f"{served.url}/echo", headers={CLIENT: client})
            assert answer.json()[0] == client


async def test_at_the_public_address_the_scheme_is_the_public_one_whatever_a_proxy_names() -> None:
    async with echoing([], public_url="https://edge.example") as served:
        assert await heard(served, {"Host": "edge.example"}) == [
            "127.0.0.1", "https", "edge.example", [], "https://edge.example",
        ]  # fmt: skip
        assert (await heard(served, {}))[1] == "http"


async def test_a_host_that_a_trusted_proxy_names_is_judged_like_any() -> None:
    async with without_database(trusted_proxies=["127.0.0.1"]) as served, http_client() as client:
        for host in ("evil.com", "localhost@evil.com"):
            answer = await client.get(f"{served.url}/healthz", headers={"X-Forwarded-Host": host})
            assert (answer.status_code, "web.public_url" in answer.text) == (421, True)


async def test_the_live_socket_takes_the_origin_of_the_host_that_a_trusted_proxy_names() -> None:
    headers = [("Origin", "https://10.9.9.9:8443"), *NAMED.items()]
    async with (
        without_database(trusted_proxies=["127.0.0.1"]) as served,
        page_socket(served, headers=[*headers, ("Cookie", f"__Host-{SESSION.name}=x")]) as page,
    ):
        await page.get_message()
    async with without_database() as served:
        assert await refused_with(served, headers=headers) == 403


async def test_the_limit_of_connections_is_for_each_client_that_a_trusted_proxy_names() -> None:
    limits = RequestLimits(connections_per_address=2)
    async with without_database(trusted_proxies=["127.0.0.1"], limits=limits) as served, http_client() as client:

        async def status(named: str) -> int:
            answer = await client.get(f"{served.url}/healthz", headers={CLIENT: named})
            assert answer.status_code == 200 or answer.headers["retry-after"] == "5"
            return answer.status_code

        origin = ("Origin", served.url)
        async with page_socket(served, headers=[origin, (CLIENT, "203.0.113.9")]) as one:
            await one.get_message()
            assert [await status("203.0.113.9") for _ in range(4)] == [200] * 4, "each is over before the next"
            async with page_socket(served, headers=[origin, (CLIENT, "203.0.113.9")]) as other:
                await other.get_message()
                assert await status("203.0.113.9") == 503
                assert await status("203.0.113.10") == 200
                assert [await status("127.0.0.1") for _ in range(3)] == [200] * 3
        with trio.fail_after(5):
            while await status("203.0.113.9") != 200:
                await trio.sleep(0.01)
