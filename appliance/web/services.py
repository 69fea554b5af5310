"""What the dashboard is given by the supervisor. The web package builds none of it."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol
from urllib.parse import urlsplit

from appliance.broker.refusals import BrokerRefusal
from appliance.clock import Clock
from appliance.db.pool import Pool
from appliance.devices.registry.claims import ClaimOutcome
from appliance.devices.registry.provisioning import ProvisioningRequest
from appliance.devices.seats.changes import ChangeContext
from appliance.diagnostics.snapshot import Snapshot
from appliance.ingest.batch import Verdict
from appliance.ingest.limits.limiter import BucketState
from appliance.ingest.quarantine.replay_preview import ReplayPreviewer
from appliance.people.sessions import Visit
from appliance.people.signin import SignIn
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
        """What is not there, by name."""
        parts = {"postgres": self.postgres, "broker": self.broker, "schema": self.schema}
        return {name: wrong for name, wrong in parts.items() if wrong is not None}


@dataclass(frozen=True, slots=True)
class BrokerQueue:
    """How full the broker's queue for the appliance is, in messages."""

    waiting: int
    capacity: int


@dataclass(frozen=True, slots=True)
class DeviceListener:
    """Where devices publish, for the ready command line. ``host`` None: the host of the page's own address."""

    host: str | None
    port: int

    def command(self, page_host: str, device: str, password: str) -> str:
        """The command that sends a first reading of ``device`` (``TENANT/device/DEVICE``), seen from a browser's page.

        ``page_host``: the host and port that the browser used.
        """
        host = self.host or urlsplit(f"//{page_host}").hostname
        return (
            f"mosquitto_pub -h {host} -p {self.port} -u {device} -P '{password}' -q 1 "
            f"-t tenant/{device}/telemetry -m '{{\"temperature\": 21.5}}'"
        )


class Ingest(Protocol):
    """Where messages that come in over HTTP go: :class:`appliance.ingest.http.HttpSource`."""

    @property
    def token_demanded(self) -> bool:
        """Whether a device must show its token."""
        ...

    async def authentic(self, tenant_id: str, device_id: str, secret: str) -> bool:
        """Whether whoever shows ``secret`` may speak for this device."""
        ...

    async def authentic_claim(self, tenant_id: str, secret: str) -> bool:
        """Whether ``secret`` is the claim password of this tenant."""
        ...

    async def take(self, topic: str, payloads: Sequence[bytes]) -> list[Verdict]:
        """Bring messages in and wait for their commit; their verdicts in order."""
        ...

    def retry_after(self, tenant_id: str, device_id: str) -> int:
        """Whole seconds until a message of this device can pass the limiter."""
        ...


class Recognizer(Protocol):
    """Who shows a secret: :class:`appliance.web.access.identity.Identity`."""

    async def by_session(self, secret: str, visit: Visit, *, touch: bool = True) -> Viewer | None:
        """Whose session it is, if it is alive. ``touch``: it counts as activity of its owner."""
        ...

    async def by_token(self, secret: str) -> Viewer | None:
        """Whose API token it is, if it is good."""
        ...


@dataclass(frozen=True, slots=True)
class Services:
    """Everything the dashboard needs from the rest of the process."""

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
    sign_in: SignIn
    live: LiveFeed
    health: Callable[[], Health]
    metrics_text: Callable[[], bytes]
    """All metrics in the Prometheus text format."""
    broker_queue: Callable[[], BrokerQueue | None]
    """None while the broker has not told."""
    device_listener: DeviceListener
    ingest: Ingest
    """Where messages that come in over HTTP go."""
    claim: Callable[[ProvisioningRequest, ChangeContext], Awaitable[ClaimOutcome]]
    """Exchanges a claim password, already checked, for a device's own credential."""
    grace: timedelta
    """How long a paid subscription goes on after its term."""
    limit_of: Callable[[str, str], BucketState]
    """The limit in force for a device (tenant id, device id) of the tenant, and its present fill."""
    broker_refusals: Callable[[str | None, str | None], Sequence[BrokerRefusal]]
    """What the broker refused lately, newest first: of all, of a tenant, or of a device (tenant id, device id)."""
    system: Snapshot
    """What the process tells of itself: tasks, children, memory, disk."""
    replay_previewer: ReplayPreviewer
    """Says what a replay of held messages would do."""
