-- Devices as people see them: found, filtered, sorted, looked at. %(tenant)s NULL is everybody's, for operators.

-- name: lock_device
SELECT tenant_id, device_id, status, subscription_id, site_id, name, place, tags, interval_seconds, rate, burst, updated_at
FROM device_registry WHERE tenant_id = %(tenant)s AND device_id = %(device)s
FOR NO KEY UPDATE

-- name: update_limits
UPDATE device_registry SET rate = %(rate)s, burst = %(burst)s, updated_at = now()
WHERE tenant_id = %(tenant)s AND device_id = %(device)s
