-- What the pages of alerts show beside the alerts themselves.

-- name: select_alerts_of_page
-- Single alerts, in the columns of get_alert, with the parameters of their rules as they are now. `flapping`: with the
-- two alerts before it about the same, it opened three times within an hour; three rows of an index tell.
SELECT a.id, a.tenant_id, a.site_id, a.device_id, a.rule_id, a.alert_type, a.fingerprint, a.status, a.severity, a.summary,
  a.details::text, a.created_at, a.started_at, a.last_triggered_at, a.trigger_count, a.due_at, a.past, a.inhibited_by,
  a.acknowledged_at, a.acknowledged_by, a.silenced_until, a.silenced_by, a.silence_reason, a.closed_at, a.closed_by,
  a.close_reason, d.name, d.place, s.name, r.name, r.parameters, r.built_in IS NOT NULL, r.deleted_at IS NOT NULL,
  (SELECT count(*) = 3 AND min(f.started_at) > a.started_at - interval '1 hour' FROM (
     SELECT started_at FROM fleet_alert AS other
     WHERE (other.tenant_id, other.fingerprint) = (a.tenant_id, a.fingerprint) AND other.id <= a.id
     ORDER BY other.id DESC LIMIT 3
   ) AS f) AS flapping,
  n.latest -> (a.details ->> 'metric'), coalesce(d.tags, '{}')
FROM fleet_alert AS a
LEFT JOIN device_registry AS d ON (d.tenant_id, d.device_id) = (a.tenant_id, a.device_id)
LEFT JOIN device_state AS n ON (n.tenant_id, n.device_id) = (a.tenant_id, a.device_id)
LEFT JOIN sites AS s ON (s.tenant_id, s.site_id) = (a.tenant_id, a.site_id)
LEFT JOIN alert_rules AS r ON (r.tenant_id, r.rule_id) = (a.tenant_id, a.rule_id)
WHERE a.id = ANY (%(ids)s::bigint[]) AND (%(tenant)s::text IS NULL OR a.tenant_id = %(tenant)s)

-- name: list_alert_places
-- The sites of alerts that are not closed, and of a number of the newest: the choices of a filter.
SELECT DISTINCT coalesce(site_id, '') FROM (
  (SELECT site_id FROM fleet_alert
   WHERE status <> 'CLOSED' AND (%(tenant)s::text IS NULL OR tenant_id = %(tenant)s))
  UNION ALL
  (SELECT site_id FROM fleet_alert WHERE %(tenant)s::text IS NULL OR tenant_id = %(tenant)s
   ORDER BY id DESC LIMIT %(newest)s)
) AS a
ORDER BY 1

-- name: select_alert_surroundings
-- What the page of one alert says besides it: the time zone of its site or tenant, the alert that stands for it, others
-- about the same in 30 days and the one before it, how many alerts it stands for, and the newest values of its device.
SELECT
  (SELECT coalesce(s.time_zone, t.time_zone) FROM tenants AS t
     LEFT JOIN sites AS s ON (s.tenant_id, s.site_id) = (t.tenant_id, a.site_id)
   WHERE t.tenant_id = a.tenant_id),
  (SELECT summary FROM fleet_alert AS c WHERE (c.tenant_id, c.id) = (a.tenant_id, a.inhibited_by)),
  (SELECT count(*) FROM fleet_alert AS o
   WHERE (o.tenant_id, o.fingerprint) = (a.tenant_id, a.fingerprint) AND o.id <> a.id
     AND o.started_at > %(now)s::timestamptz - interval '30 days'),
  before.id, before.started_at, before.closed_at,
  (SELECT count(*) FROM fleet_alert AS o
   WHERE (o.tenant_id, o.inhibited_by) = (a.tenant_id, a.id) AND o.status <> 'CLOSED'),
  d.latest, d.last_ts
FROM fleet_alert AS a
LEFT JOIN device_state AS d ON (d.tenant_id, d.device_id) = (a.tenant_id, a.device_id)
LEFT JOIN LATERAL (
  SELECT o.id, o.started_at, o.closed_at FROM fleet_alert AS o
  WHERE (o.tenant_id, o.fingerprint) = (a.tenant_id, a.fingerprint) AND o.id < a.id
  ORDER BY o.id DESC LIMIT 1
) AS before ON true
WHERE (a.tenant_id, a.id) = (%(tenant)s, %(alert)s)

-- name: list_inhibited
-- Alerts that one stands for, by device.
SELECT id, device_id, summary FROM fleet_alert
WHERE (tenant_id, inhibited_by) = (%(tenant)s, %(alert)s) AND status <> 'CLOSED'
ORDER BY device_id, id
LIMIT %(limit)s
