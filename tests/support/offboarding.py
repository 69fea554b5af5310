"""A tenant with rows in every table that has rows of tenants, and what is there of one."""

from typing import Any

import psycopg
from psycopg import sql

from tests.support.postgres_server import Database

DAY = "2026-11-22T00:00:00Z"

ROWS = """
INSERT INTO tenants (tenant_id, name, created_at, updated_at) VALUES (%(t)s, 'A name', %(at)s, %(at)s);
INSERT INTO subscriptions (subscription_id, tenant_id, subscription_type, device_limit, term_start,
    term_end, status, created_at)
  VALUES ('S-' || %(t)s, %(t)s, 'MAIN', 9, %(at)s, '2027-11-22', 'ACTIVE', %(at)s);
INSERT INTO subscriptions (subscription_id, tenant_id, subscription_type, parent_subscription_id, device_limit,
  term_start,
  term_end, status, created_at) VALUES ('A-' || %(t)s, %(t)s, 'ADDON', 'S-' || %(t)s, 3, %(at)s, '2027-11-22',
    'ACTIVE', %(at)s);
INSERT INTO subscription_terms (tenant_id, subscription_id, term_start, term_end, device_limit, actor, bought_at, kind)
  VALUES (%(t)s, 'S-' || %(t)s, %(at)s, '2027-11-22', 9, 'x', %(at)s, 'SOLD');
INSERT INTO subscription_terms (tenant_id, subscription_id, term_start, term_end, device_limit, actor, bought_at, kind,
  corrects_term_id) SELECT %(t)s, 'S-' || %(t)s, %(at)s, '2027-11-23', 9, 'x', %(at)s, 'CORRECTED', term_id
  FROM subscription_terms WHERE tenant_id = %(t)s;
INSERT INTO subscription_audit (tenant_id, subscription_id, event_type, actor, at)
  VALUES (%(t)s, 'S-' || %(t)s, 'SOLD', 'x', %(at)s);
INSERT INTO subscription_warnings VALUES (%(t)s, 'S-' || %(t)s, %(at)s, 30, %(at)s);
INSERT INTO renewal_requests (tenant_id, subscription_id, hash, again, changed, answer, asked_at, until)
  VALUES (%(t)s, 'S-' || %(t)s, '\\x00', false, true, '{}', %(at)s, '2027-01-01');
INSERT INTO sites (tenant_id, site_id, name, created_at, updated_at) VALUES (%(t)s, 'hall', '=Hall', %(at)s, %(at)s);
INSERT INTO metrics (tenant_id, name, created_at, updated_at) VALUES (%(t)s, 'temperature', %(at)s, %(at)s);
INSERT INTO device_registry (tenant_id, device_id, status, subscription_id, site_id, name, tags, created_at, updated_at)
  SELECT %(t)s, 'd' || n, 'ACTIVE', 'S-' || %(t)s, 'hall', '=cmd|x', '{"a, b",c}', %(at)s, %(at)s
  FROM generate_series(1, 5) AS n;
UPDATE subscriptions SET active_device_count = 5 WHERE subscription_id = 'S-' || %(t)s;
INSERT INTO device_credentials (tenant_id, device_id, mqtt_hash, token_hash, created_at)
  VALUES (%(t)s, 'd1', 'SECRET-mqtt', decode(repeat('ab', 32), 'hex'), %(at)s);
INSERT INTO device_state (tenant_id, device_id, latest) VALUES (%(t)s, 'd1', '{"temperature": 1}');
INSERT INTO telemetry SELECT %(t)s, 'd' || n %% 5 + 1, 'telemetry', %(at)s::timestamptz + n * interval '1 hour', n,
    %(at)s, false,
  false, n, 'hall', NULL, NULL, jsonb_build_object('temperature', n) FROM generate_series(1, 60) AS n;
INSERT INTO telemetry_hourly VALUES (%(t)s, 'd1', 'temperature', %(at)s, 1, 1, 1, 1, 1);
INSERT INTO telemetry_marks (tenant_id, device_id, hour, marked_at) VALUES (%(t)s, 'd1', %(at)s, %(at)s);
INSERT INTO tenant_allowances VALUES (%(t)s, %(at)s);
INSERT INTO quarantine_events (ingested_at, topic, tenant_id, device_id, reason, payload)
  VALUES (%(at)s, 'tenant/x', %(t)s, 'd1', 'INVALID_JSON', '\\x00ff');
INSERT INTO quarantine_totals (tenant_id, messages, bytes, held, held_bytes) VALUES (%(t)s, 1, 2, 1, 2);
INSERT INTO quarantine_counters_minute VALUES (%(at)s, %(t)s, 'INVALID_JSON', 3);
INSERT INTO quarantine_replays (tenant_id, selection, total, last_id, created_at, created_by, status, ended_at)
  VALUES (%(t)s, '{}', 1, 1, %(at)s, 'x', 'DONE', %(at)s);
INSERT INTO ingest_ledger (minute, instance, tenant_id, received, stored, refused) VALUES (%(at)s, 'i', %(t)s, 63,
    60, 3);
INSERT INTO alert_rules (tenant_id, name, severity, kind, parameters, created_at, updated_at)
  VALUES (%(t)s, 'Hot', 'high', 'threshold', '{"metric": "temperature"}', %(at)s, %(at)s);
INSERT INTO alert_rule_state SELECT %(t)s, rule_id, 'd1', 1, 1, 1, '{}' FROM alert_rules WHERE tenant_id = %(t)s;
INSERT INTO fleet_alert (tenant_id, device_id, alert_type, fingerprint, severity, summary, created_at, started_at,
  last_triggered_at, due_at) VALUES (%(t)s, 'd1', 'THRESHOLD', 'f', 'high', '@hot', %(at)s, %(at)s, %(at)s, %(at)s);
INSERT INTO alert_events (tenant_id, alert_id, at, kind) SELECT %(t)s, id, %(at)s, 'opened' FROM fleet_alert WHERE
    tenant_id = %(t)s;
INSERT INTO alert_ends (tenant_id, alert_id, at, reason) SELECT %(t)s, id, %(at)s, 'x' FROM fleet_alert WHERE
    tenant_id = %(t)s;
INSERT INTO alert_conditions VALUES (%(t)s, 'f', 'k', %(at)s);
INSERT INTO message_losses VALUES (%(t)s, 'd1', 1, %(at)s, %(at)s);
INSERT INTO maintenance_windows (tenant_id, name, kind, starts, ends, time_zone, created_at, created_by, updated_at)
  VALUES (%(t)s, 'Inspection', 'once', '2026-11-22', '2026-11-23', 'UTC', %(at)s, 'x', %(at)s);
INSERT INTO integrations (tenant_id, name, type, config, secrets, created_at, updated_at)
  VALUES (%(t)s, 'Hook', 'webhook', '{"url": "https://example.org/"}', '{"signing_secret": "SECRET-sealed"}',
    %(at)s, %(at)s);
INSERT INTO integration_health (tenant_id, integration_id) SELECT %(t)s, integration_id FROM integrations WHERE
    tenant_id = %(t)s;
INSERT INTO integration_routes (tenant_id, name, integration_id, severities, created_at, updated_at)
  SELECT %(t)s, 'Route', integration_id, '{high}', %(at)s, %(at)s FROM integrations WHERE tenant_id = %(t)s;
INSERT INTO delivery_jobs (tenant_id, alert_id, route_id, integration_id, event, created_at, next_run_at)
  SELECT %(t)s, a.id, r.route_id, r.integration_id, 'OPEN', %(at)s, %(at)s
  FROM fleet_alert AS a JOIN integration_routes AS r USING (tenant_id) WHERE tenant_id = %(t)s;
INSERT INTO delivery_attempts (tenant_id, job_id, at, latency_ms, outcome)
  SELECT %(t)s, job_id, %(at)s, 5, 'retry' FROM delivery_jobs WHERE tenant_id = %(t)s;
INSERT INTO users (tenant_id, email, role, password_hash, password_set_at, created_at)
  VALUES (%(t)s, 'someone@example.org', 'admin', '$argon2id$SECRET', %(at)s, %(at)s);
INSERT INTO sessions (session_hash, user_id, tenant_id, created_at, seen_at, idle_until, expires_at, kept)
  SELECT sha256(convert_to(%(t)s, 'UTF8')), user_id, %(t)s, %(at)s, %(at)s, '2027-01-01', '2027-01-01', false
  FROM users WHERE tenant_id = %(t)s;
INSERT INTO api_tokens (token_hash, user_id, tenant_id, name, scopes, created_at, expires_at)
  SELECT sha256(convert_to(%(t)s, 'UTF8')), user_id, %(t)s, 'Script', '{read}', %(at)s, '2027-01-01' FROM users
    WHERE tenant_id = %(t)s;
INSERT INTO links (link_hash, purpose, user_id, tenant_id, expires_at)
  SELECT sha256(convert_to(%(t)s, 'UTF8')), 'password', user_id, %(t)s, '2027-01-01' FROM users WHERE tenant_id =
    %(t)s;
INSERT INTO known_browsers SELECT user_id, sha256(convert_to(%(t)s, 'UTF8')), %(t)s, %(at)s FROM users WHERE
    tenant_id = %(t)s;
INSERT INTO api_requests SELECT user_id, sha256(convert_to(%(t)s, 'UTF8')), %(t)s, '\\x00', %(at)s, '2027-01-01'
  FROM users WHERE tenant_id = %(t)s;
INSERT INTO audit_log (at, tenant_id, actor, actor_kind, action, object_type, object_id)
  VALUES (%(at)s, %(t)s, '=someone@example.org', 'user', 'device.create', 'device', 'd1')
"""


def fill(database: Database, *tenants: str) -> None:
    """Add tenants with rows in every table, as they are, without what triggers would add."""
    with psycopg.connect(database.conninfo()) as connection:
        connection.execute("SELECT telemetry_ensure_partitions('2026-11-20', '2026-11-26')")
        connection.execute("SET session_replication_role = replica")
        for tenant in tenants:
            for statement in ROWS.split(";"):
                connection.execute(statement.encode(), {"t": tenant, "at": DAY})


TABLES = """
SELECT c.relname FROM pg_class AS c JOIN pg_attribute AS a ON a.attrelid = c.oid
WHERE a.attname = 'tenant_id' AND c.relkind IN ('r', 'p') AND NOT c.relispartition
  AND c.relnamespace = 'public'::regnamespace
"""


def tables(database: Database) -> list[str]:
    """Return every table with rows of tenants, by the catalogue."""
    with psycopg.connect(database.conninfo()) as connection:
        return sorted(row[0] for row in connection.execute(TABLES.encode()))


def rows_of(database: Database, tenant: str) -> dict[str, list[Any]]:
    """Return all rows of a tenant by table, as text; tables without one are left out."""
    found = {}
    with psycopg.connect(database.conninfo()) as connection:
        for table in tables(database):
            query = sql.SQL("SELECT t::text FROM {} AS t WHERE tenant_id = %s ORDER BY 1").format(sql.Identifier(table))
            if rows := connection.execute(query, [tenant]).fetchall():
                found[table] = rows
    return found
