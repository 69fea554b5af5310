"""Puts the dashboard together: gate, pages, live socket, files, probes and error pages over the given services."""

import sys
from typing import Any

import structlog
import trio
from quart import Response
from quart_trio import QuartTrio

from appliance.assets import asset
from appliance.web.access.gate import Gate
from appliance.web.audit import api as audit_api
from appliance.web.audit import views as audit_views
from appliance.web.devices.api import bulk, devices, lifecycle, telemetry
from appliance.web.devices.views import delete, detail, edit, importing, listing, new, rotate
from appliance.web.devices.views import lifecycle as lifecycle_views
from appliance.web.http import files, hardening, probes
from appliance.web.http.files import StaticFiles
from appliance.web.http.hardening import RequestLimits
from appliance.web.ingest import api as ingest_api
from appliance.web.live import socket as live_socket
from appliance.web.live import warm_start
from appliance.web.live.parts import LivePages
from appliance.web.live.socket import LiveSockets
from appliance.web.metrics import api as metrics_api
from appliance.web.metrics import views as metrics_views
from appliance.web.openapi import document
from appliance.web.overview import views as overview_views
from appliance.web.overview.query import OverviewQueries
from appliance.web.page import more
from appliance.web.page.failures import POSTGRES_AWAY, FailurePages
from appliance.web.page.nav_count_reader import NavCountReader
from appliance.web.page.renderer import PageRenderer
from appliance.web.page.templating import Templates
from appliance.web.people import account_api, profile
from appliance.web.people import api as people_api
from appliance.web.people import views as people_views
from appliance.web.quarantine import api as quarantine_api
from appliance.web.quarantine import decisions
from appliance.web.quarantine import live as quarantine_live
from appliance.web.quarantine import views as quarantine_views
from appliance.web.quarantine.actions import QuarantineActions
from appliance.web.services import Services
from appliance.web.sign_in import set_up
from appliance.web.sign_in import views as sign_in_views
from appliance.web.sites import api as sites_api
from appliance.web.sites import views as sites_views
from appliance.web.subscriptions import api as subscriptions_api
from appliance.web.subscriptions import views as subscriptions_views
from appliance.web.system import api as system_api
from appliance.web.system import views as system_views
from appliance.web.system.reader import SystemReader
from appliance.web.tenants import api as tenants_api
from appliance.web.tenants import lifecycle as tenants_lifecycle
from appliance.web.tenants import views as tenants_views

DEFAULT_LIMITS = RequestLimits()
REMEMBER = 3.0
"""Seconds that the start waits for the database's memory of the last hour."""

log = structlog.get_logger(__name__)


class Dashboard(QuartTrio):
    """The application, with what its server needs to know: the host names and the sockets to close at the drain."""

    def __init__(self, services: Services, limits: RequestLimits) -> None:
        super().__init__("appliance.web", static_folder=None, template_folder=None)
        self._services = services
        self.limits = limits
        self.hosts = hardening.host_policy(services.public_url)
        self.live_sockets = LiveSockets()
        self.live_pages = LivePages()
        self.config["MAX_CONTENT_LENGTH"] = limits.body
        self.config["MAX_FORM_MEMORY_SIZE"] = limits.body  # of one field: a file that was looked at comes back as text
        self.config["BODY_TIMEOUT"] = limits.body_time
        self.config["RESPONSE_TIMEOUT"] = None  # the server bounds each send instead

    async def remember(self) -> None:
        """Fill the live view with what the database knows; without it the view starts empty."""
        try:
            with trio.fail_after(REMEMBER):
                await warm_start.remember(self._services.live, self._services.pool, self._services.clock)
        except POSTGRES_AWAY as error:
            log.warning("live view starts empty", error=str(error))

    def log_exception(self, exception_info: Any) -> None:
        """An error that no handler took, as one structured line."""
        log.error("request failed", exc_info=exception_info or sys.exc_info())


def create_app(services: Services, limits: RequestLimits = DEFAULT_LIMITS) -> Dashboard:
    """The dashboard over ``services``. It holds no connection and starts no task of its own."""
    app = Dashboard(services, limits)
    static = StaticFiles(asset("static"))
    templates = Templates(static, services.name)
    live_pages = app.live_pages
    site = PageRenderer(services, templates, live_pages, NavCountReader(services.access, services.clock))
    Gate(services).install(app)
    FailurePages(services, templates).install(app)
    app.register_blueprint(files.blueprint(static))
    app.register_blueprint(probes.blueprint(services))
    app.register_blueprint(document.blueprint())
    app.register_blueprint(ingest_api.blueprint(services, services.ingest))
    for api in (
        devices,
        lifecycle,
        bulk,
        telemetry,
        sites_api,
        metrics_api,
        quarantine_api,
        people_api,
        account_api,
        audit_api,
        tenants_api,
        subscriptions_api,
    ):
        app.register_blueprint(api.blueprint(services))
    app.register_blueprint(live_socket.blueprint(app.live_sockets, services.live, live_pages, services.public_url))
    app.register_blueprint(sign_in_views.blueprint(services, templates))
    app.register_blueprint(set_up.blueprint(services, templates, live_pages))
    for page in (
        listing,
        new,
        importing,
        detail,
        edit,
        lifecycle_views,
        rotate,
        delete,
        sites_views,
        metrics_views,
        more,
        profile,
        people_views,
        audit_views,
        tenants_views,
        tenants_lifecycle,
        subscriptions_views,
    ):
        app.register_blueprint(page.blueprint(site))
    figures = OverviewQueries(services.access, services.clock)
    app.register_blueprint(overview_views.blueprint(site, figures))

    quarantine_actions = QuarantineActions(services)
    app.register_blueprint(quarantine_views.blueprint(site, quarantine_actions))
    app.register_blueprint(decisions.blueprint(site, quarantine_actions))
    quarantine_live.go_live(site, quarantine_actions)
    system_reader = SystemReader(services)
    app.register_blueprint(system_api.blueprint(services, system_reader))
    app.register_blueprint(system_views.blueprint(site, system_reader))

    @app.after_request
    async def keep_out_of_caches(response: Response) -> Response:
        """Pages show what belongs to somebody; only files whose address names their content are kept."""
        response.headers.setdefault("Cache-Control", "no-store")
        return response

    return app
