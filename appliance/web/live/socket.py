"""The WebSocket ``/live?page=NAME``: sends the page's parts by id, only those that changed.

A slow viewer gets fewer, newer updates. The drain of the appliance closes every socket with 1001, the end of its
session a single one with 4401.
"""

from collections.abc import Awaitable, Callable

import structlog
import trio
from quart import Blueprint, Response, abort, g, websocket

from appliance.web.access.auth import READERS, Viewer, allow, viewer
from appliance.web.http import hardening
from appliance.web.live.feed import LiveFeed
from appliance.web.live.parts import LivePages, LivePart, NotNow
from appliance.web.page.failures import POSTGRES_AWAY

MIN_INTERVAL = 0.25
"""Seconds between two updates at least."""
HEARTBEAT = 1.0
"""Seconds between two updates at most: after 5 seconds of silence the page reports a lost connection."""
CALM_INTERVAL = 1.0
"""Seconds between two updates of a calm part at least."""

GOING_AWAY = 1001
POLICY_VIOLATION = 1008
"""RFC 6455 §7.4.1."""
SIGNED_OUT = 4401
"""A private code (RFC 6455 §7.4.2): the session has ended, or its owner's role has changed. The page reloads."""
SESSION_EVERY = 5.0
"""Seconds between two checks of the session, which do not count as activity."""

log = structlog.get_logger(__name__)


class LiveSockets:
    """All open live sockets, closed together."""

    def __init__(self) -> None:
        self._closing = trio.Event()

    def close(self) -> None:
        """Close every socket with 1001, including those that are opened later."""
        self._closing.set()

    async def closing(self) -> None:
        """Wait until the sockets are to be closed."""
        await self._closing.wait()


class _SentParts:
    """The parts that one socket has sent, to send only what changed."""

    def __init__(self) -> None:
        self._html: dict[str, str] = {}
        self._calm_until: dict[str, float] = {}

    def news(self, fragments: list[LivePart], now: float) -> list[str]:
        """Return the fragments that differ from those sent; calm ones only after their interval."""
        fresh = [fragment for fragment in fragments if self._is_due(fragment, now)]
        self._html.update((fragment.element_id, fragment.html) for fragment in fresh)
        self._calm_until.update((fragment.element_id, now + CALM_INTERVAL) for fragment in fresh if fragment.calm)
        return [fragment.html for fragment in fresh]

    def _is_due(self, fragment: LivePart, now: float) -> bool:
        changed = self._html.get(fragment.element_id) != fragment.html
        return changed and now >= self._calm_until.get(fragment.element_id, now)


async def _send_updates(feed: LiveFeed, pages: LivePages, page: str, seen_by: Viewer) -> None:
    sent, sent_at = _SentParts(), -HEARTBEAT
    while True:
        version = feed.version
        try:
            news = sent.news(await pages.fragments(page, seen_by), trio.current_time())
        except NotNow as error:
            log.debug("live page without its parts", page=page, error=str(error))
        else:
            if news or trio.current_time() - sent_at >= HEARTBEAT:  # an empty message says that nothing changed
                sent_at = trio.current_time()
                await websocket.send("".join(news))
        await trio.sleep(MIN_INTERVAL)
        with trio.move_on_after(HEARTBEAT - MIN_INTERVAL):
            await feed.changed(version)


async def _session_ended(seen_by: Viewer, still: Callable[[], Awaitable[Viewer | None]]) -> None:
    """Wait until the session ends or its owner's role changes; while Postgres is not reachable, it counts as valid."""
    while True:
        await trio.sleep(SESSION_EVERY)
        try:
            now = await still()
        except POSTGRES_AWAY:
            continue
        if now is None or (now.role, now.tenant_id) != (seen_by.role, seen_by.tenant_id):
            return


async def _serve(sockets: LiveSockets, feed: LiveFeed, pages: LivePages, page: str) -> int:
    """Send updates until the appliance drains, the session ends, or the peer sends anything, which it never should.

    Return the close code.
    """
    codes: list[int] = []
    async with trio.open_nursery() as nursery:

        async def until_message() -> None:
            await websocket.receive()
            codes.append(POLICY_VIOLATION)
            nursery.cancel_scope.cancel()

        async def until_closing() -> None:
            await sockets.closing()
            codes.append(GOING_AWAY)
            nursery.cancel_scope.cancel()

        async def until_signed_out() -> None:
            await _session_ended(viewer(), g.still_signed_in)
            codes.append(SIGNED_OUT)
            nursery.cancel_scope.cancel()

        nursery.start_soon(until_message)
        nursery.start_soon(until_signed_out)
        nursery.start_soon(until_closing)
        nursery.start_soon(_send_updates, feed, pages, page, viewer())
    return codes[0]


def blueprint(sockets: LiveSockets, feed: LiveFeed, pages: LivePages, public_url: str | None) -> Blueprint:
    """Return the route of the live socket."""
    routes = Blueprint("live", __name__)

    @routes.websocket("/live")
    @allow(READERS)
    async def live() -> Response | None:
        headers = websocket.headers
        if not hardening.same_origin(headers.get("Origin"), websocket.scheme, headers.get("Host"), public_url):
            return Response("This WebSocket is for the appliance's own pages.\n", 403, content_type="text/plain")
        page = websocket.args.get("page", "")
        if page not in pages:
            abort(404)
        await websocket.accept()
        await websocket.close(await _serve(sockets, feed, pages, page))
        return None

    return routes
