-- Deliveries as people and receivers see them. %(tenant)s NULL is an operator's view of all tenants.

-- name: select_facts
-- In the order of appliance.delivery.notices.notice.AlertFacts, and the newest entry of each timeline. By the keys of the alerts, whatever is known of the table:
-- IS TRUE is served by no index.
SELECT a.id, a.tenant_id, a.alert_type, a.severity, a.status, a.summary, a.details::text, a.trigger_count, a.created_at,
  a.started_at, a.last_triggered_at, a.past, a.acknowledged_at, a.acknowledged_by, a.closed_at, a.closed_by, a.close_reason,
  a.device_id, d.name, d.place, a.site_id, s.name, coalesce(s.time_zone, t.time_zone), a.rule_id, r.name, m.label, m.unit,
  m.decimals, coalesce((SELECT max(e.id) FROM alert_events AS e WHERE (e.tenant_id, e.alert_id) = (a.tenant_id, a.id)), 0)
FROM fleet_alert AS a
JOIN tenants AS t ON t.tenant_id = a.tenant_id
LEFT JOIN device_registry AS d ON (d.tenant_id, d.device_id) = (a.tenant_id, a.device_id)
LEFT JOIN sites AS s ON (s.tenant_id, s.site_id) = (a.tenant_id, a.site_id)
LEFT JOIN alert_rules AS r ON (r.tenant_id, r.rule_id) = (a.tenant_id, a.rule_id)
LEFT JOIN metrics AS m ON (m.tenant_id, m.name) = (a.tenant_id, a.details ->> 'metric')
WHERE (a.tenant_id = %(tenant)s) IS TRUE AND a.id = ANY (%(ids)s::bigint[])

-- name: list_deliveries
-- Newest first. Columns in the order of appliance.delivery.outbox.deliveries.Delivery.
SELECT j.job_id, j.tenant_id, j.alert_id, a.summary, a.alert_type, a.severity, a.status, a.device_id, d.name, j.route_id, r.name,
  j.integration_id, i.name, i.type, j.event, j.occurrence, j.message_id, j.status, j.reason, j.created_at, j.next_run_at,
  j.tries, j.attempts, j.receipt, j.unreachable_since, j.merged_into, j.finished_at
FROM delivery_jobs AS j
JOIN fleet_alert AS a ON (a.tenant_id, a.id) = (j.tenant_id, j.alert_id)
LEFT JOIN device_registry AS d ON (d.tenant_id, d.device_id) = (a.tenant_id, a.device_id)
LEFT JOIN integration_routes AS r ON (r.tenant_id, r.route_id) = (j.tenant_id, j.route_id)
LEFT JOIN integrations AS i ON (i.tenant_id, i.integration_id) = (j.tenant_id, j.integration_id)
WHERE (%(tenant)s::text IS NULL OR j.tenant_id = %(tenant)s)
  AND (%(jobs)s::bigint[] IS NULL OR j.job_id = ANY (%(jobs)s))
  AND (%(statuses)s::text[] IS NULL OR j.status = ANY (%(statuses)s))
  AND (%(events)s::text[] IS NULL OR j.event = ANY (%(events)s))
  AND (%(route)s::uuid IS NULL OR j.route_id = %(route)s)
  AND (%(integration)s::uuid IS NULL OR j.integration_id = %(integration)s)
  AND (%(alert)s::bigint IS NULL OR j.alert_id = %(alert)s)
  AND (%(since)s::timestamptz IS NULL OR j.created_at >= %(since)s)
  AND (%(until)s::timestamptz IS NULL OR j.created_at < %(until)s)
  AND (SELECT coalesce(bool_and(position(w.word IN lower(concat_ws(' ', a.summary, a.device_id, d.name, r.name, i.name,
    j.message_id::text, j.alert_id::text))) > 0), true) FROM unnest(%(words)s::text[]) AS w (word))
  AND (%(newer_than)s::bigint IS NULL OR j.job_id > %(newer_than)s)
  AND (%(after)s::bigint IS NULL OR j.job_id < %(after)s)
ORDER BY j.job_id DESC
LIMIT %(limit)s

-- name: list_attempts
SELECT at, latency_ms, outcome, http_status, address, answer, error, request
FROM delivery_attempts WHERE tenant_id = %(tenant)s AND job_id = %(job)s
ORDER BY attempt_id DESC LIMIT %(limit)s

-- name: count_deliveries
SELECT status, count(*) FROM (
  SELECT j.status FROM delivery_jobs AS j
  JOIN fleet_alert AS a ON (a.tenant_id, a.id) = (j.tenant_id, j.alert_id)
  LEFT JOIN device_registry AS d ON (d.tenant_id, d.device_id) = (a.tenant_id, a.device_id)
  LEFT JOIN integration_routes AS r ON (r.tenant_id, r.route_id) = (j.tenant_id, j.route_id)
  LEFT JOIN integrations AS i ON (i.tenant_id, i.integration_id) = (j.tenant_id, j.integration_id)
  WHERE (%(tenant)s::text IS NULL OR j.tenant_id = %(tenant)s)
    AND (%(events)s::text[] IS NULL OR j.event = ANY (%(events)s))
    AND (%(route)s::uuid IS NULL OR j.route_id = %(route)s)
    AND (%(integration)s::uuid IS NULL OR j.integration_id = %(integration)s)
    AND (%(alert)s::bigint IS NULL OR j.alert_id = %(alert)s)
    AND (%(since)s::timestamptz IS NULL OR j.created_at >= %(since)s)
    AND (%(until)s::timestamptz IS NULL OR j.created_at < %(until)s)
    AND (SELECT coalesce(bool_and(position(w.word IN lower(concat_ws(' ', a.summary, a.device_id, d.name, r.name, i.name,
      j.message_id::text, j.alert_id::text))) > 0), true) FROM unnest(%(words)s::text[]) AS w (word))
  ORDER BY j.job_id DESC
  LIMIT %(limit)s
) AS newest
GROUP BY status

-- name: newest_attempts
SELECT w.job_id, t.at, t.latency_ms, t.outcome, t.http_status, t.address, t.answer, t.error, NULL
FROM unnest(%(tenants)s::text[], %(ids)s::bigint[], %(tried)s::bigint[]) AS w (tenant_id, job_id, tried)
CROSS JOIN LATERAL (
  SELECT x.at, x.latency_ms, x.outcome, x.http_status, x.address, x.answer, x.error FROM delivery_attempts AS x
  WHERE (x.tenant_id, x.job_id) = (w.tenant_id, w.tried)
  ORDER BY x.attempt_id DESC LIMIT 1
) AS t

-- name: hasten_delivery
UPDATE delivery_jobs SET next_run_at = %(now)s WHERE tenant_id = %(tenant)s AND job_id = %(job)s AND status = 'PENDING'

-- name: lock_delivery
-- The end of what was told is sent by a route that is off, too.
SELECT j.status, j.reason, j.alert_id, j.event, coalesce(i.enabled, false),
  coalesce(r.enabled, false) OR j.event IN ('ACKNOWLEDGED', 'CLOSED')
FROM delivery_jobs AS j
LEFT JOIN integrations AS i ON (i.tenant_id, i.integration_id) = (j.tenant_id, j.integration_id)
LEFT JOIN integration_routes AS r ON (r.tenant_id, r.route_id) = (j.tenant_id, j.route_id)
WHERE j.tenant_id = %(tenant)s AND j.job_id = %(job)s
FOR UPDATE OF j

-- name: pick_dead
-- Dead ones of a filter that can be sent again, the oldest first.
SELECT j.job_id FROM delivery_jobs AS j
JOIN fleet_alert AS a ON (a.tenant_id, a.id) = (j.tenant_id, j.alert_id)
LEFT JOIN device_registry AS d ON (d.tenant_id, d.device_id) = (a.tenant_id, a.device_id)
JOIN integrations AS i ON (i.tenant_id, i.integration_id) = (j.tenant_id, j.integration_id)
LEFT JOIN integration_routes AS r ON (r.tenant_id, r.route_id) = (j.tenant_id, j.route_id)
WHERE j.tenant_id = %(tenant)s AND j.status = 'DEAD' AND i.enabled AND (r.enabled OR j.event IN ('ACKNOWLEDGED', 'CLOSED'))
  AND (%(events)s::text[] IS NULL OR j.event = ANY (%(events)s))
  AND (%(route)s::uuid IS NULL OR j.route_id = %(route)s)
  AND (%(integration)s::uuid IS NULL OR j.integration_id = %(integration)s)
  AND (%(alert)s::bigint IS NULL OR j.alert_id = %(alert)s)
  AND (%(since)s::timestamptz IS NULL OR j.created_at >= %(since)s)
  AND (%(until)s::timestamptz IS NULL OR j.created_at < %(until)s)
  AND (SELECT coalesce(bool_and(position(w.word IN lower(concat_ws(' ', a.summary, a.device_id, d.name, r.name, i.name,
    j.message_id::text, j.alert_id::text))) > 0), true) FROM unnest(%(words)s::text[]) AS w (word))
ORDER BY j.job_id
LIMIT %(limit)s
FOR UPDATE OF j SKIP LOCKED

-- name: retry_deliveries
-- With what was skipped because the OPEN had not arrived: it follows if that arrives now.
UPDATE delivery_jobs AS j
SET status = 'PENDING', reason = CASE WHEN j.job_id = ANY (%(ids)s::bigint[]) THEN 'by_hand' END, next_run_at = %(now)s,
  tries = 0, unreachable_since = NULL, finished_at = NULL
FROM delivery_jobs AS k
WHERE k.tenant_id = %(tenant)s AND k.job_id = ANY (%(ids)s::bigint[])
  AND j.tenant_id = k.tenant_id AND j.alert_id = k.alert_id AND j.route_id IS NOT DISTINCT FROM k.route_id
  AND (j.job_id = k.job_id AND j.status = 'DEAD' OR k.event IN ('OPEN', 'REMINDER') AND j.status = 'SKIPPED' AND j.reason = 'not_told')

-- name: cancel_delivery
-- What waits behind it is decided on now.
WITH cancelled AS (
  UPDATE delivery_jobs SET status = 'SKIPPED', reason = 'cancelled', finished_at = %(now)s
  WHERE tenant_id = %(tenant)s AND job_id = %(job)s AND status = 'PENDING'
  RETURNING tenant_id, alert_id, route_id
)
UPDATE delivery_jobs AS w SET reason = NULL, next_run_at = %(now)s
FROM cancelled AS c
WHERE w.tenant_id = c.tenant_id AND w.alert_id = c.alert_id AND w.route_id IS NOT DISTINCT FROM c.route_id
  AND w.job_id <> %(job)s AND w.status = 'PENDING' AND w.reason = 'waiting'
