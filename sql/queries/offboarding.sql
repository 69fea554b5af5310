-- Tenants that are deleted. Role appliance_ingest: their records belong to no tenant.

-- name: lock_tenant
SELECT name, status, updated_at FROM tenants
WHERE tenant_id = %(tenant)s AND tenant_id <> 'appliance'
FOR UPDATE

-- name: close_tenant
UPDATE tenants SET status = 'DELETING', claim_enabled = false, claim_mqtt_hash = NULL, claim_token_hash = NULL,
  updated_at = %(now)s
WHERE tenant_id = %(tenant)s

-- name: delete_credentials
DELETE FROM device_credentials WHERE tenant_id = %(tenant)s

-- name: end_sessions
DELETE FROM sessions WHERE tenant_id = %(tenant)s

-- name: end_tokens
DELETE FROM api_tokens WHERE tenant_id = %(tenant)s

-- name: end_links
DELETE FROM links WHERE tenant_id = %(tenant)s

-- name: disable_users
UPDATE users SET disabled_at = %(now)s WHERE tenant_id = %(tenant)s AND disabled_at IS NULL

-- name: disable_integrations
UPDATE integrations SET enabled = false, updated_at = %(now)s WHERE tenant_id = %(tenant)s AND enabled

-- name: insert_deletion
INSERT INTO tenant_deletions (deleted_tenant, name, requested_at, requested_by)
VALUES (%(tenant)s, %(name)s, %(now)s, %(by)s)
RETURNING deletion_id

-- name: select_deletion
-- Columns in the order of appliance.offboarding.deletion.Deletion.
SELECT deletion_id, deleted_tenant, name, status, requested_at, requested_by, expected::text, deleted::text, beat_at, removed_at,
  finished_at
FROM tenant_deletions WHERE deletion_id = %(deletion)s

-- name: deletion_of_tenant
-- The one that is under way.
SELECT deletion_id FROM tenant_deletions WHERE deleted_tenant = %(tenant)s AND status <> 'DONE'

-- name: list_deletions
SELECT deletion_id, deleted_tenant, name, status, requested_at, requested_by, expected::text, deleted::text, beat_at, removed_at,
  finished_at
FROM tenant_deletions
WHERE %(after)s::bigint IS NULL OR deletion_id < %(after)s
ORDER BY deletion_id DESC LIMIT %(limit)s

-- name: count_tenant
SELECT (SELECT count(*) FROM device_registry WHERE tenant_id = %(tenant)s AND status <> 'DECOMMISSIONED'),
  (SELECT count(*) FROM users WHERE tenant_id = %(tenant)s),
  (SELECT count(*) FROM alert_rules WHERE tenant_id = %(tenant)s AND deleted_at IS NULL),
  (SELECT count(*) FROM integrations WHERE tenant_id = %(tenant)s),
  (SELECT count(*) FROM fleet_alert WHERE tenant_id = %(tenant)s AND status <> 'CLOSED')

-- name: select_unfinished
SELECT deletion_id FROM tenant_deletions WHERE status <> 'DONE' ORDER BY deletion_id

-- name: select_recent
-- Of ids that nobody has again.
SELECT d.deletion_id, d.deleted_tenant FROM tenant_deletions AS d
WHERE d.status = 'DONE' AND d.finished_at > %(since)s
  AND NOT EXISTS (SELECT FROM tenants AS t WHERE t.tenant_id = d.deleted_tenant)
ORDER BY d.deletion_id

-- name: select_tables
SELECT table_name, partition_of FROM tenant_tables() WHERE table_name <> 'tenants'

-- name: count_rows
SELECT tenant_rows_count(%(tenant)s, %(table)s)

-- name: set_expected
UPDATE tenant_deletions SET expected = %(expected)s::jsonb, beat_at = %(now)s
WHERE deletion_id = %(deletion)s AND expected IS NULL

-- name: delete_slice
SELECT tenant_delete_slice(%(deletion)s, %(table)s, %(at_most)s, %(now)s, %(instance)s)

-- name: rows_left
SELECT tenant_rows_left(%(tenant)s)

-- name: lock_deletion
-- And whether all transactions have ended that were open when the tenant was removed; one that is not yet due to come was
-- numbered by another server, from whose backup this database was restored.
SELECT deleted_tenant, status,
  coalesce(removed_by_transaction < pg_snapshot_xmin(pg_current_snapshot())
    OR removed_by_transaction >= pg_snapshot_xmax(pg_current_snapshot()), false), deleted::text
FROM tenant_deletions WHERE deletion_id = %(deletion)s FOR NO KEY UPDATE

-- name: delete_tenant
DELETE FROM tenants WHERE tenant_id = %(tenant)s AND status = 'DELETING'

-- name: set_checking
UPDATE tenant_deletions SET status = 'CHECKING', removed_at = %(now)s, removed_by_transaction = pg_current_xact_id(),
  beat_at = %(now)s
WHERE deletion_id = %(deletion)s

-- name: tell_removed
SELECT pg_notify(%(channel)s, %(tenant)s)

-- name: set_done
UPDATE tenant_deletions SET status = 'DONE', finished_at = %(now)s, beat_at = %(now)s WHERE deletion_id = %(deletion)s

-- name: try_lock
SELECT pg_try_advisory_lock(%(key)s)

-- name: unlock
SELECT pg_advisory_unlock(%(key)s)
