-- Statements of upgrades. The counts are asked of the schema of a newer program, too.

-- name: count_readings_since
-- Of days that end before, a block range index spares the reading.
SELECT count(*) FROM telemetry WHERE received_at > %(since)s::timestamptz

-- name: count_stored_since
SELECT coalesce(sum(stored), 0)::bigint FROM ingest_ledger WHERE minute > %(since)s::timestamptz
