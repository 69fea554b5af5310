"""Serves a dashboard for tests, on a free port of loopback, and speaks to it in raw bytes where a client would not."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

import trio
from trio_websocket import ConnectionClosed, WebSocketConnection, wrap_client_stream

from appliance.db import roles
from appliance.db.pool import open_pool
from appliance.diagnostics.readiness import Health
from appliance.web.app import Dashboard, create_app
from appliance.web.devices.port import ListenerAddress
from appliance.web.http.cookies import SESSION
from appliance.web.http.hardening import RequestLimits
from appliance.web.http.server import serve
from appliance.web.platform import Platform, Recognizer
from appliance.web.ports import Ports
from tests.support.postgres_server import Database
from tests.support.web.compile_once import compile_once
from tests.support.web.parts import WELL, Parts, parts
from tests.support.web.stand_ins import Always
from tests.support.web.tls import NoCertificates

compile_once()

NOWHERE = "host=/nonexistent user=nobody dbname=nothing"
"""Of a Postgres that cannot be reached."""


@dataclass(slots=True)
class Served:
    """A dashboard that is being served."""

    app: Dashboard
    platform: Platform
    ports: Ports
    port: int
    stopped: trio.Event
    _stop: trio.Event

    @property
    def url(self) -> str:
        """Its address."""
        return f"{'http' if self.platform.tls is None else 'https'}://127.0.0.1:{self.port}"

    def stop(self) -> None:
        """Begin the drain."""
        self._stop.set()

    async def connect(self) -> trio.SocketStream:
        """A bare connection to it."""
        return await trio.open_tcp_stream("127.0.0.1", self.port)

    async def exchange(self, request: bytes, *, seconds: float = 5.0) -> bytes:
        """Send bytes as they are and return all that comes until the server closes."""
        async with await self.connect() as stream:
            await stream.send_all(request)
            return await read_all(stream, seconds)

    async def places_free(self, *, seconds: float = 5.0) -> None:
        """Return once a connection more is taken; fails when that does not come to pass."""
        deadline = trio.current_time() + seconds
        while b" 503 " in await self.exchange(b"GET /healthz HTTP/1.0\r\nHost: localhost\r\n\r\n"):
            assert trio.current_time() < deadline, "every place is still taken"


async def read_all(stream: trio.abc.ReceiveStream, seconds: float = 5.0) -> bytes:
    """All that comes until the peer closes; fails when it does not close in time."""
    received = bytearray()
    with trio.fail_after(seconds):
        try:
            while chunk := await stream.receive_some():
                received += chunk
        except trio.BrokenResourceError:
            pass
    return bytes(received)


def dashboard(given: Parts, limits: RequestLimits | None = None) -> Dashboard:
    """Return the application made of ``given``."""
    return create_app(given.platform, given.ports, limits or RequestLimits())


@asynccontextmanager
async def serving(given: Parts, limits: RequestLimits | None = None) -> AsyncIterator[Served]:
    """Serve a dashboard over ``given`` for the block."""
    stop, stopped = trio.Event(), trio.Event()
    app = dashboard(given, limits)

    async def run(task_status: trio.TaskStatus[int]) -> None:
        await serve(app, "127.0.0.1", 0, shutdown_trigger=stop.wait, task_status=task_status)
        stopped.set()

    async with trio.open_nursery() as nursery:
        port = await nursery.start(partial(run))
        yield Served(app, given.platform, given.ports, port, stopped, stop)
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def over(
    database: Database, *, public_url: str | None = None, trusted_proxies: Sequence[str] = (), **given: Any
) -> AsyncIterator[Served]:
    """A dashboard over a database, with its real people, customers under row-level security.

    ``given`` replaces parts by name: see :meth:`Parts.having`.
    """
    async with (
        open_pool(database.conninfo(roles.INGEST), name="ingest", min_size=1, max_size=4, timeout=20) as pool,
        open_pool(database.conninfo(roles.WEB), name="web", min_size=1, max_size=4, timeout=20) as web_pool,
        serving(
            parts(pool, web_pool=web_pool, public_url=public_url, trusted_proxies=trusted_proxies).having(**given)
        ) as served,
    ):
        yield served


@asynccontextmanager
async def without_database(
    *,
    health: Health = WELL,
    public_url: str | None = None,
    trusted_proxies: Sequence[str] = (),
    limits: RequestLimits | None = None,
    identity: Recognizer | None = None,
    certificates: NoCertificates | None = None,
    listener: ListenerAddress | None = None,
) -> AsyncIterator[Served]:
    """Serve a dashboard whose Postgres cannot be reached: all but pages works."""
    async with open_pool(NOWHERE, name="nowhere", min_size=0, max_size=1, timeout=20) as pool:
        pool.timeout = 0.01  # nobody will come
        given = parts(
            pool,
            health=health,
            public_url=public_url,
            trusted_proxies=trusted_proxies,
            identity=identity or Always(),
        ).having(certificates=certificates, listener=listener)
        async with serving(given, limits) as served:
            yield served


async def closed_with(page: WebSocketConnection, *, seconds: float = 2.0) -> int:
    """Read until the server closes the WebSocket; its close code."""
    with trio.fail_after(seconds), suppress(ConnectionClosed):
        while True:
            await page.get_message()
    assert page.closed is not None
    return int(page.closed.code)


@asynccontextmanager
async def page_socket(
    served: Served,
    *,
    page: str = "overview",
    path: str = "/live",
    headers: Sequence[tuple[str, str]] | None = None,
    cookie: str = "x",
) -> AsyncIterator[WebSocketConnection]:
    """The live WebSocket as a page opens it; ``headers`` in place of a page's own Origin, ``cookie`` of the session.

    ``path`` is another WebSocket's.
    """
    given = [*([("Origin", served.url)] if headers is None else headers), ("Cookie", f"{SESSION.name}={cookie}")]
    async with await served.connect() as stream, trio.open_nursery() as nursery:
        yield await wrap_client_stream(
            nursery, stream, f"127.0.0.1:{served.port}", f"{path}?page={page}", extra_headers=encoded(given)
        )
        nursery.cancel_scope.cancel()


def encoded(headers: Sequence[tuple[str, str]]) -> list[tuple[bytes, bytes]]:
    """Headers as bytes."""
    return [(name.encode(), value.encode()) for name, value in headers]
