-- Routes, as people make, see, change and delete them. %(tenant)s NULL is everybody's, for operators.

-- name: list_routes
SELECT r.tenant_id, r.route_id, r.name, r.enabled, r.integration_id, r.severities, r.alert_types, r.site_ids, r.tags,
  r.device_prefixes, r.deliver_on, r.priority, r.stop, r.delay_seconds, r.remind_minutes, r.throttle_seconds, r.burst,
  r.quiet_from, r.quiet_until, r.quiet_zone, r.quiet_spares_critical, r.version, r.created_at, r.updated_at,
  i.name, i.type, coalesce(i.enabled, false)
FROM integration_routes AS r
LEFT JOIN integrations AS i ON (i.tenant_id, i.integration_id) = (r.tenant_id, r.integration_id)
WHERE (%(tenant)s::text IS NULL OR r.tenant_id = %(tenant)s)
  AND (%(route)s::uuid IS NULL OR r.route_id = %(route)s)
  AND (%(integration)s::uuid IS NULL OR r.integration_id = %(integration)s)
  AND (%(enabled)s::boolean IS NULL OR r.enabled = %(enabled)s)
  AND (SELECT coalesce(bool_and(position(w.word IN lower(r.name)) > 0), true) FROM unnest(%(words)s::text[]) AS w (word))
  AND (%(after_tenant)s::text IS NULL
    OR (r.tenant_id, r.priority, r.route_id) > (%(after_tenant)s, %(after_priority)s::integer, %(after_id)s::uuid))
ORDER BY r.tenant_id, r.priority, r.route_id
LIMIT %(limit)s

-- name: count_of_tenant
SELECT count(*) FROM integration_routes WHERE tenant_id = %(tenant)s

-- name: zone_of_tenant
SELECT time_zone FROM tenants WHERE tenant_id = %(tenant)s

-- name: integration_exists
SELECT 1 FROM integrations WHERE tenant_id = %(tenant)s AND integration_id = %(integration)s

-- name: unknown_sites
SELECT m.site_id FROM unnest(%(sites)s::text[]) AS m (site_id)
WHERE NOT EXISTS (SELECT FROM sites AS s WHERE s.tenant_id = %(tenant)s AND s.site_id = m.site_id)
LIMIT 1

-- name: lock_route
SELECT 1 FROM integration_routes WHERE tenant_id = %(tenant)s AND route_id = %(route)s FOR UPDATE

-- name: insert_route
INSERT INTO integration_routes (tenant_id, name, enabled, integration_id, severities, alert_types, site_ids, tags,
  device_prefixes, deliver_on, priority, stop, delay_seconds, remind_minutes, throttle_seconds, burst, quiet_from, quiet_until,
  quiet_zone, quiet_spares_critical, created_at, updated_at)
VALUES (%(tenant)s, %(name)s, %(enabled)s, %(integration_id)s, %(severities)s, %(alert_types)s, %(site_ids)s, %(tags)s,
  %(device_prefixes)s, %(deliver_on)s, %(priority)s, %(stop)s, %(delay_seconds)s, %(remind_minutes)s, %(throttle_seconds)s,
  %(burst)s, %(quiet_from)s, %(quiet_until)s, %(quiet_zone)s, %(quiet_spares_critical)s, %(now)s, %(now)s)
RETURNING route_id

-- name: update_route
UPDATE integration_routes SET name = %(name)s, enabled = %(enabled)s, integration_id = %(integration_id)s,
  severities = %(severities)s, alert_types = %(alert_types)s, site_ids = %(site_ids)s, tags = %(tags)s,
  device_prefixes = %(device_prefixes)s, deliver_on = %(deliver_on)s, priority = %(priority)s, stop = %(stop)s,
  delay_seconds = %(delay_seconds)s, remind_minutes = %(remind_minutes)s, throttle_seconds = %(throttle_seconds)s,
  burst = %(burst)s, quiet_from = %(quiet_from)s, quiet_until = %(quiet_until)s, quiet_zone = %(quiet_zone)s,
  quiet_spares_critical = %(quiet_spares_critical)s, version = version + 1, updated_at = %(now)s
WHERE tenant_id = %(tenant)s AND route_id = %(route)s

-- name: lead_jobs
-- What nobody was told yet goes where the route leads now. A job that a courier holds goes on.
UPDATE delivery_jobs AS j SET integration_id = %(integration_id)s
FROM (
  SELECT w.job_id FROM delivery_jobs AS w
  WHERE w.tenant_id = %(tenant)s AND w.integration_id = %(before)s AND w.route_id = %(route)s
    AND w.status = 'PENDING' AND w.receipt = 'none'
    AND NOT EXISTS (SELECT FROM delivery_jobs AS o
      WHERE (o.tenant_id, o.alert_id, o.route_id) = (w.tenant_id, w.alert_id, w.route_id) AND o.event = 'OPEN'
        AND (o.status <> 'PENDING' OR o.receipt <> 'none'))
  ORDER BY w.job_id FOR UPDATE SKIP LOCKED
) AS waiting
WHERE j.job_id = waiting.job_id

-- name: move_reminders
-- They come as long after the notice before as the route has it now; without reminders they are decided on at once.
UPDATE delivery_jobs AS j SET next_run_at = greatest(%(now)s, j.created_at + %(minutes)s * interval '1 minute')
FROM (
  SELECT w.job_id FROM delivery_jobs AS w
  WHERE w.tenant_id = %(tenant)s AND w.route_id = %(route)s AND w.event = 'REMINDER'
    AND w.status = 'PENDING' AND w.attempts = 0 AND w.reason = 'delayed'
  ORDER BY w.job_id FOR UPDATE SKIP LOCKED
) AS waiting
WHERE j.job_id = waiting.job_id

-- name: delete_route
DELETE FROM integration_routes WHERE tenant_id = %(tenant)s AND route_id = %(route)s

-- name: newest_alerts
-- What routes ask of alerts, and how people tell them apart.
SELECT a.id, a.summary, a.severity, a.alert_type, a.site_id, a.device_id, coalesce(d.tags, '{}'),
  a.details ->> 'integration_id', a.created_at
FROM fleet_alert AS a
LEFT JOIN device_registry AS d ON (d.tenant_id, d.device_id) = (a.tenant_id, a.device_id)
WHERE a.tenant_id = %(tenant)s AND (%(alert)s::bigint IS NULL OR a.id = %(alert)s)
ORDER BY a.created_at DESC, a.id DESC
LIMIT %(limit)s

-- name: routes_told
SELECT route_id FROM delivery_jobs WHERE tenant_id = %(tenant)s AND alert_id = %(alert)s AND event = 'OPEN'
