"""Access to the appliance's database: how many messages are committed, and a table like telemetry."""

import time

import psycopg
from psycopg import sql

from appliance.db import statements
from benchmarks.messages import device_name

TABLE = "bench_copy"
STALLED_SECONDS = 30.0
TO_COUNT = "SELECT coalesce(sum(received), 0)::bigint, coalesce(sum(stored), 0)::bigint FROM ingest_ledger"
PARTITIONS = """
SELECT pg_get_expr(child.relpartbound, child.oid),
       coalesce('WITH (' || array_to_string(child.reloptions, ',') || ')', '')
FROM pg_inherits JOIN pg_class AS child ON child.oid = inhrelid
WHERE inhparent = 'telemetry'::regclass ORDER BY 1
"""
ENROLL = (
    "UPDATE subscriptions SET device_limit = device_limit + %(devices)s WHERE tenant_id = %(tenant)s",
    "UPDATE tenants SET rate = 1e6, burst = 1e6 WHERE tenant_id = %(tenant)s",
    """
    INSERT INTO device_registry (created_at, updated_at, tenant_id, device_id, status, subscription_id)
    SELECT now(), now(), tenant_id, device_id, 'ACTIVE', subscription_id
    FROM subscriptions, unnest(%(names)s::text[]) AS device_id
    WHERE tenant_id = %(tenant)s
    """,
)


class Ledger:
    """Reads the accounting over its own connection."""

    def __init__(self, conninfo: str) -> None:
        self._connection = psycopg.connect(conninfo, autocommit=True, prepare_threshold=0)

    def close(self) -> None:
        """End the connection."""
        self._connection.close()

    def counts(self) -> tuple[int, int]:
        """Return the messages received and stored, in committed transactions."""
        row = self._connection.execute(TO_COUNT).fetchone()
        assert row is not None
        return row[0], row[1]

    def refusals(self) -> dict[str, int]:
        """Return the messages refused so far, by reason."""
        rows = self._connection.execute("SELECT reason, sum(cnt)::bigint FROM quarantine_counters_minute GROUP BY 1")
        return dict(rows.fetchall())

    def until(self, received: int, pause: float) -> list[tuple[float, int]]:
        """Query every ``pause`` seconds until so many are received: (seconds since 1970, received) of each change.

        The time is taken after the query, so it is never earlier than the commit. Raises SystemExit after 30 s
        without a change.
        """
        seen: list[tuple[float, int]] = []
        last = -1
        changed = time.monotonic()
        while last < received:
            count, _ = self.counts()
            if count != last:
                last = count
                seen.append((time.time(), count))
                changed = time.monotonic()
            elif time.monotonic() - changed > STALLED_SECONDS:
                raise SystemExit(f"the ledger stands still at {count} of {received} messages")
            if last < received:
                time.sleep(pause)
        return seen


def enroll(conninfo: str, tenant: str, devices: int) -> None:
    """Give the tenant seats for a fleet, its devices, and limits that none of them reaches: the buckets still count."""
    names = [device_name(number) for number in range(devices)]
    with psycopg.connect(conninfo) as connection:
        for statement in ENROLL:
            connection.execute(statement.encode(), {"tenant": tenant, "devices": devices, "names": names})


def copy_statement() -> str:
    """Return the appliance's own COPY statement, for the other table."""
    return statements.load("ingest")["copy_telemetry"].replace("telemetry", TABLE, 1)


def make_table(owner: str, reader: str) -> None:
    """A table like telemetry: columns, key, indexes, partitions with their settings. ``owner`` is a conninfo."""
    with psycopg.connect(owner) as connection:
        table = sql.Identifier(TABLE)
        connection.execute(
            sql.SQL("CREATE TABLE {} (LIKE telemetry INCLUDING ALL) PARTITION BY RANGE (ts)").format(table)
        )
        for number, (bound, options) in enumerate(connection.execute(PARTITIONS).fetchall()):
            connection.execute(
                sql.SQL("CREATE TABLE {} PARTITION OF {} {} {}").format(
                    sql.Identifier(f"{TABLE}_{number}"), table, sql.SQL(bound), sql.SQL(options)
                )
            )
        connection.execute(sql.SQL("GRANT SELECT, INSERT ON {} TO {}").format(table, sql.Identifier(reader)))
