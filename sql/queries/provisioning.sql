-- name: set_lock_timeout
SELECT set_config('lock_timeout', %(milliseconds)s::text, true)

-- name: select_tenants
-- With how many devices wait for a person already.
SELECT t.tenant_id, t.status, t.provisioning,
  (SELECT count(*) FROM device_registry AS d WHERE d.tenant_id = t.tenant_id AND d.status = 'PENDING')
FROM tenants AS t WHERE t.tenant_id = ANY(%(tenants)s::text[]) AND t.tenant_id <> 'appliance' AND t.status <> 'DELETING'

-- name: select_devices
SELECT tenant_id, device_id, status, subscription_id, site_id, name, place, tags, interval_seconds
FROM device_registry JOIN unnest(%(tenants)s::text[], %(devices)s::text[]) AS k (tenant_id, device_id) USING (tenant_id, device_id)

-- name: insert_devices
INSERT INTO device_registry (tenant_id, device_id, status, subscription_id, site_id, created_at, updated_at)
SELECT n.tenant_id, n.device_id, n.status, n.subscription_id, n.site_id, %(now)s::timestamptz, %(now)s
FROM unnest(%(tenants)s::text[], %(devices)s::text[], %(statuses)s::text[], %(subscriptions)s::text[], %(sites)s::text[])
  AS n (tenant_id, device_id, status, subscription_id, site_id)
ORDER BY n.tenant_id COLLATE "C", n.device_id COLLATE "C"
ON CONFLICT (tenant_id, device_id) DO NOTHING
RETURNING tenant_id, device_id, status, subscription_id, site_id, name, place, tags, interval_seconds
