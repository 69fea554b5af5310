"""The end of a stream under TLS: after what is being sent, and never in its place."""

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import cast

import pytest
import trio
import trio.testing

from appliance.web.http.stream import GOODBYE, SLICE, PeerStream, open_stream
from tests.support.busy import within
from tests.support.certificates import Authority
from tests.support.web.tls import FileCertificates

LARGE = 8_000_000


@asynccontextmanager
async def pair(folder: Path) -> AsyncIterator[tuple[PeerStream, "trio.SSLStream[trio.SocketStream]"]]:
    """A server's stream and its client's, the handshake done."""
    certificates = FileCertificates(Authority(), folder)
    assert certificates.tls is not None
    server, client = (trio.SocketStream(one) for one in trio.socket.socketpair())
    secured = trio.SSLStream(client, certificates.client(), server_hostname="localhost")
    opened: list[PeerStream] = []

    async def accept(context: ssl.SSLContext) -> None:
        opened.append(await open_stream(server, context, send_time=30))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(accept, certificates.tls.context)
        await secured.do_handshake()
    yield opened[0], secured
    await trio.aclose_forcefully(server)
    await trio.aclose_forcefully(secured)


async def test_a_close_waits_for_what_is_being_sent(tmp_path: Path) -> None:
    async with pair(tmp_path) as (peer, client), trio.open_nursery() as nursery:
        nursery.start_soon(peer.send_all, bytes(LARGE))
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(peer.aclose)
        received = 0
        with trio.fail_after(20):
            while chunk := await client.receive_some():
                received += len(chunk)
        assert received == LARGE


async def test_a_peer_that_does_not_read_is_cut_off_without_a_close_notify(tmp_path: Path) -> None:
    async with pair(tmp_path) as (peer, client), trio.open_nursery() as nursery:

        async def send() -> None:
            with pytest.raises((trio.BrokenResourceError, trio.ClosedResourceError)):
                await peer.send_all(bytes(LARGE))

        nursery.start_soon(send)
        await trio.testing.wait_all_tasks_blocked()
        began = trio.current_time()
        await peer.aclose()
        assert trio.current_time() - began < within(GOODBYE + 1)
        with pytest.raises(trio.BrokenResourceError), trio.fail_after(20):
            await all_of(client)


async def all_of(client: "trio.SSLStream[trio.SocketStream]") -> None:
    """Read to the end."""
    while await client.receive_some():
        pass


class SlowLine:
    """A connection that takes six seconds for each slice, however long it is."""

    socket: None = None

    def __init__(self) -> None:
        self.received = 0

    async def receive_some(self) -> bytes:
        """Nothing comes."""
        return b""

    async def send_all(self, data: memoryview) -> None:
        """Take it, in time."""
        await trio.sleep(6)
        self.received += len(data)


async def test_a_large_answer_has_a_deadline_for_each_slice_and_none_for_the_whole(autojump_clock: object) -> None:
    del autojump_clock
    line = SlowLine()
    peer = PeerStream(cast("trio.SocketStream", line), None, send_time=10)
    await peer.send_all(bytes(5 * SLICE))
    assert line.received == 5 * SLICE
