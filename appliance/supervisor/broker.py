"""The fourth stage: the broker, our session with it, and last of all the devices' listener."""

import socket
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import trio
from mqtt5 import QoS, RetainHandling

from appliance.broker import listener_gate
from appliance.broker.absence import watch_link
from appliance.broker.clients import SUBSCRIPTION, probe_clients, session_client, statistics_client
from appliance.broker.credentials_sync import CredentialsSync, read_users
from appliance.broker.floods.record import FloodRecord
from appliance.broker.listener_probe import PROBE_SECONDS, ListenerProbe
from appliance.broker.log import BrokerLog
from appliance.broker.neighbours import ANSWER_SECONDS, Identity, Neighbours
from appliance.broker.room import RoomWatch
from appliance.broker.session_watch import SessionWatch
from appliance.broker.source import BrokerSource
from appliance.broker.statistics import BrokerStatistics
from appliance.children.mosquitto import Mosquitto
from appliance.children.mosquitto_files import BrokerLimits, Users
from appliance.config import Config
from appliance.diagnostics import reports
from appliance.diagnostics.readiness import Health, HeldBatch, Readiness, StoringProbe
from appliance.errors import ApplianceError
from appliance.ingest.limits.janitor import Janitor
from appliance.ingest.pipeline import Pipeline
from appliance.mqtt.client import Client
from appliance.mqtt.errors import NegativeAckError
from appliance.mqtt.link import LinkState
from appliance.mqtt.transport.address import PORTS, Address
from appliance.runtime.activity import activity
from appliance.runtime.addresses import EVERYWHERE, LOOPBACK, lan_addresses
from appliance.runtime.tree import Service
from appliance.supervisor.certificates import certificate_of, follow_certificate
from appliance.supervisor.floods import FloodDefence, make_defence, start_defence
from appliance.supervisor.foundation import Foundation
from appliance.supervisor.knowledge import Knowledge
from appliance.supervisor.storage import Storage
from appliance.supervisor.stream import Stream
from appliance.watchdog.probes import PROBES_AN_INTERVAL

SILENT = "does not answer"
"""Of a child that runs and hangs."""
SEEN_TOO_LARGE = 2
"""How many times as large as our own limit a message may be for the broker: up to there, one that is too large is
quarantined. The broker refuses any larger one, which is seen as well, so that what it keeps of a message is small."""
PATIENCE_SECONDS = 5.0
"""Seconds that a start waits for a broker elsewhere: then the dashboard opens without it, and says what is wrong."""
HELD_SECONDS = 2.0
"""Seconds for which a batch may wait for its commit until messages count as held up."""
NOT_LET_IN = "the broker opens their listener once it has saved our subscription"


@dataclass(frozen=True, slots=True)
class BrokerAccess:
    """The way in for messages over MQTT."""

    embedded: Mosquitto | None
    """None when the broker is elsewhere."""
    client: Client
    """Our durable session."""
    source: Service
    """What hands messages from the session to the pipeline."""
    log: BrokerLog
    floods: FloodRecord
    statistics: BrokerStatistics
    room: RoomWatch
    storage: Storage
    storing: StoringProbe
    listener_probe: ListenerProbe | None
    """None when the broker is elsewhere."""
    session_watch: SessionWatch | None
    """None when the broker is our own."""
    disk_full: Callable[[], str | None]
    """Says why the disk that readings are written to is full; None while it is not."""

    def health(self) -> Health:
        """Return what is there, for /readyz and the pages.

        A dead child is known at once, anything else within a second.
        """
        database, postgres = self.storage.health, self.storage.postgres
        away = database.postgres
        if postgres is not None and not postgres.ready.is_set():
            away = f"is {postgres.status.state.value}"
        elif postgres is not None and postgres.silent:
            away = SILENT
        link = self.client.link
        broker = link.trouble
        if self.embedded is not None and not self.embedded.ready.is_set():
            broker = f"is {self.embedded.status.state.value}"
        elif self.embedded is not None and self.embedded.silent:
            broker = SILENT
        publishing = None if self.listener_probe is None else self.listener_probe.trouble
        if self.embedded is not None and not self.embedded.devices_open:
            publishing = NOT_LET_IN
        return Health(
            away,
            broker,
            database.schema,
            self.storing.trouble,
            publishing,
            self.room.trouble,
            self.disk_full(),
            None if self.embedded is None else self.embedded.unsaved,
            None if self.session_watch is None else self.session_watch.trouble,
        )

    def missing(self) -> bool:
        """Return whether a part is not there."""
        return bool(self.health().missing())

    def ready(self) -> bool:
        """Return whether devices can publish, and what they publish is stored."""
        return not self.health().causes()

    @property
    def opened(self) -> bool:
        """Return whether our session can take messages, and our own broker lets devices in."""
        return self.client.link.state is LinkState.READY and (self.embedded is None or self.embedded.devices_open)

    async def wait_opened(self) -> None:
        """Return once :attr:`opened`. Raises DisconnectedError when our client has been closed."""
        async for link in self.client.link_changes():
            if link.state is LinkState.READY and self.embedded is not None:
                await self.embedded.ready.wait()  # our client may be back before the keeper has seen that it serves
            if self.opened:
                return
        await self.client.ready()

    def device_address(self, config: Config) -> tuple[str, int]:
        """Return where devices publish: at a broker elsewhere by MQTT, also where we are there by another way.

        At our own it is the port under TLS only where there is no other.
        """
        address = config.broker.address()
        if address is not None:
            return by_mqtt(address)
        assert self.embedded is not None  # noqa: S101 - for the type checker; there is one of the two
        listener = self.embedded.devices
        return (lan_addresses()[0] if listener.host in EVERYWHERE else listener.host), listener.main_port


def by_mqtt(address: Address) -> tuple[str, int]:
    """Return host and port of a broker for those who speak MQTT without WebSocket: the usual port, if not ours."""
    direct = "mqtts" if address.encrypted else "mqtt"
    return address.host or "localhost", address.port if address.scheme == direct else PORTS[direct]


async def open_broker(base: Foundation, storage: Storage, known: Knowledge, stream: Stream) -> BrokerAccess:
    """Open our session, feed the pipeline from it, and only then let devices in."""
    config, tree, pipeline, metrics = base.config, base.tree, stream.pipeline, base.metrics
    log = BrokerLog(base.clock, metrics)
    users = Users() if config.broker.url is not None else await read_users(storage.pool)
    embedded = None if config.broker.url is not None else await _start_mosquitto(base, users, log)
    client = await _open_session(base, embedded)
    defence = make_defence(base, storage, client, log.shut_out)
    source = _source(base, client, pipeline, None if embedded is None else defence)
    service, _ = await tree.start("broker source", source.run)
    statistics = BrokerStatistics(statistics_client(config, embedded), metrics)
    broker = BrokerAccess(
        embedded,
        client,
        service,
        log,
        defence.record,
        statistics,
        _room(embedded, statistics, defence, base),
        storage,
        _storing(base, storage, stream),
        _probe(config, embedded),
        None if embedded is not None else _session_watch(base, client),
        partial(_disk_full, base, storage),
    )
    await tree.start("backlog credit", stream.backlog.run, lambda: pipeline.in_flight + client.statistics().waiting)
    await tree.start("link absence", watch_link, client, stream.away)
    await tree.start("listening periods", stream.listening.run, broker.ready)
    await tree.start(
        "offline statuses",
        stream.offline_statuses.run,
        lambda: _caught_up(base, broker, pipeline),
        _shown_by_nobody if embedded is None else log.connected.connected,
    )
    await _start_janitor(base, known, broker)
    if broker.session_watch is not None:
        await tree.start("session watch", broker.session_watch.run)
    if embedded is not None:
        await _let_devices_in(base, storage, broker, embedded, users)
        await start_defence(base, defence, embedded, client)
    if broker.listener_probe is not None:
        await tree.start("listener probe", broker.listener_probe.run)
    await tree.start("readiness", Readiness(broker.storing, broker.health, metrics).run)
    await tree.start("broker statistics", statistics.run, report=reports.report_broker(statistics))
    await tree.start("broker room", broker.room.run)
    return broker


def _source(base: Foundation, client: Client, pipeline: Pipeline, defence: FloodDefence | None) -> BrokerSource:
    """Return what hands our session's messages to the pipeline, and tells of them who defends the broker."""
    return BrokerSource(
        client,
        pipeline,
        base.config.ingest.batch_size,
        base.failpoints,
        base.metrics.redelivered.inc,
        None if defence is None else defence.watch.admitted,
        None if defence is None else defence.clearing.settled,
    )


async def _start_janitor(base: Foundation, known: Knowledge, broker: BrokerAccess) -> None:
    interval, swept = base.config.limits.janitor_interval, base.metrics.swept
    janitor = Janitor(known.limiter, base.clock, interval=interval, report=swept, resting=broker.missing)
    await base.tree.start("limiter janitor", janitor.run)


def _storing(base: Foundation, storage: Storage, stream: Stream) -> StoringProbe:
    pipeline, writer = stream.pipeline, stream.writer

    def held() -> HeldBatch | None:
        return None if pipeline.held_since is None else HeldBatch(pipeline.held_since, writer.last_error)

    return StoringProbe(
        storage.pool,
        base.instance,
        base.clock,
        held=held,
        committed_at=lambda: pipeline.committed_at,
        disk_full=partial(_disk_full, base, storage),
    )


def _disk_full(base: Foundation, storage: Storage) -> str | None:
    """Return why the disk is full, where readings are written to it."""
    return None if storage.postgres is None else base.disk.full


def _room(
    embedded: Mosquitto | None, statistics: BrokerStatistics, defence: FloodDefence, base: Foundation
) -> RoomWatch:
    limits = None if embedded is None else broker_limits(base.config)
    return RoomWatch(
        statistics,
        base.metrics,
        pid=lambda: None if embedded is None else embedded.status.pid,
        store_bytes=lambda: None if embedded is None else embedded.store_bytes,
        limit=None if limits is None else limits.memory_bytes,
        on_nearly_full=defence.topics.want_sweep,
    )


def _probe(config: Config, embedded: Mosquitto | None) -> ListenerProbe | None:
    if embedded is None:
        return None
    host = LOOPBACK.get(embedded.devices.host, embedded.devices.host)
    seconds = min(PROBE_SECONDS, config.delivery.heartbeat_seconds / PROBES_AN_INTERVAL)
    return ListenerProbe(probe_clients(embedded, host), statistics_client(config, embedded), seconds)


def _caught_up(base: Foundation, broker: BrokerAccess, pipeline: Pipeline) -> bool:
    """Return whether what devices send reaches us at once: all is there, and nothing queues up on the way."""
    in_flight = pipeline.in_flight + broker.client.statistics().waiting
    held = 0.0 if pipeline.held_since is None else base.clock.monotonic() - pipeline.held_since
    return broker.ready() and held < HELD_SECONDS and in_flight < base.config.ingest.receive_max // 2


def _session_watch(base: Foundation, client: Client) -> SessionWatch:
    return SessionWatch(client, base.data.path / "broker-session", str(base.config.broker.url), base.clock)


def _shown_by_nobody(_tenant_id: str, _device_id: str) -> None:
    """Return that it is not known whether a device is connected: brokers that are not ours do not say."""


async def _open_session(base: Foundation, embedded: Mosquitto | None) -> Client:
    """Return the client of our session: subscribed, or waiting for a broker elsewhere that does not come."""
    neighbours = None if embedded is not None else await _meet_neighbours(base)
    client = await base.tree.open(
        "broker session",
        session_client(base.config, base.data.instance.mqtt_client_id, embedded, base.clock, neighbours),
        report=reports.report_session(base.config.ingest.receive_max),
    )
    if neighbours is None:
        await _subscribe(client)
        return client
    await base.tree.start("broker subscription", _keep_subscribed, client)
    if neighbours.asked.is_set():
        with trio.move_on_after(PATIENCE_SECONDS):
            await client.ready()
    return client


async def _subscribe(client: Client) -> None:
    await client.subscribe(
        SUBSCRIPTION,
        max_qos=QoS.AT_LEAST_ONCE,
        no_local=True,
        retain_as_published=True,  # or a topic that is cleared would look like an empty message
        retain_handling=RetainHandling.SEND_NEVER,
    )


async def _keep_subscribed(client: Client, *, task_status: trio.TaskStatus[None]) -> None:
    """Subscribe as soon as there is a broker; the client does so again after each later connect.

    Raises ApplianceError when the broker refuses.
    """
    activity().doing("waits for the broker")
    task_status.started()
    try:
        await _subscribe(client)
    except NegativeAckError as refusal:
        raise ApplianceError(f"{refusal}: let the appliance's user (broker.username) subscribe to it") from None
    activity().doing(f"subscribed to {SUBSCRIPTION}")
    await trio.sleep_forever()


async def _meet_neighbours(base: Foundation) -> Neighbours:
    """Ask who else is on the same external broker, and give way to another appliance; return who asks.

    A broker that does not come within PATIENCE_SECONDS is asked when it does.
    """
    config, identity = base.config, Identity(base.instance, socket.gethostname(), base.clock.now())
    neighbours = Neighbours(statistics_client(config, None), identity, str(config.broker.address()), ANSWER_SECONDS)
    report = reports.report_neighbours(lambda: neighbours.trouble)
    await base.tree.start("broker neighbours", neighbours.run, report=report)
    with trio.move_on_after(PATIENCE_SECONDS):
        await neighbours.asked.wait()
    return neighbours


async def _start_mosquitto(base: Foundation, users: Users, log: BrokerLog) -> Mosquitto:
    """Start our Mosquitto with its private listener only."""
    config = base.config
    mosquitto = Mosquitto(
        base.data,
        host=config.broker.host,
        port=config.broker.port,
        subscription=SUBSCRIPTION,
        users=users,
        limits=broker_limits(config),
        clock=base.clock,
        on_line=log.heard,
        disk_full=base.disk.look,
        debug_logging=log.refusals.debug_logging,
        bind_client_ids=config.broker.bind_client_ids,
        plain=config.broker.plain,
        tls_port=config.broker.tls_port,
        certificate=None if config.broker.tls_port is None else await trio.to_thread.run_sync(certificate_of, base),
    )
    base.metrics.broker_unsaved.set_function(lambda: float(mosquitto.unsaved is not None))
    report = reports.report_child(lambda: mosquitto.status, lambda: mosquitto.program.version_text)
    await base.tree.start("mosquitto", mosquitto.run, report=report)
    return mosquitto


async def _let_devices_in(
    base: Foundation, storage: Storage, broker: BrokerAccess, mosquitto: Mosquitto, users: Users
) -> None:
    """Keep the broker's users in step with the database, and its device listener with our session."""
    sync = CredentialsSync(
        mosquitto,
        users,
        storage.pool,
        storage.open_connection,
        base.clock,
        base.instance,
        broker.log.shut_out,
        debug_logging=broker.log.refusals.debug_logging,
    )
    tree = base.tree
    await tree.start("credentials sync", sync.run, broker.client.ready)
    await tree.start("listener gate", listener_gate.keep_gate, broker.client, mosquitto)
    await tree.start("broker refusals", broker.log.refusals.run, sync.request_debug_logging)
    if mosquitto.devices.tls_port is not None:
        await follow_certificate(base, mosquitto, broker.client)


def broker_limits(config: Config) -> BrokerLimits:
    """Return what the embedded broker bears: above our own limits, so that we see and quarantine what is too large."""
    return BrokerLimits(
        max_message_bytes=SEEN_TOO_LARGE * config.ingest.max_payload_bytes,
        max_inflight_messages=config.ingest.receive_max,
    )
