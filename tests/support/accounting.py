"""Snapshots of the accounting, taken from a connection of their own while the appliance works."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import psycopg
import trio

ACCOUNTING = b"""
SELECT
  (SELECT count(*) FROM telemetry),
  (SELECT coalesce(sum(cnt), 0)::bigint FROM quarantine_counters_minute),
  coalesce(sum(received), 0)::bigint, coalesce(sum(stored), 0)::bigint, coalesce(sum(refused), 0)::bigint,
  coalesce(sum(duplicate), 0)::bigint, coalesce(sum(cleared), 0)::bigint, coalesce(sum(replayed), 0)::bigint,
  coalesce(sum(partition_dropped), 0)::bigint,
  (SELECT count(*)
   FROM subscriptions AS s
   WHERE s.active_device_count > s.device_limit OR s.active_device_count <> (
     SELECT count(*) FROM device_registry AS d
     WHERE d.tenant_id = s.tenant_id AND d.subscription_id = s.subscription_id AND d.status = 'ACTIVE'))
FROM ingest_ledger
"""
"""One statement, so one snapshot: rows, refusals counted, the ledger's sums, subscriptions out of balance."""

PAUSE_SECONDS = 0.01
ENOUGH = 2
"""Different snapshots that must be seen: before, and later."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The accounting at one instant."""

    rows: int
    counted: int
    received: int
    stored: int
    refused: int
    duplicate: int
    cleared: int
    replayed: int
    dropped: int
    """Stored before, and gone with their day."""
    unbalanced: int
    """Subscriptions whose count is not that of their ACTIVE devices, or above their limit."""

    def check(self) -> None:
        """Check P1 and P7 at this instant."""
        assert self.received == self.stored + self.refused + self.duplicate + self.cleared, self
        assert self.rows + self.dropped == self.stored + self.replayed, self
        assert self.counted == self.refused, self
        assert self.unbalanced == 0, self


def look(conninfo: str) -> Snapshot:
    """Take one snapshot from a new connection, and check it."""
    with psycopg.connect(conninfo, autocommit=True) as connection:
        return _snapshot(connection)


def _snapshot(connection: psycopg.Connection[tuple[int, ...]]) -> Snapshot:
    row = connection.execute(ACCOUNTING).fetchone()
    assert row is not None
    snapshot = Snapshot(*row)
    snapshot.check()
    return snapshot


class Watch:
    """The different snapshots taken so far."""

    def __init__(self) -> None:
        self.seen: set[Snapshot] = set()
        self._another = trio.Event()

    def add(self, snapshot: Snapshot) -> None:
        """Add a snapshot."""
        if snapshot not in self.seen:
            self.seen.add(snapshot)
            self._another.set()

    async def another(self) -> None:
        """Return once a snapshot differs from all so far: what was sent meanwhile has begun to be committed."""
        self._another = trio.Event()
        with trio.fail_after(60):
            await self._another.wait()


@asynccontextmanager
async def watching_accounting(conninfo: Callable[[], str], *, enough: int = ENOUGH) -> AsyncIterator[Watch]:
    """Take snapshots as long as the body runs; each must balance, and ``enough`` of them must differ.

    A database that goes away is connected to again: ``conninfo`` is asked each time.
    """
    watch = Watch()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_audit, conninfo, watch)
        await watch.another()
        yield watch
        if len(watch.seen) == 1:
            await watch.another()  # the snapshot that follows the body
        nursery.cancel_scope.cancel()
    seen = watch.seen
    assert len(seen) >= enough, f"only {len(seen)} different snapshots: the test proved little"


async def _audit(conninfo: Callable[[], str], watch: Watch) -> None:
    while True:
        try:
            connection = await trio.to_thread.run_sync(_connect, conninfo)
        except psycopg.OperationalError:
            await trio.sleep(PAUSE_SECONDS)
            continue
        with connection:
            try:
                while True:
                    watch.add(await trio.to_thread.run_sync(_snapshot, connection))
                    await trio.sleep(PAUSE_SECONDS)
            except psycopg.OperationalError:
                continue


def _connect(conninfo: Callable[[], str]) -> psycopg.Connection[tuple[int, ...]]:
    return psycopg.connect(conninfo(), autocommit=True, connect_timeout=20)
