"""The messages of one device as people read them: readings rebuilt from what was stored, refusals as received.

Readings are sorted by their own time, refusals by the time of receipt, since their own may never have been read.
Enters: a connection, the device, and where the last page ended. Leaves: a page, newest first. Never: a message of
another tenant.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from appliance.db import statements
from appliance.db.trio_psycopg import Connection
from appliance.ingest.quarantine.store import MessageStatus
from appliance.reading import Kind, Reason

STATEMENTS = statements.load("messages")

SHOWN_BYTES = 2000
"""Bytes shown of a refused payload; the Quarantine page has all of it."""
COUNTED = 10_000
"""Readings of a span that are counted at most."""
SEQUENCE = 1000
"""Newest readings that are searched for missing numbers."""


@dataclass(frozen=True, slots=True)
class StoredReading:
    """One accepted message."""

    ts: datetime
    """The time it carries, or that of its receipt if it carried none or a wrong one."""
    digest: int
    received_at: datetime
    kind: Kind
    ts_adjusted: bool
    """It carried a time that could not be right."""
    late: bool
    """It was older than the newest of its device when it came."""
    seq: int | None
    site_id: str | None
    lat: float | None
    lng: float | None
    metrics: Mapping[str, Any]

    @property
    def at(self) -> datetime:
        """Return the time that it is sorted by."""
        return self.ts

    @property
    def delay(self) -> float:
        """Return the seconds from its own time to the receipt."""
        return (self.received_at - self.ts).total_seconds()


@dataclass(frozen=True, slots=True)
class RefusedMessage:
    """One message that was not accepted, as quarantine has it."""

    event_id: int
    at: datetime
    """When it was received."""
    event_ts: datetime | None
    topic: str
    kind: str | None
    reason: Reason
    detail: str
    payload_start: bytes
    """At most SHOWN_BYTES of it."""
    payload_size: int
    status: MessageStatus


@dataclass(frozen=True, slots=True)
class MessagePosition:
    """Where a page ended among readings and among refusals; None: nothing of it was shown yet."""

    reading: tuple[datetime, int] | None = None
    """Time and digest."""
    refusal: int | None = None


@dataclass(frozen=True, slots=True)
class MessagePage:
    """Messages, newest first, and where the next page begins, if there is one."""

    messages: Sequence[StoredReading | RefusedMessage]
    next: MessagePosition | None


@dataclass(frozen=True, slots=True)
class Numbering:
    """How complete a device's sequence numbers are, among the newest of its readings that carry one."""

    readings: int
    since: datetime | None
    """Time of the oldest one examined; None: the device sends no numbers."""
    gaps: int
    """Number of gaps in the sequence."""
    missing: int
    """Missing numbers in all gaps together."""
    restarts: int
    """Times that the sequence began anew with a lower number."""


async def page(
    connection: Connection[Any],
    tenant_id: str,
    device_id: str,
    *,
    limit: int,
    after: MessagePosition | None = None,
) -> MessagePage:
    """Return at most ``limit`` messages of a device after ``after``. A device that does not exist has none."""
    after = after or MessagePosition()
    before_ts, before_digest = after.reading or (None, None)
    parameters = {
        "tenant": tenant_id,
        "device": device_id,
        "before_ts": before_ts,
        "before_digest": before_digest,
        "before_id": after.refusal,
        "limit": limit + 1,
        "shown": SHOWN_BYTES,
    }
    cursor = await connection.execute(STATEMENTS["readings_of_device"], parameters, prepare=False)
    readings = [_reading(row) for row in await cursor.fetchall()]
    cursor = await connection.execute(STATEMENTS["refusals_of_device"], parameters, prepare=False)
    refusals = [_refusal(row) for row in await cursor.fetchall()]
    merged = _newest_first(readings, refusals)
    shown = merged[:limit]
    return MessagePage(shown, _position(shown, after) if len(merged) > limit else None)


async def count_since(connection: Connection[Any], tenant_id: str, device_id: str, since: datetime) -> int:
    """Return the number of readings of a device from ``since`` on; COUNTED + 1 means more than COUNTED."""
    parameters = {"tenant": tenant_id, "device": device_id, "since": since, "most": COUNTED + 1}
    row = await (await connection.execute(STATEMENTS["count_readings"], parameters, prepare=False)).fetchone()
    return 0 if row is None else int(row[0])


async def numbering(connection: Connection[Any], tenant_id: str, device_id: str, since: datetime) -> Numbering:
    """Return how complete the sequence numbers of a device's readings from ``since`` on are."""
    parameters = {"tenant": tenant_id, "device": device_id, "since": since, "most": SEQUENCE}
    row = await (await connection.execute(STATEMENTS["sequence_of_device"], parameters, prepare=False)).fetchone()
    readings, first, gaps, missing, restarts = row or (0, None, 0, 0, 0)
    return Numbering(readings, first, gaps, int(missing), restarts)


def _newest_first(
    readings: Sequence[StoredReading], refusals: Sequence[RefusedMessage]
) -> list[StoredReading | RefusedMessage]:
    """Merge both, keeping the order of each: a clock that was set back must not reorder pages."""
    merged: list[StoredReading | RefusedMessage] = []
    left, right = list(reversed(readings)), list(reversed(refusals))
    while left and right:
        merged.append(left.pop() if left[-1].at > right[-1].at else right.pop())
    return [*merged, *reversed(left), *reversed(right)]


def _position(shown: Sequence[StoredReading | RefusedMessage], after: MessagePosition) -> MessagePosition:
    readings = [one for one in shown if isinstance(one, StoredReading)]
    refusals = [one for one in shown if isinstance(one, RefusedMessage)]
    return MessagePosition(
        (readings[-1].ts, readings[-1].digest) if readings else after.reading,
        refusals[-1].event_id if refusals else after.refusal,
    )


def _reading(row: tuple[Any, ...]) -> StoredReading:
    ts, digest, received_at, kind, *rest = row
    return StoredReading(ts, digest, received_at, Kind(kind), *rest)


def _refusal(row: tuple[Any, ...]) -> RefusedMessage:
    event_id, at, event_ts, topic, kind, reason, detail, payload, size, status = row
    return RefusedMessage(
        event_id, at, event_ts, topic, kind, Reason(reason), detail, payload, size, MessageStatus(status)
    )
