-- What a tenant takes along. Columns with secrets are named nowhere here; a test compares all others with the catalogue.

-- name: configuration
-- One statement, so one snapshot: rules, routes and sites of one instant, however long the rest takes.
SELECT 'tenant', (SELECT to_jsonb(x) FROM (
    SELECT tenant_id, name, status, provisioning, time_zone, rate, burst, tenant_rate, claim_enabled, created_at, updated_at
    FROM tenants WHERE tenant_id = %(tenant)s) AS x)::text
UNION ALL
SELECT 'subscriptions', (SELECT coalesce(jsonb_agg(to_jsonb(x) ORDER BY x.subscription_id), '[]') FROM (
    SELECT subscription_id, subscription_type, parent_subscription_id, device_limit, active_device_count, term_start, term_end,
      status, grace_end, hold_reason, plan_id, description, created_at
    FROM subscriptions WHERE tenant_id = %(tenant)s) AS x)::text
UNION ALL
SELECT 'subscription_terms', (SELECT coalesce(jsonb_agg(to_jsonb(x) ORDER BY x.term_id), '[]') FROM (
    SELECT term_id, subscription_id, term_start, term_end, device_limit, plan_id, actor, bought_at, kind, corrects_term_id
    FROM subscription_terms WHERE tenant_id = %(tenant)s) AS x)::text
UNION ALL
SELECT 'sites', (SELECT coalesce(jsonb_agg(to_jsonb(x) ORDER BY x.site_id), '[]') FROM (
    SELECT site_id, name, time_zone, lat, lng, created_at, updated_at FROM sites WHERE tenant_id = %(tenant)s) AS x)::text
UNION ALL
SELECT 'metrics', (SELECT coalesce(jsonb_agg(to_jsonb(x) ORDER BY x.name), '[]') FROM (
    SELECT name, label, unit, decimals, usual_low, usual_high, created_at, updated_at
    FROM metrics WHERE tenant_id = %(tenant)s) AS x)::text
UNION ALL
SELECT 'alert_rules', (SELECT coalesce(jsonb_agg(to_jsonb(x) ORDER BY x.rule_id), '[]') FROM (
    SELECT rule_id, name, description, enabled, severity, kind, parameters, site_ids, tags, device_prefixes, device_ids, built_in,
      version, error, error_at, error_count, created_at, updated_at, deleted_at
    FROM alert_rules WHERE tenant_id = %(tenant)s) AS x)::text
UNION ALL
SELECT 'maintenance_windows', (SELECT coalesce(jsonb_agg(to_jsonb(x) ORDER BY x.window_id), '[]') FROM (
    SELECT window_id, name, reason, site_ids, tags, device_ids, kind, starts, ends, weekdays, start_time, length_minutes, until,
      time_zone, ended_at, over_at, created_at, created_by, updated_at
    FROM maintenance_windows WHERE tenant_id = %(tenant)s) AS x)::text
UNION ALL
SELECT 'integrations', (SELECT coalesce(jsonb_agg(to_jsonb(x) ORDER BY x.integration_id), '[]') FROM (
    SELECT integration_id, name, type, enabled, disabled_reason, config, concurrency, version, created_at, updated_at
    FROM integrations WHERE tenant_id = %(tenant)s) AS x)::text
UNION ALL
SELECT 'integration_routes', (SELECT coalesce(jsonb_agg(to_jsonb(x) ORDER BY x.route_id), '[]') FROM (
    SELECT route_id, name, enabled, integration_id, severities, alert_types, site_ids, tags, device_prefixes, deliver_on, priority,
      stop, delay_seconds, remind_minutes, throttle_seconds, burst, quiet_from, quiet_until, quiet_zone, quiet_spares_critical,
      version, created_at, updated_at
    FROM integration_routes WHERE tenant_id = %(tenant)s) AS x)::text
UNION ALL
SELECT 'users', (SELECT coalesce(jsonb_agg(to_jsonb(x) ORDER BY x.email), '[]') FROM (
    SELECT user_id, email, name, role, second_factor_since, time_zone, theme, created_at, last_sign_in_at, disabled_at, shortcuts,
      password_set_at
    FROM users WHERE tenant_id = %(tenant)s) AS x)::text
UNION ALL
SELECT 'api_tokens', (SELECT coalesce(jsonb_agg(to_jsonb(x) ORDER BY x.token_id), '[]') FROM (
    SELECT token_id, user_id, name, scopes, created_at, expires_at, last_used_at
    FROM api_tokens WHERE tenant_id = %(tenant)s) AS x)::text

-- name: devices
-- With the heads that the import of devices takes.
SELECT tenant_id, device_id, name, site_id, place, tags, subscription_id, interval_seconds AS interval, status,
  created_at
FROM device_registry WHERE tenant_id = %(tenant)s AND device_id > %(after_1)s
ORDER BY device_id LIMIT %(limit)s

-- name: device_limits
-- What the import of devices does not take.
SELECT device_id, rate, burst, updated_at
FROM device_registry WHERE tenant_id = %(tenant)s AND device_id > %(after_1)s
ORDER BY device_id LIMIT %(limit)s

-- name: device_state
SELECT device_id, last_ts, last_seen_at, last_heard_at, ts_adjusted_at, null_metrics, latest::text AS latest, refused_at,
  refused_reason, offline_at, learned_interval, unplaced
FROM device_state WHERE tenant_id = %(tenant)s AND device_id > %(after_1)s
ORDER BY device_id LIMIT %(limit)s

-- name: telemetry_days
-- Days of which there are partitions, in order.
SELECT right(c.relname, 8) FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhrelid
WHERE i.inhparent = 'telemetry'::regclass AND c.relname ~ '^telemetry_[0-9]{8}$' ORDER BY 1

-- name: has_readings
SELECT EXISTS (
  SELECT FROM telemetry WHERE tenant_id = %(tenant)s AND ts >= %(began)s AND ts < %(ended)s AND received_at <= %(until)s)

-- name: telemetry
-- Of one day, up to when the export began.
SELECT device_id, kind, ts, digest, received_at, ts_adjusted, late, seq, site_id, lat, lng, metrics::text AS metrics
FROM telemetry
WHERE tenant_id = %(tenant)s AND ts >= %(began)s AND ts < %(ended)s AND received_at <= %(until)s
  AND (device_id, ts, digest) > (%(after_1)s, %(after_2)s::timestamptz, %(after_3)s::bigint)
ORDER BY device_id, ts, digest LIMIT %(limit)s

-- name: telemetry_hourly
SELECT device_id, metric, hour, readings, total, low, high, last
FROM telemetry_hourly
WHERE tenant_id = %(tenant)s AND (device_id, metric, hour) > (%(after_1)s, %(after_2)s, %(after_3)s::timestamptz)
ORDER BY device_id, metric, hour LIMIT %(limit)s

-- name: alerts
SELECT id AS alert_id, site_id, device_id, rule_id, rule_version, alert_type, fingerprint, status, severity, summary,
  details::text AS details, created_at, started_at, last_triggered_at, trigger_count, due_at, past, inhibited_by,
  acknowledged_at, acknowledged_by, silenced_until, silenced_by, silence_reason, closed_at, closed_by, close_reason
FROM fleet_alert WHERE tenant_id = %(tenant)s AND id > %(after_1)s
ORDER BY id LIMIT %(limit)s

-- name: alert_events
SELECT id, alert_id, at, kind, actor, actor_kind, note, details::text AS details
FROM alert_events WHERE tenant_id = %(tenant)s AND id > %(after_1)s
ORDER BY id LIMIT %(limit)s

-- name: deliveries
SELECT job_id, alert_id, route_id, integration_id, event, occurrence, message_id, status, reason, created_at, next_run_at, tries,
  attempts, receipt, merged_into, told_at, finished_at
FROM delivery_jobs WHERE tenant_id = %(tenant)s AND job_id > %(after_1)s
ORDER BY job_id LIMIT %(limit)s

-- name: delivery_attempts
SELECT attempt_id, job_id, at, latency_ms, outcome, http_status, address, answer, error, request
FROM delivery_attempts WHERE tenant_id = %(tenant)s AND attempt_id > %(after_1)s
ORDER BY attempt_id LIMIT %(limit)s

-- name: quarantine
-- The payload is whatever came, so it is written in hexadecimal digits.
SELECT id, ingested_at, event_ts, topic, site_id, device_id, kind, reason, detail, encode(payload, 'hex') AS payload_hex, status,
  decided_at, decided_by
FROM quarantine_events WHERE tenant_id = %(tenant)s AND id > %(after_1)s
ORDER BY id LIMIT %(limit)s

-- name: quarantine_counts
SELECT bucket_minute, reason, cnt
FROM quarantine_counters_minute
WHERE tenant_id = %(tenant)s AND (bucket_minute, reason) > (%(after_1)s::timestamptz, %(after_2)s)
ORDER BY bucket_minute, reason LIMIT %(limit)s

-- name: message_counts
SELECT minute, instance, received, stored, refused, duplicate, qos0, replayed, evicted, partition_dropped, cleared
FROM ingest_ledger
WHERE tenant_id = %(tenant)s AND (minute, instance) > (%(after_1)s::timestamptz, %(after_2)s)
ORDER BY minute, instance LIMIT %(limit)s

-- name: subscription_audit
SELECT event_id, subscription_id, event_type, actor, previous_state::text AS previous_state, new_state::text AS new_state,
  details::text AS details, ip, at
FROM subscription_audit WHERE tenant_id = %(tenant)s AND event_id > %(after_1)s
ORDER BY event_id LIMIT %(limit)s

-- name: audit
SELECT id, at, actor, actor_kind, action, object_type, object_id, before::text AS before, after::text AS after, address
FROM audit_log WHERE tenant_id = %(tenant)s AND id > %(after_1)s
ORDER BY id LIMIT %(limit)s

-- name: size
-- What there is of readings and alerts, by the books: they are not counted one by one before they are read.
SELECT
  (SELECT count(*) FROM device_registry WHERE tenant_id = %(tenant)s),
  (SELECT coalesce(sum(stored + replayed - partition_dropped), 0)::bigint FROM ingest_ledger WHERE tenant_id = %(tenant)s),
  (SELECT count(*) FROM fleet_alert WHERE tenant_id = %(tenant)s)
