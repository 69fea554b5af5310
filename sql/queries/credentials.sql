-- name: lock_statuses
-- Whoever revokes or deletes one of them waits for us, or we for them.
SELECT device_id, status FROM device_registry
WHERE tenant_id = %(tenant)s AND device_id = ANY(%(devices)s::text[])
ORDER BY device_id
FOR NO KEY UPDATE

-- name: insert_credentials
-- One that is there stays as it is and is not returned.
INSERT INTO device_credentials (tenant_id, device_id, mqtt_hash, token_hash, created_at)
SELECT %(tenant)s, n.device_id, n.mqtt_hash, n.token_hash, %(now)s::timestamptz
FROM unnest(%(devices)s::text[], %(mqtt_hashes)s::text[], %(token_hashes)s::bytea[]) AS n (device_id, mqtt_hash, token_hash)
ORDER BY n.device_id
ON CONFLICT (tenant_id, device_id) DO NOTHING
RETURNING device_id

-- name: rotate_credential
-- Both at once: the token before is good for a while, the password before until the switch.
UPDATE device_credentials SET
  previous_token_hash = token_hash, previous_token_until = %(until)s, token_hash = %(token_hash)s,
  staged_mqtt_hash = %(mqtt_hash)s, staged_at = %(now)s, switch_at = %(switch_at)s, rotated_at = %(now)s
WHERE tenant_id = %(tenant)s AND device_id = %(device)s

-- name: switch_credential
UPDATE device_credentials SET
  mqtt_hash = staged_mqtt_hash, staged_mqtt_hash = NULL, staged_at = NULL, switch_at = NULL
WHERE tenant_id = %(tenant)s AND device_id = %(device)s AND staged_mqtt_hash IS NOT NULL

-- name: switch_due
-- Locked in order of id first, as a renewal locks those it revokes.
WITH due AS (
  SELECT tenant_id, device_id FROM device_credentials WHERE switch_at <= %(now)s
  ORDER BY tenant_id, device_id FOR NO KEY UPDATE
)
UPDATE device_credentials AS c SET
  mqtt_hash = c.staged_mqtt_hash, staged_mqtt_hash = NULL, staged_at = NULL, switch_at = NULL
FROM due AS d
WHERE c.tenant_id = d.tenant_id AND c.device_id = d.device_id
RETURNING c.tenant_id, c.device_id

-- name: select_credential
SELECT created_at, rotated_at, previous_token_until, staged_at, switch_at, last_used_at
FROM device_credentials WHERE tenant_id = %(tenant)s AND device_id = %(device)s

-- name: heal_overlaps
-- None is given more time than that: a wrong clock was ahead when the token was rotated.
WITH longer AS (
  SELECT tenant_id, device_id FROM device_credentials WHERE previous_token_until > %(longest)s
  ORDER BY tenant_id, device_id FOR NO KEY UPDATE
)
UPDATE device_credentials AS c SET previous_token_until = %(longest)s
FROM longer AS l WHERE c.tenant_id = l.tenant_id AND c.device_id = l.device_id
