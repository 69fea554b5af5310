-- What starts anew after a restore. The machine of the backup may have gone on meanwhile: what it has promised to people and
-- receivers, it has kept or not, and nobody knows here. Whatever was counted in transactions of its server means nothing.

-- name: is_empty
-- But for what an extension has put there.
SELECT NOT EXISTS (SELECT FROM pg_class AS c WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p', 'v', 'm')
  AND NOT EXISTS (SELECT FROM pg_depend AS d WHERE d.objid = c.oid AND d.deptype = 'e'))

-- name: has_restores
SELECT to_regclass('public.restores') IS NOT NULL

-- name: restored_before
-- Whether this database was loaded from that backup and nobody works with it yet, and whether all was begun anew.
SELECT EXISTS (SELECT FROM audit_log AS a WHERE a.action = 'restore.apply' AND a.object_id = r.restore_id::text)
FROM restores AS r WHERE r.made_at = %(made)s AND r.confirmed_at IS NULL
ORDER BY r.restore_id DESC LIMIT 1

-- name: readings_before
SELECT count(*) FROM telemetry WHERE ts < %(before)s

-- name: end_sessions
DELETE FROM sessions

-- name: end_links
DELETE FROM links

-- name: forget_requests
DELETE FROM api_requests

-- name: forget_broker
DELETE FROM broker_copies

-- name: forget_clock
DELETE FROM clock_confirmations

-- name: forget_probes
DELETE FROM watchdog_probes

-- name: release_replays
UPDATE quarantine_replays SET status = 'WAITING', instance = NULL, beat_at = NULL WHERE ended_at IS NULL

-- name: release_deletions
UPDATE tenant_deletions SET beat_at = NULL,
  removed_by_transaction = CASE WHEN removed_by_transaction IS NOT NULL THEN pg_current_xact_id() END
WHERE status <> 'DONE'

-- name: skip_deliveries
-- The old machine may have sent them: what opened there gets its end from here. Those that a skipped one tells as well.
WITH skipped AS (
  UPDATE delivery_jobs SET status = 'SKIPPED', reason = 'restored', finished_at = %(now)s, leased_by = NULL, lease_until = NULL,
    unreachable_since = NULL, severity_rank = NULL,
    receipt = CASE WHEN receipt = 'none' AND status <> 'DEAD' THEN 'possible' ELSE receipt END
  WHERE status IN ('PENDING', 'PROCESSING', 'DEAD')
  RETURNING job_id
)
UPDATE delivery_jobs AS j SET receipt = 'possible' FROM skipped AS s
WHERE j.merged_into = s.job_id AND j.receipt = 'none' AND j.status = 'SKIPPED'

-- name: count_skipped
SELECT count(*) FROM delivery_jobs WHERE status = 'SKIPPED' AND reason = 'restored' AND finished_at = %(now)s

-- name: hold_notices
-- Once: the load may have done it.
INSERT INTO restores (restored_at, made_at)
SELECT %(now)s, %(made)s WHERE NOT EXISTS (SELECT FROM restores WHERE made_at = %(made)s AND confirmed_at IS NULL)

-- name: newest_restore
SELECT max(restore_id) FROM restores
