"""The whole appliance on one page: everything is opened here, in order, and closed in reverse.

Nothing else builds things, nothing is global. Services run in one nursery; whatever of them fails ends the process with
its own error. A drain (SIGTERM, SIGINT) takes no new messages, finishes the batch in hand, and closes the children
last; a second signal ends the process at once, and the kernel tells the children.
"""

import gc
import os
import socket
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import TypedDict

import structlog
import trio
from mqtt5 import QoS, RetainHandling
from psycopg.conninfo import make_conninfo

from appliance import housekeeping, onboarding
from appliance.backoff import Backoff
from appliance.broker import listener_gate
from appliance.broker.credentials_sync import CredentialsSync, read_users
from appliance.broker.refusals import BrokerRefusals
from appliance.broker.source import BrokerSource
from appliance.broker.statistics import BrokerStatistics
from appliance.children.data_dir import DataDir, RunFile, open_data_dir
from appliance.children.mosquitto import Mosquitto
from appliance.children.mosquitto_files import BrokerLimits, Users
from appliance.children.postgres import Postgres
from appliance.clock import Clock, SystemClock
from appliance.config import Config, masked
from appliance.db import bootstrap
from appliance.db.changes import Changes
from appliance.db.endpoint import DATABASE, Endpoint
from appliance.db.migrations import migrate
from appliance.db.pool import Pool, open_pool
from appliance.db.roles import INGEST, OWNER, ROLES, WEB
from appliance.db.trio_psycopg import connect
from appliance.devices.live.listening import Listening
from appliance.devices.live.presence import PresenceThresholds as PresenceLimits
from appliance.devices.live.rollup_queue import rebuild_rollup_queue
from appliance.devices.live.state import StateBook
from appliance.devices.live.unaccepted_traffic import UnacceptedTraffic
from appliance.devices.registry.cache import REGISTRY_CHANNEL, Registry
from appliance.devices.registry.claims import claim
from appliance.devices.registry.limits import LimitOverrides
from appliance.devices.registry.provisioning import Provisioner
from appliance.diagnostics import reports
from appliance.diagnostics.health import DatabaseHealth
from appliance.diagnostics.process_metrics import ProcessMetrics
from appliance.diagnostics.snapshot import Snapshot
from appliance.failpoints import Failpoints
from appliance.history.roller import Roller
from appliance.ingest.admission import Admission
from appliance.ingest.failing_check import knowledge
from appliance.ingest.http import HttpSource
from appliance.ingest.limits.backlog import BacklogCredit
from appliance.ingest.limits.janitor import Janitor
from appliance.ingest.limits.limiter import BucketOverride, BucketState, Limiter
from appliance.ingest.pipeline import Pipeline
from appliance.ingest.quarantine.replay_preview import ReplayPreviewer
from appliance.ingest.quarantine.replayer import Replayer
from appliance.ingest.quarantine.replays import REPLAY_CHANNEL
from appliance.ingest.quarantine.retention import QuarantineRetention
from appliance.ingest.telemetry.partitions import keep_ahead
from appliance.ingest.writer import Writer
from appliance.metrics import Metrics
from appliance.mqtt.client import Client
from appliance.mqtt.link import LinkState
from appliance.people.signin import SignIn
from appliance.runtime.activity import activity
from appliance.runtime.addresses import lan_addresses
from appliance.runtime.signals import StopSignal
from appliance.runtime.tree import Tree
from appliance.web.access.identity import Identity
from appliance.web.access.transactions import Access
from appliance.web.app import create_app
from appliance.web.devices.port import DeviceListener, DevicesPort
from appliance.web.http.server import serve
from appliance.web.ingest.port import IngestPort
from appliance.web.live.feed import LiveFeed
from appliance.web.page.failures import BrokerQueue
from appliance.web.platform import Health, Platform
from appliance.web.ports import Ports
from appliance.web.quarantine.port import QuarantinePort
from appliance.web.system.port import SystemPort

log = structlog.get_logger(__name__)

SUBSCRIPTION = "tenant/+/device/+/+"
SESSION_SECONDS = 14 * 86_400
"""How long the broker keeps our session and its queue while we are away."""
KEEP_ALIVE = 30
"""Seconds of silence after which we ask whether the broker is still there."""
MOST_BETWEEN_TRIES = 5.0
"""Seconds between two tries to reach a broker elsewhere."""
MOST_BETWEEN_OWN_TRIES = 0.25
"""And our own, where a try is a system call: while devices are let in and we are not there, what they send is in its
memory alone."""
DRAIN_SECONDS = 2.0
"""What the batch in hand may take to commit once a drain has begun; else it stays with the broker and comes again."""


SUPERUSER = "postgres"
"""Of the embedded Postgres; used to prepare it, never to serve."""
ANY_DATABASE = "postgres"
"""Of the embedded Postgres: it is there from the first moment, and ours may not be yet."""
EVERYWHERE = frozenset({"0.0.0.0", "::"})  # noqa: S104 - compared, not bound


class BrokerPlace(TypedDict, total=False):
    """Where and as whom a client connects; see :class:`Client`."""

    hostname: str
    port: int
    unix_socket: str
    username: str | None
    password: str | None


COLLECT_AFTER = (100_000, 50, 100)
"""Objects until a cyclic collection, and how many of one generation until the next: a batch makes thousands of objects,
and nothing in the message path is part of a cycle."""


@dataclass(frozen=True, slots=True)
class Serving:
    """What a started appliance tells the person at the console."""

    web_url: str
    addresses: Sequence[str]
    mqtt_host: str
    mqtt_port: int
    set_up_url: str | None
    """Opens the set-up page once; None when somebody is there already."""
    own_broker: bool
    """Whether the broker's users are ours to manage."""


async def run(config: Config, environ: Mapping[str, str], announce: Callable[[Serving], None]) -> None:
    """Run the appliance until it is asked to stop. Raises what a service raised, ApplianceError for people to mend."""
    gc.set_threshold(*COLLECT_AFTER)
    clock, metrics, failpoint = SystemClock(), Metrics(), Failpoints.from_environment(environ)
    with open_data_dir(config.data_dir) as data:
        async with trio.open_nursery() as nursery:
            tree = Tree(nursery)
            stopping = StopSignal(nursery.cancel_scope)
            await tree.start("signals", stopping.watch_signals)
            # Postgres: the server, the schema, the connections
            postgres, endpoint = await open_database(config, data, tree)
            pool = await tree.open(
                "connections",
                open_pool(endpoint.conninfo(INGEST), name="ingest", min_size=2, max_size=config.database.pool_size),
                tell=reports.report_connections,
            )
            await tree.start("partitions", keep_ahead, pool, clock, config.retention.days)
            web_pool = await tree.open(
                "customers' connections",
                open_pool(endpoint.conninfo(WEB), name="web", min_size=1, max_size=config.database.pool_size),
                tell=reports.report_connections,
            )
            database = DatabaseHealth()
            await tree.start("database watch", database.watch, pool, tell=reports.report_database(database))
            # What is known of devices
            states = StateBook(config.limits.max_tracked_devices)
            await states.rebuild(pool, data.instance.instance_id)
            await rebuild_rollup_queue(pool, data.instance.instance_id)
            provisioner = Provisioner(pool, grace=grace(config), max_wait=config.provisioning.max_wait, clock=clock)
            await tree.start("provisioner", provisioner.run)
            registry = Registry(
                pool,
                states,
                provisioner,
                clock,
                capacity=config.limits.max_tracked_devices,
                refusal_ttl=config.provisioning.refusal_ttl,
                grace=grace(config),
            )
            limits = LimitOverrides(pool)
            limiter = Limiter(
                rate=config.limits.rate,
                burst=config.limits.burst,
                tenant_rate=config.limits.tenant_rate,
                bucket_ttl=config.limits.bucket_ttl,
                max_tracked_devices=config.limits.max_tracked_devices,
                overrides=partial(override, limits),
            )
            open_connection = partial(connect, endpoint.conninfo(INGEST))
            changes = Changes(open_connection, [REGISTRY_CHANNEL, REPLAY_CHANNEL])
            changes.subscribe(REGISTRY_CHANNEL, registry.changed, registry.forget)
            changes.subscribe(REGISTRY_CHANNEL, limits.changed, limits.forget)
            await tree.start("database changes", changes.run)
            await tree.start("limits", limits.run, lambda: limiter.limits_changed(clock.monotonic()))
            await tree.start("housekeeping", housekeeping.run, pool, clock, grace(config))
            await tree.start("metric names", housekeeping.learn_metrics, pool, clock)
            # The pipeline
            live = LiveFeed(clock)
            admission = Admission(config.ingest, config.retention, knowledge(registry, failpoint), limiter)
            writer = Writer(pool, data.instance.instance_id, states, metrics, failpoint)
            backlog = BacklogCredit(limiter, clock, config.ingest.receive_max)
            silence = PresenceLimits(config.presence.stale_after, config.presence.offline_after)
            listening = Listening(pool, data.instance.instance_id, clock, silence)
            away = partial(absent, backlog, listening)
            pipeline = Pipeline(
                admission,
                writer,
                states,
                registry,
                metrics,
                clock,
                config.ingest.batch_size,
                live.publish,
                away,
            )
            backlog.away(clock.wall() - await states.newest(pool, clock.wall()))
            pipeline_service, _ = await tree.start(
                "pipeline",
                pipeline.run,
                tell=reports.report_pipeline(pipeline, metrics.committed, config.ingest.receive_max),
            )
            await tree.start("overheard devices", UnacceptedTraffic(states, registry).run)
            holding = QuarantineRetention(pool, data.instance.instance_id, clock, config.quarantine, metrics)
            await tree.start("quarantine", holding.run)
            roller = Roller(pool, clock, keep_days=config.retention.rollup_days)
            await tree.start("roll-ups", roller.run)
            replayer = Replayer(
                pool,
                data.instance.instance_id,
                registry,
                states,
                clock,
                config.ingest,
                config.retention,
                lambda: pipeline.in_flight,
                metrics,
            )
            changes.subscribe(REPLAY_CHANNEL, replayer.wake, replayer.wake)
            await tree.start("replays", replayer.run)
            # The broker: our session first, then the devices' door
            door = BrokerRefusals(clock, metrics)
            broker, users = await open_broker(config, data, tree, pool, door)
            client = await tree.open(
                "broker session",
                session_client(config, data, broker),
                tell=reports.report_session(config.ingest.receive_max),
            )
            await client.subscribe(SUBSCRIPTION, max_qos=QoS.AT_LEAST_ONCE, retain_handling=RetainHandling.SEND_NEVER)
            intake = BrokerSource(client, pipeline, config.ingest.batch_size, failpoint, metrics.redelivered.inc)
            intake_service, _ = await tree.start("intake", intake.run)
            await tree.start("backlog", backlog.run, lambda: pipeline.in_flight + client.statistics().waiting)
            await tree.start("link", watch_link, client, away)
            present = partial(health, database, postgres, client)
            await tree.start("listening", listening.run, lambda: not present().missing())
            janitor = Janitor(
                limiter,
                clock,
                interval=config.limits.janitor_interval,
                report=metrics.swept,
                resting=lambda: bool(present().missing()),
            )
            await tree.start("janitor", janitor.run)
            if broker is None:
                await tree.start("session watch", listener_gate.watch_session, client)
            else:
                instance = data.instance.instance_id
                broker_users = CredentialsSync(
                    broker, users, pool, open_connection, clock, instance, debug_logging=door.debug_logging
                )
                await tree.start("broker users", broker_users.run, client.ready)
                await tree.start("door", listener_gate.keep_gate, client, broker)
                await tree.start("refusals", door.run, broker_users.request_debug_logging)
            queue = BrokerStatistics(watch_client(config, broker), metrics)
            await tree.start("broker watch", queue.run, tell=reports.report_broker(queue))
            vitals = ProcessMetrics(metrics, clock, data.path, queue=lambda: queue.waiting, each_second=tree.sample)
            await tree.start("process metrics", vitals.run)
            await tree.start("disk usage", vitals.watch_disk)
            # The dashboard
            mqtt_host, mqtt_port = device_address(config, broker)
            ingest = HttpSource(pipeline, registry, limiter, clock, token_demanded=config.ingest.require_token)
            platform = Platform(
                name=socket.gethostname(),
                public_url=config.web.public_url,
                clock=clock,
                pool=pool,
                access=Access(pool, web_pool, clock),
                identity=Identity(pool, clock),
                live=live,
                health=present,
                grace=grace(config),
            )
            snapshot = Snapshot(
                instance=data.instance.instance_id,
                started_at=tree.since,
                tasks=tree.status,
                vitals=vitals,
                companions=partial(reports.dependencies, database, postgres, broker, client, queue),
                bounds=partial(reports.resource_limits, config, limiter, registry, states, admission, client, pipeline),
                broker_terms=None if broker is None else reports.broker_terms(broker, broker_limits(config)),
                retention_days=config.retention.days,
                schema=lambda: database.schema_version,
                settings=masked(config),
            )
            ports = Ports(
                sign_in=SignIn(pool, clock, data.vault),
                ingest=IngestPort(ingest, partial(claim, pool, provisioner.provision)),
                devices=DevicesPort(
                    DeviceListener(mqtt_host if broker is None else None, mqtt_port),
                    partial(limit_of, limiter, clock),
                    door.refusals,
                    config.retention.days,
                ),
                quarantine=QuarantinePort(
                    ReplayPreviewer(pool, registry, clock, config.ingest, config.retention, grace=grace(config)),
                    door.refusals,
                    own_broker=broker is not None,
                ),
                system=SystemPort(snapshot, door.refusals),
                metrics_text=metrics.exposition,
                broker_queue=partial(broker_queue, queue),
            )
            serve_web = partial(serve, shutdown_trigger=stopping.wait)
            web_service, web_port = await tree.start(
                "dashboard", serve_web, create_app(platform, ports), config.web.host, config.web.port
            )
            # Ready
            addresses = lan_addresses() if config.web.host in EVERYWHERE else [config.web.host]
            web_url = config.web.public_url or f"http://{addresses[0]}:{web_port}"
            set_up_path = await onboarding.offer(pool, clock)
            set_up_url = None if set_up_path is None else web_url + set_up_path
            announce(Serving(web_url, addresses, mqtt_host, mqtt_port, set_up_url, broker is not None))
            data.write_run_file(run_file(data, endpoint, web_url, mqtt_host, mqtt_port))
            web_service.may_end()
            gc.freeze()  # what is here now stays: full collections need not walk it
            await stopping.wait()
            # Stopping: no new messages, the batch in hand, then everything in reverse
            data.remove_run_file()
            await intake_service.stop()
            pipeline_service.may_end()
            with trio.move_on_after(DRAIN_SECONDS):
                await pipeline.drain()
            await web_service.done.wait()
            await tree.drain()
    log.info("stopped")


async def open_database(config: Config, data: DataDir, tree: Tree) -> tuple[Postgres | None, Endpoint]:
    """Postgres, started if it is ours, with its roles, database and schema as this program needs them."""
    postgres = None
    if config.database.url is None:
        postgres = server = Postgres(data, roles=[role.name for role in ROLES])
        tell = reports.report_child(lambda: server.status, lambda: str(server.programs.major))
        _, place = await tree.start("postgres", postgres.run, tell=tell)
        endpoint = Endpoint.local(place.socket_dir, place.port)
        await bootstrap.prepare(make_conninfo(endpoint.base, user=SUPERUSER, dbname=ANY_DATABASE), DATABASE)
    else:
        endpoint = Endpoint.external(config.database.url.reveal())
        await bootstrap.prepare(endpoint.base, endpoint.database)
    async with await connect(endpoint.conninfo(OWNER)) as connection:
        await migrate(connection)
    return postgres, endpoint


def grace(config: Config) -> timedelta:
    """How long a paid subscription goes on after its term."""
    return timedelta(days=config.subscriptions.grace_days)


def override(limits: LimitOverrides, tenant_id: str, device_id: str | None) -> BucketOverride | None:
    """What the database sets for one tenant or device, in the limiter's words."""
    found = limits.get(tenant_id, device_id)
    return None if found is None else BucketOverride(found.rate, found.burst, found.tenant_rate)


def limit_of(limiter: Limiter, clock: Clock, tenant_id: str, device_id: str) -> BucketState:
    """The limit in force for a device and its present fill."""
    return limiter.effective(tenant_id, device_id, clock.monotonic())


def absent(backlog: BacklogCredit, listening: Listening, seconds: float) -> None:
    """No messages were taken in the last ``seconds``: neither limits nor presence hold that against a device."""
    backlog.away(seconds)
    listening.away(seconds)


async def watch_link(client: Client, away: Callable[[float], None], *, task_status: trio.TaskStatus[None]) -> None:
    """Tell of the time in which there was no link to the broker."""
    lost_at: float | None = None
    activity().doing("credits the time in which there is no link")
    task_status.started()
    async for link in client.link_changes():
        if link.state is LinkState.READY:
            if lost_at is not None:
                away(trio.current_time() - lost_at)
            lost_at = None
        elif lost_at is None:
            lost_at = trio.current_time()


async def open_broker(
    config: Config, data: DataDir, tree: Tree, pool: Pool, door: BrokerRefusals
) -> tuple[Mosquitto | None, Users]:
    """Mosquitto with its private listener only, if it is ours, and the users it was started with."""
    if config.broker.url is not None:
        return None, Users()
    users = await read_users(pool)
    broker = Mosquitto(
        data,
        host=config.broker.host,
        port=config.broker.port,
        subscription=SUBSCRIPTION,
        users=users,
        limits=broker_limits(config),
        on_line=door.heard,
        debug_logging=door.debug_logging,
    )
    tell = reports.report_child(lambda: broker.status, lambda: broker.program.version_text)
    await tree.start("mosquitto", broker.run, tell=tell)
    return broker, users


def broker_limits(config: Config) -> BrokerLimits:
    """What the embedded broker bears: above our own limits, so that we see and quarantine what is too large."""
    return BrokerLimits(
        max_message_bytes=16 * config.ingest.max_payload_bytes, max_inflight_messages=config.ingest.receive_max
    )


def session_client(config: Config, data: DataDir, broker: Mosquitto | None) -> AbstractAsyncContextManager[Client]:
    """The appliance's durable session: a fixed secret client id, kept by the broker while we are away."""
    return Client(
        **_broker_place(config, broker),
        identifier=data.instance.mqtt_client_id,
        session_expiry_interval=SESSION_SECONDS,
        keep_alive=KEEP_ALIVE,
        receive_max=config.ingest.receive_max,
        keep_trying=True,
        backoff=Backoff(first=0.05, maximum=MOST_BETWEEN_TRIES if broker is None else MOST_BETWEEN_OWN_TRIES),
    )


def watch_client(config: Config, broker: Mosquitto | None) -> Client:
    """A client of no consequence, for what the broker says of itself."""
    return Client(**_broker_place(config, broker), clean_start=True, keep_alive=KEEP_ALIVE, keep_trying=True)


def _broker_place(config: Config, broker: Mosquitto | None) -> BrokerPlace:
    if broker is not None:
        endpoint = broker.endpoint
        return {"unix_socket": str(endpoint.socket), "username": endpoint.username, "password": endpoint.password}
    external, settings = config.broker.address() or ("", 0), config.broker
    return {
        "hostname": external[0],
        "port": external[1],
        "username": settings.username,
        "password": None if settings.password is None else settings.password.reveal(),
    }


def device_address(config: Config, broker: Mosquitto | None) -> tuple[str, int]:
    """Where devices publish."""
    external = config.broker.address()
    if broker is None:
        return external or ("", 0)
    host = broker.devices.host
    return (lan_addresses()[0] if host in EVERYWHERE else host), broker.devices.port


def run_file(data: DataDir, endpoint: Endpoint, web_url: str, mqtt_host: str, mqtt_port: int) -> RunFile:
    """What scripts and our own commands read to find this appliance."""
    return RunFile(
        pid=os.getpid(),
        web_url=web_url,
        mqtt_host=mqtt_host,
        mqtt_port=mqtt_port,
        database=endpoint.shown(),
        socket_dir=str(data.sockets) if endpoint.login_is_role else None,
    )


def health(database: DatabaseHealth, postgres: Postgres | None, client: Client) -> Health:
    """What is there, for /readyz and the pages. A dead child is known at once, anything else within a second."""
    away = database.postgres
    if postgres is not None and not postgres.ready.is_set():
        away = f"is {postgres.status.state.value}"
    link = client.link
    broker = None if link.state is LinkState.READY else link.detail or link.state.value
    return Health(postgres=away, broker=broker, schema=database.schema)


def broker_queue(watch: BrokerStatistics) -> BrokerQueue | None:
    """How full the broker's queue is, for the page that says that Postgres is away."""
    return None if watch.waiting is None else BrokerQueue(watch.waiting, BrokerLimits().max_queued_messages)
