"""Alerts and rules for tests, put into the database as the appliance would have written them."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import count
from typing import Any
from uuid import UUID

import psycopg

from tests.support.postgres_server import Database

OPENED_AT = datetime(2026, 11, 23, 12, tzinfo=UTC)
"""When an alert was written where a test does not care."""

_numbers = count(1)

INSERT_ALERT = """
INSERT INTO fleet_alert (
  id, tenant_id, site_id, device_id, rule_id, rule_version, alert_type, fingerprint, status, severity, summary, details,
  created_at, started_at, last_triggered_at, trigger_count, due_at, past, inhibited_by, acknowledged_at,
  acknowledged_by, silenced_until, silenced_by, silence_reason, closed_at, closed_by, close_reason
) VALUES (
  coalesce(%(id)s, nextval(pg_get_serial_sequence('fleet_alert', 'id'))), %(tenant_id)s, %(site_id)s, %(device_id)s,
  %(rule_id)s, %(rule_version)s, %(alert_type)s, %(fingerprint)s, %(status)s, %(severity)s, %(summary)s,
  %(details)s::jsonb, %(created_at)s, %(started_at)s, %(last_triggered_at)s, %(trigger_count)s, %(due_at)s, %(past)s,
  %(inhibited_by)s, %(acknowledged_at)s, %(acknowledged_by)s, %(silenced_until)s, %(silenced_by)s, %(silence_reason)s,
  %(closed_at)s, %(closed_by)s, %(close_reason)s
) RETURNING id
"""

INSERT_EVENT = """
INSERT INTO alert_events (tenant_id, alert_id, at, kind, actor, actor_kind, note, details)
VALUES (%(tenant_id)s, %(alert_id)s, %(at)s, %(kind)s, %(actor)s, %(actor_kind)s, %(note)s, %(details)s::jsonb)
RETURNING id
"""

INSERT_RULE = """
INSERT INTO alert_rules (tenant_id, name, severity, kind, parameters, device_ids, enabled, created_at, updated_at)
VALUES (%(tenant_id)s, %(name)s, %(severity)s, %(kind)s, %(parameters)s::jsonb, %(device_ids)s, %(enabled)s, %(at)s,
  %(at)s)
RETURNING rule_id
"""


def add_alert(database: Database, tenant_id: str = "acme", **columns: Any) -> int:
    """Write an alert with the entry of its opening, and return its id; see :func:`insert_alert`."""
    with _writing(database, tenant_id) as connection:
        return insert_alert(connection, tenant_id, **columns)


def add_alerts(database: Database, number: int, tenant_id: str = "acme", **columns: Any) -> list[int]:
    """Write so many alerts, each with a fingerprint of its own, and return their ids in ascending order."""
    with _writing(database, tenant_id) as connection:
        return [insert_alert(connection, tenant_id, **columns) for _ in range(number)]


def insert_alert(connection: psycopg.Connection[Any], tenant_id: str = "acme", **columns: Any) -> int:
    """Write an alert with the entry of its opening, and return its id. The tenant must be there.

    Without ``columns`` it is an OPEN threshold alert of high severity about device ``d1``, opened by no rule, whose
    readings were live. What a status needs is filled in: ``status="CLOSED"`` alone is enough. Times follow from
    ``created_at``; a rule's alert (``rule_id``) has version 1 and the rule's fingerprint.
    """
    at = columns.get("created_at", OPENED_AT)
    status, rule_id = columns.get("status", "OPEN"), columns.get("rule_id")
    device_id = columns.get("device_id", "d1")
    row = dict.fromkeys((
        "id", "site_id", "rule_id", "inhibited_by", "acknowledged_at", "acknowledged_by", "silenced_until",
        "silenced_by", "silence_reason", "closed_at", "closed_by", "close_reason",
    ))  # fmt: skip
    row |= {
        "tenant_id": tenant_id,
        "device_id": device_id,
        "rule_version": None if rule_id is None else 1,
        "alert_type": "THRESHOLD",
        "fingerprint": f"test:{next(_numbers)}" if rule_id is None else f"rule:{rule_id}:{device_id}",
        "status": status,
        "severity": "high",
        "summary": "temperature above 8",
        "created_at": at,
        "started_at": at,
        "last_triggered_at": at,
        "trigger_count": 1,
        "due_at": at,
        "past": False,
    }
    if status == "ACKNOWLEDGED":
        row |= {"acknowledged_at": at, "acknowledged_by": "somebody@acme.example"}
    if status == "CLOSED":
        row |= {"closed_at": at, "close_reason": "cleared"}
    details = columns.pop("details", {"metric": "temperature", "value": 9.5, "threshold": 8})
    unknown = columns.keys() - row.keys()
    assert not unknown, f"fleet_alert has no {unknown}"
    alert_id: int = _one(connection, INSERT_ALERT, row | columns | {"details": json.dumps(details)})
    insert_event(connection, alert_id, "opened", tenant_id=tenant_id, at=at)
    return alert_id


def insert_event(
    connection: psycopg.Connection[Any],
    alert_id: int,
    kind: str,
    *,
    tenant_id: str = "acme",
    at: datetime = OPENED_AT,
    actor: str | None = None,
    note: str | None = None,
    **details: Any,
) -> int:
    """Write an entry of an alert's timeline, of a person if ``actor`` is given, and return its id."""
    row = {
        "tenant_id": tenant_id,
        "alert_id": alert_id,
        "at": at,
        "kind": kind,
        "actor": actor,
        "actor_kind": None if actor is None else "user",
        "note": note,
        "details": json.dumps(details),
    }
    event_id: int = _one(connection, INSERT_EVENT, row)
    return event_id


def add_rule(database: Database, tenant_id: str = "acme", **columns: Any) -> UUID:
    """Write a rule and return its id; by default a threshold on ``temperature`` for every device."""
    row = {
        "tenant_id": tenant_id,
        "name": f"Rule {next(_numbers)}",
        "severity": "high",
        "kind": "threshold",
        "parameters": {"metric": "temperature", "operator": "GT", "value": 8},
        "device_ids": [],
        "enabled": True,
        "at": OPENED_AT,
    }
    unknown = columns.keys() - row.keys()
    assert not unknown, f"no column of a rule: {unknown}"
    row |= columns
    with _writing(database, tenant_id) as connection:
        rule_id: UUID = _one(connection, INSERT_RULE, row | {"parameters": json.dumps(row["parameters"])})
    return rule_id


def alert_row(database: Database, alert_id: int) -> dict[str, Any] | None:
    """Return the columns of an alert as they are in the database, or None if it is gone."""
    with psycopg.connect(database.conninfo()) as connection:
        row = connection.execute("SELECT to_jsonb(a) FROM fleet_alert AS a WHERE id = %s", [alert_id]).fetchone()
    return None if row is None else row[0]


def entries_of(database: Database, alert_id: int) -> list[tuple[str, str | None, str | None]]:
    """Return the timeline of an alert, oldest first: kind, actor and note."""
    with psycopg.connect(database.conninfo()) as connection:
        query = "SELECT kind, actor, note FROM alert_events WHERE alert_id = %s ORDER BY id"
        return connection.execute(query, [alert_id]).fetchall()


@contextmanager
def _writing(database: Database, tenant_id: str) -> Iterator[psycopg.Connection[Any]]:
    """Open a transaction of the superuser, in which the tenant is there."""
    with psycopg.connect(database.conninfo()) as connection:
        connection.execute(
            "INSERT INTO tenants (created_at, updated_at, tenant_id) VALUES (%(at)s, %(at)s, %(tenant)s)"
            " ON CONFLICT DO NOTHING",
            {"at": OPENED_AT, "tenant": tenant_id},
        )
        yield connection


def _one(connection: psycopg.Connection[Any], query: str, parameters: dict[str, Any]) -> Any:
    row = connection.execute(query.encode(), parameters).fetchone()
    assert row is not None
    return row[0]
