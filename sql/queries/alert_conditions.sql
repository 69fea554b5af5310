-- Conditions: alerts that no device's reading causes. Locks in the order of tables alert_conditions, fleet_alert, and
-- of the rows by key.

-- name: raise_conditions
-- Open, or bring up to date, what is not closed; an alert that a person closed while its condition lasts stays closed.
WITH wanted AS (
  SELECT *
  FROM unnest(%(tenants)s::text[], %(fingerprints)s::text[], %(types)s::text[], %(severities)s::text[],
    %(summaries)s::text[], %(details)s::text[]::jsonb[], %(sites)s::text[], %(devices)s::text[], %(counts)s::bigint[],
    %(starts)s::timestamptz[])
    AS w (tenant_id, fingerprint, alert_type, severity, summary, details, site_id, device_id, cnt, started_at)
), begun AS (
  INSERT INTO alert_conditions (tenant_id, fingerprint, keeper, since)
  SELECT w.tenant_id, w.fingerprint, %(keeper)s::text, %(now)s::timestamptz FROM wanted AS w ORDER BY 1, 2
  ON CONFLICT (tenant_id, fingerprint) DO NOTHING
), moved AS (
  SELECT a.id, a.summary AS before, w.*
  FROM wanted AS w JOIN fleet_alert AS a USING (tenant_id, fingerprint)
  WHERE a.status <> 'CLOSED' AND (a.summary, a.severity, a.details, a.trigger_count)
    IS DISTINCT FROM (w.summary, w.severity, w.details, coalesce(w.cnt, a.trigger_count))
  ORDER BY a.id FOR NO KEY UPDATE OF a
), updated AS (
  UPDATE fleet_alert AS a
  SET summary = m.summary, severity = m.severity, details = m.details, last_triggered_at = %(now)s,
    trigger_count = coalesce(m.cnt, a.trigger_count + 1)
  FROM moved AS m WHERE a.id = m.id
  RETURNING a.tenant_id, a.id, a.summary, m.before
), opened AS (
  INSERT INTO fleet_alert (tenant_id, site_id, device_id, alert_type, fingerprint, severity, summary, details,
    created_at, started_at, last_triggered_at, trigger_count, due_at)
  SELECT w.tenant_id, w.site_id, w.device_id, w.alert_type, w.fingerprint, w.severity, w.summary, w.details,
    %(now)s, coalesce(w.started_at, %(now)s), %(now)s, coalesce(w.cnt, 1), %(now)s
  FROM wanted AS w
  WHERE NOT EXISTS (
      SELECT FROM fleet_alert AS a
      WHERE (a.tenant_id, a.fingerprint) = (w.tenant_id, w.fingerprint) AND a.status <> 'CLOSED')
    AND NOT EXISTS (
      SELECT FROM alert_conditions AS c JOIN fleet_alert AS a USING (tenant_id, fingerprint)
      WHERE (c.tenant_id, c.fingerprint) = (w.tenant_id, w.fingerprint)
        AND a.close_reason = 'closed' AND a.closed_at >= c.since AND a.closed_at > %(reopen_before)s)
  ORDER BY w.tenant_id, w.fingerprint
  ON CONFLICT (tenant_id, fingerprint) WHERE status <> 'CLOSED' DO NOTHING
  RETURNING tenant_id, id, summary
)
INSERT INTO alert_events (tenant_id, alert_id, at, kind, details)
SELECT tenant_id, id, %(now)s, 'opened', '{}'::jsonb FROM opened
UNION ALL
SELECT tenant_id, id, %(now)s, 'updated', jsonb_build_object('summary', summary) FROM updated WHERE before <> summary

-- name: end_conditions
WITH gone AS (
  SELECT c.tenant_id, c.fingerprint
  FROM alert_conditions AS c
  JOIN unnest(%(tenants)s::text[], %(fingerprints)s::text[]) AS e (tenant_id, fingerprint) USING (tenant_id, fingerprint)
  ORDER BY 1, 2 FOR UPDATE OF c
), ended AS (
  DELETE FROM alert_conditions AS c USING gone AS g WHERE (c.tenant_id, c.fingerprint) = (g.tenant_id, g.fingerprint)
), cleared AS (
  SELECT a.id
  FROM fleet_alert AS a
  JOIN unnest(%(tenants)s::text[], %(fingerprints)s::text[]) AS e (tenant_id, fingerprint) USING (tenant_id, fingerprint)
  WHERE a.status <> 'CLOSED'
  ORDER BY a.id FOR NO KEY UPDATE OF a
), closed AS (
  UPDATE fleet_alert AS a
  SET status = 'CLOSED', closed_at = %(now)s, close_reason = %(reason)s::text,
    past = a.due_at > %(now)s::timestamptz AND a.status = 'OPEN'
  FROM cleared AS c WHERE a.id = c.id
  RETURNING a.tenant_id, a.id
)
INSERT INTO alert_events (tenant_id, alert_id, at, kind, details)
SELECT tenant_id, id, %(now)s, 'closed', jsonb_build_object('reason', %(reason)s::text) FROM closed

-- name: limit_lock_wait
SELECT set_config('lock_timeout', %(milliseconds)s::text, true)

-- name: try_turn
-- Appliances on one database take turns in keeping what is in the database.
SELECT pg_try_advisory_xact_lock(%(key)s)

-- name: select_kept
SELECT tenant_id, fingerprint FROM alert_conditions WHERE keeper = %(keeper)s ORDER BY tenant_id, fingerprint

-- name: select_orphans
-- What an appliance said of itself that is not on this database any more.
SELECT c.tenant_id, c.fingerprint
FROM alert_conditions AS c
WHERE c.keeper >= 'system:' AND c.keeper < 'system;' AND c.keeper <> %(own)s
  AND NOT EXISTS (SELECT FROM ingest_instances AS i WHERE c.keeper = 'system:' || i.instance)
ORDER BY 1, 2

-- name: select_overflowing
SELECT tenant_id FROM quarantine_totals WHERE evicted_at > %(since)s AND evicted_at <= %(until)s ORDER BY tenant_id

-- name: select_gone_for_disk
-- The last day of readings that went because the disk had no room for it.
SELECT object_id, at
FROM audit_log
WHERE tenant_id IS NULL AND object_type = 'telemetry' AND action = 'telemetry.drop' AND after ->> 'cause' = 'disk'
  AND at > %(since)s AND at <= %(until)s
ORDER BY at DESC, id DESC LIMIT 1

-- name: count_seatless
-- Devices that are not registered and have a message held for want of a seat; one probe a device, %(most)s at most.
WITH RECURSIVE seatless (tenant_id, device_id, place) AS (
  SELECT t.tenant_id COLLATE "C", (
    SELECT min(q.device_id) FROM quarantine_events AS q
    WHERE q.tenant_id = t.tenant_id AND q.status = 'HELD' AND q.reason = 'NO_SUBSCRIPTION_CAPACITY'), 1
  FROM unnest(%(tenants)s::text[]) AS t (tenant_id)
  UNION ALL
  SELECT s.tenant_id, (
    SELECT min(q.device_id) FROM quarantine_events AS q
    WHERE q.tenant_id = s.tenant_id AND q.device_id > s.device_id
      AND q.status = 'HELD' AND q.reason = 'NO_SUBSCRIPTION_CAPACITY'), s.place + 1
  FROM seatless AS s WHERE s.device_id IS NOT NULL AND s.place < %(most)s::integer
)
SELECT s.tenant_id, count(*)
FROM seatless AS s
WHERE s.device_id IS NOT NULL AND NOT EXISTS (
  SELECT FROM device_registry AS d
  WHERE (d.tenant_id, d.device_id) = (s.tenant_id, s.device_id) AND d.status <> 'DECOMMISSIONED')
GROUP BY s.tenant_id
ORDER BY s.tenant_id

-- name: select_attempted
-- Integrations with a try, unless a person has disabled them.
SELECT i.tenant_id, i.integration_id, i.name, i.disabled_reason IS NOT NULL, h.breaker_opened_at IS NOT NULL,
  h.failing_since, h.unreachable_since, h.last_success_at, h.last_failure_at, h.last_error
FROM integrations AS i
JOIN integration_health AS h ON (h.tenant_id, h.integration_id) = (i.tenant_id, i.integration_id)
JOIN tenants AS t ON t.tenant_id = i.tenant_id
WHERE (i.enabled OR i.disabled_reason IS NOT NULL) AND t.status = 'ACTIVE'
  AND coalesce(h.last_success_at, h.last_failure_at) IS NOT NULL
ORDER BY i.tenant_id, i.integration_id

-- name: tenants_served
SELECT tenant_id FROM tenants WHERE status = 'ACTIVE' AND tenant_id <> 'appliance' ORDER BY tenant_id

-- name: count_pending
SELECT d.tenant_id, count(*)
FROM device_registry AS d JOIN tenants AS t USING (tenant_id)
WHERE d.status = 'PENDING' AND t.status = 'ACTIVE'
GROUP BY d.tenant_id ORDER BY d.tenant_id

-- name: add_losses
-- Written with a batch. Messages of devices that are not registered are nobody's readings.
INSERT INTO message_losses AS l (tenant_id, device_id, lost, first_at, last_at)
SELECT d.tenant_id, d.device_id, w.lost, %(now)s::timestamptz, %(now)s
FROM unnest(%(tenants)s::text[], %(devices)s::text[], %(lost)s::bigint[]) AS w (tenant_id, device_id, lost)
JOIN device_registry AS d USING (tenant_id, device_id)
WHERE d.status = 'ACTIVE'
ORDER BY d.tenant_id, d.device_id
ON CONFLICT (tenant_id, device_id) DO UPDATE SET lost = l.lost + EXCLUDED.lost, last_at = EXCLUDED.last_at

-- name: forget_losses
-- What ended: no loss since %(since)s (a time past %(until)s is that of a wrong clock), or the device is not active.
DELETE FROM message_losses AS l
WHERE NOT l.last_at BETWEEN %(since)s AND %(until)s OR NOT EXISTS (
  SELECT FROM device_registry AS d
  WHERE (d.tenant_id, d.device_id) = (l.tenant_id, l.device_id) AND d.status = 'ACTIVE')

-- name: select_losses
SELECT l.tenant_id, l.device_id, d.site_id, coalesce(d.name, d.device_id), l.lost, l.first_at
FROM message_losses AS l JOIN device_registry AS d USING (tenant_id, device_id)
WHERE d.status = 'ACTIVE'
ORDER BY l.tenant_id, l.device_id

-- name: heal_conditions
-- What began in ten years would undo every close by a person until then.
UPDATE alert_conditions SET since = coalesce(time_healed(since, %(latest)s, %(now)s, %(step)s), %(now)s)
WHERE since > %(latest)s

-- name: heal_losses
UPDATE message_losses
SET first_at = coalesce(time_healed(first_at, %(latest)s, %(now)s, %(step)s), %(now)s),
  last_at = coalesce(time_healed(last_at, %(latest)s, %(now)s, %(step)s), %(now)s)
WHERE greatest(first_at, last_at) > %(latest)s
