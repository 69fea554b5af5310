"""Listening, and the drain: with pages open, with requests under way, with peers that do not read."""

import socket

import pytest
import trio

from appliance.errors import ApplianceError
from appliance.web.access.auth import OPEN, allow
from appliance.web.http.hardening import RequestLimits
from appliance.web.http.listener import open_listener
from tests.support.busy import within
from tests.support.web.serving import Served, closed_with, page_socket, read_all, without_database

STOP = 2.0
"""Seconds in which the drain must be over."""
BRIEF = RequestLimits(drain_time=0.3)


async def stop_and_wait(served: Served) -> float:
    """Begin the drain; how many seconds it took."""
    began = trio.current_time()
    served.stop()
    with trio.fail_after(STOP):
        await served.stopped.wait()
    return trio.current_time() - began


async def test_port_0_is_a_free_port() -> None:
    async with without_database() as one, without_database() as other:
        assert one.port != other.port
        assert min(one.port, other.port) > 0


async def test_a_taken_port_names_the_port_and_the_key() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ApplianceError, match=rf"port {port} .* web\.port"):
            await open_listener("127.0.0.1", port)


async def test_an_address_that_is_not_ours_names_the_key() -> None:
    with pytest.raises(ApplianceError, match=r"web\.host"):
        await open_listener("192.0.2.1", 0)


async def test_a_host_that_is_no_address_names_the_key() -> None:
    with pytest.raises(ApplianceError, match=r"web\.host 'no\.such\.host\.invalid'"):
        await open_listener("no.such.host.invalid", 0)


async def test_both_protocols_of_the_internet_reach_a_dashboard_on_any_address() -> None:
    listener = await open_listener("::", 0)
    async with listener:
        port = listener.socket.getsockname()[1]
        for address in ("127.0.0.1", "::1"):
            async with await trio.open_tcp_stream(address, port), await listener.accept():
                pass


async def test_the_drain_closes_live_sockets_with_1001() -> None:
    async with without_database() as served, page_socket(served) as page:
        await page.get_message()
        served.stop()
        assert await closed_with(page) == 1001
        with trio.fail_after(STOP):
            await served.stopped.wait()


async def test_the_drain_ends_at_once_with_idle_connections() -> None:
    async with without_database() as served, await served.connect() as kept, await served.connect() as silent:
        await kept.send_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert (await kept.receive_some()).startswith(b"HTTP/1.1 200")
        assert await stop_and_wait(served) < within(0.5)
        assert await read_all(silent) == b""


async def test_a_request_under_way_is_answered_during_the_drain() -> None:
    asked, answer = trio.Event(), trio.Event()
    async with without_database() as served, await served.connect() as stream:

        @served.app.get("/slow")
        @allow(OPEN)
        async def slow() -> str:
            asked.set()
            await answer.wait()
            return "done"

        await stream.send_all(b"GET /slow HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await asked.wait()
        served.stop()
        answer.set()
        assert (await read_all(stream)).endswith(b"done")
        with trio.fail_after(STOP):
            await served.stopped.wait()


async def test_a_request_that_never_ends_does_not_hold_the_drain() -> None:
    asked = trio.Event()
    async with without_database(limits=BRIEF) as served, await served.connect() as stream:

        @served.app.get("/endless")
        @allow(OPEN)
        async def endless() -> str:
            asked.set()
            await trio.sleep_forever()
            raise AssertionError

        await stream.send_all(b"GET /endless HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await asked.wait()
        await stop_and_wait(served)


async def test_a_peer_that_does_not_read_does_not_hold_the_drain() -> None:
    asked = trio.Event()
    async with without_database(limits=BRIEF) as served, await served.connect() as stream:

        @served.app.get("/large")
        @allow(OPEN)
        async def large() -> bytes:
            asked.set()
            return bytes(50_000_000)

        await stream.send_all(b"GET /large HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await asked.wait()
        await stop_and_wait(served)


async def test_after_the_drain_nobody_listens() -> None:
    async with without_database() as served:
        await stop_and_wait(served)
        with pytest.raises(OSError, match="connect"):
            await served.connect()


async def test_cancelling_the_server_ends_it_with_a_stuck_peer() -> None:
    asked = trio.Event()
    async with without_database() as served:

        @served.app.get("/large")
        @allow(OPEN)
        async def large() -> bytes:
            asked.set()
            return bytes(50_000_000)

        stream = await served.connect()
        await stream.send_all(b"GET /large HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await asked.wait()
        began = trio.current_time()
    assert trio.current_time() - began < within(1)
    await stream.aclose()


def test_the_drain_leaves_room_within_what_is_promised() -> None:
    assert RequestLimits().drain_time < STOP
