"""A tenant that looks like a customer's: devices in every state, a day of readings, messages in quarantine, people.

Put into the database behind the appliance's back, in a second. Names are those of the design's pictures.
"""

import psycopg

from appliance.people.role import Role
from tests.support.web import demo_deliveries
from tests.support.web.accounts import Person, signed_in
from tests.support.web.stand_ins import INSTANCE

TENANT = "norrvik"
DEVICE = "BGO-FRZ-017"
"""The device with most to show."""
USER = "5f0c2a52-4c1c-4f5e-9d53-0d6f3a5f2b11"
"""Somebody who was invited and has not come yet."""

RULE = "9b1f4c52-7d55-4b43-8a1e-2f64a3a0c001"
"""A rule that opens alerts in the stored history."""
ALERT_RULE = "0d3c1be2-6f11-4b0d-9a55-2f4f5f6b7a10"
"""A rule that has opened alerts."""
ALERT, INHIBITED_ALERT, CLOSED_ALERT, SILENCED_ALERT, CAUSE_ALERT = 106, 105, 103, 112, 104
"""Alerts: the one with most to show, one that another stands for, one that is over, one that is silenced, and one that
stands for others."""

WINDOW = "0b8f4c57-3f0e-4f4a-8f53-1c2d3e4f5a66"
"""The maintenance window that is active."""

AWAY_PEER = "e61f0a93c2d4"
"""An appliance on the database that has not listened for hours, and heard no device last."""


PLACES = ["Freezer", "Chiller", "Loading dock", "Ammonia plant", "Door", "Compressor room"]

ROWS = (
    "SELECT telemetry_ensure_partitions((now() - interval '2 days')::date, (now() + interval '2 days')::date)",
    """
    INSERT INTO tenant_deletions (deleted_tenant, name, requested_at, requested_by, expected, deleted, beat_at)
    VALUES ('sjoholt', 'Sjøholt Fisk', now(), 'operator@example.org', '{"telemetry": 182400, "users": 4}',
      '{"telemetry": 61000}', now())
    """,
    """
    INSERT INTO tenants (created_at, updated_at, tenant_id, name, time_zone) VALUES
      (now(), now(), %(tenant)s, 'Norrvik Cold Chain', 'Europe/Oslo'),
      (now(), now(), 'harvest', 'Harvest Farms', 'Europe/Oslo')
    ON CONFLICT (tenant_id) DO UPDATE SET name = excluded.name, time_zone = excluded.time_zone
    """,
    """
    INSERT INTO subscriptions (created_at, subscription_id, tenant_id, subscription_type, device_limit, term_start,
      term_end,
      status, description)
    VALUES (now(), 'SUB-20251208-00001', %(tenant)s, 'MAIN', 80, now() - interval '353 days',
      now() + interval '12 days',
        'ACTIVE', 'Cold chain base'),
      (now(), 'SUB-20251208-00002', 'harvest', 'TRIAL', 50, now() - interval '10 days',
      now() + interval '20 days', 'TRIAL',
        'Harvest season'),
      (now(), 'SUB-20260901-00019', %(tenant)s, 'TEMPORARY', 50, now() - interval '84 days',
      now() + interval '53 days', 'ACTIVE', 'Harvest season'),
      (now(), 'SUB-20260816-00017', %(tenant)s, 'TRIAL', 20, now() - interval '100 days',
      now() - interval '9 days', 'EXPIRED', 'Ålesund pilot')
    """,
    """
    INSERT INTO subscriptions (created_at, subscription_id, tenant_id, subscription_type, parent_subscription_id,
      device_limit, term_start, term_end, status, description)
    SELECT now(), 'SUB-20260415-00004', tenant_id, 'ADDON', subscription_id, 50, now() - interval '222 days', term_end,
      status, 'Moss extension'
    FROM subscriptions WHERE subscription_id = 'SUB-20251208-00001'
    """,
    """
    INSERT INTO subscription_terms (tenant_id, subscription_id, kind, term_start, term_end, device_limit, plan_id,
      actor, bought_at)
    SELECT tenant_id, subscription_id, 'SOLD', term_start, term_end, device_limit, plan_id, 'ingrid@norrvik.example',
      term_start
    FROM subscriptions
    """,
    """
    INSERT INTO renewal_requests (tenant_id, subscription_id, key, hash, again, changed, answer, asked_at, until)
    SELECT tenant_id, subscription_id, 'an earlier one', '', false, true, jsonb_build_object(
      'subscription_id', subscription_id, 'renewed', true, 'changed', true, 'previous_term_end', term_start,
      'new_term_end', term_end, 'device_limit', device_limit, 'devices_deactivated',
      '["BGO-OLD-001", "BGO-OLD-002"]'::jsonb,
      'note', NULL, 'renewing_opens', NULL, 'hint', NULL), term_start, term_end
    FROM subscriptions WHERE subscription_id = 'SUB-20251208-00001'
    """,
    """
    INSERT INTO subscription_audit (tenant_id, subscription_id, event_type, actor, previous_state, new_state, details,
      at)
    VALUES
      (%(tenant)s, 'SUB-20251208-00001', 'add', 'ingrid@norrvik.example', NULL,
        '{"subscription_type": "MAIN", "device_limit": 60, "term_end": "2025-12-08T23:00:00Z"}', NULL,
        now() - interval '717 days'),
      (%(tenant)s, 'SUB-20251208-00001', 'RENEWED', 'ingrid@norrvik.example',
        '{"device_limit": 60, "term_end": "2025-12-08T23:00:00Z"}',
        '{"device_limit": 80, "term_end": "2026-12-08T23:00:00Z"}', '{"term_days": 365}', now() - interval '353 days'),
      (%(tenant)s, 'SUB-20260415-00004', 'add', 'ingrid@norrvik.example', NULL,
        '{"subscription_type": "ADDON", "device_limit": 50, "term_end": "2026-12-08T23:00:00Z"}', NULL,
        now() - interval '222 days'),
      (%(tenant)s, 'SUB-20251208-00001', 'hold', 'kim@norrvik.example', '{"hold_reason": null, "status": "ACTIVE"}',
        '{"hold_reason": "invoice 4711 is open", "status": "SUSPENDED"}', NULL, now() - interval '60 days'),
      (%(tenant)s, 'SUB-20251208-00001', 'lift_hold', 'kim@norrvik.example',
        '{"hold_reason": "invoice 4711 is open", "status": "SUSPENDED"}', '{"hold_reason": null, "status": "ACTIVE"}',
        NULL, now() - interval '58 days'),
      (%(tenant)s, 'SUB-20260816-00017', 'status', 'subscriptions', '{"status": "TRIAL"}', '{"status": "EXPIRED"}',
        NULL, now() - interval '9 days')
    """,
    """
    INSERT INTO sites (created_at, updated_at, tenant_id, site_id, name, time_zone) VALUES
      (now(), now(), %(tenant)s, 'bergen-quay', 'Bergen Quay', NULL),
      (now(), now(), %(tenant)s, 'drammen-dc', 'Drammen DC', 'Europe/Oslo'),
      (now(), now(), %(tenant)s, 'moss-terminal', 'Moss Terminal', NULL)
    """,
    """
    INSERT INTO device_registry (created_at, updated_at, tenant_id, device_id, status, site_id, name, place,
      tags, subscription_id)
    SELECT now(), now(), %(tenant)s, 'BGO-FRZ-' || lpad(n::text, 3, '0'), 'ACTIVE',
      (ARRAY['bergen-quay', 'drammen-dc', 'moss-terminal'])[1 + n %% 3], (%(places)s::text[])[1 + n %% 6] || ' ' || n,
      'Hall ' || 1 + n %% 4, ARRAY['cold', 'floor-' || n %% 3], 'SUB-20251208-00001'
    FROM generate_series(1, 64) AS n
    """,
    """
    INSERT INTO device_registry (created_at, updated_at, tenant_id, device_id, status, name) VALUES
      (now(), now(), %(tenant)s, 'MSS-NEW-001', 'PENDING', NULL),
      (now(), now(), %(tenant)s, 'MSS-OLD-001', 'INACTIVE', 'Retired freezer')
    """,
    """
    INSERT INTO device_registry (created_at, updated_at, tenant_id, device_id, status, subscription_id)
    VALUES (now(), now(), 'harvest', 'silo-1', 'ACTIVE', 'SUB-20251208-00002')
    """,
    "INSERT INTO listening (instance, began_at, ended_at) VALUES ('demo', now() - interval '2 days', now())",
    """
    INSERT INTO ingest_instances (instance, name, version) VALUES
      (%(here)s, 'bergen-edge', '1.0.0'), ('demo', 'moss-edge', '1.0.0'), (%(away_peer)s, 'drammen-edge', '0.9.0')
    """,
    """
    INSERT INTO listening (instance, began_at, ended_at)
    VALUES (%(away_peer)s, now() - interval '2 days', now() - interval '3 hours')
    """,
    # What the appliance says of itself, on System; the ids are out of the way of all others.
    f"""
    INSERT INTO fleet_alert (id, tenant_id, alert_type, fingerprint, status, severity, summary, created_at, started_at,
      last_triggered_at, due_at, acknowledged_at, acknowledged_by)
    VALUES
      (9001, 'appliance', 'SYSTEM', 'system:disk:demo', 'OPEN', 'critical', 'The disk of bergen-edge is nearly full',
        now() - interval '20 minutes', now() - interval '20 minutes', now(), now(), NULL, NULL),
      (9002, 'appliance', 'SYSTEM', 'system:peer:{AWAY_PEER}', 'ACKNOWLEDGED', 'high',
        'The appliance drammen-edge is away: it does not listen to its devices', now() - interval '3 hours',
        now() - interval '3 hours', now(), now(), now() - interval '1 hour', 'kim@norrvik.example')
    """,
    """
    INSERT INTO device_state (tenant_id, device_id, last_ts, last_seen_at, last_heard_at, latest, learned_interval)
    SELECT tenant_id, device_id, seen, seen, seen,
      '{"temperature": -11.8, "humidity": 61, "battery": 3.58, "door": false}', 30
    FROM (
      SELECT *, now() - CASE WHEN right(device_id, 2) IN ('05', '25') THEN interval '5 min'
        WHEN right(device_id, 1) = '3' THEN interval '3 hours' ELSE interval '10 s' END AS seen
      FROM device_registry WHERE status = 'ACTIVE' AND device_id <> 'BGO-FRZ-064'  -- which was never heard
    ) AS d
    """,
    """
    UPDATE device_state SET refused_at = now(), refused_reason = 'INVALID_METRIC', last_heard_at = now()
    WHERE device_id IN ('BGO-FRZ-009', 'BGO-FRZ-019')
    """,
    """
    INSERT INTO metrics (created_at, updated_at, tenant_id, name, label, unit, decimals, usual_low, usual_high) VALUES
      (now(), now(), %(tenant)s, 'temperature', 'Temperature', '°C', 1, -25, -15),
      (now(), now(), %(tenant)s, 'humidity', 'Humidity', '%%', 0, 40, 80),
      (now(), now(), %(tenant)s, 'battery', 'Battery', 'V', 2, 3, 4.2),
      (now(), now(), %(tenant)s, 'door', NULL, NULL, NULL, NULL, NULL)
    """,
    """
    INSERT INTO telemetry (tenant_id, device_id, kind, ts, digest, received_at, ts_adjusted, late, seq, metrics)
    SELECT %(tenant)s, device_id, 'telemetry', now() - n * interval '60 s', n,
      now() - n * interval '60 s' + n %% 9 * interval '5 ms',
      false, false, 1440 - n, jsonb_build_object(
        'temperature', round((-18 + 5 * sin(n / 90.0) + 6 * exp(-n / 40.0))::numeric, 2),
        'humidity', 61 + n %% 5, 'battery', 3.58, 'door', n %% 60 = 0)
    FROM generate_series(1, 1440) AS n, unnest(ARRAY[%(device)s, 'BGO-FRZ-001', 'BGO-FRZ-002']) AS device_id
    WHERE n NOT BETWEEN 300 AND 330
    """,
    """
    UPDATE device_state AS d SET last_ts = t.ts FROM (
      SELECT tenant_id, device_id, max(ts) AS ts FROM telemetry GROUP BY 1, 2
    ) AS t WHERE (d.tenant_id, d.device_id) = (t.tenant_id, t.device_id)
    """,
    """
    INSERT INTO telemetry_hourly (tenant_id, device_id, metric, hour, readings, total, low, high, last)
    SELECT tenant_id, device_id, key, date_trunc('hour', ts), count(*), sum(value::float), min(value::float),
      max(value::float), max(value::float)
    FROM telemetry, jsonb_each_text(metrics) WHERE key <> 'door' GROUP BY 1, 2, 3, 4
    """,
    """
    INSERT INTO alert_rules (tenant_id, rule_id, name, severity, kind, parameters, tags, site_ids, device_prefixes,
      enabled, created_at, updated_at)
    SELECT %(tenant)s, ('9b1f4c52-7d55-4b43-8a1e-2f64a3a0c' || r.n)::uuid, r.name, r.severity, r.kind,
      r.parameters::jsonb, r.tags, r.sites, r.prefixes, r.enabled, now(), now() - interval '20 days'
    FROM (VALUES
      ('001', 'Freezer high temperature', 'critical', 'threshold', '{"metric": "temperature", "operator": "GT",
        "value": -15, "clear_value": -16, "for_seconds": 300}', '{cold}'::text[], '{}'::text[], '{}'::text[], true),
      ('002', 'Supply air', 'medium', 'threshold', '{"metric": "temperature", "operator": "GT", "value": -14.5,
        "for_seconds": 600, "conditions": [{"metric": "door", "operator": "EQ", "value": false,
        "max_age_seconds": 300}]}', '{}', '{bergen-quay,drammen-dc}', '{}', true),
      ('003', 'Humidity over an hour', 'high', 'window', '{"metric": "humidity", "aggregate": "avg",
        "window_seconds": 3600, "operator": "GTE", "value": 63}', '{}', '{}', '{BGO-FRZ}', true),
      ('004', 'Temperature missing', 'high', 'no_data', '{"metric": "temperature", "seconds": 1200}', '{cold}', '{}',
        '{}', true),
      ('005', 'Door changed', 'info', 'change', '{"metric": "door", "to": true}', '{}', '{}', '{}', false),
      ('006', 'Battery', 'low', 'threshold', '{"metric": "battery", "operator": "LT", "value": 3.4}', '{}', '{}', '{}',
        true)
    ) AS r (n, name, severity, kind, parameters, tags, sites, prefixes, enabled)
    """,
    """
    UPDATE alert_rules
    SET error = 'position was text on BGO-FRZ-009', error_at = now() - interval '40 min', error_count = 41
    WHERE name = 'Battery'
    """,
    """
    INSERT INTO quarantine_events (ingested_at, topic, tenant_id, device_id, kind, reason, detail, payload)
    SELECT now() - n * interval '40 s', 'tenant/norrvik/device/' || device || '/telemetry', %(tenant)s, device,
      'telemetry', reason, detail, convert_to(payload, 'UTF8')
    FROM (
      SELECT n, CASE WHEN n %% 5 = 3 THEN 'MSS-TMP-' || n ELSE 'BGO-FRZ-0' || 10 + n %% 9 END AS device, refused.*
      FROM generate_series(1, 212) AS n
      CROSS JOIN LATERAL (SELECT * FROM (VALUES
        (0, 'INVALID_METRIC', 'metrics.temperature is a text', '{"ts": 1795694400, "temperature": "-11,8"}'),
        (1, 'INVALID_METRIC', 'metrics.temperature is a text', '{"ts": 1795694400, "temperature": "-11,8"}'),
        (2, 'INVALID_JSON', 'malformed: trailing comma at byte 24', '{"temperature": -11.8, }'),
        (3, 'NO_SUBSCRIPTION_CAPACITY', 'all seats are in use', '{"temperature": -12.5}'),
        (4, 'INVALID_TIMESTAMP', 'ts is 3 h ahead', '{"ts": 1899999999, "temperature": -12.5}')
      ) AS r (i, reason, detail, payload) WHERE i = n %% 5) AS refused
      ORDER BY n DESC
    ) AS q
    """,
    """
    INSERT INTO quarantine_counters_minute (bucket_minute, tenant_id, reason, cnt)
    SELECT date_trunc('minute', ingested_at), tenant_id, reason, count(*) FROM quarantine_events GROUP BY 1, 2, 3
    """,
    """
    INSERT INTO ingest_ledger (minute, instance, tenant_id, received, stored, refused)
    SELECT date_trunc('minute', now()) - n * interval '1 min', 'demo', %(tenant)s,
      2300 + (n * 37) %% 300 + coalesce(c, 0), 2300 + (n * 37) %% 300, coalesce(c, 0)
    FROM generate_series(1, 180) AS n
    LEFT JOIN (SELECT bucket_minute, sum(cnt)::bigint AS c FROM quarantine_counters_minute GROUP BY 1) AS q
      ON bucket_minute = date_trunc('minute', now()) - n * interval '1 min'
    """,
    """
    INSERT INTO alert_rules (tenant_id, rule_id, name, severity, kind, parameters, created_at, updated_at) VALUES
      (%(tenant)s, %(rule)s, 'Freezer far too warm', 'critical', 'threshold',
        '{"metric": "temperature", "operator": "GT", "value": -12.6, "clear_value": -13, "for_seconds": 60}',
        now() - interval '40 days', now() - interval '40 days')
    """,
    """
    INSERT INTO fleet_alert (id, tenant_id, site_id, device_id, rule_id, rule_version, alert_type, fingerprint, status,
      severity, summary, details, created_at, started_at, last_triggered_at, trigger_count, due_at, past, inhibited_by,
      acknowledged_at, acknowledged_by, silenced_until, silenced_by, silence_reason, closed_at, closed_by, close_reason)
    SELECT a.id, %(tenant)s, a.site, a.device, CASE WHEN a.ruled THEN %(rule)s::uuid END, CASE WHEN a.ruled THEN 1 END,
      a.type, coalesce(a.same, 'demo:' || a.id), a.status, a.severity, a.summary, a.details::jsonb, began, began,
      least(began + a.times * interval '10 s', now()), a.times, began, a.past, a.cause,
      CASE WHEN a.status = 'ACKNOWLEDGED' THEN began + interval '2 min' END,
      CASE WHEN a.status = 'ACKNOWLEDGED' THEN 'jonas@norrvik.example' END,
      CASE WHEN a.silenced THEN now() + interval '3 hours' END,
      CASE WHEN a.silenced THEN 'ingrid@norrvik.example' END,
      CASE WHEN a.silenced THEN 'Defrosting until the afternoon' END,
      CASE WHEN a.status = 'CLOSED' THEN began + interval '24 min' END,
      CASE WHEN a.reason = 'closed' THEN 'ingrid@norrvik.example' END, a.reason
    FROM (VALUES
      (101, 'bergen-quay', %(device)s, true, 'THRESHOLD', 'freezer-17', 'CLOSED', 'critical',
        'Freezer above ' || %(limit)s,
        '{"metric": "temperature", "value": -12.5, "threshold": -12.6, "clear_value": -13}', 14 * 1440, 40, false,
        NULL::bigint, false, 'cleared'),
      (102, 'drammen-dc', 'BGO-FRZ-001', false, 'CHANGE', NULL, 'CLOSED', 'info', 'Mode changed to manual',
        '{"metric": "mode", "value": "manual", "before": "auto"}', 2000, 1, false, NULL, false, 'closed'),
      (103, 'bergen-quay', 'BGO-FRZ-002', false, 'THRESHOLD', NULL, 'CLOSED', 'low', 'Battery below 3.6 V',
        '{"metric": "battery", "value": 3.58, "threshold": 3.6}', 900, 3, true, NULL, false, 'cleared'),
      (104, 'moss-terminal', NULL, false, 'SITE_SILENT', NULL, 'OPEN', 'high',
        'Moss Terminal is silent: 3 of 21 devices',
        '{"silent": 3, "devices": 21}', 46, 3, false, NULL, false, NULL),
      (105, 'moss-terminal', 'BGO-FRZ-023', false, 'NO_HEARTBEAT', NULL, 'OPEN', 'high', 'No heartbeat',
        '{"value": 300, "threshold": 300}', 46, 1, false, 104, false, NULL),
      (106, 'bergen-quay', %(device)s, true, 'THRESHOLD', 'freezer-17', 'OPEN', 'critical',
        'Freezer above ' || %(limit)s,
        '{"metric": "temperature", "value": -12.55, "threshold": -12.6, "clear_value": -13}', 8, 48, false, NULL, false,
        NULL),
      (107, 'drammen-dc', 'BGO-FRZ-013', false, 'NO_HEARTBEAT', NULL, 'OPEN', 'high', 'No heartbeat',
        '{"value": 300, "threshold": 300}', 51, 1, false, NULL, false, NULL),
      (108, 'drammen-dc', 'BGO-FRZ-001', false, 'THRESHOLD', NULL, 'OPEN', 'medium', 'Humidity above 60 %%',
        '{"metric": "humidity", "value": 64, "threshold": 60}', 63, 21, false, NULL, false, NULL),
      (109, 'moss-terminal', 'BGO-FRZ-002', false, 'WINDOW', NULL, 'OPEN', 'low', 'Mean of the battery below 3.6 V',
        '{"metric": "battery", "value": 3.58, "threshold": 3.6}', 34, 9, false, NULL, false, NULL),
      (110, NULL, NULL, false, 'APPROVAL', NULL, 'OPEN', 'info', '1 device waits for approval',
        '{"value": 1}', 300, 1, false, NULL, false, NULL),
      (111, 'bergen-quay', 'BGO-FRZ-009', false, 'MESSAGES_LOST', NULL, 'ACKNOWLEDGED', 'medium',
        'BGO-FRZ-009 loses readings to its limit', '{"value": 412}', 90, 412, false, NULL, false, NULL),
      (112, 'drammen-dc', 'BGO-FRZ-004', true, 'THRESHOLD', NULL, 'OPEN', 'critical',
        'Freezer above ' || %(limit)s,
        '{"metric": "temperature", "value": -11.8, "threshold": -12.6, "clear_value": -13}', 70, 30, false, NULL, true,
        NULL)
    ) AS a (id, site, device, ruled, type, same, status, severity, summary, details, minutes, times, past, cause,
      silenced, reason), LATERAL (SELECT now() - a.minutes * interval '1 min') AS b (began)
    """,
    "SELECT setval(pg_get_serial_sequence('fleet_alert', 'id'), 200)",
    """
    INSERT INTO alert_events (tenant_id, alert_id, at, kind, actor, actor_kind, note, details)
    SELECT tenant_id, id, started_at, 'opened', NULL, NULL, NULL, '{}'::jsonb FROM fleet_alert
    UNION ALL SELECT tenant_id, id, acknowledged_at, 'acknowledged', acknowledged_by, 'user', NULL, '{}'
      FROM fleet_alert WHERE acknowledged_at IS NOT NULL
    UNION ALL SELECT tenant_id, id, started_at + interval '5 min', 'silenced', silenced_by, 'user', silence_reason,
      jsonb_build_object('until', silenced_until) FROM fleet_alert WHERE silenced_until IS NOT NULL
    UNION ALL SELECT tenant_id, id, closed_at, 'closed', closed_by,
      CASE WHEN closed_by IS NULL THEN NULL ELSE 'user' END, NULL,
      jsonb_build_object('reason', close_reason) FROM fleet_alert WHERE closed_at IS NOT NULL
    UNION ALL SELECT tenant_id, id, started_at, 'inhibited', NULL, NULL, NULL, jsonb_build_object('by', inhibited_by)
      FROM fleet_alert WHERE inhibited_by IS NOT NULL
    UNION ALL SELECT tenant_id, id, started_at + interval '2 min', 'note', 'jonas@norrvik.example', 'user',
      'Compressor is running, the fan may be iced.', '{}' FROM fleet_alert WHERE id = 106
    UNION ALL SELECT tenant_id, id, started_at + interval '6 min', 'note', 'ingrid@norrvik.example', 'user',
      'Door gasket iced over, Jonas is on his way.', '{}' FROM fleet_alert WHERE id = 106
    """,
    """
    INSERT INTO quarantine_replays (created_at, tenant_id, selection, status, total, last_id, created_by, ended_at)
    VALUES (now(), %(tenant)s, '{}', 'DONE', 1, 1, 'ingrid@norrvik.example', now())
    """,
    """
    INSERT INTO maintenance_windows (tenant_id, window_id, name, reason, device_ids, kind, starts, ends, time_zone,
      over_at, created_at, created_by, updated_at)
    SELECT %(tenant)s, id::uuid, name, reason, devices::text[], 'once', starts, ends, 'Europe/Oslo',
      ends AT TIME ZONE 'Europe/Oslo', now() - interval '30 days', 'ingrid@norrvik.example', now()
    FROM (SELECT w.*, local + since AS starts, local + till AS ends
      FROM (SELECT date_trunc('hour', now() AT TIME ZONE 'Europe/Oslo') AS local) AS n
      CROSS JOIN (VALUES
        (%(window)s, 'Conveyor belt change', 'Belt of dock 7 is replaced',
          '{BGO-FRZ-001,BGO-FRZ-002,BGO-FRZ-003,BGO-FRZ-004}', interval '-1 h', interval '2 h'),
        (gen_random_uuid()::text, 'Compressor overhaul', '', '{BGO-FRZ-011,BGO-FRZ-012}', '9 d', '11 d 8 h'),
        (gen_random_uuid()::text, 'Power test', 'Yearly test of the emergency supply', '{BGO-FRZ-020}', '-9 d',
          '-9 d 3 h')
      ) AS w (id, name, reason, devices, since, till)) AS w
    """,
    """
    INSERT INTO maintenance_windows (tenant_id, name, reason, site_ids, tags, kind, weekdays, start_time,
      length_minutes, time_zone, created_at, created_by, updated_at)
    SELECT %(tenant)s, name, reason, sites::text[], tags::text[], 'weekly', days::text[], start::time, length,
      'Europe/Oslo', now() - interval '30 days', 'ingrid@norrvik.example', now()
    FROM (VALUES
      ('Hygiene wash', 'Wash-down of the packing hall', '{bergen-quay}', '{floor-1}', '{sat,sun}', '22:00', 480),
      ('Defrost cycle', '', '{}', '{cold}', '{mon,tue,wed,thu,fri,sat,sun}', '07:15', 30),
      ('Forklift charging', 'Chargers disturb the door sensors', '{drammen-dc}', '{}', '{mon,tue,wed,thu,fri}',
        '05:30', 45)
    ) AS w (name, reason, sites, tags, days, start, length)
    """,
    """
    INSERT INTO users (created_at, user_id, tenant_id, email, name, role)
    VALUES (now(), %(user)s, %(tenant)s, 'nils@norrvik.example', 'Nils Berg', 'viewer')
    """,
    """
    INSERT INTO audit_log (at, tenant_id, actor, actor_kind, action, object_type, object_id, before, after, address)
    SELECT now() - n * interval '47 min', %(tenant)s, 'ingrid@norrvik.example', 'user', 'device.describe', 'device',
      'BGO-FRZ-0' || 10 + n, '{"place": "Hall 1"}', '{"place": "Hall 2"}', '192.168.1.20'
    FROM generate_series(1, 40) AS n
    """,
)


def fill_database(conninfo: str) -> dict[Role, Person]:
    """Fill a migrated, empty database, and return somebody signed in with each role.

    ``conninfo`` is of the superuser.
    """
    parameters = {
        "tenant": TENANT,
        "device": DEVICE,
        "places": PLACES,
        "user": USER,
        "away_peer": AWAY_PEER,
        "here": INSTANCE,
        "rule": ALERT_RULE,
        "limit": "\N{MINUS SIGN}12.6 °C",
        "window": WINDOW,
    }
    with psycopg.connect(conninfo, autocommit=True) as connection:
        for statement in (*ROWS, *demo_deliveries.ROWS):
            connection.execute(statement.encode(), parameters)
        people = {
            role: signed_in(conninfo, role, TENANT, email)
            for role, email in (
                (Role.OPERATOR, "ops@appliance.example"),
                (Role.ADMIN, "ingrid@norrvik.example"),
                (Role.RESPONDER, "jonas@norrvik.example"),
                (Role.VIEWER, "kari@norrvik.example"),
            )
        }
        connection.execute("UPDATE users SET name = 'Ingrid Solheim' WHERE email = 'ingrid@norrvik.example'")
        connection.execute(
            "INSERT INTO api_tokens"
            " (token_hash, user_id, tenant_id, name, scopes, created_at, expires_at, last_used_at)"
            " SELECT sha256(t.name::bytea), u.user_id, u.tenant_id, t.name, t.scopes::text[], now(),"
            " now() + interval '60 days', now() - t.ago FROM users AS u, (VALUES"
            " ('Ticket system', '{read,write}', interval '3 minutes'), ('Night report', '{read}', NULL)"
            ") AS t (name, scopes, ago) WHERE u.email = 'ingrid@norrvik.example'"
        )
        connection.execute("ANALYZE")
    return people
