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
  coalesce(sum(duplicate), 0)::bigint, coalesce(sum(replayed), 0)::bigint,
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
    replayed: int
    unbalanced: int
    """Subscriptions whose count is not that of their ACTIVE devices, or above their limit."""

    def check(self) -> None:
        """Check P1 and P7 at this instant."""
        assert self.received == self.stored + self.refused + self.duplicate, self
        assert self.rows == self.stored + self.replayed, self
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


@asynccontextmanager
async def watching_accounting(conninfo: Callable[[], str], *, enough: int = ENOUGH) -> AsyncIterator[None]:
    """Take snapshots as long as the body runs; each must balance, and ``enough`` of them must differ.

    A database that goes away is connected to again: ``conninfo`` is asked each time.
    """
    seen: set[Snapshot] = set()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_audit, conninfo, seen)
        yield
        nursery.cancel_scope.cancel()
    assert len(seen) >= enough, f"only {len(seen)} different snapshots: the test proved little"


async def _audit(conninfo: Callable[[], str], seen: set[Snapshot]) -> None:
    while True:
        try:
            connection = await trio.to_thread.run_sync(_connect, conninfo)
        except psycopg.OperationalError:
            await trio.sleep(PAUSE_SECONDS)
            continue
        with connection:
            try:
                while True:
                    seen.add(await trio.to_thread.run_sync(_snapshot, connection))
                    await trio.sleep(PAUSE_SECONDS)
            except psycopg.OperationalError:
                continue


def _connect(conninfo: Callable[[], str]) -> psycopg.Connection[tuple[int, ...]]:
    return psycopg.connect(conninfo(), autocommit=True, connect_timeout=20)
