-- What was told of alerts, as their pages show it.

-- name: notices_of_alert
-- The jobs of an alert, newest first, each with its newest try; a merged one with that of the notice that tells it.
SELECT j.job_id, j.route_id, r.name, i.name, i.type, j.event, j.occurrence, j.status, j.reason, j.created_at, j.next_run_at,
  j.tries, j.attempts, j.receipt, j.finished_at, c.alert_id, t.at, t.latency_ms, t.outcome, t.http_status, t.error
FROM delivery_jobs AS j
LEFT JOIN integration_routes AS r ON (r.tenant_id, r.route_id) = (j.tenant_id, j.route_id)
LEFT JOIN integrations AS i ON (i.tenant_id, i.integration_id) = (j.tenant_id, j.integration_id)
LEFT JOIN delivery_jobs AS c ON c.job_id = j.merged_into
LEFT JOIN LATERAL (
  SELECT a.at, a.latency_ms, a.outcome, a.http_status, a.error FROM delivery_attempts AS a
  WHERE (a.tenant_id, a.job_id) = (j.tenant_id, coalesce(j.merged_into, j.job_id))
  ORDER BY a.attempt_id DESC LIMIT 1
) AS t ON true
WHERE (j.tenant_id, j.alert_id) = (%(tenant)s, %(alert)s)
ORDER BY j.job_id DESC
LIMIT %(limit)s

-- name: told_of_alerts
-- What became of the first notice of each route, by alert; each alert is looked up by key.
SELECT w.alert_id, t.routes, t.arrived, t.dead, t.waiting
FROM unnest(%(tenants)s::text[], %(ids)s::bigint[]) AS w (tenant_id, alert_id)
CROSS JOIN LATERAL (
  SELECT count(*) AS routes, count(*) FILTER (WHERE f.receipt = 'confirmed') AS arrived,
    count(*) FILTER (WHERE f.status = 'DEAD') AS dead,
    count(*) FILTER (WHERE f.status IN ('PENDING', 'PROCESSING')) AS waiting
  FROM (
    SELECT DISTINCT ON (j.route_id) j.receipt, j.status FROM delivery_jobs AS j
    WHERE (j.tenant_id, j.alert_id) = (w.tenant_id, w.alert_id)
    ORDER BY j.route_id, delivery_rank(j.event), j.job_id
  ) AS f
) AS t
WHERE t.routes > 0

-- name: count_unrouted
SELECT count(*) FROM (
  SELECT FROM fleet_alert AS a
  WHERE a.status = 'OPEN' AND a.inhibited_by IS NULL AND NOT coalesce(a.silenced_until > %(settled)s, false)
    AND (%(tenant)s::text IS NULL OR a.tenant_id = %(tenant)s)
    AND (%(site)s::text IS NULL OR coalesce(a.site_id, '') = %(site)s)
    AND NOT EXISTS (SELECT FROM delivery_jobs AS j WHERE (j.tenant_id, j.alert_id) = (a.tenant_id, a.id))
  LIMIT %(limit)s
) AS unrouted
