"""The books: what became of every message that reached us, from ``ingest_ledger`` (P1).

Enters: a connection that sees all tenants, or one under row-level security that sees one. Leaves: sums, each from one
snapshot, so that they balance whenever they are read. Messages in hand stand beside them, not in them.
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
    """Messages by outcome; the last four stand beside the sum."""

    received: int
    stored: int
    refused: int
    duplicate: int
    qos0: int
    """Of received, those that came at QoS 0."""
    replayed: int
    """Stored out of quarantine."""
    evicted: int
    """Lost out of quarantine, for want of room or for their age."""
    partition_dropped: int
    """Stored before, and gone with the age limit or the disk budget."""
    first: datetime | None
    """The first minute that is in the sums."""

    @property
    def balanced(self) -> bool:
        """Whether everything received has its one place."""
        return self.received == self.stored + self.refused + self.duplicate


async def read_accounting(connection: Connection[Any], since: datetime | None = None) -> Accounting:
    """The books since then, or all of them."""
    cursor = await connection.execute(STATEMENTS["sum_ledger"], {"since": since})
    return Accounting(*require(await cursor.fetchone(), "ledger"))
