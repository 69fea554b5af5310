"""What machines ask: /healthz, /readyz and /metrics. Open to all, but /metrics only to this machine."""

import json
from http import HTTPStatus
from typing import Any

from quart import Blueprint, Response, request

from appliance.web import hardening
from appliance.web.services import Services

PROMETHEUS = "text/plain; version=0.0.4; charset=utf-8"


def _json(status: HTTPStatus, value: dict[str, Any]) -> Response:
    return Response(json.dumps(value), status=status, content_type="application/json")


def blueprint(services: Services) -> Blueprint:
    """The routes of the probes."""
    routes = Blueprint("probes", __name__)

    @routes.get("/healthz")
    async def healthz() -> Response:
        """The process lives; nothing else is asked, so that no outage of Postgres has it restarted."""
        return _json(HTTPStatus.OK, {"status": "ok"})

    @routes.get("/readyz")
    async def readyz() -> Response:
        missing = services.health().missing()
        if missing:
            return _json(HTTPStatus.SERVICE_UNAVAILABLE, {"status": "not ready", "missing": missing})
        return _json(HTTPStatus.OK, {"status": "ready"})

    @routes.get("/metrics")
    async def metrics() -> Response:
        forwarded = any(name in request.headers for name in ("Forwarded", "X-Forwarded-For", "Via"))
        if not hardening.from_loopback(request.remote_addr, forwarded):
            return Response("/metrics answers this machine only.\n", status=403, content_type="text/plain")
        return Response(services.metrics_text(), content_type=PROMETHEUS)

    return routes
