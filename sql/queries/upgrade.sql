-- Statements of upgrades. The counts are asked of the schema of a newer program, too.

-- name: count_readings_since
-- Of days that end before, a block range index spares the reading.
SELECT count(*) FROM telemetry WHERE received_at > %(since)s::timestamptz

-- name: count_stored_since
SELECT coalesce(sum(stored), 0)::bigint FROM ingest_ledger WHERE minute > %(since)s::timestamptz

-- name: table_bytes
-- Tables with their long values, without indexes.
SELECT coalesce(sum(pg_table_size(c.oid)), 0)::bigint FROM pg_class AS c
WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r'

-- name: newest_activity
-- When anything but a migration can have written last: an appliance that listened, or a person.
SELECT greatest((SELECT max(ended_at) FROM listening), (SELECT max(at) FROM audit_log))
