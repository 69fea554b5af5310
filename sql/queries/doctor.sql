-- What the doctor looks at. Every statement only reads, in a session that can do nothing else.

-- name: durability_settings
SELECT name, setting FROM pg_settings WHERE name IN ('fsync', 'full_page_writes')

-- name: commit_settings
-- Of the server as a whole (what a session has that nothing was set for), then for roles and databases that are ours.
SELECT reset_val, '' AS role, '' AS database FROM pg_settings WHERE name = 'synchronous_commit'
UNION
SELECT split_part(setting, '=', 2), coalesce(r.rolname::text, ''), coalesce(d.datname::text, '')
FROM pg_db_role_setting AS s
CROSS JOIN unnest(s.setconfig) AS setting
LEFT JOIN pg_roles AS r ON r.oid = s.setrole
LEFT JOIN pg_database AS d ON d.oid = s.setdatabase
WHERE setting LIKE 'synchronous_commit=%%'
  AND (s.setdatabase = 0 OR d.datname = current_database())
  AND (s.setrole = 0 OR r.rolname = ANY(%(names)s::text[]) OR r.rolname = session_user)
ORDER BY 2, 3, 1

-- name: guards
SELECT conname::text AS name, conrelid::regclass::text AS "table", 'constraint' AS kind, convalidated AS active
FROM pg_constraint AS c JOIN pg_class AS t ON t.oid = c.conrelid
WHERE c.connamespace = 'public'::regnamespace AND NOT t.relispartition
UNION ALL
SELECT i.relname::text, x.indrelid::regclass::text, 'index', x.indisvalid AND x.indisready
FROM pg_index AS x JOIN pg_class AS i ON i.oid = x.indexrelid JOIN pg_class AS t ON t.oid = x.indrelid
WHERE i.relnamespace = 'public'::regnamespace AND x.indisunique AND NOT x.indisprimary AND NOT t.relispartition
UNION ALL
SELECT g.tgname::text, g.tgrelid::regclass::text, 'trigger', g.tgenabled IN ('O', 'A')
FROM pg_trigger AS g JOIN pg_class AS t ON t.oid = g.tgrelid
WHERE t.relnamespace = 'public'::regnamespace AND NOT g.tgisinternal
ORDER BY 2, 3, 1

-- name: wrong_rights
-- Rights that a role must have and has not, and those that nobody may have.
SELECT 'appliance_backup' AS role, 'SELECT' AS "right", c.oid::regclass::text AS object, true AS wanted
FROM pg_class AS c
WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p')
  AND NOT has_table_privilege('appliance_backup', c.oid, 'SELECT')
UNION ALL
SELECT role, "right", c.oid::regclass::text, false
FROM pg_class AS c
LEFT JOIN pg_inherits AS i ON i.inhrelid = c.oid
CROSS JOIN unnest(ARRAY['appliance_ingest', 'appliance_web', 'appliance_backup']) AS role
CROSS JOIN unnest(ARRAY['UPDATE', 'DELETE', 'TRUNCATE']) AS "right"
WHERE (c.oid = ANY (ARRAY['telemetry', 'audit_log']::regclass[]) OR i.inhparent = 'telemetry'::regclass)
  AND (has_table_privilege(role, c.oid, "right") OR "right" = 'UPDATE' AND has_any_column_privilege(role, c.oid, "right"))
UNION ALL
SELECT 'appliance_backup', "right", c.oid::regclass::text, false
FROM pg_class AS c CROSS JOIN unnest(ARRAY['INSERT', 'UPDATE', 'DELETE', 'TRUNCATE']) AS "right"
WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p')
  AND c.oid <> ALL (ARRAY['telemetry', 'audit_log']::regclass[])
  AND NOT EXISTS (SELECT FROM pg_inherits WHERE inhrelid = c.oid)
  AND has_table_privilege('appliance_backup', c.oid, "right")
UNION ALL
SELECT role, 'CREATE', 'SCHEMA public', false
FROM unnest(ARRAY['appliance_ingest', 'appliance_web', 'appliance_backup']) AS role
WHERE has_schema_privilege(role, 'public', 'CREATE')
UNION ALL
SELECT 'PUBLIC', a.privilege_type, 'DATABASE ' || quote_ident(d.datname), false
FROM pg_database AS d CROSS JOIN aclexplode(coalesce(d.datacl, acldefault('d', d.datdba))) AS a
WHERE d.datname = current_database() AND a.grantee = 0
UNION ALL
SELECT 'appliance_web', 'EXECUTE', 'FUNCTION ' || p.oid::regprocedure::text, false
FROM pg_proc AS p
WHERE p.pronamespace = 'public'::regnamespace AND p.prosecdef AND p.prorettype <> 'trigger'::regtype
  AND has_function_privilege('appliance_web', p.oid, 'EXECUTE')
ORDER BY 1, 3, 2

-- name: walls
-- Tables with rows of tenants. A policy shows other tenants' rows to customers if it is for their role, or for
-- everybody's, and does not ask for the tenant of the transaction.
SELECT c.oid::regclass::text AS "table", c.relrowsecurity, c.relforcerowsecurity,
  (SELECT min(p.polname::text) FROM pg_policy AS p
   WHERE p.polrelid = c.oid AND p.polroles && ARRAY[0::oid, to_regrole('appliance_web')::oid] AND p.polpermissive
     AND coalesce(pg_get_expr(p.polqual, c.oid), pg_get_expr(p.polwithcheck, c.oid), 'true')
       NOT LIKE '%%appliance.tenant_id%%')
FROM pg_class AS c
WHERE c.relkind IN ('r', 'p') AND c.relnamespace = 'public'::regnamespace
  AND EXISTS (SELECT FROM pg_attribute AS a WHERE a.attrelid = c.oid AND a.attname = 'tenant_id' AND NOT a.attisdropped)
ORDER BY 1

-- name: accounts
SELECT instance, sum(received)::bigint, sum(stored)::bigint, sum(refused)::bigint, sum(duplicate)::bigint,
  sum(cleared)::bigint,
  count(DISTINCT minute) FILTER (WHERE received <> stored + refused + duplicate + cleared
    OR least(received, stored, refused, duplicate, cleared) < 0)
FROM ingest_ledger
GROUP BY instance
ORDER BY instance

-- name: wrong_seats
SELECT s.tenant_id, s.subscription_id, s.active_device_count, coalesce(d.active, 0), s.device_limit
FROM subscriptions AS s
LEFT JOIN (
  SELECT tenant_id, subscription_id, count(*) AS active FROM device_registry WHERE status = 'ACTIVE' GROUP BY 1, 2
) AS d USING (tenant_id, subscription_id)
WHERE s.active_device_count <> coalesce(d.active, 0) OR coalesce(d.active, 0) > s.device_limit
ORDER BY 1, 2

-- name: read_tables_only
SELECT set_config('enable_indexscan', 'off', true), set_config('enable_indexonlyscan', 'off', true),
  set_config('enable_bitmapscan', 'off', true)

-- name: devices_twice
SELECT 'the device', tenant_id, device_id, count(*) FROM device_registry
GROUP BY tenant_id, device_id HAVING count(*) > 1 ORDER BY 2, 3

-- name: alerts_twice
SELECT 'the open alert', tenant_id, fingerprint::text, count(*) FROM fleet_alert WHERE status <> 'CLOSED'
GROUP BY tenant_id, fingerprint HAVING count(*) > 1 ORDER BY 2, 3

-- name: stored_zones
SELECT zone, count(*) FROM (
  SELECT time_zone AS zone FROM tenants
  UNION ALL SELECT time_zone FROM sites
  UNION ALL SELECT time_zone FROM users
  UNION ALL SELECT time_zone FROM maintenance_windows
  UNION ALL SELECT quiet_zone FROM integration_routes
) AS every
WHERE zone IS NOT NULL
GROUP BY zone
ORDER BY zone
