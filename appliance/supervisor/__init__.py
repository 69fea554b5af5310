"""The whole appliance: everything is opened here, in five stages, and closed in reverse.

Storage, knowledge, stream, broker, dashboard: each stage is a module that returns what later ones need. Nothing else
builds things, nothing is global. Services run in one nursery; whatever of them fails ends the process with its own
error. A drain (SIGTERM, SIGINT, SIGHUP) takes no new messages, finishes the batch in flight, and closes the children
last; a second signal ends the process at once, and the kernel tells the children.
"""

import gc
import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import structlog
import trio

from appliance import onboarding
from appliance.children.data_dir import RunFile, open_data_dir
from appliance.children.orphans import reap_orphans
from appliance.config import Config
from appliance.delivery.outbox.dispatcher import Dispatcher
from appliance.diagnostics import liveness, reports, status_socket
from appliance.diagnostics.status import status
from appliance.disk.watch import DiskWatch
from appliance.failpoints import Failpoints
from appliance.metrics import Metrics
from appliance.runtime.addresses import web_address
from appliance.runtime.signals import StopSignal
from appliance.runtime.tree import Tree
from appliance.service_clock.clock import ServiceClock
from appliance.service_clock.machine import this_machine
from appliance.supervisor.backups import make_nightly
from appliance.supervisor.broker import BrokerAccess, open_broker
from appliance.supervisor.certificates import make_certificates, open_certificates, web_hosts
from appliance.supervisor.conditions import open_watch
from appliance.supervisor.dashboard import Dashboard, open_dashboard
from appliance.supervisor.delivery import start_deliveries
from appliance.supervisor.foundation import Foundation
from appliance.supervisor.knowledge import open_knowledge
from appliance.supervisor.outgoing import outgoing_network
from appliance.supervisor.room import persist, some_room
from appliance.supervisor.silence import start_silence
from appliance.supervisor.storage import Storage, open_storage
from appliance.supervisor.stream import Stream, open_stream
from appliance.supervisor.watching import make_watchdog
from appliance.upgrade import expiry as copy_expiry

log = structlog.get_logger(__name__)

DRAIN_SECONDS = 2.0
"""What the batch in flight may take to commit once a drain has begun; else it stays with the broker and comes again."""
COLLECT_AFTER = (100_000, 50, 100)
"""Objects until a cyclic collection, and how many of one generation until the next: a batch makes thousands of objects,
and nothing in the message path is part of a cycle."""


@dataclass(frozen=True, slots=True)
class Serving:
    """What a started appliance tells the person at the console."""

    web_url: str
    addresses: Sequence[str]
    """The addresses of the dashboard on the local network, as URLs."""
    mqtt_host: str
    mqtt_port: int
    """0 where devices come under TLS alone."""
    mqtt_tls_port: int | None
    """Where they come to our own broker under TLS; None where they do not."""
    broker: str
    """The address of the broker, for people."""
    set_up_url: str | None
    """Opens the set-up page once; None when somebody is there already."""
    own_broker: bool
    """Whether the broker's users are ours to manage."""
    ca_fingerprint: str | None
    """The SHA-256 of our own CA, in hex with colons; None where nobody needs it."""


async def run(config: Config, environ: Mapping[str, str], announce: Callable[[Serving], None]) -> None:
    """Run the appliance until it is asked to stop. Raises what a service raised, ApplianceError for people to mend."""
    gc.set_threshold(*COLLECT_AFTER)
    with open_data_dir(config.data_dir) as data:
        async with trio.open_nursery() as nursery:
            tree, stop = Tree(nursery), StopSignal(nursery.cancel_scope)
            failpoints = Failpoints.from_environment(environ)
            clock = ServiceClock(data.path, this_machine(environ))
            metrics = Metrics()
            disk = DiskWatch(data.path, metrics)
            certificates = make_certificates(config, data, clock)
            backups = make_nightly(config, data, clock, metrics, environ)
            base = Foundation(config, data, tree, stop, clock, metrics, failpoints, disk, certificates, backups)
            await tree.start("liveness", liveness.serve, data.sockets)
            await tree.start("status", status_socket.serve, data.sockets, status(tree, metrics, disk, clock.now))
            await tree.start("stop signals", stop.watch_signals)
            await tree.start("disk", disk.run, report=reports.report_disk(disk))
            if os.getpid() == 1:
                await tree.start("orphans", reap_orphans)
            storage = await open_storage(base)
            await open_certificates(base)
            known = await open_knowledge(base, storage)
            await some_room(disk)
            stream = await open_stream(base, storage, known)
            broker = await open_broker(base, storage, known, stream)
            watch = await open_watch(base, storage, broker, stream.retention)
            await start_silence(base, storage)
            network = outgoing_network(config)
            watchdog = make_watchdog(base, broker, stream.proof, network)
            dashboard = await open_dashboard(base, storage, known, stream, broker, watch, network, watchdog)
            deliveries = await start_deliveries(base, storage, known, network, dashboard.port, stream.proof)
            await tree.start("watchdog", watchdog.run)
            if backups is not None:
                await tree.start("backups", backups.run)
            await tree.start("upgrade copies", copy_expiry.run, data.path, clock)
            dashboard.service.may_end()
            if await _complete(stop, broker, dashboard):
                serving = await _serving(base, storage, broker, dashboard)
                announce(serving)
                await persist(disk, partial(_publish, base, storage, serving), what="run file")
            gc.freeze()  # what is here now stays: full collections need not walk it
            await stop.wait()
            data.remove_run_file()
            await _drain(tree, stream, broker, dashboard, deliveries)
    log.info("stopped")


async def _complete(stop: StopSignal, broker: BrokerAccess, dashboard: Dashboard) -> bool:
    """Return once messages come in: only then we say that we are ready. False when asked to stop before.

    A broker elsewhere may keep us waiting here, or our own that has died just now; the dashboard is open meanwhile.
    """
    if broker.opened:
        return True
    log.warning(
        "no messages are received yet: waits for the broker",
        causes=broker.health().causes(),
        dashboard_port=dashboard.port,
    )
    complete = False
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_then_cancel, nursery.cancel_scope, stop.wait)
        await broker.wait_opened()
        complete = True
        nursery.cancel_scope.cancel()
    return complete


async def _then_cancel(scope: trio.CancelScope, wait: Callable[[], Awaitable[None]]) -> None:
    await wait()
    scope.cancel()


async def _publish(base: Foundation, storage: Storage, serving: Serving) -> None:
    base.data.write_run_file(_run_file(base, storage, serving))


async def _drain(
    tree: Tree, stream: Stream, broker: BrokerAccess, dashboard: Dashboard, deliveries: Dispatcher
) -> None:
    """Take no new messages and send no new notices, commit the batch in flight, then stop everything in reverse."""
    deliveries.begin_drain()
    await broker.source.stop()
    stream.service.may_end()
    with trio.move_on_after(DRAIN_SECONDS):
        await stream.pipeline.drain()
    await dashboard.service.done.wait()
    await tree.drain()


async def _serving(base: Foundation, storage: Storage, broker: BrokerAccess, dashboard: Dashboard) -> Serving:
    """Return where people and devices reach this appliance; while nobody is there, with the link to the set-up."""
    web = base.config.web
    addresses = [web_address(host, dashboard.port, tls=web.tls) for host in web_hosts(web, base.certificates.web)]
    web_url = web.public_url or addresses[0]
    authority = base.certificates.ca
    path = await onboarding.offer(storage.pool, base.clock)
    mqtt_host, port = broker.device_address(base.config)
    own = None if broker.embedded is None else broker.embedded.devices
    plain, tls_port = (port, None) if own is None else (own.port if own.plain else 0, own.tls_port)
    set_up_url = None if path is None else web_url + path
    return Serving(
        web_url=web_url,
        addresses=addresses,
        mqtt_host=mqtt_host,
        mqtt_port=plain,
        mqtt_tls_port=tls_port,
        broker=_broker_title(base.config, mqtt_host, port, tls_only=not plain),
        set_up_url=set_up_url,
        own_broker=own is not None,
        ca_fingerprint=None if authority is None else authority.fingerprint,
    )


def _broker_title(config: Config, host: str, port: int, *, tls_only: bool) -> str:
    return str(config.broker.address() or f"{host}:{port}{' under TLS' if tls_only else ''}")


def _run_file(base: Foundation, storage: Storage, serving: Serving) -> RunFile:
    """Return what scripts and our own commands read to find this appliance."""
    return RunFile(
        pid=os.getpid(),
        web_url=serving.web_url,
        mqtt_host=serving.mqtt_host,
        mqtt_port=serving.mqtt_port,
        mqtt_tls_port=serving.mqtt_tls_port,
        database=storage.endpoint.shown(),
        socket_dir=str(base.data.sockets) if storage.endpoint.login_is_role else None,
    )
