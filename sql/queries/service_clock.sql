-- The clock of an instance: when it last received something, and the wall clock that an operator has confirmed.

-- name: newest_receipt
-- NULL if never.
SELECT extract(epoch FROM state_written_at)::float8 FROM ingest_instances
WHERE instance = %(instance)s AND state_written_at > '-infinity'

-- name: confirm
INSERT INTO clock_confirmations (instance, wall, elapsed, boot_id)
VALUES (%(instance)s, 'epoch'::timestamptz + %(wall)s::float8 * interval '1 second', %(elapsed)s, %(boot_id)s)
ON CONFLICT (instance) DO UPDATE SET wall = EXCLUDED.wall, elapsed = EXCLUDED.elapsed, boot_id = EXCLUDED.boot_id

-- name: take_confirmation
DELETE FROM clock_confirmations WHERE instance = %(instance)s
RETURNING extract(epoch FROM wall)::float8, elapsed, boot_id
