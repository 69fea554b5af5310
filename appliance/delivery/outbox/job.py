"""A job: one notice that one route is to deliver, where it stands, and why.

PENDING -> PROCESSING -> COMPLETED, or back to PENDING with a later ``next_run_at``, or DEAD; PENDING -> SKIPPED. A
person may send a DEAD one again: DEAD -> PENDING.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

DELIVERIES_CHANNEL = "appliance_deliveries"
"""The notifications of jobs that are new or due at another time: ``{"tenants": [...]}``."""


class JobEvent(StrEnum):
    """What of the alert a job tells."""

    OPEN = "OPEN"
    REMINDER = "REMINDER"
    """It is still open and not acknowledged; ``occurrence`` counts them."""
    ACKNOWLEDGED = "ACKNOWLEDGED"
    CLOSED = "CLOSED"


class JobStatus(StrEnum):
    """Where a job stands."""

    PENDING = "PENDING"
    PROCESSING = "PROCESSING"
    COMPLETED = "COMPLETED"
    DEAD = "DEAD"
    SKIPPED = "SKIPPED"


class Receipt(StrEnum):
    """What is known of a job's receipt."""

    NONE = "none"
    """No try reached anybody."""
    REFUSED = "refused"
    """Every answer was a refusal."""
    POSSIBLE = "possible"
    """A try ended without an answer: it may have arrived."""
    CONFIRMED = "confirmed"


class Reason(StrEnum):
    """Why a job is held (PENDING), SKIPPED or DEAD."""

    # held, skipped when the alert closes meanwhile
    MAINTENANCE = "maintenance"
    SILENCED = "silenced"
    INHIBITED = "inhibited"
    QUIET_HOURS = "quiet_hours"
    DELAYED = "delayed"
    THROTTLED = "throttled"
    MERGING = "merging"
    """The route has told its burst in this minute: further alerts wait to be told in one notice."""
    UNREACHABLE = "unreachable"
    """Tries reach nobody, or the circuit breaker is open."""
    RETRYING = "retrying"
    WAITING = "waiting"
    """An earlier notice of the same alert and route is not finished."""
    BY_HAND = "by_hand"
    """A person asked for it: it is sent without a further decision."""
    UNCONFIRMED = "unconfirmed"
    """The appliance was restored from a backup, and nobody has confirmed that the old machine is off."""
    # skipped
    SUPERSEDED = "superseded"
    """A later alert has taken its place, and tells more."""
    OVERTAKEN = "overtaken"
    """Something later has made it pointless: the alert closed, or was acknowledged."""
    MERGED = "merged"
    """The notice of another job tells it: ``merged_into``."""
    NOT_TOLD = "not_told"
    """Its OPEN never arrived, so that there is nothing to end."""
    ROUTE_OFF = "route_off"
    """The route was disabled or deleted before anybody was told."""
    INTEGRATION_OFF = "integration_off"
    """The integration was disabled or deleted, so that nothing can be told, not even an end."""
    NO_MATCH = "no_match"
    """The route was changed before the notice was sent, and does not take the alert any more."""
    CANCELLED = "cancelled"
    """By a person."""
    RESTORED = "restored"
    """It was not finished when the backup was made that the appliance was restored from: the old machine may have sent
    it."""
    # dead
    EXHAUSTED = "exhausted"
    """The last step of the retry table failed."""
    REFUSED = "refused"
    """An answer that does not change: a 4xx, a redirect, a certificate, a refused address."""
    GONE = "gone"
    """410: the integration was disabled."""
    TOO_OLD = "too_old"
    """It waited for a way out longer than delivery.max_age."""


@dataclass(frozen=True, slots=True)
class Job:
    """A row of ``delivery_jobs``."""

    job_id: int
    tenant_id: str
    alert_id: int
    route_id: UUID
    integration_id: UUID
    event: JobEvent
    occurrence: int
    message_id: UUID
    """The same on every try."""
    status: JobStatus
    reason: Reason | None
    created_at: datetime
    next_run_at: datetime
    tries: int
    """Steps of the retry table that are used."""
    attempts: int
    """All tries, those included that reached nobody."""
    receipt: Receipt
    unreachable_since: datetime | None
    merged_into: int | None
    leased_by: str | None
    finished_at: datetime | None
