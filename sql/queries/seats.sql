-- name: tenant_exists
-- The appliance's own has no devices, sites or metrics: it is not there for who would add one. Nor is one that is being deleted.
SELECT 1 FROM tenants WHERE tenant_id = %(tenant)s AND tenant_id <> 'appliance' AND status <> 'DELETING'

-- name: lock_devices
-- The third lock of every change of seats: device rows, in order of id.
SELECT tenant_id, device_id, status, subscription_id, site_id, name, place, tags, interval_seconds
FROM device_registry WHERE tenant_id = %(tenant)s AND device_id = ANY(%(devices)s::text[])
ORDER BY device_id
FOR UPDATE

-- name: select_devices
SELECT tenant_id, device_id, status, subscription_id, site_id, name, place, tags, interval_seconds
FROM device_registry WHERE tenant_id = %(tenant)s AND device_id = ANY(%(devices)s::text[])

-- name: put_devices
-- A tombstone gives way to a person; whatever else is there stays as it is and is not returned.
INSERT INTO device_registry AS d
  (tenant_id, device_id, status, subscription_id, site_id, name, place, tags, interval_seconds, created_at, updated_at)
SELECT %(tenant)s, n.device_id, 'ACTIVE', n.subscription_id, n.site_id, n.name, n.place,
  ARRAY(SELECT jsonb_array_elements_text(n.tags::jsonb)), n.interval_seconds, %(now)s::timestamptz, %(now)s
FROM unnest(
  %(devices)s::text[], %(subscriptions)s::text[], %(sites)s::text[], %(names)s::text[], %(places)s::text[],
  %(tags)s::text[], %(intervals)s::double precision[]
) AS n (device_id, subscription_id, site_id, name, place, tags, interval_seconds)
ORDER BY n.device_id
ON CONFLICT (tenant_id, device_id) DO UPDATE SET
  status = EXCLUDED.status, subscription_id = EXCLUDED.subscription_id, site_id = EXCLUDED.site_id, name = EXCLUDED.name,
  place = EXCLUDED.place, tags = EXCLUDED.tags, interval_seconds = EXCLUDED.interval_seconds,
  updated_at = EXCLUDED.updated_at
  WHERE d.status = 'DECOMMISSIONED' AND NOT d.erase_history
RETURNING tenant_id, device_id, status, subscription_id, site_id, name, place, tags, interval_seconds

-- name: describe_devices
UPDATE device_registry AS d SET site_id = n.site_id, name = n.name, place = n.place,
  tags = ARRAY(SELECT jsonb_array_elements_text(n.tags::jsonb)), interval_seconds = n.interval_seconds, updated_at = %(now)s
FROM unnest(
  %(devices)s::text[], %(sites)s::text[], %(names)s::text[], %(places)s::text[], %(tags)s::text[],
  %(intervals)s::double precision[]
) AS n (device_id, site_id, name, place, tags, interval_seconds)
WHERE d.tenant_id = %(tenant)s AND d.device_id = n.device_id

-- name: set_status
UPDATE device_registry SET status = %(status)s, subscription_id = %(subscription)s, updated_at = %(now)s
WHERE tenant_id = %(tenant)s AND device_id = %(device)s
RETURNING tenant_id, device_id, status, subscription_id, site_id, name, place, tags, interval_seconds

-- name: mark_for_erasure
UPDATE device_registry SET erase_history = true, name = NULL, place = NULL, tags = '{}'
WHERE tenant_id = %(tenant)s AND device_id = %(device)s

-- name: remove_credential
DELETE FROM device_credentials WHERE tenant_id = %(tenant)s AND device_id = %(device)s

-- name: remove_credentials
-- Locked in order of id first: who switches passwords that are due locks many of them without their devices.
WITH gone AS (
  SELECT device_id FROM device_credentials WHERE tenant_id = %(tenant)s AND device_id = ANY(%(devices)s::text[])
  ORDER BY device_id FOR UPDATE
)
DELETE FROM device_credentials AS c USING gone AS g WHERE c.tenant_id = %(tenant)s AND c.device_id = g.device_id
RETURNING c.device_id

-- name: devices_to_erase
SELECT tenant_id, device_id FROM device_registry WHERE erase_history ORDER BY tenant_id, device_id

-- name: erase_slice
SELECT erase_history(%(tenant)s, %(device)s, %(at_most)s, %(now)s)

-- name: set_statuses
UPDATE device_registry AS d SET status = n.status, subscription_id = n.subscription_id, updated_at = %(now)s
FROM unnest(%(devices)s::text[], %(statuses)s::text[], %(subscriptions)s::text[]) AS n (device_id, status, subscription_id)
WHERE d.tenant_id = %(tenant)s AND d.device_id = n.device_id
RETURNING d.tenant_id, d.device_id, d.status, d.subscription_id, d.site_id, d.name, d.place, d.tags, d.interval_seconds
