"""What passes between the steps of the pipeline: a batch, its readings and its refusals."""

from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from hashlib import blake2b
from typing import Any

import msgspec

from appliance.devices.live.state import DeviceState
from appliance.ingest.envelope import Envelope
from appliance.ingest.summary import Counts
from appliance.reading import Inbound, Kind, Reason, Refusal

MICROSECONDS = 1_000_000
MINUTE = 60 * MICROSECONDS


# None of these can be part of a cycle, so the cyclic collector need not know them (gc=False).


class Route(msgspec.Struct, frozen=True, gc=False):
    """The device and kind of a topic. ``bucket`` is its key in the limiter, ``start`` opens each of its rows.

    ``hasher`` is a blake2b personalised with the kind and otherwise unused, to be copied for each payload.
    """

    tenant_id: str
    device_id: str
    kind: Kind
    key: tuple[str, str]
    bucket: str
    start: bytes
    hasher: blake2b


class Charge(Enum):
    """How far a message that waits for its device is paid for."""

    SETTLED = "settled"
    """Charged for good, or never to be charged."""
    BUCKET = "bucket"
    """A delayed one that was charged to the bucket; the allowance pays for it, if it holds something."""
    OWED = "owed"
    """A delayed one that found the bucket empty; the allowance pays for it, or it is refused."""
    BEHIND = "behind"
    """A live one that found it empty behind delayed ones, which may be moved to the allowance: it asks again."""


UNPAID = frozenset({Charge.OWED, Charge.BEHIND})
"""Charges of messages that may yet be refused for the rate: they register no device."""


class Candidate(msgspec.Struct, frozen=True, gc=False):
    """A message that passed checks 1 to 7 and waits for its device to be looked up."""

    index: int
    route: Route
    envelope: Envelope
    payload: bytes
    charge: Charge


class Reading(msgspec.Struct, frozen=True, gc=False):
    """An accepted message. Times are microseconds since 1970 UTC; ``row`` is its row in COPY's binary format."""

    index: int
    route: Route
    state: DeviceState
    ts: int
    digest: bytes
    adjusted: bool
    late: bool
    metrics: dict[str, Any]
    nulls: int
    unplaced: int
    payload: bytes
    row: bytes


class RefusedSubmission(msgspec.Struct, frozen=True, gc=False):
    """A message that was not accepted, with everything that quarantine keeps of it."""

    index: int
    reason: Reason
    detail: str
    topic: str
    payload: bytes
    tenant_id: str | None = None
    device_id: str | None = None
    kind: str | None = None
    site_id: str | None = None
    event_ts: int | None = None


class ClearedTopic(msgspec.Struct, frozen=True, gc=False):
    """An empty retained message: it clears a topic and says nothing of the device. ``tenant_id`` None: not known."""

    index: int
    tenant_id: str | None


@dataclass(slots=True)
class Batch:
    """Messages that are admitted and committed together. ``received_at`` is in microseconds since 1970 UTC."""

    messages: Sequence[Inbound]
    received_at: int
    readings: list[Reading] = field(default_factory=list)
    refused: list[RefusedSubmission] = field(default_factory=list)
    cleared: list[ClearedTopic] = field(default_factory=list)
    waiting: list[Candidate] = field(default_factory=list)
    held_up: set[tuple[str, str]] = field(default_factory=set)
    """Devices of which one of ``waiting`` names the site or needs the allowance: what follows it waits behind it."""
    unknown_tenants: set[str] = field(default_factory=set)
    """Tenants of refused messages and cleared topics that are not in memory; they may not exist."""
    qos0: frozenset[int] = frozenset()
    """Indexes of the messages that came with QoS 0."""
    with_status: bool = False
    """Whether any of ``readings`` is a status message."""
    with_unplaced: bool = False
    """Whether any of ``readings`` has a part of a position and no position."""
    first: int = 0
    """Index of the first of ``messages``. Indexes go on from batch to batch; joining and halving keep them."""

    received: float = field(init=False)
    """``received_at`` in seconds."""
    _span: "IndexRange | None" = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        self.received = self.received_at / MICROSECONDS

    def span(self) -> "IndexRange | None":
        """Return the oldest and the newest time of its readings, or None without readings. Computed once."""
        if self._span is None:
            self._span = index_range(self.readings)
        return self._span

    def absorb(self, other: "Batch") -> None:
        """Append the batch that follows this one directly; both are admitted."""
        self.messages = [*self.messages, *other.messages]
        self.readings += other.readings
        self._span = None
        self.refused += other.refused
        self.cleared += other.cleared
        self.qos0 |= other.qos0
        self.with_status |= other.with_status
        self.with_unplaced |= other.with_unplaced

    def halves(self) -> tuple["Batch", "Batch"]:
        """Divide it into two batches with the same outcome, for a database that is short of resources.

        The second one counts as received a microsecond a message later: its rows of quarantine stay behind the others.
        """
        half = len(self.messages) // 2
        middle = self.first + half
        first = Batch(
            self.messages[:half], self.received_at, qos0=self.qos0, with_status=self.with_status, first=self.first
        )
        second = Batch(
            self.messages[half:], self.received_at + half, qos0=self.qos0, with_status=self.with_status, first=middle
        )
        for reading in self.readings:
            (first if reading.index < middle else second).readings.append(reading)
        for refused in self.refused:
            (first if refused.index < middle else second).refused.append(refused)
        for cleared in self.cleared:
            (first if cleared.index < middle else second).cleared.append(cleared)
        return first, second


IndexRange = tuple[int, int]
"""Oldest and newest, in microseconds since 1970 UTC."""


def index_range(readings: Sequence[Reading]) -> IndexRange | None:
    """Return the oldest and the newest time of ``readings``, or None without readings."""
    if not readings:
        return None
    times = [reading.ts for reading in readings]
    return min(times), max(times)


class Accepted(Enum):
    """An accepted message: stored now, or there already, or one that says nothing and only clears a topic."""

    STORED = "stored"
    DUPLICATE = "duplicate"
    CLEARED = "cleared"


Verdict = Accepted | Refusal


@dataclass(slots=True)
class BatchOutcome:
    """What a committed batch became: its readings that were stored, its duplicates, its refusals.

    The topics that were cleared are those of the batch.
    """

    batch: Batch
    stored: Sequence[Reading]
    duplicates: Sequence[Reading]
    refused: Sequence[RefusedSubmission]
    _verdicts: dict[int, Verdict] | None = field(default=None, init=False, repr=False)
    _tenants: dict[str, Counts] | None = field(default=None, init=False, repr=False)

    def verdicts(self, first: int, last: int) -> list[Verdict]:
        """Return the verdicts on the messages ``first`` to ``last`` (exclusive), in their order."""
        found = self._verdicts
        if found is None:
            found = {reading.index: Accepted.STORED for reading in self.stored}
            found |= {reading.index: Accepted.DUPLICATE for reading in self.duplicates}
            found |= {refused.index: Refusal(refused.reason, refused.detail) for refused in self.refused}
            found |= {cleared.index: Accepted.CLEARED for cleared in self.batch.cleared}
            self._verdicts = found
        return [found[index] for index in range(first, last)]

    def tenants(self) -> dict[str, Counts]:
        """Return the counts of each tenant, in order of the tenants ('' is for messages of no known tenant)."""
        if self._tenants is None:
            stored = Counter([reading.route.tenant_id for reading in self.stored])
            duplicate = Counter([reading.route.tenant_id for reading in self.duplicates])
            refused = Counter([message.tenant_id or "" for message in self.refused])
            cleared = Counter([topic.tenant_id or "" for topic in self.batch.cleared])
            self._tenants = {
                tenant: Counts(
                    stored[tenant] + refused[tenant] + duplicate[tenant] + cleared[tenant],
                    stored[tenant],
                    refused[tenant],
                    duplicate[tenant],
                    cleared[tenant],
                )
                for tenant in sorted(stored.keys() | duplicate.keys() | refused.keys() | cleared.keys())
            }
        return self._tenants


def together(batch: Batch, first: BatchOutcome, second: BatchOutcome) -> BatchOutcome:
    """Return the outcome of a batch that was committed in two halves."""
    return BatchOutcome(
        batch,
        [*first.stored, *second.stored],
        [*first.duplicates, *second.duplicates],
        [*first.refused, *second.refused],
    )


@dataclass(frozen=True, slots=True)
class Submission:
    """Messages from one source, and the function that gives the source its answer once they are committed."""

    messages: Sequence[Inbound]
    received: float
    """Seconds since 1970 UTC when the first of them was read."""
    settle: Callable[["Settlement"], Awaitable[None]]
    qos0: frozenset[int] = frozenset()
    """Positions in ``messages`` of those that came with QoS 0 and are not acknowledged."""
    redelivered: frozenset[int] = frozenset()
    """Positions of those that the broker resends: their token was spent when they came first."""
    admitted: Callable[["Batch"], None] | None = None
    """Told what became of them in the checks, before anything is committed; quick, and never waits."""


@dataclass(frozen=True, slots=True)
class Settlement:
    """The part of a committed batch that one submission brought: its messages are ``first`` to ``last`` (exclusive)."""

    outcome: BatchOutcome
    first: int
    last: int

    @property
    def more_follow(self) -> bool:
        """Return whether another settlement of the same commit follows directly."""
        batch = self.outcome.batch
        return self.last < batch.first + len(batch.messages)
