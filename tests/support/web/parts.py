"""What a dashboard of tests is made of: real where a database is enough, stand-ins for the rest of the appliance."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

from appliance.alerts.maintenance.book import MaintenanceBook
from appliance.broker.floods.record import Flooder
from appliance.broker.refusals import BrokerRefusal
from appliance.clock import SystemClock
from appliance.config import Ingest, Retention
from appliance.db.pool import Pool
from appliance.delivery.links.acknowledge_link import AcknowledgeLinks
from appliance.delivery.outgoing.network import Network
from appliance.delivery.senders.table import SENDERS
from appliance.devices.live.state_book import StateBook
from appliance.devices.registry.cache import Registry
from appliance.diagnostics.readiness import Health
from appliance.diagnostics.snapshot import Snapshot
from appliance.ingest.limits.terms import BucketState
from appliance.ingest.quarantine.replay_preview import ReplayPreviewer
from appliance.keyring import Keyring, new_key
from appliance.people.passwords import Cost, Hasher
from appliance.people.signin import SignIn
from appliance.renewals.policy import RenewalPolicy
from appliance.web.access.call_rate import CallLimits
from appliance.web.access.identity import Identity
from appliance.web.access.transactions import Access
from appliance.web.alerts.port import AlertsPort
from appliance.web.devices.port import DevicesPort, ListenerAddress
from appliance.web.ingest.port import IngestPort, MessageSource
from appliance.web.integrations.port import IntegrationsPort
from appliance.web.live.feed import LiveFeed
from appliance.web.page.failures import BrokerQueue
from appliance.web.platform import Platform, Recognizer
from appliance.web.ports import Ports
from appliance.web.quarantine.port import QuarantinePort
from appliance.web.system.port import SystemPort
from appliance.web.tenants.port import TenantsPort
from tests.delivery.senders.network import LOCAL
from tests.support.clock import StubServiceClock
from tests.support.tenants import provisioner_of
from tests.support.web.stand_ins import INSTANCE, NoDevices, no_bundle, no_claims, no_copies, no_refusals, quiet_system
from tests.support.web.tls import NoCertificates

UNLIMITED = CallLimits(per_minute=10_000_000, burst=10_000_000)
"""Tests ask as fast as they can."""
KEYRING = Keyring([new_key()])
"""That of every dashboard of a test."""
WELL = Health(None, None, None)
CHEAP = Cost(memory_kib=64, passes=1)
"""For hashes of tests' passwords, which nobody guesses."""


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
        tenants=TenantsPort(no_copies),
        metrics_text=lambda: b"appliance_messages_total 42.0\n",
        broker_queue=lambda: BrokerQueue(13_210, 200_000),
    )
    return Parts(platform, ports)
