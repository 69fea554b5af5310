-- name: select_states
SELECT s.tenant_id, s.device_id,
  (extract(epoch FROM s.last_ts) * 1000000)::bigint,
  (extract(epoch FROM s.last_seen_at) * 1000000)::bigint,
  (extract(epoch FROM s.last_heard_at) * 1000000)::bigint,
  (extract(epoch FROM s.ts_adjusted_at) * 1000000)::bigint,
  s.null_metrics, s.latest,
  (extract(epoch FROM s.refused_at) * 1000000)::bigint, s.refused_reason,
  (extract(epoch FROM s.offline_at) * 1000000)::bigint, s.learned_interval,
  (extract(epoch FROM s.allowance_full_at) * 1000000)::bigint, s.unplaced, s.metric_times
FROM device_state AS s
JOIN unnest(%(tenants)s::text[], %(devices)s::text[]) AS k (tenant_id, device_id) USING (tenant_id, device_id)

-- name: select_heard
-- When anything came of devices that are not deleted, in microseconds since 1970; 0: never.
SELECT d.tenant_id, d.device_id, coalesce((extract(epoch FROM s.last_heard_at) * 1000000)::bigint, 0)
FROM device_registry AS d
JOIN unnest(%(tenants)s::text[], %(devices)s::text[]) AS k (tenant_id, device_id) USING (tenant_id, device_id)
LEFT JOIN device_state AS s USING (tenant_id, device_id)
WHERE d.status <> 'DECOMMISSIONED'

-- name: upsert_states
-- Newest wins: a peer that saw the device later is never set back. Of the allowance the emptier wins, so that no process
-- hands back what another has spent, unless a wrong clock has written it: later than `latest` is never right.
WITH written AS (
  INSERT INTO ingest_instances (instance, state_written_at) VALUES (%(instance)s, 'epoch'::timestamptz + %(now)s * interval '1 microsecond')
  ON CONFLICT (instance) DO UPDATE SET state_written_at = EXCLUDED.state_written_at
), marked AS (
  INSERT INTO telemetry_marks (tenant_id, device_id, hour, marked_at)
  SELECT m.item ->> 0, m.item ->> 1, 'epoch'::timestamptz + (m.item ->> 2)::bigint * interval '1 microsecond',
    'epoch'::timestamptz + %(now)s * interval '1 microsecond'
  FROM jsonb_array_elements(%(marks)s::text::jsonb) AS m (item)
  WHERE m.item ->> 0 IN (SELECT t.tenant_id FROM tenants AS t)
)
INSERT INTO device_state AS d
  (tenant_id, device_id, last_ts, last_seen_at, last_heard_at, ts_adjusted_at, null_metrics, latest, refused_at,
    refused_reason, offline_at, learned_interval, allowance_full_at, unplaced, heard_by,
    metric_times)
SELECT s.item ->> 0, s.item ->> 1,
  'epoch'::timestamptz + (s.item ->> 2)::bigint * interval '1 microsecond',
  'epoch'::timestamptz + (s.item ->> 3)::bigint * interval '1 microsecond',
  'epoch'::timestamptz + (s.item ->> 4)::bigint * interval '1 microsecond',
  'epoch'::timestamptz + (s.item ->> 5)::bigint * interval '1 microsecond',
  (s.item ->> 6)::bigint, s.item -> 7,
  'epoch'::timestamptz + (s.item ->> 8)::bigint * interval '1 microsecond', s.item ->> 9,
  'epoch'::timestamptz + (s.item ->> 10)::bigint * interval '1 microsecond', (s.item ->> 11)::float8,
  'epoch'::timestamptz + (s.item ->> 12)::bigint * interval '1 microsecond', (s.item ->> 13)::bigint,
  CASE WHEN (s.item ->> 14)::boolean THEN %(instance)s END, s.item -> 15
FROM jsonb_array_elements(%(rows)s::text::jsonb) WITH ORDINALITY AS s (item, place)
WHERE s.item ->> 0 IN (SELECT t.tenant_id FROM tenants AS t)
ORDER BY s.place
ON CONFLICT (tenant_id, device_id) DO UPDATE SET
  last_ts = greatest(d.last_ts, EXCLUDED.last_ts),
  last_seen_at = greatest(d.last_seen_at, EXCLUDED.last_seen_at),
  last_heard_at = greatest(d.last_heard_at, EXCLUDED.last_heard_at),
  ts_adjusted_at = greatest(d.ts_adjusted_at, EXCLUDED.ts_adjusted_at),
  null_metrics = greatest(d.null_metrics, EXCLUDED.null_metrics),
  unplaced = greatest(d.unplaced, EXCLUDED.unplaced),
  heard_by = CASE WHEN EXCLUDED.heard_by IS NULL OR d.last_heard_at > EXCLUDED.last_heard_at THEN d.heard_by ELSE EXCLUDED.heard_by END,
  latest = CASE WHEN EXCLUDED.last_ts >= d.last_ts OR d.last_ts IS NULL THEN d.latest || EXCLUDED.latest ELSE EXCLUDED.latest || d.latest END,
  metric_times = CASE WHEN d.metric_times = EXCLUDED.metric_times THEN d.metric_times ELSE d.metric_times || EXCLUDED.metric_times END,
  refused_at = greatest(d.refused_at, EXCLUDED.refused_at),
  refused_reason = CASE WHEN d.refused_at > EXCLUDED.refused_at OR EXCLUDED.refused_at IS NULL THEN d.refused_reason ELSE EXCLUDED.refused_reason END,
  offline_at = CASE WHEN d.last_heard_at > EXCLUDED.last_heard_at OR EXCLUDED.last_heard_at IS NULL AND EXCLUDED.offline_at IS NULL THEN d.offline_at ELSE EXCLUDED.offline_at END,
  learned_interval = coalesce(EXCLUDED.learned_interval, d.learned_interval),
  allowance_full_at = CASE WHEN d.allowance_full_at > 'epoch'::timestamptz + %(latest)s * interval '1 microsecond' THEN EXCLUDED.allowance_full_at
    ELSE greatest(d.allowance_full_at, EXCLUDED.allowance_full_at) END

-- name: rebuild_states
-- What this instance stored after it last wrote the states, folded in once at the start. An `offline` is left out: by
-- itself it moves nothing. What a wrong clock stored, later than a right one can, is left out, or it would be the newest
-- for good.
WITH enlisted AS (
  INSERT INTO ingest_instances (instance) VALUES (%(instance)s) ON CONFLICT DO NOTHING
), since AS (
  SELECT coalesce((SELECT state_written_at FROM ingest_instances WHERE instance = %(instance)s), '-infinity') - interval '10 seconds' AS moment
), fresh AS (
  SELECT DISTINCT ON (t.tenant_id, t.device_id) t.tenant_id, t.device_id, t.ts, t.metrics,
    max(t.received_at) OVER device AS seen_at
  FROM telemetry AS t, since
  WHERE t.received_at >= since.moment AND t.received_at <= %(latest)s AND t.ts <= %(latest)s
    AND (t.kind <> 'status' OR t.metrics ->> 'status' IS DISTINCT FROM 'offline')
  WINDOW device AS (PARTITION BY t.tenant_id, t.device_id)
  ORDER BY t.tenant_id, t.device_id, t.ts DESC
)
INSERT INTO device_state AS d (tenant_id, device_id, last_ts, last_seen_at, last_heard_at, heard_by, latest)
SELECT tenant_id, device_id, ts, seen_at, seen_at, %(instance)s, metrics
FROM fresh ORDER BY tenant_id, device_id
ON CONFLICT (tenant_id, device_id) DO UPDATE SET
  last_ts = greatest(d.last_ts, EXCLUDED.last_ts),
  last_seen_at = greatest(d.last_seen_at, EXCLUDED.last_seen_at),
  last_heard_at = greatest(d.last_heard_at, EXCLUDED.last_heard_at),
  heard_by = CASE WHEN d.last_heard_at >= EXCLUDED.last_heard_at THEN d.heard_by ELSE EXCLUDED.heard_by END,
  latest = CASE WHEN EXCLUDED.last_ts >= d.last_ts OR d.last_ts IS NULL THEN d.latest || EXCLUDED.latest ELSE d.latest END

-- name: rebuild_rollup_queue
-- The hours of what this instance stored after it last wrote states and marks.
INSERT INTO telemetry_marks (tenant_id, device_id, hour, marked_at)
SELECT DISTINCT t.tenant_id, t.device_id, date_trunc('hour', t.ts, 'UTC'), %(now)s::timestamptz
FROM telemetry AS t
WHERE t.received_at >= coalesce((SELECT state_written_at FROM ingest_instances WHERE instance = %(instance)s), '-infinity')
  - interval '10 seconds' AND t.received_at <= %(latest)s

-- name: heal_states
-- What lies after the latest possible time was written by a wrong clock: see time_healed.
UPDATE device_state SET
  last_ts = time_healed(last_ts, %(latest)s, %(now)s, %(step)s),
  last_seen_at = time_healed(last_seen_at, %(latest)s, %(now)s, %(step)s),
  last_heard_at = time_healed(last_heard_at, %(latest)s, %(now)s, %(step)s),
  ts_adjusted_at = time_healed(ts_adjusted_at, %(latest)s, %(now)s, %(step)s),
  offline_at = time_healed(offline_at, %(latest)s, %(now)s, %(step)s),
  refused_at = time_healed(refused_at, %(latest)s, %(now)s, %(step)s),
  refused_reason = CASE WHEN time_healed(refused_at, %(latest)s, %(now)s, %(step)s) IS NULL THEN NULL ELSE refused_reason END
WHERE greatest(last_ts, last_seen_at, last_heard_at, ts_adjusted_at, offline_at, refused_at) > %(latest)s

-- name: heal_instance
UPDATE ingest_instances SET state_written_at = %(now)s WHERE instance = %(instance)s AND state_written_at > %(latest)s

-- name: heal_marks
-- Else they would wait in the queue until the wrong time has come.
UPDATE telemetry_marks SET marked_at = %(now)s WHERE marked_at > %(latest)s
