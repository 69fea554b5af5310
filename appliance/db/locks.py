"""Advisory locks: names that are the same 64-bit number in every process, taken in one order.

Postgres keeps them in a shared table sized for the whole server: one transaction takes at most ``MAX_LOCKS``.
"""

from collections.abc import Iterable
from hashlib import blake2b
from typing import Any

from appliance.db.trio_psycopg import Connection

MAX_LOCKS = 4096
"""In one transaction: 8,000 passed on a default server, 16,000 ended in 53200 (out of shared memory)."""


def lock_key(namespace: str, *parts: str) -> int:
    """Return the signed 64-bit key of a name. Python's ``hash()`` would differ from process to process."""
    name = "\0".join((namespace, *parts)).encode()
    return int.from_bytes(blake2b(name, digest_size=8).digest(), "big", signed=True)


def device_lock_key(tenant_id: str, device_id: str) -> int:
    """Return the lock that is held while the registration of a device is decided."""
    return lock_key("device", tenant_id, device_id)


MIGRATION_LOCK = lock_key("migrations")
"""Held by the session that migrates."""

BOOTSTRAP_LOCK = lock_key("bootstrap")
"""Held by the session that creates roles and database."""

BACKUP_LOCK = lock_key("backup")
"""Shared by the sessions that make backups, which read every table for as long as they last. Who wants to lock tables
against readers takes it alone first: then the stream does not queue up behind a lock that waits for a backup."""


async def lock_until_commit(connection: Connection[Any], keys: Iterable[int]) -> None:
    """Take the locks of ``keys`` in ascending order and keep them to the end of the transaction.

    The common order prevents deadlocks. Raises ValueError for more than MAX_LOCKS.
    """
    ascending = sorted(set(keys))
    if len(ascending) > MAX_LOCKS:
        raise ValueError(f"{len(ascending)} advisory locks in one transaction, at most {MAX_LOCKS} are safe")
    if ascending:
        await connection.execute("SELECT pg_advisory_xact_lock(key) FROM unnest(%s::bigint[]) AS key", [ascending])
