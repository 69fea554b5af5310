-- Deliveries as people and receivers see them. %(tenant)s NULL is an operator's view of all tenants.

-- name: select_facts
-- In the order of appliance.delivery.notices.notice.AlertFacts.
SELECT a.id, a.tenant_id, a.alert_type, a.severity, a.status, a.summary, a.details::text, a.trigger_count, a.created_at,
  a.started_at, a.last_triggered_at, a.past, a.acknowledged_at, a.acknowledged_by, a.closed_at, a.closed_by, a.close_reason,
  a.device_id, d.name, d.place, a.site_id, s.name, coalesce(s.time_zone, t.time_zone), a.rule_id, r.name, m.label, m.unit,
  m.decimals
FROM fleet_alert AS a
JOIN tenants AS t ON t.tenant_id = a.tenant_id
LEFT JOIN device_registry AS d ON (d.tenant_id, d.device_id) = (a.tenant_id, a.device_id)
LEFT JOIN sites AS s ON (s.tenant_id, s.site_id) = (a.tenant_id, a.site_id)
LEFT JOIN alert_rules AS r ON (r.tenant_id, r.rule_id) = (a.tenant_id, a.rule_id)
LEFT JOIN metrics AS m ON (m.tenant_id, m.name) = (a.tenant_id, a.details ->> 'metric')
WHERE a.tenant_id = %(tenant)s AND a.id = ANY (%(ids)s::bigint[])
