"""Who is looking: every route but those of OPEN passes the gate, so a page cannot be forgotten.

Until people can sign in, everybody is an operator who sees all tenants. Sign-in replaces :func:`recognise`.
"""

from dataclasses import dataclass
from datetime import tzinfo

from quart import Quart, g, request, websocket

OPEN = frozenset(
    {
        "probes.healthz",
        "probes.readyz",
        "probes.metrics",
        "files.file",
        "openapi.openapi",
        "ingest.take",
        "ingest.claim",
    }
)
"""Endpoints that need no session: probes, files that hold nothing of anybody, and ingest, whose devices show tokens."""


@dataclass(frozen=True, slots=True)
class Viewer:
    """The person behind a request. ``tenant_id`` None sees all tenants; ``zone`` None is the machine's time zone."""

    tenant_id: str | None
    zone: tzinfo | None


async def recognise() -> Viewer:
    """The viewer of the current request or WebSocket."""
    return Viewer(tenant_id=None, zone=None)


def viewer() -> Viewer:
    """The viewer whom the gate has let in. Raises AttributeError on a route that is open."""
    found: Viewer = g.viewer
    return found


def guard(app: Quart) -> None:
    """Put the gate before every route and WebSocket of ``app``."""

    @app.before_request
    async def admit_request() -> None:
        if request.endpoint is not None and request.endpoint not in OPEN:
            g.viewer = await recognise()

    @app.before_websocket
    async def admit_websocket() -> None:
        if websocket.endpoint is not None and websocket.endpoint not in OPEN:
            g.viewer = await recognise()
