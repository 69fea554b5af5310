"""Reads which peers are away, for notices on pages that show presence: whether their devices send is not known.

An appliance without peers, or with peers that are all there, pays for one small statement in some seconds, however many
pages are shown. While Postgres is not reachable, or the clock is in doubt and nobody may be called silent, there are no
notices.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, tzinfo
from typing import Any

import structlog
import trio

from appliance.clock import Clock
from appliance.db.trio_psycopg import Connection
from appliance.peers import store
from appliance.peers.store import Peer
from appliance.web.access.auth import Viewer
from appliance.web.access.transactions import Access
from appliance.web.page import formats
from appliance.web.page.failures import POSTGRES_AWAY

PATIENCE = 1.0
"""Seconds that a page waits for its notices at most."""
MAX_AGE = 5.0
"""Seconds for which an answer is reused: an appliance listens anew as often."""
MAX_SCOPES = 64
"""Scopes (a tenant, or all tenants for operators) whose peers are kept."""

log = structlog.get_logger(__name__)


class AwayPeers:
    """Reads the peers of the appliance ``here`` that are away, as far as they heard devices that the viewer may see."""

    def __init__(self, access: Access, clock: Clock, here: str) -> None:
        self._access = access
        self._clock = clock
        self._here = here
        self._anybody: tuple[float, bool] | None = None
        self._known: dict[tuple[bool, str | None], tuple[float, list[Peer]]] = {}

    async def read(self, seen_by: Viewer, tenant: str | None) -> list[Peer]:
        """Return the peers that are away and heard active devices of the tenant last; None: of any, for operators.

        Waits at most PATIENCE for Postgres; without an answer there are no notices.
        """
        known = self._recent(seen_by, tenant)
        if known is not None:
            return known
        try:
            with trio.fail_after(PATIENCE):
                async with self._access.reading(seen_by) as connection:
                    return await self.read_on(connection, seen_by, tenant)
        except POSTGRES_AWAY as error:
            log.debug("page without notices of peers", error=str(error))
            return []

    async def read_on(self, connection: Connection[Any], seen_by: Viewer, tenant: str | None) -> list[Peer]:
        """Return the same over the viewer's transaction. Raises psycopg.Error."""
        known = self._recent(seen_by, tenant)
        if known is not None:
            return known
        now, moment = datetime.fromtimestamp(self._clock.now(), UTC), self._clock.monotonic()
        anybody = await store.anybody_away(connection, self._here, now)
        away = await store.away_from(connection, tenant, self._here, now) if anybody else []
        if len(self._known) >= MAX_SCOPES:
            self._known.clear()
        self._anybody, self._known[seen_by.is_operator, tenant] = (moment, anybody), (moment, away)
        return away

    def _recent(self, seen_by: Viewer, tenant: str | None) -> list[Peer] | None:
        """Return what was read a moment ago, or what follows without asking; None: ask."""
        if not self._clock.trusted:
            return []
        oldest = self._clock.monotonic() - MAX_AGE
        if self._anybody is None or self._anybody[0] < oldest:
            return None
        if not self._anybody[1]:
            return []
        known = self._known.get((seen_by.is_operator, tenant))
        return None if known is None or known[0] < oldest else known[1]


def since_text(peer: Peer, now: float, zone: tzinfo | None) -> str:
    """Return since when a peer has not listened, as the end of a sentence about it."""
    if peer.listened_at is None:
        return "has never listened"
    return f"has not listened since {formats.moment_of(peer.listened_at.timestamp(), now, zone)}"


def notices(affected: Sequence[str], away: Sequence[Peer], now: float, zone: tzinfo | None) -> list[str]:
    """Return what customers are told above their devices: of the appliance itself, then of peers that are away."""
    return [*affected, *(notice_text(peer, now, zone) for peer in away)]


def notice_text(peer: Peer, now: float, zone: tzinfo | None) -> str:
    """Return what customers are told of a peer that is away."""
    since = since_text(peer, now, zone)
    if peer.devices == 1:
        return f"1 device was heard last by the appliance {peer.title}, which {since}: whether it sends is not known."
    return (
        f"{peer.devices:,} devices were heard last by the appliance {peer.title}, which {since}:"
        " whether they send is not known."
    )


def notice_of_device(peer: Peer, now: float, zone: tzinfo | None) -> str:
    """Return the same on the page of one of its devices."""
    since = since_text(peer, now, zone)
    return f"This device was heard last by the appliance {peer.title}, which {since}: whether it sends is not known."
