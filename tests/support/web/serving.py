"""Serves a dashboard for tests, on a free port of loopback, and speaks to it in raw bytes where a client would not."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

import trio
from trio_websocket import ConnectionClosed, WebSocketConnection, wrap_client_stream

from appliance.alerts.maintenance.book import MaintenanceBook
from appliance.backup.nightly import BackupState
from appliance.broker.floods.record import Flooder
from appliance.broker.refusals import BrokerRefusal
from appliance.clock import SystemClock
from appliance.config import Ingest, Retention
from appliance.db import roles
from appliance.db.change_context import ChangeContext
from appliance.db.migrations import shipped
from appliance.db.pool import Pool, open_pool
from appliance.delivery.links.acknowledge_link import AcknowledgeLinks
from appliance.delivery.outgoing.network import Network
from appliance.delivery.senders.table import SENDERS
from appliance.devices.live.state_book import StateBook
from appliance.devices.registry.cache import Registry
from appliance.devices.registry.claims import ClaimOutcome
from appliance.devices.registry.provisioning import ProvisioningRequest
from appliance.diagnostics.process_metrics import ProcessMetrics
from appliance.diagnostics.readiness import Health
from appliance.diagnostics.snapshot import BrokerTerms, Dependency, DiskRoom, ResourceLimit, Snapshot
from appliance.ingest.batch import Verdict
from appliance.ingest.limits.terms import BucketState
from appliance.ingest.quarantine.replay_preview import ReplayPreviewer
from appliance.keyring import Keyring, new_key
from appliance.metrics import Metrics
from appliance.people.passwords import Cost, Hasher
from appliance.people.role import Role, Theme
from appliance.people.sessions import Visit
from appliance.people.signin import SignIn
from appliance.renewals.policy import RenewalPolicy
from appliance.watchdog.watchdog import EndToEnd, HeartbeatCall
from appliance.web.access.auth import Viewer
from appliance.web.access.call_rate import CallLimits
from appliance.web.access.identity import Identity
from appliance.web.access.transactions import Access
from appliance.web.alerts.port import AlertsPort
from appliance.web.app import Dashboard, create_app
from appliance.web.devices.port import DevicesPort, ListenerAddress
from appliance.web.http.cookies import SESSION
from appliance.web.http.hardening import RequestLimits
from appliance.web.http.server import serve
from appliance.web.ingest.port import IngestPort, MessageSource
from appliance.web.integrations.port import IntegrationsPort
from appliance.web.live.feed import LiveFeed
from appliance.web.page.failures import BrokerQueue
from appliance.web.platform import Platform, Recognizer
from appliance.web.ports import Ports
from appliance.web.quarantine.port import QuarantinePort
from appliance.web.system.port import SystemPort
from tests.delivery.senders.network import LOCAL
from tests.support.clock import StubServiceClock
from tests.support.postgres_server import Database
from tests.support.tenants import provisioner_of
from tests.support.web.compile_once import compile_once
from tests.support.web.tls import NoCertificates

compile_once()

UNLIMITED = CallLimits(per_minute=10_000_000, burst=10_000_000)
"""Tests ask as fast as they can."""
KEYRING = Keyring([new_key()])
"""That of every dashboard of a test."""

WELL = Health(None, None, None)
CHEAP = Cost(memory_kib=64, passes=1)
"""For hashes of tests' passwords, which nobody guesses."""
NOWHERE = "host=/nonexistent user=nobody dbname=nothing"


INSTANCE = "0123456789ab"
"""The appliance that serves the dashboard."""


MB, GB = 10**6, 10**9


class NoDevices:
    """Ingest for dashboards whose tests send no messages: nobody may speak for any device."""

    token_demanded = True

    async def authentic(self, tenant_id: str, device_id: str, secret: str) -> bool:
        del tenant_id, device_id, secret
        return False

    async def authentic_claim(self, tenant_id: str, secret: str) -> bool:
        del tenant_id, secret
        return False

    async def take(self, topic: str, payloads: Sequence[bytes], hop_count: str | None = None) -> list[Verdict]:
        del hop_count
        raise AssertionError(f"{len(payloads)} messages on {topic}, though nobody was let in")

    def retry_after(self, tenant_id: str, device_id: str, payloads: Sequence[bytes]) -> int:
        del tenant_id, device_id, payloads
        return 1


OPERATOR = Viewer(
    user_id=UUID(int=1),
    email="ops@appliance.example",
    name="Ops",
    role=Role.OPERATOR,
    tenant_id=None,
    zone=None,
    theme=Theme.SYSTEM,
    session_id=UUID(int=2),
    csrf="csrf",
)


class Always:
    """Takes everybody for one person, or for nobody: for dashboards without a database to ask."""

    def __init__(self, viewer: Viewer | None = OPERATOR) -> None:
        self.viewer = viewer

    async def by_session(self, secret: str, visit: Visit, *, touch: bool) -> Viewer | None:
        del secret, visit, touch
        return self.viewer

    async def by_token(self, secret: str) -> Viewer | None:
        del secret
        return None


async def no_claims(request: ProvisioningRequest, by: ChangeContext) -> ClaimOutcome:
    """Nobody gets here: no claim password is right."""
    raise AssertionError(f"{by.actor} claims {request.key}, though nobody was let in")


def backed_up(now: float) -> BackupState:
    """Return nightly backups that go well, but for the disk that they are on."""
    name = "appliance-0123456789ab-20261130T023000Z.age"
    return BackupState(
        folder="/mnt/backups",
        keep=7,
        running=False,
        next_at=now + 9 * 3600,
        last_at=now - 15 * 3600,
        last_error=None,
        good_at=now - 15 * 3600 + 90,
        good_file=name,
        good_bytes=1_234_567_890,
        good_seconds=90.0,
        overdue=False,
        on_data_disk=True,
    )


def quiet_system(clock: SystemClock) -> Snapshot:
    """Return a process without tasks, whose Postgres and broker are well and whose schema is the one it ships."""
    return Snapshot(
        instance=INSTANCE,
        age=lambda: 3600.0,
        tasks=lambda _now: [],
        process=ProcessMetrics(Metrics(), clock, Path.cwd(), queue=lambda: 0, each_second=lambda _now: None),
        room=lambda: DiskRoom("ok", 9 * GB, 32 * GB, MB, MB, MB, 3 * MB, None),
        dependencies=lambda: [
            Dependency("Postgres", embedded=True, version="15", trouble=None, answered_in=0.0004),
            Dependency("Mosquitto", embedded=True, version="2.0.11", trouble=None, connected=3, dropped=0),
        ],
        limits=lambda: [ResourceLimit("Rate buckets", 471, 200_000)],
        broker_terms=BrokerTerms(5, 200_000, 268_435_456, 4096, 262_144, 10_000, 14, 805_306_368),
        flooders=list,
        shared_client_ids=list,
        retention_days=30,
        retention_blocked=lambda: None,
        backups=lambda: backed_up(clock.now()),
        budget=lambda: None,
        schema=lambda: shipped()[-1].version,
        end_to_end=lambda: EndToEnd(24.0, True, (), 60.0, heartbeat=True, called=HeartbeatCall(12.0, True, None)),
        settings={"broker.port": 1883, "database.url": None},
    )


def replay_previewer(pool: Pool, clock: SystemClock) -> ReplayPreviewer:
    """As the process has it, over the registry in the database."""
    grace = timedelta(days=14)
    registry = Registry(pool, StateBook(0), provisioner_of(pool), clock, capacity=0, refusal_ttl=0, grace=grace)
    return ReplayPreviewer(pool, registry, clock, Ingest(), Retention(), grace=grace)


@dataclass(frozen=True, slots=True)
class Parts:
    """What a dashboard is made of."""

    platform: Platform
    ports: Ports

    def having(
        self,
        *,
        health: Callable[[], Health] | None = None,
        snapshot: Snapshot | None = None,
        source: MessageSource | None = None,
        broker_refusals: Callable[[str | None, str | None], Sequence[BrokerRefusal]] | None = None,
        flooders: Callable[[str | None], Sequence[Flooder]] | None = None,
        listener: ListenerAddress | None = None,
        grace: timedelta | None = None,
        plans: Mapping[str, int] | None = None,
        service_clock: StubServiceClock | None = None,
        affected: Callable[[], Sequence[str]] | None = None,
        certificates: NoCertificates | None = None,
    ) -> "Parts":
        """Return the same parts, but for those that are given."""
        platform, ports = self.platform, self.ports
        if health is not None:
            platform = replace(platform, health=health)
        if grace is not None:
            platform = replace(platform, grace=grace, renewals=replace(platform.renewals, grace=grace))
        if plans is not None:
            platform = replace(platform, renewals=replace(platform.renewals, plans=plans))
        if affected is not None:
            platform = replace(platform, affected=affected)
        if certificates is not None:
            platform = replace(platform, certificates=certificates, tls=certificates.tls)
        if service_clock is not None:
            book = MaintenanceBook(platform.pool, service_clock)
            platform = replace(platform, clock=service_clock, maintenance=book)
            ports = replace(ports, system=replace(ports.system, clock=service_clock))
        if snapshot is not None:
            ports = replace(ports, system=replace(ports.system, snapshot=snapshot))
        if source is not None:
            ports = replace(ports, ingest=replace(ports.ingest, source=source))
        if flooders is not None:
            ports = replace(ports, devices=replace(ports.devices, flooders=flooders))
        if listener is not None:
            ports = replace(ports, devices=replace(ports.devices, listener=listener))
        if broker_refusals is not None:
            ports = replace(
                ports,
                devices=replace(ports.devices, broker_refusals=broker_refusals),
                quarantine=replace(ports.quarantine, broker_refusals=broker_refusals),
                system=replace(ports.system, broker_refusals=broker_refusals),
            )
        return Parts(platform, ports)


def parts(
    pool: Pool,
    *,
    web_pool: Pool | None = None,
    health: Health = WELL,
    public_url: str | None = None,
    trusted_proxies: Sequence[str] = (),
    live: LiveFeed | None = None,
    identity: Recognizer | None = None,
    network: Network = LOCAL,
    api_limits: CallLimits = UNLIMITED,
) -> Parts:
    """Return what a dashboard needs; feed and clock are real, and so are people where there is a database."""
    clock = SystemClock()
    platform = Platform(
        name="test-appliance",
        instance=INSTANCE,
        public_url=public_url,
        trusted_proxies=trusted_proxies,
        tls=None,
        certificates=NoCertificates(),
        clock=clock,
        pool=pool,
        access=Access(pool, web_pool or pool, clock),
        keyring=KEYRING,
        identity=identity or Identity(pool, clock),
        api_limits=api_limits,
        live=live or LiveFeed(clock),
        health=lambda: health,
        grace=timedelta(days=14),
        renewals=RenewalPolicy(timedelta(days=14), opens_days=30, plans={}),
        notices_wait=timedelta(days=7),
        maintenance=MaintenanceBook(pool, clock),
        affected=tuple,
    )
    snapshot = quiet_system(clock)
    ports = Ports(
        sign_in=SignIn(pool, clock, KEYRING, Hasher(CHEAP)),
        ingest=IngestPort(NoDevices(), no_claims),
        devices=DevicesPort(
            ListenerAddress(None, 1883),
            lambda *_: BucketState(10, 50, 50, overflow=False, allowance=172_800, allowance_limit=864_000),
            no_refusals,
            lambda _tenant: [],
            snapshot.retention_days,
        ),
        quarantine=QuarantinePort(replay_previewer(pool, clock), no_refusals, own_broker=True),
        alerts=AlertsPort(reopen_after=86_400.0, retention_days=30, links=AcknowledgeLinks(KEYRING)),
        integrations=IntegrationsPort(KEYRING, network, SENDERS),
        system=SystemPort(snapshot, StubServiceClock(), no_refusals, no_bundle, lambda: None),
        metrics_text=lambda: b"appliance_messages_total 42.0\n",
        broker_queue=lambda: BrokerQueue(13_210, 200_000),
    )
    return Parts(platform, ports)


async def no_bundle() -> bytes:
    """Make a bundle without content."""
    return b"PK"


def no_refusals(_tenant_id: str | None, _device_id: str | None) -> Sequence[BrokerRefusal]:
    """The broker refused nothing."""
    return ()


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
