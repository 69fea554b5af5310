"""What this process tells of itself, as one value that the supervisor hands to the pages; none of it is a secret."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from appliance.diagnostics.process_metrics import ProcessMetrics
from appliance.runtime.tree import ServiceStatus


@dataclass(frozen=True, slots=True)
class Dependency:
    """Postgres or Mosquitto, our own or an external one. What is not known is None."""

    name: str
    embedded: bool
    version: str | None
    trouble: str | None
    """What is wrong with it, in words; None is fine."""
    restarts: int = 0
    started_at: float | None = None
    """Seconds since 1970."""
    last_error: str | None = None
    answered_in: float | None = None
    """Seconds that it took to answer, last time it was asked."""
    connected: int | None = None
    """Of the broker: clients."""
    dropped: int | None = None
    """Of the broker: messages that it acknowledged and dropped since its start."""


@dataclass(frozen=True, slots=True)
class ResourceLimit:
    """Something kept in memory, and how much of it is kept at most."""

    name: str
    now: int
    most: int


@dataclass(frozen=True, slots=True)
class BrokerTerms:
    """What the broker's settings promise. With an external broker they are not ours, and there are none."""

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
class Snapshot:
    """Everything of the process that the System page shows and the accounting does not hold."""

    started_at: float
    """Seconds since 1970."""
    tasks: Callable[[], Sequence[ServiceStatus]]
    """The services that run, in the order of their start."""
    vitals: ProcessMetrics
    instance: str
    """Which appliance on this database."""
    companions: Callable[[], Sequence[Dependency]]
    bounds: Callable[[], Sequence[ResourceLimit]]
    broker_terms: BrokerTerms | None
    retention_days: int
    schema: Callable[[], int | None]
    """The version of the schema as last read."""
    settings: Mapping[str, object]
    """The effective configuration by dotted key, secrets masked."""
