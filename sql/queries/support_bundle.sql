-- What a support bundle tells of the database: sizes and counts, and the names that it must not tell.

-- name: table_sizes
-- The number of rows is the planner's estimate: to count them would read whole tables.
SELECT c.relname AS table, c.relkind = 'p' AS partitioned, c.reltuples::bigint AS rows, pg_total_relation_size(c.oid) AS bytes,
       s.n_dead_tup AS dead, s.last_autovacuum, s.last_autoanalyze
FROM pg_class AS c
JOIN pg_namespace AS n ON n.oid = c.relnamespace
LEFT JOIN pg_stat_user_tables AS s ON s.relid = c.oid
WHERE n.nspname = 'public' AND c.relkind IN ('r', 'p')
ORDER BY bytes DESC, 1

-- name: server
SELECT current_setting('server_version') AS version, pg_database_size(current_database()) AS bytes,
       (SELECT count(*) FROM pg_stat_activity) AS connections, current_setting('max_connections')::int AS max_connections,
       (SELECT max(version) FROM schema_migrations) AS schema, pg_postmaster_start_time() AS started_at

-- name: waiting
-- Sessions that wait or have a transaction open: no text of a statement, which may hold a value.
SELECT usename::text AS role, state, wait_event_type, wait_event, xact_start, cardinality(pg_blocking_pids(pid)) AS blocked_by
FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid() AND (wait_event_type = 'Lock' OR xact_start IS NOT NULL)
ORDER BY xact_start

-- name: settings
-- What was changed from the server's defaults, by name alone: a value may be a password or a path.
SELECT name FROM pg_settings WHERE source NOT IN ('default', 'override', 'client', 'session') ORDER BY name

-- name: names
-- Without the tenant of the appliance itself: its name is a word of ours.
SELECT 'tenant' AS kind, tenant_id AS id FROM tenants WHERE tenant_id <> 'appliance'
UNION ALL SELECT 'device', device_id FROM device_registry
UNION ALL SELECT 'site', site_id FROM sites
ORDER BY 1, 2
