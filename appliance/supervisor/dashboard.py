"""The fifth stage: the dashboard, the JSON API and HTTP ingest."""

import resource
import shlex
import socket
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial

from appliance.alerts.alert import ALERTS_CHANNEL
from appliance.children.mosquitto_files import BrokerLimits, DeviceListener
from appliance.config import Config, masked
from appliance.delivery.links.acknowledge_link import AcknowledgeLinks
from appliance.delivery.outgoing.network import Network
from appliance.delivery.senders.table import SENDERS
from appliance.devices.registry.claims import claim
from appliance.diagnostics import reports
from appliance.diagnostics.process_metrics import ProcessMetrics
from appliance.diagnostics.snapshot import Snapshot
from appliance.ingest.http import HttpSource
from appliance.ingest.limits.terms import BucketState, noted_allowance
from appliance.ingest.quarantine.replay_preview import ReplayPreviewer
from appliance.offboarding.deletion import OFFBOARDING_CHANNEL
from appliance.people.passwords import Hasher
from appliance.people.signin import SignIn
from appliance.runtime.tree import Service
from appliance.supervisor.backups import ReadableCopies, copy_places
from appliance.supervisor.broker import BrokerAccess, broker_limits
from appliance.supervisor.conditions import Watch
from appliance.supervisor.foundation import Foundation
from appliance.supervisor.knowledge import Knowledge
from appliance.supervisor.retention import budget_state
from appliance.supervisor.storage import Storage
from appliance.supervisor.stream import Stream
from appliance.supervisor.support import support_bundle
from appliance.tls.names import is_host_name
from appliance.watchdog.watchdog import Watchdog
from appliance.web.access.call_rate import CallLimits
from appliance.web.access.identity import Identity
from appliance.web.access.transactions import Access
from appliance.web.alerts.port import AlertsPort
from appliance.web.app import create_app
from appliance.web.devices.port import OWN_CA, DevicesPort, ListenerAddress
from appliance.web.http.hardening import RequestLimits, affordable_connections
from appliance.web.http.server import serve
from appliance.web.http.tls import CertificateSource, ServerTls
from appliance.web.ingest.port import IngestPort
from appliance.web.integrations.port import IntegrationsPort
from appliance.web.page.failures import BrokerQueue
from appliance.web.platform import Platform
from appliance.web.ports import Ports
from appliance.web.quarantine.port import QuarantinePort
from appliance.web.system.port import SystemPort
from appliance.web.tenants.port import TenantsPort


@dataclass(frozen=True, slots=True)
class Dashboard:
    """The dashboard as it is served."""

    service: Service
    port: int


async def open_dashboard(
    base: Foundation,
    storage: Storage,
    known: Knowledge,
    stream: Stream,
    broker: BrokerAccess,
    watch: Watch,
    network: Network,
    watchdog: Watchdog,
) -> Dashboard:
    """Serve pages, API and HTTP ingest."""
    clock, pool, tree = base.clock, storage.pool, base.tree
    platform = Platform(
        name=socket.gethostname(),
        instance=base.instance,
        public_url=base.config.web.public_url,
        trusted_proxies=base.config.web.trusted_proxies,
        tls=ServerTls(base.certificates, plain=base.config.web.plain) if base.config.web.tls else None,
        certificates=base.certificates,
        clock=clock,
        pool=pool,
        access=Access(pool, storage.web_pool, clock),
        keyring=base.data.keyring,
        identity=Identity(pool, clock),
        api_limits=CallLimits(base.config.web.api_rate, base.config.web.api_burst),
        live=stream.live,
        health=broker.health,
        grace=base.grace,
        renewals=base.renewals,
        notices_wait=timedelta(days=base.config.delivery.max_age_days),
        maintenance=known.maintenance,
        affected=watch.own.affected,
    )
    snapshot = _snapshot(base, storage, known, stream, broker, watch.process, watchdog)
    app = create_app(platform, _ports(base, storage, known, stream, broker, snapshot, network), _limits())
    storage.changes.subscribe(ALERTS_CHANNEL, app.alerts_changed, app.alerts_changed)
    # One that is missed costs nothing but the last hour's view of a tenant, if its id is used again within that hour.
    storage.changes.subscribe(OFFBOARDING_CHANNEL, stream.live.forget_tenant, lambda: None)
    web = base.config.web
    service, port = await tree.start(
        "dashboard", partial(serve, shutdown_trigger=base.stop.wait), app, web.host, web.port
    )
    return Dashboard(service, port)


def _snapshot(
    base: Foundation,
    storage: Storage,
    known: Knowledge,
    stream: Stream,
    broker: BrokerAccess,
    process: ProcessMetrics,
    watchdog: Watchdog,
) -> Snapshot:
    config, embedded = base.config, broker.embedded
    return Snapshot(
        instance=base.instance,
        age=base.tree.age,
        tasks=base.tree.status,
        process=process,
        room=partial(reports.disk_room, base.disk),
        dependencies=partial(
            reports.dependencies,
            storage.health,
            storage.postgres,
            embedded,
            broker.client,
            broker.statistics,
            broker.room,
            broker.session_watch,
        ),
        limits=partial(
            reports.resource_limits,
            config,
            known.limiter,
            known.registry,
            known.states,
            stream.admission,
            broker.client,
            stream.pipeline,
        ),
        broker_terms=None if embedded is None else reports.broker_terms(embedded, broker_limits(config)),
        flooders=broker.floods.current,
        shared_client_ids=broker.log.client_ids.shared,
        retention_days=config.retention.days,
        retention_blocked=lambda: stream.retention.by_age.blocked,
        backups=lambda: None if base.backups is None else base.backups.state(),
        budget=partial(budget_state, base, stream.retention, process),
        schema=lambda: storage.health.schema_version,
        end_to_end=watchdog.view,
        settings=masked(config),
    )


def listener_address(
    config: Config, certificates: CertificateSource, address: tuple[str, int], own: DeviceListener | None
) -> ListenerAddress:
    """Return where the ready-made commands publish: under TLS wherever that is spoken.

    ``address``: host and port that devices are told; ``own``: the listener of our own broker, None for one elsewhere.
    """
    host, port = address
    # A proxy has a certificate of its own, which nobody here knows.
    own_https = certificates.web is not None and certificates.web.own and not config.web.trusted_proxies
    http_options = f" --cacert {OWN_CA}" if own_https else ""
    if own is None:
        return ListenerAddress(host, port, tls_options(config), http_options)
    options, named, shown = "", None, certificates.broker
    if shown is not None and own.tls_port is not None:
        port = own.tls_port
        options = f" --cafile {OWN_CA}" if shown.own else " --tls-use-os-certs"
        named = None if shown.own else next(filter(is_host_name, shown.names), None)
    return ListenerAddress(None, port, options, http_options, named)


def tls_options(config: Config) -> str:
    """Return what ``mosquitto_pub`` needs for a broker elsewhere under TLS."""
    address = config.broker.address()
    if address is None or not address.encrypted:
        return ""
    ca = config.broker.ca_file
    return " --tls-use-os-certs" if ca is None else f" --cafile {shlex.quote(str(ca))}"


def _ports(
    base: Foundation,
    storage: Storage,
    known: Knowledge,
    stream: Stream,
    broker: BrokerAccess,
    snapshot: Snapshot,
    network: Network,
) -> Ports:
    config, clock, pool, refusals = base.config, base.clock, storage.pool, broker.log.refusals.refusals
    source = HttpSource(
        stream.pipeline, known.registry, known.limiter, clock, token_demanded=config.ingest.require_token
    )

    def limit_of(tenant_id: str, device_id: str, full_at: datetime | None, registered_at: datetime) -> BucketState:
        full = None if full_at is None else full_at.timestamp()
        noted = noted_allowance(clock.now(), full, registered_at.timestamp())
        return known.limiter.effective(tenant_id, device_id, clock.monotonic(), noted)

    def broker_queue() -> BrokerQueue | None:
        waiting = broker.statistics.waiting
        return None if waiting is None else BrokerQueue(waiting, BrokerLimits().max_queued_messages)

    return Ports(
        sign_in=SignIn(pool, clock, base.data.keyring, Hasher()),
        ingest=IngestPort(source, partial(claim, pool, known.provisioner.provision)),
        devices=DevicesPort(
            listener_address(
                config,
                base.certificates,
                broker.device_address(config),
                None if broker.embedded is None else broker.embedded.devices,
            ),
            limit_of,
            refusals,
            broker.floods.current,
            config.retention.days,
        ),
        quarantine=QuarantinePort(
            ReplayPreviewer(pool, known.registry, clock, config.ingest, config.retention, grace=base.grace),
            refusals,
            own_broker=broker.embedded is not None,
        ),
        alerts=AlertsPort(config.alerts.reopen_after, config.retention.days, AcknowledgeLinks(base.data.keyring)),
        integrations=IntegrationsPort(base.data.keyring, network, SENDERS),
        system=SystemPort(
            snapshot, clock, refusals, support_bundle(), None if base.backups is None else base.backups.ask
        ),
        tenants=TenantsPort(ReadableCopies(copy_places(config, base.data.path, base.instance), clock).read),
        metrics_text=base.metrics.exposition,
        broker_queue=broker_queue,
    )


def _limits() -> RequestLimits:
    """Return the limits of requests, with no more connections than the process may open."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)  # -1: without a limit
    usual = RequestLimits()
    return replace(usual, connections=affordable_connections(usual.connections, files))
