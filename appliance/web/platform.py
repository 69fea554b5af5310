"""What every concept of the dashboard builds on. Built by the supervisor."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol

from appliance.clock import Clock
from appliance.db.pool import Pool
from appliance.people.sessions import Visit
from appliance.web.access.auth import Viewer
from appliance.web.access.transactions import Access
from appliance.web.live.feed import LiveFeed


@dataclass(frozen=True, slots=True)
class Health:
    """What is there and what is not, in words for a person; None is fine."""

    postgres: str | None
    broker: str | None
    schema: str | None

    def missing(self) -> dict[str, str]:
        """Return what is not there, by name."""
        parts = {"postgres": self.postgres, "broker": self.broker, "schema": self.schema}
        return {name: wrong for name, wrong in parts.items() if wrong is not None}


class Recognizer(Protocol):
    """Who shows a secret: :class:`appliance.web.access.identity.Identity`."""

    async def by_session(self, secret: str, visit: Visit, *, touch: bool = True) -> Viewer | None:
        """Return the viewer of a valid session, or None. ``touch``: this counts as activity of its owner."""
        ...

    async def by_token(self, secret: str) -> Viewer | None:
        """Return the viewer of a valid API token, or None."""
        ...


@dataclass(frozen=True, slots=True)
class Platform:
    """What every concept of the dashboard builds on."""

    name: str
    """This appliance's name, shown under the product's; the host name as a rule."""
    public_url: str | None
    """``web.public_url``: the address people use when it is not the machine's own."""
    clock: Clock
    pool: Pool
    """Connections of the role ``appliance_ingest``, which sees all tenants. What a person asks for goes through
    ``access``."""
    access: Access
    """Transactions of whoever is signed in."""
    identity: Recognizer
    """From a cookie's or a token's secret to the viewer."""
    live: LiveFeed
    health: Callable[[], Health]
    grace: timedelta
    """How long a paid subscription goes on after its term."""
