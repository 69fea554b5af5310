-- name: wait_at_most
SELECT set_config('lock_timeout', %(milliseconds)s::text, false)

-- name: exclude_locks
SELECT pg_advisory_lock_shared(%(key)s)

-- name: no_parallel
SELECT set_config('max_parallel_workers_per_gather', '0', false)

-- name: export_snapshot
SELECT pg_export_snapshot()

-- name: database_size
SELECT pg_database_size(current_database())

-- name: tables
SELECT c.relname FROM pg_class AS c
WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition
ORDER BY c.relname
