-- name: limit_probe
SELECT set_config('lock_timeout', %(milliseconds)s::text, true)

-- name: probe_telemetry
-- Stores nothing, and takes the lock of a statement that does.
INSERT INTO telemetry SELECT * FROM telemetry WHERE false

-- name: probe_commit
UPDATE ingest_instances SET probed_at = %(now)s WHERE instance = %(instance)s

-- name: select_blocker
-- Whoever one of our own sessions waits for; other sessions' statements are not ours to see.
SELECT b.pid, b.usename::text
FROM pg_stat_activity AS w, unnest(pg_blocking_pids(w.pid)) AS by (pid)
JOIN pg_stat_activity AS b ON b.pid = by.pid
WHERE w.usename = current_user AND w.datname = current_database()
LIMIT 1

-- name: select_lock_holder
SELECT a.pid, a.usename::text
FROM pg_locks AS l JOIN pg_stat_activity AS a USING (pid)
WHERE l.relation = %(table)s::regclass AND l.granted AND l.pid <> pg_backend_pid()
  AND l.mode IN ('ShareLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock')
LIMIT 1
