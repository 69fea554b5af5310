"""What the embedded brokers know of the credentials, and whether a change has arrived there.

A process that serves a broker reads :class:`BrokerCredentials`, writes them into the broker's files, and then records
the snapshot in which they were read. A change is a transaction; a broker knows it once it is visible in that snapshot.
The serving process holds an advisory lock meanwhile, so that nobody waits for an appliance that is down: its files are
written at its next start.
"""

from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import Any

import trio

from appliance.db import statements
from appliance.db.pool import Pool
from appliance.db.trio_psycopg import Connection

STATEMENTS = statements.load("broker_copies")

BROKER_CHANNEL = "appliance_broker"
"""Where changes of what a copy is made from are told."""
PATIENCE = 5.0
"""Seconds that commands and pages wait for the broker."""
POLL_SECONDS = 0.05
SHARED_POLL_SECONDS = 0.2
"""Between two looks of one of many who wait at once."""


class SyncStatus(Enum):
    """Where a change has got to."""

    APPLIED = "applied"
    """Every broker that is served knows it."""
    PENDING = "pending"
    """Not yet; it will."""
    NO_BROKER = "no broker"
    """Nobody serves a broker of ours: the files are written at the next start."""


@dataclass(frozen=True, slots=True)
class BrokerCredentials:
    """The lines that the broker's files are made of, as of one snapshot."""

    snapshot: str
    passwords: str = field(repr=False)
    """Of the password file: devices, then claim users."""
    denials: str
    """Of the ACL: for which devices a claim user may not speak."""
    next_switch: datetime | None
    """When the next staged password takes over."""


async def read(connection: Connection[Any]) -> BrokerCredentials:
    """All of it, as it is now."""
    cursor = await connection.execute(STATEMENTS["select_copy"])
    row = await cursor.fetchone()
    if row is None:
        raise RuntimeError("a SELECT without FROM gives one row")
    snapshot, devices, claims, denials, next_switch = row
    return BrokerCredentials(snapshot, devices + claims, denials, next_switch)


async def hold_lock(connection: Connection[Any], key: int) -> None:
    """Say that somebody serves, for as long as this connection lives."""
    await connection.execute(STATEMENTS["hold_lock"], {"key": key})


async def record(connection: Connection[Any], instance: str, key: int, copy: BrokerCredentials) -> None:
    """Say that the broker of ``instance`` knows what ``copy`` holds."""
    parameters = {"instance": instance, "key": key, "snapshot": copy.snapshot}
    await connection.execute(STATEMENTS["record_copy"], parameters)


async def this_change(connection: Connection[Any]) -> str:
    """The name of the transaction under way, for :func:`wait` after its commit."""
    cursor = await connection.execute(STATEMENTS["this_change"], {"channel": BROKER_CHANNEL})
    row = await cursor.fetchone()
    if row is None:
        raise RuntimeError("a SELECT without FROM gives one row")
    return str(row[0])


async def wait(connection: Connection[Any], change: str, *, patience: float = PATIENCE) -> SyncStatus:
    """Wait up to ``patience`` seconds until every broker that is served knows a committed change."""
    with trio.move_on_after(patience):
        while True:
            arrival = await status_of(connection, change)
            if arrival is not SyncStatus.PENDING:
                return arrival
            await trio.sleep(POLL_SECONDS)
    return SyncStatus.PENDING


async def settle(pool: Pool, change: str, *, patience: float = PATIENCE) -> SyncStatus:
    """The same for one of many: holds no connection between two looks."""
    with trio.move_on_after(patience):
        while True:
            async with pool.connection() as connection:
                arrival = await status_of(connection, change)
            if arrival is not SyncStatus.PENDING:
                return arrival
            await trio.sleep(SHARED_POLL_SECONDS)
    return SyncStatus.PENDING


async def status_of(connection: Connection[Any], change: str) -> SyncStatus:
    """Where a committed change has got to."""
    cursor = await connection.execute(STATEMENTS["copies_lacking"], {"change": change})
    served, lacking = await cursor.fetchone() or (0, 0)
    if not served:
        return SyncStatus.NO_BROKER
    return SyncStatus.PENDING if lacking else SyncStatus.APPLIED
