-- Statements of appliance/db itself.

-- name: ensure_telemetry_partitions
SELECT telemetry_ensure_partitions(%(first)s::date, %(last)s::date)

-- name: telemetry_partitions
-- The days that have a partition, the first of them first: size with indexes, whether it is empty, and how many hours of
-- devices are still to be rolled up.
SELECT p.day, coalesce(pg_total_relation_size(p.oid), 0)::bigint, coalesce(pg_relation_size(p.oid), 0) = 0,
  coalesce(m.hours, 0)::bigint
FROM (
  SELECT c.oid, to_date(right(c.relname, 8), 'YYYYMMDD') AS day
  FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhrelid
  WHERE i.inhparent = 'telemetry'::regclass AND c.relname ~ '^telemetry_[0-9]{8}$'
) AS p
LEFT JOIN (
  SELECT (hour AT TIME ZONE 'UTC')::date AS day, count(*) AS hours FROM telemetry_marks GROUP BY 1
) AS m USING (day)
ORDER BY p.day

-- name: exclude_backups
-- The lock of telemetry_drop_day first: NULL while another session drops a day, false while a backup is made.
SELECT CASE WHEN pg_try_advisory_xact_lock(1952803941, 1685221232) THEN pg_try_advisory_xact_lock(%(key)s) END

-- name: drop_telemetry_day
SELECT telemetry_drop_day(
  %(day)s::date, %(cutoff)s::timestamptz, %(now)s::timestamptz, %(instance)s::text, %(actor)s::text, %(cause)s::text,
  %(without_rollups)s::boolean)

-- name: checkpoint
-- By the superuser of an embedded Postgres: afterwards its log is as small as it gets, and dropped files are gone.
CHECKPOINT

-- name: existing_roles
SELECT rolname FROM pg_roles WHERE rolname = ANY(%(names)s::text[])

-- name: role_attributes
SELECT rolname, rolcanlogin, rolsuper, rolcreatedb, rolcreaterole, rolreplication, rolbypassrls
FROM pg_roles WHERE rolname = ANY(%(names)s::text[])

-- name: role_memberships
-- What the roles are members of: nothing at all is right.
SELECT role.rolname::text AS role, member.rolname::text AS member
FROM pg_auth_members AS m
JOIN pg_roles AS role ON role.oid = m.roleid
JOIN pg_roles AS member ON member.oid = m.member
WHERE member.rolname = ANY(%(names)s::text[])
ORDER BY 1, 2

-- name: database_exists
SELECT 1 FROM pg_database WHERE datname = %(name)s

-- name: old_tables
-- Tables of the platform before this one that a migration takes over, if they are not the owner's yet.
SELECT c.relname FROM pg_class AS c
WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') AND c.relname = 'integration_routes'
  AND c.relowner <> %(owner)s::regrole

-- name: database_owner
SELECT pg_get_userbyid(datdba)::text FROM pg_database WHERE datname = current_database()

-- name: who_may_create
SELECT
  has_schema_privilege(%(owner)s::text, 'public', 'CREATE'),
  (SELECT bool_or(has_schema_privilege(other, 'public', 'CREATE')) FROM unnest(%(others)s::text[]) AS other)

-- name: callable_functions
SELECT oid::regprocedure::text FROM pg_proc
WHERE pronamespace = 'pg_catalog'::regnamespace AND proname = ANY(%(names)s::text[])
  AND has_function_privilege(%(role)s::text, oid, 'EXECUTE')
ORDER BY 1

-- name: create_migration_table
CREATE TABLE IF NOT EXISTS schema_migrations (
  version integer PRIMARY KEY CHECK (version > 0),
  name text NOT NULL,
  checksum text NOT NULL,
  applied_at timestamptz NOT NULL,
  program text NOT NULL
)

-- name: migration_table_exists
SELECT to_regclass('schema_migrations') IS NOT NULL

-- name: applied_migrations
SELECT version, name, checksum, program FROM schema_migrations ORDER BY version

-- name: record_migration
INSERT INTO schema_migrations (version, name, checksum, applied_at, program)
VALUES (%(version)s, %(name)s, %(checksum)s, %(now)s, %(program)s)

-- name: server_facts
SELECT current_setting('server_version'), pg_database_size(current_database()),
  (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'),
  current_setting('max_connections')::integer

-- name: table_sizes
-- Indexes and long values included; the partitions of a table as one.
SELECT coalesce(parent.relname, own.relname)::text AS name, sum(pg_total_relation_size(own.oid))::bigint AS bytes
FROM pg_class AS own
LEFT JOIN pg_inherits AS i ON i.inhrelid = own.oid
LEFT JOIN pg_class AS parent ON parent.oid = i.inhparent
WHERE own.relnamespace = 'public'::regnamespace AND own.relkind = 'r'
GROUP BY 1
ORDER BY 2 DESC, 1

-- name: telemetry_days
-- How many days have a partition with something in it, and the first of them.
SELECT count(*), min(to_date(right(c.relname, 8), 'YYYYMMDD'))
FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhrelid
WHERE i.inhparent = 'telemetry'::regclass AND pg_relation_size(c.oid) > 0

-- name: collation_of_database
-- The version by which it was created, and the present one; NULL where nothing can change (C, C.UTF-8).
SELECT d.datcollversion, pg_database_collation_actual_version(d.oid)
FROM pg_database AS d WHERE d.datname = current_database()

-- name: collated_indexes
-- Indexes of ours by the collation of the database (NULL), and by others that can change.
SELECT DISTINCT t.relname::text, CASE WHEN c.collprovider <> 'd' THEN c.collname::text END, c.collversion,
  CASE WHEN c.collprovider <> 'd' THEN pg_collation_actual_version(c.oid) END
FROM pg_index AS i
JOIN pg_class AS t ON t.oid = i.indexrelid AND t.relkind = 'i' AND t.relnamespace = 'public'::regnamespace
CROSS JOIN LATERAL unnest(i.indcollation::oid[]) AS used (oid)
JOIN pg_collation AS c ON c.oid = used.oid AND c.collname NOT IN ('C', 'POSIX')
ORDER BY 1, 2
