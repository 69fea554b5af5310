"""After the dashboard, whose address notices name: deliveries, with what they follow."""

import random
import time
from collections.abc import Callable, Collection
from datetime import timedelta

from appliance.alerts.alert import ALERTS_CHANNEL
from appliance.alerts.maintenance.book import MAINTENANCE_CHANNEL, MaintenanceBook
from appliance.delivery.integrations.integration import ROUTES_CHANNEL
from appliance.delivery.links.acknowledge_link import AcknowledgeLinks
from appliance.delivery.outbox.claims import Claims
from appliance.delivery.outbox.courier import Equipment
from appliance.delivery.outbox.dispatcher import Dispatcher
from appliance.delivery.outbox.job import DELIVERIES_CHANNEL
from appliance.delivery.outbox.settling import Settling
from appliance.delivery.outbox.upkeep import Upkeep
from appliance.delivery.outgoing.network import Network
from appliance.delivery.senders.table import SENDERS
from appliance.runtime.addresses import web_address
from appliance.runtime.tree import Report
from appliance.supervisor.certificates import web_hosts
from appliance.supervisor.foundation import Foundation
from appliance.supervisor.knowledge import Knowledge
from appliance.supervisor.storage import Storage
from appliance.watchdog.probes import ProbeTaker
from appliance.watchdog.proof import Proof

SENDER_SECONDS = 5.0
"""Seconds after its own deadline at which a sender that has not returned is cut off."""
LEASE_MARGIN_SECONDS = 10.0
"""Seconds for which a lease lasts beyond that: for the claim before, and for writing down how the try went."""
ADDRESS_SECONDS = 30.0
"""Seconds for which the address of this machine is taken to be the same."""


async def start_deliveries(
    base: Foundation, storage: Storage, known: Knowledge, network: Network, web_port: int, proof: Proof
) -> Dispatcher:
    """Start the couriers, and what keeps the outbox. ``web_port``: of the dashboard."""
    pool, clock, tree = storage.pool, base.clock, base.tree
    send_seconds = network.deadlines.total + SENDER_SECONDS
    equipment = Equipment(
        instance=base.instance,
        claims=Claims(
            pool,
            base.instance,
            clock,
            _Windows(known.maintenance),
            lambda kind: kind in SENDERS and SENDERS[kind].may_merge,
            AcknowledgeLinks(base.data.keyring),
            send_seconds + LEASE_MARGIN_SECONDS,
        ),
        settling=Settling(pool, base.instance, clock, random.random),
        senders=SENDERS,
        network=network,
        keyring=base.data.keyring,
        clock=clock,
        metrics=base.metrics,
        failpoint=base.failpoints,
        page=_pages(base, web_port),
        send_seconds=send_seconds,
    )
    dispatcher, changes = Dispatcher(pool, equipment, ProbeTaker(proof, base.instance, clock)), storage.changes
    changes.subscribe(DELIVERIES_CHANNEL, dispatcher.wake, dispatcher.missed)
    changes.subscribe(ALERTS_CHANNEL, dispatcher.alerts_changed, dispatcher.missed)
    changes.subscribe(ROUTES_CHANNEL, dispatcher.routes_changed, dispatcher.missed)
    changes.subscribe(MAINTENANCE_CHANNEL, dispatcher.routes_changed, dispatcher.missed)
    clock.subscribe(lambda _step: dispatcher.missed())
    upkeep = Upkeep(pool, clock, base.metrics, timedelta(days=base.config.delivery.max_age_days))
    await tree.start("delivery upkeep", upkeep.run)
    await tree.start("deliveries", dispatcher.run, report=lambda: Report(waiting=dispatcher.under_way))
    return dispatcher


class _Windows:
    """The maintenance windows as deliveries ask for them."""

    def __init__(self, book: MaintenanceBook) -> None:
        self._book = book

    async def refresh(self) -> None:
        """Read what has changed: a claim may be made because it has."""
        await self._book.refresh()

    def until(
        self, tenant_id: str, site_id: str | None, device_id: str | None, tags: Collection[str], now: float
    ) -> float | None:
        """Return until when a window covers an alert; None: none does."""
        window = self._book.covering(tenant_id, site_id, device_id, tags, now)
        return None if window is None else window.until


def _pages(base: Foundation, port: int) -> Callable[[str], str]:
    """Return what makes an address of a path: at ``web.public_url``, else where the local network reaches us now."""
    web = base.config.web
    known: tuple[float, str] = (float("-inf"), "")

    def page(path: str) -> str:
        nonlocal known
        if web.public_url is not None:
            return web.public_url.rstrip("/") + path
        at, host = known
        if time.monotonic() - at > ADDRESS_SECONDS:
            host = web_hosts(web, base.certificates.web)[0]
            known = (time.monotonic(), host)
        return web_address(host, port, tls=web.tls) + path

    return page
