-- name: list_devices
SELECT d.tenant_id, d.device_id, d.status, d.subscription_id, d.site_id, d.name, d.place, d.tags, d.interval_seconds,
  s.last_seen_at, c.device_id IS NOT NULL, c.switch_at
FROM device_registry AS d
LEFT JOIN device_state AS s USING (tenant_id, device_id)
LEFT JOIN device_credentials AS c USING (tenant_id, device_id)
WHERE d.tenant_id = %(tenant)s AND d.status <> 'DECOMMISSIONED' AND (%(device)s::text IS NULL OR d.device_id = %(device)s)
ORDER BY d.device_id
