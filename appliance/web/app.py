"""Builds the dashboard: gate, concepts, live socket, files, probes and error pages."""

import sys
from typing import Any

import structlog
import trio
from quart import Response, g, request
from quart_trio import QuartTrio
from structlog.contextvars import bind_contextvars

from appliance.assets import asset
from appliance.web.access.gate import Gate
from appliance.web.access.idempotency import Idempotency
from appliance.web.alerts.install import install as alerts
from appliance.web.audit.install import install as audit
from appliance.web.deliveries.install import install as deliveries
from appliance.web.devices.install import install as devices
from appliance.web.http import files, hardening, probes
from appliance.web.http.body import request_class
from appliance.web.http.files import StaticFiles
from appliance.web.http.forwarding import Forwarding
from appliance.web.http.hardening import HostPolicy, RequestLimits
from appliance.web.http.request_id import HEADER, request_id
from appliance.web.ingest.install import install as ingest
from appliance.web.integrations.install import install as integrations
from appliance.web.live import socket as live_socket
from appliance.web.live import warm_start
from appliance.web.live.parts import LivePages
from appliance.web.live.socket import LiveSockets
from appliance.web.maintenance.install import install as maintenance
from appliance.web.metrics.install import install as metrics
from appliance.web.mount import Mount
from appliance.web.openapi import document
from appliance.web.overview.install import install as overview
from appliance.web.page import more
from appliance.web.page.away_peers import AwayPeers
from appliance.web.page.failures import POSTGRES_AWAY, FailurePages
from appliance.web.page.nav_count_reader import NavCountReader
from appliance.web.page.renderer import PageRenderer
from appliance.web.page.templating import Templates
from appliance.web.page.tenant_choice import TenantChoice
from appliance.web.people.install import install as people
from appliance.web.platform import Platform
from appliance.web.ports import Ports
from appliance.web.quarantine.install import install as quarantine
from appliance.web.routes.install import install as routes
from appliance.web.rules.install import install as rules
from appliance.web.sign_in.install import install as sign_in
from appliance.web.sites.install import install as sites
from appliance.web.subscriptions.install import install as subscriptions
from appliance.web.system.install import install as system
from appliance.web.tenants.install import install as tenants
from appliance.web.trust.install import install as trust

CONCEPTS = (
    sign_in,
    overview,
    alerts,
    devices,
    sites,
    metrics,
    rules,
    maintenance,
    routes,
    integrations,
    deliveries,
    quarantine,
    tenants,
    subscriptions,
    people,
    audit,
    system,
    ingest,
    trust,
)
"""The concepts of the dashboard; each installs its own routes and live parts. A new one is one entry more."""
REMEMBER = 3.0
"""Seconds that the start waits for the last hour from the database."""

log = structlog.get_logger(__name__)


class Dashboard(QuartTrio):
    """The application, with what its server needs to know: the host names and the sockets to close at the drain."""

    def __init__(self, platform: Platform, limits: RequestLimits) -> None:
        super().__init__("appliance.web", static_folder=None, template_folder=None)
        self._platform = platform
        self.limits = limits
        self.tls = platform.tls
        self._own_hosts = hardening.host_policy(platform.public_url)
        self.forwarding = Forwarding(platform.trusted_proxies, platform.public_url, own_tls=self.tls is not None)
        self.live_sockets = LiveSockets()
        self.live_pages = LivePages()
        self.nav_counts = NavCountReader(platform.access, platform.clock, platform.maintenance, platform.grace)
        self.config["MAX_CONTENT_LENGTH"] = limits.body
        self.config["MAX_FORM_MEMORY_SIZE"] = limits.body  # of one field: a previewed file comes again as text
        self.config["BODY_TIMEOUT"] = None  # the body's own deadline is its rate
        self.request_class = request_class(limits)
        self.config["RESPONSE_TIMEOUT"] = None  # the server bounds each send instead

    @property
    def hosts(self) -> HostPolicy:
        """Return the names of this machine, of ``web.public_url``, ``web.tls_names`` and the present certificate."""
        return self._own_hosts if self.tls is None else self._own_hosts.with_names(self.tls.names)

    async def remember(self) -> None:
        """Fill the live view from the database; if that fails, the view starts empty."""
        try:
            with trio.fail_after(REMEMBER):
                await warm_start.remember(self._platform.live, self._platform.pool, self._platform.clock)
        except POSTGRES_AWAY as error:
            log.warning("live view starts empty", error=str(error))

    def alerts_changed(self, payload: str = "") -> None:
        """Have every live page show alerts as they are now: some have opened, moved or closed, here or elsewhere."""
        del payload  # whose they are: a page renders what its viewer may see
        self.live_pages.forget()
        self.nav_counts.forget()
        self._platform.live.wake()

    def close_live_sockets(self) -> None:
        """Close every live WebSocket with 1001."""
        self.live_sockets.close()

    def log_exception(self, exception_info: Any) -> None:
        """Log an error that no handler caught, as one structured line."""
        log.error("request failed", exc_info=exception_info or sys.exc_info())


def _name_requests(app: Dashboard) -> None:
    """Give each request its id, first of all."""

    @app.before_request
    async def begin() -> None:
        g.request_id = request_id(request.headers.get(HEADER))
        bind_contextvars(request_id=g.request_id)

    @app.after_request
    async def name(response: Response) -> Response:
        response.headers[HEADER] = g.request_id
        return response


def create_app(platform: Platform, ports: Ports, limits: RequestLimits) -> Dashboard:
    """Build the dashboard. It holds no connection and starts no task of its own."""
    app = Dashboard(platform, limits)
    static = StaticFiles(asset("static"))
    templates = Templates(static, platform.name, lambda: platform.certificates.ca is not None)
    renderer = PageRenderer(
        platform,
        templates,
        app.live_pages,
        app.nav_counts,
        AwayPeers(platform.access, platform.clock, platform.instance),
    )
    _name_requests(app)
    Gate(platform).install(app)
    failures = FailurePages(platform, templates, ports.broker_queue)
    failures.install(app)
    TenantChoice(renderer, failures.unfit).install(app)
    mount = Mount(app, platform, ports, renderer)
    mount.add(
        files.blueprint(static),
        probes.blueprint(platform, ports.metrics_text),
        document.blueprint(),
        live_socket.blueprint(app.live_sockets, platform.live, app.live_pages, platform.public_url),
        more.blueprint(renderer),
    )
    for install in CONCEPTS:
        install(mount)
    Idempotency(platform.access, platform.keyring).install(app)

    @app.after_request
    async def keep_out_of_caches(response: Response) -> Response:
        """Forbid caching, except where a route allows it: pages show private data."""
        response.headers.setdefault("Cache-Control", "no-store")
        return response

    return app
