-- Customers: the appliance's own tenant is in no list, and nobody changes it.

-- name: insert_tenant
INSERT INTO tenants (tenant_id, name, provisioning, time_zone, claim_mqtt_hash, claim_token_hash, created_at, updated_at)
VALUES (%(tenant)s, %(name)s, %(provisioning)s, %(zone)s, %(mqtt_hash)s, %(token_hash)s, %(now)s, %(now)s)
ON CONFLICT (tenant_id) DO NOTHING

-- name: lock_deletions
-- Whoever deletes late rows of an earlier tenant of this id waits for us, or we for them.
SELECT status FROM tenant_deletions WHERE deleted_tenant = %(tenant)s ORDER BY deletion_id FOR SHARE

-- name: select_all
SELECT t.tenant_id, t.name, t.status, t.provisioning, t.claim_enabled, t.claim_mqtt_hash IS NOT NULL, t.created_at,
  (SELECT count(*) FROM device_registry AS d WHERE d.tenant_id = t.tenant_id AND d.status <> 'DECOMMISSIONED'),
  t.time_zone, t.rate, t.burst, t.tenant_rate, t.updated_at,
  (SELECT max(s.last_heard_at) FROM device_state AS s WHERE s.tenant_id = t.tenant_id)
FROM tenants AS t WHERE t.tenant_id <> 'appliance' ORDER BY t.tenant_id

-- name: select_page
SELECT t.tenant_id, t.name, t.status, t.provisioning, t.claim_enabled, t.claim_mqtt_hash IS NOT NULL, t.created_at,
  (SELECT count(*) FROM device_registry AS d WHERE d.tenant_id = t.tenant_id AND d.status <> 'DECOMMISSIONED'),
  t.time_zone, t.rate, t.burst, t.tenant_rate, t.updated_at,
  (SELECT max(s.last_heard_at) FROM device_state AS s WHERE s.tenant_id = t.tenant_id)
FROM tenants AS t
WHERE t.tenant_id <> 'appliance'
  AND (%(after)s::text IS NULL OR t.tenant_id > %(after)s)
  AND (%(status)s::text IS NULL OR t.status = %(status)s)
  AND position(%(search)s IN lower(concat_ws(' ', t.tenant_id COLLATE "default", t.name))) > 0
ORDER BY t.tenant_id LIMIT %(limit)s

-- name: select_tenant
SELECT t.tenant_id, t.name, t.status, t.provisioning, t.claim_enabled, t.claim_mqtt_hash IS NOT NULL, t.created_at,
  (SELECT count(*) FROM device_registry AS d WHERE d.tenant_id = t.tenant_id AND d.status <> 'DECOMMISSIONED'),
  t.time_zone, t.rate, t.burst, t.tenant_rate, t.updated_at,
  (SELECT max(s.last_heard_at) FROM device_state AS s WHERE s.tenant_id = t.tenant_id)
FROM tenants AS t WHERE t.tenant_id = %(tenant)s AND t.tenant_id <> 'appliance'

-- name: lock_tenant
SELECT t.tenant_id, t.name, t.status, t.provisioning, t.claim_enabled, t.claim_mqtt_hash IS NOT NULL, t.created_at,
  (SELECT count(*) FROM device_registry AS d WHERE d.tenant_id = t.tenant_id AND d.status <> 'DECOMMISSIONED'),
  t.time_zone, t.rate, t.burst, t.tenant_rate, t.updated_at,
  (SELECT max(s.last_heard_at) FROM device_state AS s WHERE s.tenant_id = t.tenant_id)
FROM tenants AS t WHERE t.tenant_id = %(tenant)s AND t.tenant_id <> 'appliance'
FOR NO KEY UPDATE

-- name: update_tenant
UPDATE tenants SET name = %(name)s, time_zone = %(zone)s, status = %(status)s, provisioning = %(provisioning)s,
  rate = %(rate)s, burst = %(burst)s, tenant_rate = %(tenant_rate)s, updated_at = %(now)s
WHERE tenant_id = %(tenant)s

-- name: open_claim
-- By itself: a customer's admin may do this, and the others not.
UPDATE tenants SET claim_enabled = %(enabled)s WHERE tenant_id = %(tenant)s

-- name: update_claim
UPDATE tenants SET claim_mqtt_hash = %(mqtt_hash)s, claim_token_hash = %(token_hash)s
WHERE tenant_id = %(tenant)s

-- name: rename_zones
SELECT zones_rename(%(old)s, %(present)s, %(now)s)
