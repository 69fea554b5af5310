-- The messages of one device, accepted and refused, newest first.

-- name: readings_of_device
SELECT ts, digest, received_at, kind, ts_adjusted, late, seq, site_id, lat, lng, metrics
FROM telemetry
WHERE tenant_id = %(tenant)s AND device_id = %(device)s
  AND (%(before_ts)s::timestamptz IS NULL
    OR ts <= %(before_ts)s AND (ts, digest) < (%(before_ts)s, %(before_digest)s::bigint))
ORDER BY ts DESC, digest DESC
LIMIT %(limit)s

-- name: refusals_of_device
SELECT id, ingested_at, event_ts, topic, kind, reason, detail, substring(payload FOR %(shown)s), octet_length(payload), status
FROM quarantine_events
WHERE tenant_id = %(tenant)s AND device_id = %(device)s AND (%(before_id)s::bigint IS NULL OR id < %(before_id)s)
ORDER BY id DESC
LIMIT %(limit)s

-- name: count_readings
-- Counted as far as %(most)s: a device may send a million a day.
SELECT count(*) FROM (
  SELECT FROM telemetry
  WHERE tenant_id = %(tenant)s AND device_id = %(device)s AND ts >= %(since)s
  LIMIT %(most)s
) AS counted

-- name: sequence_of_device
-- Numbers that were left out between neighbours in time. As numeric: a device may count to the end of 64 bits.
SELECT count(*), min(ts), count(*) FILTER (WHERE seq > before + 1),
  coalesce(sum(seq - before - 1) FILTER (WHERE seq > before + 1), 0), count(*) FILTER (WHERE seq < before)
FROM (
  SELECT ts, seq::numeric AS seq, lag(seq::numeric) OVER (ORDER BY ts, digest) AS before
  FROM (
    SELECT ts, digest, seq FROM telemetry
    WHERE tenant_id = %(tenant)s AND device_id = %(device)s AND ts >= %(since)s AND seq IS NOT NULL
    ORDER BY ts DESC, digest DESC LIMIT %(most)s
  ) AS newest
) AS pairs
