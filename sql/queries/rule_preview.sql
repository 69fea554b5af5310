-- What a rule would have opened over the stored history.

-- name: bound_statements
SELECT set_config('statement_timeout', %(milliseconds)s::text, true)

-- name: select_covered
-- The devices of a scope, always in the same order; which of them sent the metric, and after how many seconds of silence
-- each turns OFFLINE. The scope is that of alert_rule_covers.
SELECT d.device_id, %(metric)s::text IS NULL OR coalesce(s.latest ? %(metric)s, false),
  greatest(10 * coalesce(d.interval_seconds, s.learned_interval), l.offline_after)
FROM device_registry AS d LEFT JOIN device_state AS s USING (tenant_id, device_id) CROSS JOIN presence_limits AS l
WHERE d.tenant_id = %(tenant)s AND d.status = 'ACTIVE' AND (
  cardinality(%(site_ids)s::text[] || %(tags)s::text[] || %(device_prefixes)s::text[] || %(device_ids)s::text[]) = 0
  OR d.device_id = ANY (%(device_ids)s::text[])
  OR d.site_id = ANY (%(site_ids)s::text[])
  OR d.tags && %(tags)s::text[]
  OR EXISTS (SELECT FROM unnest(%(device_prefixes)s::text[]) AS p (prefix) WHERE d.device_id ^@ p.prefix))
ORDER BY d.device_id

-- name: read_readings
-- A page of the readings of devices, one device after the other and each in order of time. The first of the devices goes
-- on after the given position. The nested loop keeps the order of the devices.
SELECT k.place, r.ts, r.digest, r.metrics
FROM unnest(%(devices)s::text[]) WITH ORDINALITY AS k (device_id, place)
CROSS JOIN LATERAL (
  SELECT (extract(epoch FROM t.ts) * 1000000)::bigint AS ts, t.digest, t.metrics::text AS metrics
  FROM telemetry AS t
  WHERE t.tenant_id = %(tenant)s AND t.device_id = k.device_id AND t.ts >= %(first)s AND t.ts <= %(last)s
    AND NOT t.late AND t.metrics <> '{}'
    AND (k.place > 1 OR (t.ts, t.digest) > (
      'epoch'::timestamptz + %(after_ts)s * interval '1 microsecond', %(after_digest)s))
  ORDER BY t.ts, t.digest
  LIMIT %(limit)s
) AS r
LIMIT %(limit)s

-- name: read_silences
-- Between which messages of a device more than so many seconds passed; how many there are, and when the
-- last came.
SELECT count(*), extract(epoch FROM max(at))::float8,
  coalesce(array_agg(extract(epoch FROM before)::float8 ORDER BY at) FILTER (WHERE at - before > %(silence)s), '{}'),
  coalesce(array_agg(extract(epoch FROM at)::float8 ORDER BY at) FILTER (WHERE at - before > %(silence)s), '{}')
FROM (
  SELECT at, lag(at) OVER (ORDER BY at) AS before
  FROM (
    SELECT t.received_at AS at
    FROM telemetry AS t
    WHERE t.tenant_id = %(tenant)s AND t.device_id = %(device)s AND t.ts >= %(first)s AND t.received_at <= %(last)s
      AND (%(metric)s::text IS NULL OR (t.metrics ? %(metric)s AND NOT t.late))
    ORDER BY t.ts
    LIMIT %(limit)s
  ) AS messages
) AS pairs

-- name: select_listening
-- The stretches in which any appliance listened, laid together.
SELECT extract(epoch FROM lower(s.stretch))::float8, extract(epoch FROM upper(s.stretch))::float8
FROM (SELECT unnest(range_agg(tstzrange(began_at, ended_at, '[]'))) AS stretch FROM listening) AS s
WHERE upper(s.stretch) >= %(first)s
ORDER BY 1

-- name: select_metric_types
-- What devices send of each metric: number, boolean or string. Some hundred devices tell.
SELECT l.name, array_agg(DISTINCT jsonb_typeof(l.value))
FROM (
  SELECT latest FROM device_state WHERE tenant_id = %(tenant)s AND latest <> '{}' ORDER BY device_id LIMIT 300
) AS s CROSS JOIN LATERAL jsonb_each(s.latest) AS l (name, value)
GROUP BY l.name

-- name: read_changes
-- When the value of a metric became another one, and which.
SELECT extract(epoch FROM v.ts)::float8, v.value
FROM (
  SELECT r.ts, r.value, lag(r.value) OVER (ORDER BY r.ts) AS before
  FROM (
    SELECT t.ts, t.metrics -> %(metric)s AS value
    FROM telemetry AS t
    WHERE t.tenant_id = %(tenant)s AND t.device_id = %(device)s AND t.ts >= %(first)s AND t.ts <= %(last)s
      AND t.metrics ? %(metric)s
    ORDER BY t.ts
    LIMIT %(readings)s
  ) AS r
) AS v
WHERE v.value IS DISTINCT FROM v.before
ORDER BY v.ts
LIMIT %(limit)s
