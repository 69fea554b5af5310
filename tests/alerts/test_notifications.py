"""What the database tells of alerts: that something moved that others show or decide on, and of nothing else."""

from typing import Any

import psycopg
import pytest

from appliance.alerts.alert import ALERTS_CHANNEL
from tests.support.alerts import insert_alert
from tests.support.postgres_server import Database
from tests.support.routes import insert_tenant

PATIENCE_SECONDS = 30.0
END = "that was all"
MOVES = {
    "status": "UPDATE fleet_alert SET status = 'CLOSED', closed_at = now(), close_reason = 'closed'",
    "severity": "UPDATE fleet_alert SET severity = 'low'",
    "silence": "UPDATE fleet_alert SET silenced_until = now() + interval '1 hour'",
    "inhibition": "UPDATE fleet_alert SET inhibited_by = id",
    "deletion": "DELETE FROM fleet_alert",
}
QUIET = {
    "counts": "UPDATE fleet_alert SET trigger_count = trigger_count + 1, last_triggered_at = now()",
    "no row": "UPDATE fleet_alert SET severity = 'low' WHERE false",
    "the same again": "UPDATE fleet_alert SET severity = severity",
}


def told(database: Database, statement: str, *, before: int = 1, tenant_id: str = "acme") -> list[str]:
    """Return what is told of a statement, beside alerts that were there before."""
    with psycopg.connect(database.conninfo(), autocommit=True) as writing:
        insert_tenant(writing, tenant_id)
        for _ in range(before):
            insert_alert(writing, tenant_id)
        with psycopg.connect(database.conninfo(), autocommit=True) as listening:
            listening.execute(f"LISTEN {ALERTS_CHANNEL}".encode())
            writing.execute(statement.encode())
            writing.execute(f"NOTIFY {ALERTS_CHANNEL}, '{END}'".encode())  # notifications come in the order of commits
            found = [one.payload for one in listening.notifies(timeout=PATIENCE_SECONDS, stop_after=1)]
            while found[-1] != END:
                found += [one.payload for one in listening.notifies(timeout=PATIENCE_SECONDS, stop_after=1)]
            return found[:-1]


def test_an_alert_that_opens_is_told_to_its_tenant(database: Database) -> None:
    row: dict[str, Any] = {"tenant_id": "'acme'", "alert_type": "'SYSTEM'", "fingerprint": "'x'", "severity": "'low'"}
    row |= {"summary": "'s'"} | dict.fromkeys(("created_at", "started_at", "last_triggered_at", "due_at"), "now()")
    insert = f"INSERT INTO fleet_alert ({', '.join(row)}) VALUES ({', '.join(row.values())})"
    assert told(database, insert, before=0) == ['{"tenants": ["acme"]}']


@pytest.mark.parametrize("move", MOVES.values(), ids=MOVES.keys())
def test_what_moves_an_alert_is_told(database: Database, move: str) -> None:
    assert told(database, move) == ['{"tenants": ["acme"]}']


@pytest.mark.parametrize("change", QUIET.values(), ids=QUIET.keys())
def test_what_moves_nothing_is_not_told(database: Database, change: str) -> None:
    assert told(database, change) == []


def test_very_many_tenants_are_told_as_all_of_them(database: Database) -> None:
    """Postgres takes at most 8,000 bytes; a statement must not fail for them."""
    many = "SELECT tell_tenants('{}', array_agg('tenant-' || n)) FROM generate_series(1, 1000) AS n"
    assert told(database, many.format(ALERTS_CHANNEL), before=0) == ['{"all": true}']
