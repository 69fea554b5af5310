-- name: copy_telemetry
COPY telemetry (tenant_id, device_id, kind, ts, digest, received_at, ts_adjusted, late, seq, site_id, lat, lng, metrics)
FROM STDIN (FORMAT binary)

-- name: create_staging
CREATE TEMPORARY TABLE IF NOT EXISTS telemetry_staging (LIKE telemetry) ON COMMIT DELETE ROWS

-- name: copy_staging
COPY telemetry_staging (tenant_id, device_id, kind, ts, digest, received_at, ts_adjusted, late, seq, site_id, lat, lng, metrics)
FROM STDIN (FORMAT binary)

-- name: clear_staging
DELETE FROM telemetry_staging

-- name: insert_staged
-- What is already there is left as it is; what comes back was stored now. Sorted: two processes never deadlock.
INSERT INTO telemetry
SELECT * FROM telemetry_staging ORDER BY tenant_id, device_id, ts, digest
ON CONFLICT DO NOTHING
RETURNING tenant_id, device_id, (extract(epoch FROM ts) * 1000000)::bigint, digest

-- name: insert_quarantine
-- A microsecond apart, so that messages without a time of their own keep their order when they are replayed.
INSERT INTO quarantine_events
  (ingested_at, event_ts, topic, tenant_id, site_id, device_id, kind, reason, detail, payload)
SELECT %(ingested_at)s::timestamptz + q.place * interval '1 microsecond', q.event_ts, q.topic, q.tenant_id, q.site_id, q.device_id,
  q.kind, q.reason, q.detail, q.payload
FROM unnest(
  %(places)s::integer[], %(event_ts)s::timestamptz[], %(topics)s::text[], %(tenants)s::text[], %(sites)s::text[], %(devices)s::text[],
  %(kinds)s::text[], %(reasons)s::text[], %(details)s::text[], %(payloads)s::bytea[]
) AS q (place, event_ts, topic, tenant_id, site_id, device_id, kind, reason, detail, payload)

-- name: count_quarantine
INSERT INTO quarantine_counters_minute (bucket_minute, tenant_id, reason, cnt)
SELECT %(minute)s, c.tenant_id, c.reason, c.cnt
FROM unnest(%(tenants)s::text[], %(reasons)s::text[], %(counts)s::bigint[]) AS c (tenant_id, reason, cnt)
ON CONFLICT (bucket_minute, tenant_id, reason) DO UPDATE SET cnt = quarantine_counters_minute.cnt + EXCLUDED.cnt

-- name: add_to_ledger
-- Only ever added to.
INSERT INTO ingest_ledger (minute, instance, tenant_id, received, stored, refused, duplicate, cleared, qos0)
SELECT %(minute)s, %(instance)s, l.tenant_id, l.received, l.stored, l.refused, l.duplicate, l.cleared, l.qos0
FROM unnest(
  %(tenants)s::text[], %(received)s::bigint[], %(stored)s::bigint[], %(refused)s::bigint[], %(duplicate)s::bigint[],
  %(cleared)s::bigint[], %(qos0)s::bigint[]
) AS l (tenant_id, received, stored, refused, duplicate, cleared, qos0)
ON CONFLICT (minute, instance, tenant_id) DO UPDATE SET
  received = ingest_ledger.received + EXCLUDED.received,
  stored = ingest_ledger.stored + EXCLUDED.stored,
  refused = ingest_ledger.refused + EXCLUDED.refused,
  duplicate = ingest_ledger.duplicate + EXCLUDED.duplicate,
  cleared = ingest_ledger.cleared + EXCLUDED.cleared,
  qos0 = ingest_ledger.qos0 + EXCLUDED.qos0

-- name: begin_effects
-- For the statements of the observers of a batch, and no others: see end_effects. They wait for locks no longer than that,
-- and find their rows by key, whatever the planner knows of tables that were small a minute ago: so their plans are made
-- once, and kept.
SELECT set_config('appliance.lock_timeout', current_setting('lock_timeout'), true),
  set_config('lock_timeout', %(milliseconds)s::text, true), set_config('plan_cache_mode', 'force_generic_plan', true),
  set_config('enable_seqscan', 'off', true)

-- name: end_effects
SELECT set_config('lock_timeout', current_setting('appliance.lock_timeout'), true),
  set_config('plan_cache_mode', 'auto', true), set_config('enable_seqscan', 'on', true)

-- name: mark_batch
-- Says in the batch's own transaction that it was committed. A transaction's id would not do: one that a crash of
-- Postgres wiped out is given out again.
INSERT INTO ingest_instances (instance, last_batch) VALUES (%(instance)s, %(batch)s)
ON CONFLICT (instance) DO UPDATE SET last_batch = EXCLUDED.last_batch

-- name: last_batch
-- Locked: if the COMMIT in question is still under way, this waits for its end.
SELECT last_batch FROM ingest_instances WHERE instance = %(instance)s FOR UPDATE

-- name: sum_ledger
SELECT coalesce(sum(received), 0)::bigint, coalesce(sum(stored), 0)::bigint, coalesce(sum(refused), 0)::bigint,
  coalesce(sum(duplicate), 0)::bigint, coalesce(sum(cleared), 0)::bigint, coalesce(sum(qos0), 0)::bigint,
  coalesce(sum(replayed), 0)::bigint, coalesce(sum(evicted), 0)::bigint, coalesce(sum(partition_dropped), 0)::bigint, min(minute)
FROM ingest_ledger
WHERE %(since)s::timestamptz IS NULL OR minute >= %(since)s AND minute < %(until)s

-- name: upsert_tenant_allowances
-- The emptier wins, as with devices; later than `latest` is what a wrong clock has written.
INSERT INTO tenant_allowances AS t (tenant_id, full_at)
SELECT a.tenant_id, 'epoch'::timestamptz + a.level * interval '1 microsecond'
FROM unnest(%(tenants)s::text[], %(levels)s::bigint[]) AS a (tenant_id, level)
ON CONFLICT (tenant_id) DO UPDATE SET
  full_at = CASE WHEN t.full_at > 'epoch'::timestamptz + %(latest)s * interval '1 microsecond' THEN EXCLUDED.full_at
    ELSE greatest(t.full_at, EXCLUDED.full_at) END
