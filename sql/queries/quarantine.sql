-- Messages that were not accepted: list, decide, evict, replay.
--
-- A selection: %(tenant)s NULL selects the messages of all tenants, '' those of no known tenant; any other NULL does
-- not filter by its column.

-- name: list_events
-- %(bytes)s: only so many bytes of the payload, for lists; NULL: all of it.
SELECT id, ingested_at, event_ts, topic, tenant_id, site_id, device_id, kind, reason, detail,
  CASE WHEN %(bytes)s::integer IS NULL THEN payload ELSE substring(payload FROM 1 FOR %(bytes)s) END,
  octet_length(payload), status, decided_at, decided_by
FROM quarantine_events
WHERE (%(tenant)s::text IS NULL OR tenant_id = NULLIF(%(tenant)s, '') OR (%(tenant)s = '' AND tenant_id IS NULL))
  AND (%(device)s::text IS NULL OR device_id = %(device)s)
  AND (%(site)s::text IS NULL OR site_id = %(site)s)
  AND (%(reasons)s::text[] IS NULL OR reason = ANY(%(reasons)s))
  AND (%(since)s::timestamptz IS NULL OR ingested_at >= %(since)s)
  AND (%(until)s::timestamptz IS NULL OR ingested_at < %(until)s)
  AND (%(ids)s::bigint[] IS NULL OR id = ANY(%(ids)s))
  AND (%(status)s::text IS NULL OR status = %(status)s)
  AND (%(before)s::bigint IS NULL OR id < %(before)s)
ORDER BY id DESC
LIMIT %(limit)s

-- name: newest_event
SELECT max(id) FROM quarantine_events
WHERE %(tenant)s::text IS NULL OR tenant_id = NULLIF(%(tenant)s, '') OR (%(tenant)s = '' AND tenant_id IS NULL)

-- name: count_newer
-- Of the first %(most)s messages after message %(after)s, the number that match, and their number. The limit keeps the
-- cost of a page that is left open constant.
SELECT count(*) FILTER (
  WHERE (%(device)s::text IS NULL OR device_id = %(device)s)
    AND (%(site)s::text IS NULL OR site_id = %(site)s)
    AND (%(reasons)s::text[] IS NULL OR reason = ANY(%(reasons)s))
    AND (%(since)s::timestamptz IS NULL OR ingested_at >= %(since)s)
    AND (%(until)s::timestamptz IS NULL OR ingested_at < %(until)s)
    AND (%(ids)s::bigint[] IS NULL OR id = ANY(%(ids)s))
    AND (%(status)s::text IS NULL OR status = %(status)s)
), count(*)
FROM (
  SELECT * FROM quarantine_events
  WHERE id > %(after)s
    AND (%(tenant)s::text IS NULL OR tenant_id = NULLIF(%(tenant)s, '') OR (%(tenant)s = '' AND tenant_id IS NULL))
  ORDER BY id LIMIT %(most)s
) AS newer

-- name: count_causes
-- Held messages by reason, beside the exact count of refused ones.
SELECT reason, coalesce(h.messages, 0), coalesce(h.bytes, 0), h.oldest, h.newest, coalesce(c.refused, 0)
FROM (
  SELECT reason, count(*) AS messages, sum(size) AS bytes, min(ingested_at) AS oldest, max(ingested_at) AS newest
  FROM quarantine_events
  WHERE status = 'HELD'
    AND (%(tenant)s::text IS NULL OR tenant_id = NULLIF(%(tenant)s, '') OR (%(tenant)s = '' AND tenant_id IS NULL))
    AND (%(device)s::text IS NULL OR device_id = %(device)s)
    AND (%(site)s::text IS NULL OR site_id = %(site)s)
    AND (%(reasons)s::text[] IS NULL OR reason = ANY(%(reasons)s))
    AND (%(since)s::timestamptz IS NULL OR ingested_at >= %(since)s)
    AND (%(until)s::timestamptz IS NULL OR ingested_at < %(until)s)
    AND (%(ids)s::bigint[] IS NULL OR id = ANY(%(ids)s))
  GROUP BY reason
) AS h
FULL JOIN (
  SELECT reason, sum(cnt)::bigint AS refused
  FROM quarantine_counters_minute
  WHERE (%(tenant)s::text IS NULL OR tenant_id = %(tenant)s)
    AND (%(reasons)s::text[] IS NULL OR reason = ANY(%(reasons)s))
    AND (%(since)s::timestamptz IS NULL OR bucket_minute >= date_trunc('minute', %(since)s::timestamptz))
    AND (%(until)s::timestamptz IS NULL OR bucket_minute < %(until)s)
    AND %(device)s::text IS NULL AND %(site)s::text IS NULL AND %(ids)s::bigint[] IS NULL
  GROUP BY reason
) AS c USING (reason)
ORDER BY 2 DESC, 6 DESC, 1

-- name: held_by_reason
-- An index alone counts; the oldest is looked up for each reason.
SELECT counted.reason, counted.messages, (SELECT ingested_at FROM quarantine_events AS q WHERE q.id = counted.oldest)
FROM (
  SELECT reason, count(*) AS messages, min(id) AS oldest
  FROM quarantine_events
  WHERE status = 'HELD'
    AND (%(tenant)s::text IS NULL OR tenant_id = NULLIF(%(tenant)s, '') OR (%(tenant)s = '' AND tenant_id IS NULL))
  GROUP BY reason
) AS counted
ORDER BY 2 DESC, 1

-- name: count_present
SELECT count(*), count(*) FILTER (WHERE status = 'HELD')
FROM quarantine_events
WHERE id = ANY(%(ids)s::bigint[])
  AND (%(tenant)s::text IS NULL OR tenant_id = NULLIF(%(tenant)s, '') OR (%(tenant)s = '' AND tenant_id IS NULL))

-- name: owners_of
-- Empty: of no known tenant.
SELECT coalesce(tenant_id, ''), array_agg(id ORDER BY id)
FROM quarantine_events WHERE id = ANY(%(ids)s::bigint[])
GROUP BY 1 ORDER BY 1

-- name: dismiss_events
-- Locked in order of id, as a replay does.
WITH chosen AS (
  SELECT id FROM quarantine_events
  WHERE status = 'HELD'
    AND (%(tenant)s::text IS NULL OR tenant_id = NULLIF(%(tenant)s, '') OR (%(tenant)s = '' AND tenant_id IS NULL))
    AND (%(device)s::text IS NULL OR device_id = %(device)s)
    AND (%(site)s::text IS NULL OR site_id = %(site)s)
    AND (%(reasons)s::text[] IS NULL OR reason = ANY(%(reasons)s))
    AND (%(since)s::timestamptz IS NULL OR ingested_at >= %(since)s)
    AND (%(until)s::timestamptz IS NULL OR ingested_at < %(until)s)
    AND (%(ids)s::bigint[] IS NULL OR id = ANY(%(ids)s))
  ORDER BY id
  FOR UPDATE
)
UPDATE quarantine_events AS q SET status = 'DISMISSED', decided_at = %(now)s, decided_by = %(actor)s
FROM chosen WHERE q.id = chosen.id

-- name: sum_totals
SELECT coalesce(sum(messages), 0)::bigint, coalesce(sum(bytes), 0)::bigint, coalesce(sum(held), 0)::bigint,
  coalesce(sum(held_bytes), 0)::bigint, coalesce(sum(evicted), 0)::bigint, max(evicted_until)
FROM quarantine_totals
WHERE %(tenant)s::text IS NULL OR tenant_id = %(tenant)s

-- name: sum_by_step
-- The exact number of refused messages, by reason and number of the step between two of %(edges)s.
SELECT reason, width_bucket(bucket_minute, %(edges)s::timestamptz[]) AS step, sum(cnt)::bigint
FROM quarantine_counters_minute
WHERE bucket_minute >= %(since)s AND bucket_minute < %(until)s
  AND (%(tenant)s::text IS NULL OR tenant_id = %(tenant)s)
GROUP BY reason, step

-- name: tenants_with_held
SELECT tenant_id FROM quarantine_totals WHERE held > 0 AND tenant_id <> '' ORDER BY held DESC, tenant_id LIMIT %(limit)s

-- name: select_groups
-- Held messages of one tenant, grouped by what decides whether they can be stored.
SELECT device_id, site_id, reason, count(*), min(ingested_at)
FROM quarantine_events
WHERE status = 'HELD' AND tenant_id = %(tenant)s AND reason = ANY(%(reasons)s::text[]) AND device_id IS NOT NULL
GROUP BY device_id, site_id, reason
ORDER BY device_id, site_id, reason
LIMIT %(limit)s

-- name: try_retention_lock
SELECT pg_try_advisory_xact_lock(%(key)s)

-- name: select_overfull
SELECT tenant_id, bytes, held, evicted_at FROM quarantine_totals WHERE bytes > %(max_bytes)s ORDER BY tenant_id

-- name: select_bytes
SELECT bytes FROM quarantine_totals WHERE tenant_id = %(tenant)s

-- name: oldest_decided
-- Only as many as free %(excess)s bytes.
SELECT id FROM (
  SELECT id, sum(size) OVER (ORDER BY id) - size AS before
  FROM (
    SELECT id, size FROM quarantine_events
    WHERE status <> 'HELD'
      AND (tenant_id = NULLIF(%(tenant)s::text, '') OR (%(tenant)s = '' AND tenant_id IS NULL))
    ORDER BY id LIMIT %(limit)s
  ) AS oldest
) AS summed
WHERE before < %(excess)s

-- name: oldest_of_fullest
-- A message's rank is its place among the held messages of its device, the newest being 1. In descending order of rank,
-- the device with the most held messages always loses its oldest.
SELECT id FROM (
  SELECT id, rank, sum(size) OVER (ORDER BY rank DESC, id) - size AS before
  FROM (
    SELECT id, size, row_number() OVER (PARTITION BY device_id ORDER BY id DESC) AS rank
    FROM quarantine_events
    WHERE status = 'HELD'
      AND (tenant_id = NULLIF(%(tenant)s::text, '') OR (%(tenant)s = '' AND tenant_id IS NULL))
  ) AS ranked
) AS summed
WHERE before < %(excess)s
ORDER BY rank DESC, id
LIMIT %(limit)s

-- name: evict
-- In the order given, only as many as free %(excess)s bytes. Locked in order of id; a message that was decided on while
-- this waited for its lock stays.
WITH locked AS (
  SELECT id, size FROM quarantine_events WHERE id = ANY(%(ids)s::bigint[]) AND (status = 'HELD') = %(held)s
  ORDER BY id FOR UPDATE
), summed AS (
  SELECT l.id, sum(l.size) OVER (ORDER BY d.place) - l.size AS before
  FROM locked AS l JOIN unnest(%(ids)s::bigint[]) WITH ORDINALITY AS d (id, place) USING (id)
)
DELETE FROM quarantine_events AS q USING summed WHERE q.id = summed.id AND summed.before < %(excess)s
RETURNING q.tenant_id, q.status, q.reason, q.ingested_at

-- name: evict_aged
WITH aged AS (
  SELECT id FROM quarantine_events WHERE ingested_at < %(before)s ORDER BY ingested_at LIMIT %(limit)s
  FOR UPDATE SKIP LOCKED
)
DELETE FROM quarantine_events AS q USING aged WHERE q.id = aged.id
RETURNING q.tenant_id, q.status, q.reason, q.ingested_at

-- name: note_evictions
UPDATE quarantine_totals AS t
SET evicted = t.evicted + e.messages, evicted_until = greatest(t.evicted_until, e.newest),
  evicted_at = coalesce(%(evicted_at)s, t.evicted_at)
FROM unnest(%(tenants)s::text[], %(counts)s::bigint[], %(newest)s::timestamptz[]) AS e (tenant_id, messages, newest)
WHERE t.tenant_id = e.tenant_id

-- name: add_evicted
INSERT INTO ingest_ledger (minute, instance, tenant_id, evicted)
SELECT %(minute)s, %(instance)s, l.tenant_id, l.messages
FROM unnest(%(tenants)s::text[], %(counts)s::bigint[]) AS l (tenant_id, messages)
ORDER BY l.tenant_id
ON CONFLICT (minute, instance, tenant_id) DO UPDATE SET evicted = ingest_ledger.evicted + EXCLUDED.evicted

-- name: forget_replays
DELETE FROM quarantine_replays WHERE ended_at < %(before)s

-- name: measure_selection
SELECT count(*), max(id)
FROM quarantine_events
WHERE status = 'HELD'
  AND (%(tenant)s::text IS NULL OR tenant_id = NULLIF(%(tenant)s, '') OR (%(tenant)s = '' AND tenant_id IS NULL))
  AND (%(device)s::text IS NULL OR device_id = %(device)s)
  AND (%(site)s::text IS NULL OR site_id = %(site)s)
  AND (%(reasons)s::text[] IS NULL OR reason = ANY(%(reasons)s))
  AND (%(since)s::timestamptz IS NULL OR ingested_at >= %(since)s)
  AND (%(until)s::timestamptz IS NULL OR ingested_at < %(until)s)
  AND (%(ids)s::bigint[] IS NULL OR id = ANY(%(ids)s))

-- name: next_held
SELECT id, (extract(epoch FROM ingested_at) * 1000000)::bigint, topic, payload, reason, detail
FROM quarantine_events
WHERE id > %(after)s AND id <= %(last)s AND status = 'HELD'
  AND (%(tenant)s::text IS NULL OR tenant_id = NULLIF(%(tenant)s, '') OR (%(tenant)s = '' AND tenant_id IS NULL))
  AND (%(device)s::text IS NULL OR device_id = %(device)s)
  AND (%(site)s::text IS NULL OR site_id = %(site)s)
  AND (%(reasons)s::text[] IS NULL OR reason = ANY(%(reasons)s))
  AND (%(since)s::timestamptz IS NULL OR ingested_at >= %(since)s)
  AND (%(until)s::timestamptz IS NULL OR ingested_at < %(until)s)
  AND (%(ids)s::bigint[] IS NULL OR id = ANY(%(ids)s))
ORDER BY id
LIMIT %(limit)s

-- name: insert_replay
INSERT INTO quarantine_replays (tenant_id, selection, total, last_id, created_by, created_at)
VALUES (%(tenant)s, %(selection)s::jsonb, %(total)s, %(last)s, %(actor)s, %(now)s)
RETURNING replay_id, tenant_id, selection::text, status, total, last_id, done_id, replayed, duplicate, refused::text, gone,
  error, created_at, created_by, ended_at

-- name: select_replay
SELECT replay_id, tenant_id, selection::text, status, total, last_id, done_id, replayed, duplicate, refused::text, gone,
  error, created_at, created_by, ended_at
FROM quarantine_replays
WHERE replay_id = %(replay)s AND (%(tenant)s::text IS NULL OR tenant_id = %(tenant)s)

-- name: list_replays
SELECT replay_id, tenant_id, selection::text, status, total, last_id, done_id, replayed, duplicate, refused::text, gone,
  error, created_at, created_by, ended_at
FROM quarantine_replays
WHERE %(tenant)s::text IS NULL OR tenant_id = %(tenant)s
ORDER BY replay_id DESC
LIMIT %(limit)s

-- name: cancel_replay
UPDATE quarantine_replays SET status = 'CANCELLED', ended_at = %(now)s
WHERE replay_id = %(replay)s AND ended_at IS NULL AND (%(tenant)s::text IS NULL OR tenant_id = %(tenant)s)

-- name: claim_replay
-- The job that has waited longest; not one on which a peer has worked lately.
UPDATE quarantine_replays SET status = 'RUNNING', instance = %(instance)s, beat_at = clock_timestamp()
WHERE replay_id = (
  SELECT replay_id FROM quarantine_replays
  WHERE ended_at IS NULL
    AND (instance IS NULL OR instance = %(instance)s OR beat_at < clock_timestamp() - %(lease)s * interval '1 second')
  ORDER BY beat_at NULLS FIRST, replay_id
  LIMIT 1
  FOR UPDATE SKIP LOCKED
)
RETURNING replay_id, tenant_id, selection::text, status, total, last_id, done_id, replayed, duplicate, refused::text, gone,
  error, created_at, created_by, ended_at

-- name: lock_replay
-- Returns no row if a peer has done this part, or if the job was cancelled.
SELECT refused::text FROM quarantine_replays
WHERE replay_id = %(replay)s AND status = 'RUNNING' AND done_id = %(done)s
FOR UPDATE

-- name: lock_held
SELECT id FROM quarantine_events WHERE id = ANY(%(ids)s::bigint[]) AND status = 'HELD' ORDER BY id FOR UPDATE

-- name: mark_replayed
UPDATE quarantine_events SET status = 'REPLAYED', decided_at = %(now)s, decided_by = %(actor)s
WHERE id = ANY(%(ids)s::bigint[]) AND status = 'HELD'

-- name: mark_refused
UPDATE quarantine_events AS q SET reason = r.reason, detail = r.detail
FROM unnest(%(ids)s::bigint[], %(reasons)s::text[], %(details)s::text[]) AS r (id, reason, detail)
WHERE q.id = r.id AND q.status = 'HELD'

-- name: upsert_replayed_states
-- Newest wins, as with every write of a state. How far this instance has written the others is not touched.
WITH marked AS (
  INSERT INTO telemetry_marks (tenant_id, device_id, hour, marked_at)
  SELECT DISTINCT m.tenant_id, m.device_id, date_trunc('hour', m.ts, 'UTC'), %(now)s::timestamptz
  FROM unnest(%(stored_tenants)s::text[], %(stored_devices)s::text[], %(stored_ts)s::timestamptz[])
    AS m (tenant_id, device_id, ts)
)
INSERT INTO device_state AS d (tenant_id, device_id, last_ts, last_seen_at, last_heard_at, latest)
SELECT s.tenant_id, s.device_id, s.last_ts, s.heard, s.heard, s.latest::jsonb
FROM unnest(
  %(tenants)s::text[], %(devices)s::text[], %(newest)s::timestamptz[], %(heard)s::timestamptz[], %(latest)s::text[]
) AS s (tenant_id, device_id, last_ts, heard, latest)
ORDER BY s.tenant_id COLLATE "C", s.device_id COLLATE "C"
ON CONFLICT (tenant_id, device_id) DO UPDATE SET
  last_ts = greatest(d.last_ts, EXCLUDED.last_ts),
  last_seen_at = greatest(d.last_seen_at, EXCLUDED.last_seen_at),
  last_heard_at = greatest(d.last_heard_at, EXCLUDED.last_heard_at),
  latest = CASE WHEN EXCLUDED.last_ts >= d.last_ts OR d.last_ts IS NULL THEN d.latest || EXCLUDED.latest ELSE EXCLUDED.latest || d.latest END

-- name: add_replayed
INSERT INTO ingest_ledger (minute, instance, tenant_id, replayed)
SELECT %(minute)s, %(instance)s, l.tenant_id, l.messages
FROM unnest(%(tenants)s::text[], %(counts)s::bigint[]) AS l (tenant_id, messages)
ORDER BY l.tenant_id
ON CONFLICT (minute, instance, tenant_id) DO UPDATE SET replayed = ingest_ledger.replayed + EXCLUDED.replayed

-- name: advance_replay
UPDATE quarantine_replays
SET done_id = %(done)s, replayed = replayed + %(replayed)s, duplicate = duplicate + %(duplicate)s,
  refused = %(refused)s::jsonb, gone = gone + %(gone)s, beat_at = clock_timestamp(),
  status = CASE WHEN %(ended)s::timestamptz IS NULL THEN status ELSE 'DONE' END, ended_at = %(ended)s
WHERE replay_id = %(replay)s

-- name: fail_replay
UPDATE quarantine_replays SET status = 'FAILED', error = %(error)s, ended_at = %(now)s
WHERE replay_id = %(replay)s AND ended_at IS NULL

-- name: heal_events
-- Received after the latest possible time: a wrong clock wrote it. A message has a time of receipt, the present at worst.
UPDATE quarantine_events SET ingested_at = coalesce(time_healed(ingested_at, %(latest)s, %(now)s, %(step)s), %(now)s)
WHERE ingested_at > %(latest)s

-- name: heal_totals
UPDATE quarantine_totals SET evicted_at = time_healed(evicted_at, %(latest)s, %(now)s, %(step)s) WHERE evicted_at > %(latest)s

-- name: heal_replays
UPDATE quarantine_replays SET created_at = coalesce(time_healed(created_at, %(latest)s, %(now)s, %(step)s), %(now)s),
  ended_at = CASE WHEN ended_at > %(latest)s THEN coalesce(time_healed(ended_at, %(latest)s, %(now)s, %(step)s), %(now)s) ELSE ended_at END
WHERE greatest(created_at, ended_at) > %(latest)s
