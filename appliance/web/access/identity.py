"""From a cookie's or a token's secret to the viewer. Asked before a tenant is known, so under a role that sees all."""

import hashlib
import hmac
from base64 import urlsafe_b64encode
from datetime import UTC, datetime, tzinfo
from uuid import UUID
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from appliance.clock import Clock
from appliance.db.pool import Pool
from appliance.people import sessions, tokens
from appliance.people.role import Scope
from appliance.people.sessions import Visit
from appliance.people.users import User
from appliance.web.access.auth import Viewer

PURPOSE = b"appliance csrf"


class Identity:
    """Recognises people and their programs."""

    def __init__(self, pool: Pool, clock: Clock) -> None:
        self._pool = pool
        self._clock = clock

    async def by_session(self, secret: str, visit: Visit, *, touch: bool = True) -> Viewer | None:
        """Whose session it is, if it is alive. ``touch``: it counts as activity of its owner."""
        async with self._pool.connection() as connection:
            signed = await sessions.find(connection, secret, self._now(), visit, touch=touch)
        if signed is None:
            return None
        zone = _zone(signed.user, signed.tenant_zone)
        return _viewer(signed.user, zone, session_id=signed.session_id, csrf=csrf_token(secret))

    async def by_token(self, secret: str) -> Viewer | None:
        """Whose API token it is, if it is good."""
        async with self._pool.connection() as connection:
            shown = await tokens.find(connection, secret, self._now())
        if shown is None:
            return None
        zone = _zone(shown.user, shown.tenant_zone)
        return _viewer(shown.user, zone, csrf="", token=shown.token.name, scopes=shown.token.scopes)

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._clock.wall(), UTC)


def csrf_token(secret: str) -> str:
    """What the forms of whoever holds the cookie ``secret`` carry: derived from it, and no way back."""
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
    """The zone that the user chose, else the tenant's; None (the machine's) for one that this machine does not know."""
    name = user.time_zone or tenant_zone
    try:
        return None if name is None else ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError):
        return None
