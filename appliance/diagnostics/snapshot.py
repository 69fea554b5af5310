"""The state of the process as one value that the supervisor gives to the pages; it holds no secret."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from appliance.backup.nightly import BackupState
from appliance.broker.floods.record import Flooder
from appliance.broker.room import BrokerRoom
from appliance.broker.takeover import SharedClientId
from appliance.diagnostics.process_metrics import ProcessMetrics
from appliance.ingest.telemetry.budget import BudgetState
from appliance.ingest.telemetry.expiry import Wait
from appliance.runtime.tree import ServiceStatus
from appliance.watchdog.watchdog import EndToEnd


@dataclass(frozen=True, slots=True)
class Dependency:
    """Postgres or Mosquitto, embedded or external. Unknown values are None."""

    name: str
    embedded: bool
    version: str | None
    trouble: str | None
    """What is wrong with it; None if nothing is."""
    restarts: int = 0
    started_at: float | None = None
    """Seconds since 1970."""
    last_error: str | None = None
    answered_in: float | None = None
    """Seconds that the last check took."""
    connected: int | None = None
    """The broker's connected clients."""
    dropped: int | None = None
    """Messages that the broker acknowledged and dropped since its start."""
    room: BrokerRoom | None = None
    """What the broker takes of memory and disk."""


@dataclass(frozen=True, slots=True)
class ResourceLimit:
    """Something kept in memory: its number now, and its limit."""

    name: str
    now: int
    most: int


@dataclass(frozen=True, slots=True)
class BrokerTerms:
    """What the embedded broker's settings promise; an external broker has none that we know."""

    saves_every: float | None
    """Seconds between two writes of its store to disk; None: each change is on disk before it is acknowledged."""
    queued_messages: int
    queued_bytes: int
    inflight_messages: int
    message_bytes: int
    connections: int
    session_days: int
    memory_bytes: int


@dataclass(frozen=True, slots=True)
class DiskRoom:
    """The room on the disk of the data folder. Sizes are bytes."""

    state: str
    """``ok``, ``low`` or ``full``."""
    free: int
    total: int
    reserve: int
    """What is kept back for a full disk; 0 while it is given back."""
    reserve_wanted: int
    full_below: int
    """With less free, the disk is full."""
    needed: int
    """What must be free until a full disk is full no more: for the reserve, and some room."""
    cause: str | None
    """Why it is full; None while it is not."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything of the process that the System page shows and the accounting does not hold."""

    age: Callable[[], float]
    """Seconds since the start."""
    tasks: Callable[[float], Sequence[ServiceStatus]]
    """The services that run, in the order of their start; called with the service time."""
    process: ProcessMetrics
    room: Callable[[], DiskRoom]
    instance: str
    """The id of this appliance: several may share a database."""
    dependencies: Callable[[], Sequence[Dependency]]
    limits: Callable[[], Sequence[ResourceLimit]]
    broker_terms: BrokerTerms | None
    flooders: Callable[[], Sequence[Flooder]]
    """Users that are shut out of the broker for what they sent, the newest first."""
    shared_client_ids: Callable[[], Sequence[SharedClientId]]
    """Client ids that devices of two tenants have used lately; none with an external broker."""
    retention_days: int
    retention_blocked: Callable[[], Wait | None]
    """Why the lock to drop a day of readings was not had when it was last tried; None if it was."""
    backups: Callable[[], BackupState | None]
    """Nightly backups; None where no folder is configured."""
    budget: Callable[[], BudgetState | None]
    """What the data folder may take; None with a database elsewhere."""
    schema: Callable[[], int | None]
    """The version of the schema as last read."""
    end_to_end: Callable[[], EndToEnd]
    """What the watchdog has proven."""
    settings: Mapping[str, object]
    """The effective configuration by dotted key, secrets masked."""
