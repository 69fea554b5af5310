"""Finds the viewer of a cookie's or token's secret, before the tenant is known: under a role that sees all tenants."""

import hashlib
import hmac
from base64 import urlsafe_b64encode
from datetime import UTC, datetime, tzinfo
from uuid import UUID

from appliance import local_time
from appliance.clock import Clock
from appliance.db.pool import Pool
from appliance.people import sessions, tokens
from appliance.people.role import Scope
from appliance.people.sessions import Visit
from appliance.people.users import User
from appliance.web.access.auth import Viewer

PURPOSE = b"appliance csrf"


class Identity:
    """Identifies people and their programs."""

    def __init__(self, pool: Pool, clock: Clock) -> None:
        self._pool = pool
        self._clock = clock

    async def by_session(self, secret: str, visit: Visit, *, touch: bool) -> Viewer | None:
        """Return the viewer of a valid session, or None. ``touch``: this counts as activity of its owner."""
        async with self._pool.connection() as connection:
            signed = await sessions.find(
                connection, secret, self._settled(), visit, touch_at=self._now() if touch else None
            )
        if signed is None:
            return None
        zone = _zone(signed.user, signed.tenant_zone)
        return _viewer(signed.user, zone, session_id=signed.session_id, csrf=csrf_token(secret))

    async def by_token(self, secret: str) -> Viewer | None:
        """Return the viewer of a valid API token, or None."""
        async with self._pool.connection() as connection:
            shown = await tokens.find(connection, secret, self._now(), self._settled())
        if shown is None:
            return None
        zone = _zone(shown.user, shown.tenant_zone)
        return _viewer(shown.user, zone, csrf="", token=shown.token.name, scopes=shown.token.scopes)

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._clock.now(), UTC)

    def _settled(self) -> datetime:
        return datetime.fromtimestamp(self._clock.settled(), UTC)


def csrf_token(secret: str) -> str:
    """Return the CSRF token for forms of the holder of the cookie ``secret``: derived from it, irreversibly."""
    digest = hmac.digest(secret.encode("utf-8", "surrogatepass"), PURPOSE, hashlib.sha256)
    return urlsafe_b64encode(digest).rstrip(b"=").decode()


def _viewer(
    user: User,
    zone: tzinfo | None,
    *,
    csrf: str,
    session_id: UUID | None = None,
    token: str | None = None,
    scopes: frozenset[Scope] | None = None,
) -> Viewer:
    return Viewer(
        user_id=user.user_id,
        email=user.email,
        name=user.name,
        role=user.role,
        tenant_id=user.tenant_id,
        zone=zone,
        theme=user.theme,
        shortcuts=user.shortcuts,
        session_id=session_id,
        csrf=csrf,
        has_second_factor=user.has_second_factor,
        token=token,
        scopes=scopes,
    )


def _zone(user: User, tenant_zone: str | None) -> tzinfo | None:
    """Return the user's zone, else the tenant's; None (the machine's own) if this machine does not know the zone."""
    return local_time.zone_of(user.time_zone or tenant_zone)
