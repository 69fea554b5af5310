-- Links that acknowledge an alert, by what they say of themselves.

-- name: select_link_facts
SELECT i.version, coalesce((
  SELECT max(e.id) FROM alert_events AS e WHERE (e.tenant_id, e.alert_id) = (a.tenant_id, a.id)), 0)
FROM fleet_alert AS a JOIN integrations AS i USING (tenant_id)
WHERE a.tenant_id = %(tenant)s AND a.id = %(alert)s AND i.integration_id = %(integration)s

-- name: select_link_state
-- What ended it is the first such entry after it was made. An alert that is closed or acknowledged without one was that
-- before: then there was nothing to acknowledge.
SELECT i.name, i.version, i.enabled,
  coalesce(e.kind, CASE a.status WHEN 'CLOSED' THEN 'closed' WHEN 'ACKNOWLEDGED' THEN 'acknowledged' END),
  coalesce(e.at, CASE a.status WHEN 'CLOSED' THEN a.closed_at WHEN 'ACKNOWLEDGED' THEN a.acknowledged_at END),
  CASE WHEN e.kind IS NOT NULL THEN e.actor WHEN a.status = 'CLOSED' THEN a.closed_by ELSE a.acknowledged_by END
FROM fleet_alert AS a
LEFT JOIN integrations AS i ON i.tenant_id = a.tenant_id AND i.integration_id = %(integration)s
LEFT JOIN LATERAL (
  SELECT e.kind, e.at, e.actor FROM alert_events AS e
  WHERE e.tenant_id = a.tenant_id AND e.alert_id = a.id AND e.id > %(newest_event)s AND e.kind IN ('acknowledged', 'closed')
  ORDER BY e.id LIMIT 1
) AS e ON true
WHERE a.tenant_id = %(tenant)s AND a.id = %(alert)s
