-- name: only_roller
-- One roller at a time, whatever process it runs in: the later of two would overwrite the newer of their results.
-- 'hist' and 'roll' as numbers: the space of two keys, which nothing else here uses.
SELECT pg_try_advisory_xact_lock(1751741300, 1919904876)

-- name: roll_up
-- One statement, so one snapshot: whoever sees a mark sees its readings. Of an hour without readings nothing changes:
-- they may be gone with their age. Neither does it change for fewer readings than it has: readings of an hour only come,
-- until all of its day go at once, and what comes after that (a replay of held messages) is not the whole hour. Sums stay
-- finite, whatever a device sends.
WITH due AS (
  SELECT DISTINCT tenant_id, device_id, hour FROM telemetry_marks
  WHERE marked_at <= %(settled)s AND hour >= %(since)s AND hour <= %(begun)s
  ORDER BY tenant_id, device_id, hour LIMIT %(at_most)s
), taken AS (
  DELETE FROM telemetry_marks AS m USING due AS d
  WHERE m.tenant_id = d.tenant_id AND m.device_id = d.device_id AND m.hour = d.hour
), rolled AS (
  INSERT INTO telemetry_hourly (tenant_id, device_id, metric, hour, readings, total, low, high, last)
  SELECT d.tenant_id, d.device_id, r.*
  FROM due AS d CROSS JOIN LATERAL (
    SELECT m.key, d.hour, count(*), sum(greatest(least(m.number, 1e290), -1e290)), min(m.number), max(m.number),
      (array_agg(m.number ORDER BY m.ts DESC))[1]
    FROM (
      SELECT e.key, t.ts, metric_value(e.value) AS number
      FROM telemetry AS t CROSS JOIN LATERAL jsonb_each(t.metrics) AS e
      WHERE t.tenant_id = d.tenant_id AND t.device_id = d.device_id
        AND t.ts >= d.hour AND t.ts < d.hour + interval '1 hour'
    ) AS m
    WHERE m.number IS NOT NULL
    GROUP BY m.key
  ) AS r
  ORDER BY d.tenant_id, d.device_id, r.key, d.hour
  ON CONFLICT (tenant_id, device_id, metric, hour) DO UPDATE SET readings = EXCLUDED.readings, total = EXCLUDED.total,
    low = EXCLUDED.low, high = EXCLUDED.high, last = EXCLUDED.last
  WHERE EXCLUDED.readings >= telemetry_hourly.readings
)
SELECT count(*) FROM due

-- name: drop_mark
-- Of an hour that cannot be rolled up: the first, as roll_up takes it. Any other one would be innocent.
WITH due AS (
  SELECT tenant_id, device_id, hour FROM telemetry_marks
  WHERE marked_at <= %(settled)s AND hour >= %(since)s AND hour <= %(begun)s
  ORDER BY tenant_id, device_id, hour LIMIT 1
)
DELETE FROM telemetry_marks AS m USING due AS d
WHERE m.tenant_id = d.tenant_id AND m.device_id = d.device_id AND m.hour = d.hour
RETURNING m.tenant_id, m.device_id, m.hour

-- name: drop_old
DELETE FROM telemetry_hourly WHERE hour < %(before)s AND ctid = ANY(ARRAY(
  SELECT ctid FROM telemetry_hourly WHERE hour < %(before)s LIMIT %(at_most)s))

-- name: read_raw
-- Of each step that has any: when it begins, how many readings, their sum, the lowest and the highest value. OFFSET 0
-- keeps the planner from writing an expression wherever its value is used: a metric is looked up and converted once.
SELECT extract(epoch FROM m.bin)::float8, count(*), sum(greatest(least(m.number, 1e290), -1e290)), min(m.number),
  max(m.number)
FROM (
  SELECT date_bin(%(step)s, v.ts, %(origin)s) AS bin, metric_value(v.value) AS number
  FROM (
    SELECT t.ts, t.metrics -> %(metric)s AS value FROM telemetry AS t
    WHERE t.tenant_id = %(tenant)s AND t.device_id = %(device)s AND t.ts >= %(first)s AND t.ts < %(last)s
    OFFSET 0
  ) AS v
  OFFSET 0
) AS m
WHERE m.number IS NOT NULL
GROUP BY m.bin
ORDER BY m.bin

-- name: read_hourly
-- The same for each step between two of %(bounds)s, which has a number in place of a time: from roll-ups, but hours that
-- are marked, and %(hours)s, which a bound cuts, from telemetry. A roll-up is in the step that its middle is in. Times
-- come as seconds since 1970: a thousand of them are written and read as numbers in a fraction of the time.
WITH limits AS MATERIALIZED (
  SELECT ARRAY(SELECT to_timestamp(b) FROM unnest(%(bounds)s::float8[]) WITH ORDINALITY AS u (b, n) ORDER BY n) AS bounds
), exact AS (
  SELECT hour FROM telemetry_marks
  WHERE tenant_id = %(tenant)s AND device_id = %(device)s AND hour >= %(first)s AND hour < %(last)s
  UNION
  SELECT to_timestamp(unnest(%(hours)s::float8[]))
), fresh AS (
  SELECT e.hour, r.* FROM exact AS e CROSS JOIN LATERAL (
    SELECT n.step, count(*) AS readings, sum(greatest(least(n.number, 1e290), -1e290)) AS total, min(n.number) AS low,
      max(n.number) AS high
    FROM (
      SELECT width_bucket(v.ts, (SELECT bounds FROM limits)) AS step, metric_value(v.value) AS number
      FROM (
        SELECT t.ts, t.metrics -> %(metric)s AS value FROM telemetry AS t
        WHERE t.tenant_id = %(tenant)s AND t.device_id = %(device)s
          AND t.ts >= e.hour AND t.ts < e.hour + interval '1 hour'
        OFFSET 0
      ) AS v
      OFFSET 0
    ) AS n
    WHERE n.number IS NOT NULL
    GROUP BY n.step
  ) AS r
), parts AS (
  SELECT width_bucket(h.hour + interval '30 minutes', (SELECT bounds FROM limits)) AS step, readings, total, low, high
  FROM telemetry_hourly AS h
  WHERE tenant_id = %(tenant)s AND device_id = %(device)s AND metric = %(metric)s
    AND hour >= %(first)s AND hour < %(last)s
    AND NOT EXISTS (SELECT FROM fresh AS f WHERE f.hour = h.hour)
  UNION ALL
  SELECT step, readings, total, low, high FROM fresh
)
SELECT step, sum(readings)::bigint, sum(total), min(low), max(high)
FROM parts
WHERE step > 0 AND step < cardinality(%(bounds)s::float8[])
GROUP BY step
ORDER BY step

-- name: readings_in_span
SELECT coalesce(sum(readings), 0)::bigint FROM telemetry_hourly
WHERE tenant_id = %(tenant)s AND device_id = %(device)s AND metric = %(metric)s AND hour >= %(first)s AND hour < %(last)s

-- name: readings_in_hours
SELECT coalesce(sum(readings), 0)::bigint FROM telemetry_hourly
WHERE tenant_id = %(tenant)s AND device_id = %(device)s AND metric = %(metric)s AND hour IN (SELECT to_timestamp(unnest(%(hours)s::float8[])))

-- name: read_sparks
-- Hourly means of many series at once, for pictures as large as a word; each series by its place in the arrays. An hour
-- that is marked - the present one, as a rule - stands with its newest value.
WITH keys AS (
  SELECT * FROM unnest(%(tenants)s::text[], %(devices)s::text[], %(metrics)s::text[])
    WITH ORDINALITY AS k (tenant_id, device_id, metric, place)
)
SELECT k.place, extract(epoch FROM h.hour)::float8, h.total / h.readings, 1 AS turn
FROM keys AS k
JOIN telemetry_hourly AS h ON h.tenant_id = k.tenant_id AND h.device_id = k.device_id AND h.metric = k.metric
WHERE h.hour >= %(since)s AND h.hour < %(until)s
UNION ALL
SELECT k.place, extract(epoch FROM m.hour)::float8, newest.value, 2
FROM keys AS k
CROSS JOIN LATERAL (
  SELECT DISTINCT hour FROM telemetry_marks AS m
  WHERE m.tenant_id = k.tenant_id AND m.device_id = k.device_id AND m.hour >= %(since)s AND m.hour < %(until)s
) AS m
CROSS JOIN LATERAL (
  SELECT metric_value(t.metrics -> k.metric) AS value FROM telemetry AS t
  WHERE t.tenant_id = k.tenant_id AND t.device_id = k.device_id AND t.ts >= m.hour AND t.ts < m.hour + interval '1 hour'
    AND t.metrics ? k.metric
  ORDER BY t.ts DESC LIMIT 1
) AS newest
WHERE newest.value IS NOT NULL
ORDER BY turn
