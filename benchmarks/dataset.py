"""A tenant with much to show: devices, a day of readings, a year of roll-ups, quarantine, an audit log, people.

All of it is written to the database directly, in a minute: it serves to measure pages.
"""

import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256

import psycopg

from benchmarks.messages import device_name
from benchmarks.storage import enroll

DEVICES = 10_000
READINGS = 1_000_000
BUSY = device_name(0)
"""The device whose pages are requested: a reading every ten seconds for a day, and a year of roll-ups."""
BUSY_READINGS = 8_640
ROLLED_UP = 20
"""Devices with a year of roll-ups."""
HOURS = 365 * 24
HELD = 100_000
NEW_DEVICES = 2_000
"""Devices whose messages are held because there is no seat for them."""
OFF = 500
"""Inactive devices whose messages are held."""
REASONS = ["INVALID_JSON", "NO_SUBSCRIPTION_CAPACITY", "DEVICE_INACTIVE", "INVALID_METRIC", "RATE_LIMITED"]
AUDITED = 20_000
PEOPLE = 200
SITES = 40

ROWS = (
    "SELECT telemetry_ensure_partitions((now() - interval '2 days')::date, (now() + interval '2 days')::date)",
    """
    INSERT INTO sites (created_at, updated_at, tenant_id, site_id, name)
    SELECT now(), now(), %(tenant)s, 'site-' || n, 'Site ' || n FROM generate_series(0, %(sites)s - 1) AS n
    """,
    """
    UPDATE device_registry SET site_id = 'site-' || right(device_id, 4)::int %% %(sites)s, name = 'Sensor ' || device_id
    WHERE tenant_id = %(tenant)s
    """,
    """
    UPDATE device_registry SET status = 'INACTIVE', subscription_id = NULL
    WHERE tenant_id = %(tenant)s AND device_id = ANY(%(idle)s)
    """,
    "UPDATE subscriptions SET device_limit = active_device_count WHERE tenant_id = %(tenant)s",
    """
    INSERT INTO device_state (tenant_id, device_id, last_ts, last_seen_at, last_heard_at, latest, learned_interval)
    SELECT tenant_id, device_id, seen, seen, seen, '{"temperature": 21.5, "humidity": 40, "battery": 3.6}', 60
    FROM (
      SELECT *, now() - right(device_id, 5)::int * interval '0.3 s' AS seen FROM device_registry
      WHERE tenant_id = %(tenant)s
    ) AS d
    ON CONFLICT DO NOTHING
    """,
    """
    INSERT INTO telemetry (tenant_id, device_id, kind, ts, digest, received_at, ts_adjusted, late, seq, metrics)
    SELECT %(tenant)s, %(busy)s, 'telemetry', now() - n * interval '10 s', n, now(), false, false,
      n, jsonb_build_object('temperature', 20 + 5 * sin(n / 700.0), 'humidity', 40 + n %% 7, 'battery', 3.6)
    FROM generate_series(1, %(busy_readings)s) AS n
    """,
    """
    INSERT INTO telemetry (tenant_id, device_id, kind, ts, digest, received_at, ts_adjusted, late, seq, metrics)
    SELECT %(tenant)s, device_id, 'telemetry', now() - n * interval '900 s', n, now(), false, false, n,
      jsonb_build_object('temperature', 20 + n %% 9, 'humidity', 40 + n %% 7, 'battery', 3.6)
    FROM generate_series(1, %(others_each)s) AS n, unnest(%(others)s::text[]) AS device_id
    """,
    """
    INSERT INTO telemetry_hourly (tenant_id, device_id, metric, hour, readings, total, low, high, last)
    SELECT %(tenant)s, device_id, metric, date_trunc('hour', now()) - h * interval '1 hour', 3600,
      3600 * (20 + 5 * sin(h / 24.0)), 18, 26, 20
    FROM generate_series(1, %(hours)s) AS h, unnest(%(rolled_up)s::text[]) AS device_id,
      unnest(ARRAY['battery', 'humidity', 'temperature']) AS metric
    """,
    """
    INSERT INTO quarantine_events (ingested_at, topic, tenant_id, device_id, kind, reason, detail, payload)
    SELECT now() - n * interval '6 s', 'tenant/' || %(tenant)s || '/device/' || device || '/telemetry', %(tenant)s,
      device, 'telemetry', reason, 'seeded', convert_to('{"temperature": ' || n || '}', 'UTF8')
    FROM (
      SELECT n, (%(reasons)s::text[])[1 + n %% 5] AS reason, CASE n %% 5
        WHEN 1 THEN 'new-' || n %% %(new_devices)s WHEN 2 THEN (%(idle)s::text[])[1 + n %% %(off)s]
        ELSE 'bench-' || lpad((n %% %(devices)s)::text, 5, '0') END AS device
      FROM generate_series(1, %(held)s) AS n
    ) AS q
    """,
    """
    INSERT INTO quarantine_counters_minute (bucket_minute, tenant_id, reason, cnt)
    SELECT date_trunc('minute', ingested_at), tenant_id, reason, count(*) FROM quarantine_events GROUP BY 1, 2, 3
    ON CONFLICT DO NOTHING
    """,
    """
    INSERT INTO audit_log (at, tenant_id, actor, actor_kind, action, object_type, object_id)
    SELECT now() - n * interval '1 min', %(tenant)s, 'somebody@bench.example', 'user', 'device.describe', 'device',
      'bench-' || lpad((n %% %(devices)s)::text, 5, '0')
    FROM generate_series(1, %(audited)s) AS n
    """,
    """
    INSERT INTO users (created_at, tenant_id, email, role)
    SELECT now(), %(tenant)s, 'person-' || n || '@bench.example', 'viewer' FROM generate_series(1, %(people)s) AS n
    """,
)


@dataclass(frozen=True, slots=True)
class Visitor:
    """A signed-in user: the value of the session's cookie."""

    role: str
    secret: str


def furnish(conninfo: str, owner: str, tenant: str) -> None:
    """Fill the database. ``conninfo`` is of a role that may write all of it, ``owner`` of the one that may vacuum."""
    enroll(conninfo, tenant, DEVICES)
    names = [device_name(number) for number in range(DEVICES)]
    parameters = {
        "tenant": tenant,
        "busy": BUSY,
        "busy_readings": BUSY_READINGS,
        "others": names[1:],
        "others_each": (READINGS - BUSY_READINGS) // (DEVICES - 1) + 1,
        "rolled_up": names[:ROLLED_UP],
        "hours": HOURS,
        "devices": DEVICES,
        "sites": SITES,
        "held": HELD,
        "new_devices": NEW_DEVICES,
        "idle": names[-OFF:],
        "off": OFF,
        "reasons": REASONS,
        "audited": AUDITED,
        "people": PEOPLE,
    }
    with psycopg.connect(conninfo, autocommit=True) as connection:
        for statement in ROWS:
            connection.execute(statement.encode(), parameters)
    with psycopg.connect(owner, autocommit=True) as connection:
        connection.execute("VACUUM (ANALYZE)")  # as autovacuum does within minutes


def visitor(conninfo: str, role: str, tenant: str | None) -> Visitor:
    """Create a user of a role with a session of an hour; return its cookie."""
    secret, now = secrets.token_urlsafe(32), datetime.now(UTC)
    with psycopg.connect(conninfo) as connection:
        row = connection.execute(
            "INSERT INTO users (created_at, tenant_id, email, role) VALUES (now(), %s, %s, %s) RETURNING user_id",
            [tenant, f"{role}-{secrets.token_hex(4)}@bench.example", role],
        ).fetchone()
        assert row is not None
        connection.execute(
            "INSERT INTO sessions (session_hash, user_id, tenant_id, created_at, seen_at, idle_until, expires_at, kept)"
            " VALUES (%(hash)s, %(user)s, %(tenant)s, %(now)s, %(now)s, %(end)s, %(end)s, true)",
            {
                "hash": sha256(secret.encode()).digest(),
                "user": row[0],
                "tenant": tenant,
                "now": now,
                "end": now + timedelta(hours=1),
            },
        )
    return Visitor(role, secret)
