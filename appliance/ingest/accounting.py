"""Accounting: the outcome of every message that reached us, from ``ingest_ledger`` (P1).

Enters: a connection that sees all tenants, or one under row-level security that sees one. Leaves: sums, all from one
snapshot, so that they balance whenever they are read. Messages in flight are not among them.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from appliance.db import statements
from appliance.db.require import require
from appliance.db.trio_psycopg import Connection

STATEMENTS = statements.load("ingest")


@dataclass(frozen=True, slots=True)
class Accounting:
    """Messages by outcome. ``received`` is the sum of the four that follow it; the others are counted apart."""

    received: int
    stored: int
    refused: int
    duplicate: int
    cleared: int
    """Empty retained messages, which clear a topic and say nothing."""
    qos0: int
    """Of received, those that came at QoS 0."""
    replayed: int
    """Stored out of quarantine."""
    evicted: int
    """Removed from quarantine by its limits on size and age."""
    partition_dropped: int
    """Stored before, and dropped with their partition by the age limit or the disk budget."""
    first: datetime | None
    """The first minute that is in the sums."""

    @property
    def balanced(self) -> bool:
        """Return whether every message received has exactly one outcome."""
        return self.received == self.stored + self.refused + self.duplicate + self.cleared


async def read_accounting(connection: Connection[Any], span: tuple[datetime, datetime] | None) -> Accounting:
    """Return the sums of a time span, its end excluded, or of all time."""
    since, until = span or (None, None)
    cursor = await connection.execute(STATEMENTS["sum_ledger"], {"since": since, "until": until})
    return Accounting(*require(await cursor.fetchone(), "ledger"))
