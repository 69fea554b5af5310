"""Endpoints for machines: /healthz, /readyz and /metrics. The latter only for this machine, or with a token."""

from collections.abc import Callable
from http import HTTPStatus
from typing import Annotated, Literal

import msgspec
from quart import Blueprint, Response, request

from appliance.people.role import Scope
from appliance.web.access.auth import OPEN, allow
from appliance.web.access.gate import bearer
from appliance.web.http.forwarding import HERE
from appliance.web.openapi.describe import CallerCredential, answer, describe
from appliance.web.platform import Platform

PROMETHEUS = "text/plain; version=0.0.4; charset=utf-8"


class Alive(msgspec.Struct, frozen=True):
    """The process is alive."""

    status: Literal["ok"] = "ok"


class Readiness(msgspec.Struct, frozen=True, omit_defaults=True):
    """Whether messages are accepted and stored; if not, what is missing or failing, and why."""

    status: Literal["ready", "degraded", "not ready"]
    missing: Annotated[dict[str, str], msgspec.Meta(description="Parts that are not there, with what is wrong.")] = {}
    failing: Annotated[
        dict[str, str],
        msgspec.Meta(description="`disk`, `storing` or `publishing`: all parts are there, and it fails all the same."),
    ] = {}
    warnings: Annotated[
        dict[str, str],
        msgspec.Meta(
            description="`broker_memory`, `broker_queue`, `broker_session`: what does not keep it from being ready,"
            " and may lose messages soon."
        ),
    ] = {}


def blueprint(platform: Platform, metrics_text: Callable[[], bytes]) -> Blueprint:
    """Return the routes of the probes."""
    routes = Blueprint("probes", __name__)

    @routes.get("/healthz")
    @allow(OPEN)
    @describe("Whether the process is alive", answers={HTTPStatus.OK: Alive}, credential=CallerCredential.NONE)
    async def healthz() -> Response:
        """Answer that the process is alive. An outage of Postgres must not cause a restart."""
        return answer(Alive())

    @routes.get("/readyz")
    @allow(OPEN)
    @describe(
        "Whether messages are accepted and stored",
        answers={HTTPStatus.OK: Readiness, HTTPStatus.SERVICE_UNAVAILABLE: Readiness},
        credential=CallerCredential.NONE,
    )
    async def readyz() -> Response:
        """Answer by deeds: 503 while messages would not be stored, or devices could not publish them."""
        health = platform.health()
        warnings = health.warnings()
        if missing := health.missing():
            return answer(Readiness("not ready", missing, warnings=warnings), HTTPStatus.SERVICE_UNAVAILABLE)
        if failing := health.failing():
            return answer(Readiness("degraded", failing=failing, warnings=warnings), HTTPStatus.SERVICE_UNAVAILABLE)
        return answer(Readiness("ready", warnings=warnings))

    @routes.get("/metrics")
    @allow(OPEN)
    async def metrics() -> Response:
        if not request.scope["state"][HERE] and not await _has_metrics_token(platform):
            text = "/metrics answers programs of this machine, or an operator's API token with the scope read.\n"
            return Response(text, 401, {"WWW-Authenticate": 'Bearer realm="metrics"'}, content_type="text/plain")
        return Response(metrics_text(), content_type=PROMETHEUS)

    return routes


async def _has_metrics_token(platform: Platform) -> bool:
    """Return whether the current request has a token that may read all tenants."""
    secret = bearer()
    who = await platform.identity.by_token(secret) if secret else None
    return who is not None and who.is_operator and who.scopes is not None and Scope.READ in who.scopes
