"""What the embedded brokers know of the credentials, and whether a change has arrived there.

A process that serves a broker reads :class:`BrokerCredentials`, writes them into the broker's files, and then records
the snapshot in which they were read. A change is a transaction; a broker knows it once it is visible in that snapshot.
The serving process holds an advisory lock meanwhile, so that nobody waits for an appliance that is down: its files are
written at its next start.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import Any

import trio

from appliance.db import statements
from appliance.db.trio_psycopg import Connection

STATEMENTS = statements.load("broker_copies")

BROKER_CHANNEL = "appliance_broker"
"""The channel on which changes of credentials, and of what denies them, are notified."""
PATIENCE = 5.0
"""Seconds that commands and pages wait for the broker at most."""
POLL_SECONDS = 0.1
"""Seconds between two queries whether the broker knows a change."""

Connections = Callable[[], AbstractAsyncContextManager[Connection[Any]]]
"""Lends a connection for a block: ``pool.connection``, or the only one that there is."""


class SyncStatus(Enum):
    """Whether the broker knows a change."""

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
    """Lines of the password file: devices, then claim users."""
    claims: str
    """Lines of the ACL: what each claim user may publish, and the devices for which it may not."""
    next_switch: datetime | None
    """When the next staged password takes over."""


async def read(connection: Connection[Any]) -> BrokerCredentials:
    """Return the lines of the broker's files, as of now."""
    cursor = await connection.execute(STATEMENTS["select_copy"])
    row = await cursor.fetchone()
    if row is None:
        raise RuntimeError("a SELECT without FROM gives one row")
    snapshot, devices, claim_passwords, claims, next_switch = row
    return BrokerCredentials(snapshot, devices + claim_passwords, claims, next_switch)


async def hold_lock(connection: Connection[Any], key: int) -> None:
    """Take the lock that marks a broker as served, for as long as this connection lives."""
    await connection.execute(STATEMENTS["hold_lock"], {"key": key})


async def record(
    connection: Connection[Any], instance: str, key: int, copy: BrokerCredentials, *, now: datetime
) -> None:
    """Record that the broker of ``instance`` knows what ``copy`` holds, since ``now``."""
    parameters = {"instance": instance, "key": key, "snapshot": copy.snapshot, "now": now}
    await connection.execute(STATEMENTS["record_copy"], parameters)


async def this_change(connection: Connection[Any]) -> str:
    """Return the id of the current transaction, for :func:`wait` after its commit."""
    cursor = await connection.execute(STATEMENTS["this_change"], {"channel": BROKER_CHANNEL})
    row = await cursor.fetchone()
    if row is None:
        raise RuntimeError("a SELECT without FROM gives one row")
    return str(row[0])


def only(connection: Connection[Any]) -> Connections:
    """Return the lender of the only connection that there is."""
    return lambda: nullcontext(connection)


async def wait(connections: Connections, change: str, *, patience: float) -> SyncStatus:
    """Wait up to ``patience`` seconds until every broker that is served knows a committed change.

    A connection is taken for each query and given back, since many may wait at once.
    """
    with trio.move_on_after(patience):
        while True:
            async with connections() as connection:
                sync_status = await status_of(connection, change)
            if sync_status is not SyncStatus.PENDING:
                return sync_status
            await trio.sleep(POLL_SECONDS)
    return SyncStatus.PENDING


@dataclass(slots=True)
class CredentialChange:
    """A change under way. ``sync_status`` is set when the block of :func:`credential_change` has ended."""

    connection: Connection[Any]
    """In the transaction of the change."""
    sync_status: SyncStatus = SyncStatus.PENDING
    concerns_broker: bool = True

    def spare_broker(self) -> None:
        """Do not wait for the broker: no credential changes in this transaction after all."""
        self.concerns_broker = False
        self.sync_status = SyncStatus.APPLIED


@asynccontextmanager
async def credential_change(
    transaction: AbstractAsyncContextManager[Connection[Any]], connections: Connections
) -> AsyncIterator[CredentialChange]:
    """Change credentials in ``transaction``, commit at the end of the block, and wait until the broker knows.

    Leaves after PATIENCE at the latest; then ``sync_status`` is PENDING. ``connections`` gives connections to wait
    with. An error in the block rolls the change back and is raised at once.
    """
    async with transaction as connection:
        change = CredentialChange(connection)
        yield change
        if change.concerns_broker:
            name = await this_change(connection)
    if change.concerns_broker:
        change.sync_status = await wait(connections, name, patience=PATIENCE)


async def status_of(connection: Connection[Any], change: str) -> SyncStatus:
    """Return whether the brokers that are served know a committed change."""
    cursor = await connection.execute(STATEMENTS["copies_lacking"], {"change": change})
    served, lacking = await cursor.fetchone() or (0, 0)
    if not served:
        return SyncStatus.NO_BROKER
    return SyncStatus.PENDING if lacking else SyncStatus.APPLIED
