"""The services that every concept of the dashboard uses. Built by the supervisor."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol

from appliance.alerts.maintenance.book import MaintenanceBook
from appliance.clock import Clock
from appliance.db.pool import Pool
from appliance.diagnostics.readiness import Health
from appliance.keyring import Keyring
from appliance.people.sessions import Visit
from appliance.renewals.policy import RenewalPolicy
from appliance.web.access.auth import Viewer
from appliance.web.access.call_rate import CallLimits
from appliance.web.access.transactions import Access
from appliance.web.http.tls import CertificateSource, ServerTls
from appliance.web.live.feed import LiveFeed


class Recognizer(Protocol):
    """Identifies the holder of a secret: :class:`appliance.web.access.identity.Identity`."""

    async def by_session(self, secret: str, visit: Visit, *, touch: bool) -> Viewer | None:
        """Return the viewer of a valid session, or None. ``touch``: this counts as activity of its owner."""
        ...

    async def by_token(self, secret: str) -> Viewer | None:
        """Return the viewer of a valid API token, or None."""
        ...


@dataclass(frozen=True, slots=True)
class Platform:
    """The services that every concept of the dashboard uses."""

    name: str
    """This appliance's name, shown under the product's; usually the host name."""
    instance: str
    """Its id on the database, by which it tells itself from its peers."""
    public_url: str | None
    """``web.public_url``: the address that people use, if it is not the machine's own."""
    trusted_proxies: Sequence[str]
    """``web.trusted_proxies``: addresses and networks whose ``X-Forwarded-*`` headers count."""
    tls: ServerTls | None
    """The TLS of the dashboard's port; None: it speaks plain HTTP alone."""
    certificates: CertificateSource
    """Those of the dashboard and of the device listener, and the CA that people and devices are to trust."""
    clock: Clock
    pool: Pool
    """Connections of the role ``appliance_ingest``, which sees all tenants. Requests of people go through
    ``access``."""
    access: Access
    """Transactions of the viewer."""
    keyring: Keyring
    """Seals what is kept of answers with secrets."""
    identity: Recognizer
    """Finds the viewer of a cookie's or token's secret."""
    api_limits: CallLimits
    """How often a token or a session may ask the API."""
    live: LiveFeed
    health: Callable[[], Health]
    grace: timedelta
    """How long a paid subscription stays usable after its term."""
    renewals: RenewalPolicy
    """When subscriptions can be renewed, and the plans there are."""
    notices_wait: timedelta
    """How long a notice waits for a way out: ``delivery.max_age_days``."""
    maintenance: MaintenanceBook
    """The maintenance windows, for whatever shows an alert; ``refresh`` it before asking."""
    affected: Callable[[], Sequence[str]]
    """Returns what is wrong with the appliance and affects readings, as sentences for its customers."""
