"""A link that acknowledges an alert: made for one notice, read when it is opened.

It ends by the first of: the alert is acknowledged (by whomever) or closed, the integration that it was sent to changes,
or ``LINK_HOURS`` pass. What was said of an alert before it is no end: an undone acknowledgement may be followed by a
reminder with a link of its own.
"""

import base64
import binascii
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any
from uuid import UUID

import msgspec

from appliance.db import statements
from appliance.db.trio_psycopg import Connection
from appliance.errors import ApplianceError
from appliance.keyring import Keyring

STATEMENTS = statements.load("acknowledge_links")

LINK_HOURS = 24
"""How long a link works."""
MAX_TOKEN = 512
"""Characters; those that are made have some 250."""
PURPOSE = "acknowledge-link"
"""Under which links are sealed."""


class LinkEnd(StrEnum):
    """Why a link permits nothing any more."""

    ACKNOWLEDGED = "acknowledged"
    """The alert was acknowledged since it was sent: by this link, by another one, or by a person."""
    CLOSED = "closed"
    CHANGED = "changed"
    """The integration was edited, disabled or deleted."""
    EXPIRED = "expired"


class AcknowledgeLink(msgspec.Struct, frozen=True, array_like=True):
    """What a link says of itself."""

    tenant_id: str
    alert_id: int
    integration_id: UUID
    integration_version: int
    newest_event: int
    """The newest entry of the alert's timeline when it was made."""
    expires: int
    """Seconds since 1970."""

    @property
    def expires_at(self) -> datetime:
        """Return until when it works."""
        return datetime.fromtimestamp(self.expires, UTC)


@dataclass(frozen=True, slots=True)
class LinkState:
    """What a link permits now."""

    integration: str
    """The name of the integration that it was sent to; empty when that was deleted."""
    ended: LinkEnd | None
    """None: it works."""
    at: datetime | None
    """When the alert was acknowledged or closed, where that ended it."""
    by: str | None
    """By whom."""


class AcknowledgeLinks:
    """Makes links, reads them, and asks the database what they permit."""

    def __init__(self, keyring: Keyring) -> None:
        self._keyring = keyring

    async def make(
        self, connection: Connection[Any], tenant_id: str, alert_id: int, integration_id: UUID, now: datetime
    ) -> str | None:
        """Return the secret part of the address for a notice of an alert; None where alert or integration is gone."""
        parameters = {"tenant": tenant_id, "alert": alert_id, "integration": integration_id}
        row = await (await connection.execute(STATEMENTS["select_link_facts"], parameters)).fetchone()
        if row is None:
            return None
        version, newest_event = row
        return self.token(tenant_id, alert_id, integration_id, version, newest_event, now)

    def token(
        self, tenant_id: str, alert_id: int, integration_id: UUID, version: int, newest_event: int, now: datetime
    ) -> str:
        """Return what ``make`` does, where it is known already what a link says."""
        expires = int((now + timedelta(hours=LINK_HOURS)).timestamp())
        return self.seal(AcknowledgeLink(tenant_id, alert_id, integration_id, version, newest_event, expires))

    def seal(self, link: AcknowledgeLink) -> str:
        """Return the secret part of the address of a link."""
        sealed = self._keyring.seal(msgspec.json.encode(link), PURPOSE)
        return base64.urlsafe_b64encode(sealed).rstrip(b"=").decode()

    def read(self, token: str) -> AcknowledgeLink | None:
        """Return what the secret part of an address says; None if it was not made here, or not copied completely."""
        if not (0 < len(token) <= MAX_TOKEN and token.isascii()):
            return None
        try:
            sealed = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
            return msgspec.json.decode(self._keyring.open(sealed, PURPOSE), type=AcknowledgeLink)
        except (binascii.Error, ApplianceError, msgspec.MsgspecError):
            return None


async def state_of(connection: Connection[Any], link: AcknowledgeLink, *, now: datetime) -> LinkState | None:
    """Return what a link permits; None when its alert is gone."""
    parameters = {
        "tenant": link.tenant_id,
        "alert": link.alert_id,
        "integration": link.integration_id,
        "newest_event": link.newest_event,
    }
    row = await (await connection.execute(STATEMENTS["select_link_state"], parameters)).fetchone()
    if row is None:
        return None
    name, version, enabled, kind, at, by = row
    if kind is not None:
        return LinkState(name or "", LinkEnd(kind), at, by)
    if version != link.integration_version or not enabled:
        return LinkState(name or "", LinkEnd.CHANGED, None, None)
    return LinkState(name, LinkEnd.EXPIRED if now >= link.expires_at else None, None, None)
