-- name: count_presences
SELECT presence_of(s, d.interval_seconds, w), count(*)
FROM device_registry AS d
LEFT JOIN device_state AS s USING (tenant_id, device_id)
JOIN presence_watch AS w ON w.instance = coalesce(s.heard_by, '')
WHERE d.status = 'ACTIVE' AND (%(tenant)s::text IS NULL OR d.tenant_id = %(tenant)s)
GROUP BY 1

-- name: set_limits
UPDATE presence_limits SET stale_after = %(stale)s, offline_after = %(offline)s
WHERE (stale_after, offline_after) IS DISTINCT FROM (%(stale)s, %(offline)s)

-- name: cut_future
-- What an earlier, wrong clock wrote: a stretch never reaches up to the present, where the next one begins.
WITH gone AS (
  DELETE FROM listening WHERE instance = %(instance)s AND began_at >= %(now)s
)
UPDATE listening SET ended_at = greatest(began_at, %(now)s - interval '1 microsecond')
WHERE instance = %(instance)s AND ended_at >= %(now)s AND began_at < %(now)s

-- name: begin_stretch
INSERT INTO listening (instance, began_at, ended_at) VALUES (%(instance)s, %(now)s, %(now)s)

-- name: extend_stretch
-- Found or not tells whether the stretch is still there; a clock that was set back a little leaves its end as it is.
UPDATE listening SET ended_at = greatest(ended_at, %(now)s) WHERE instance = %(instance)s AND began_at = %(began)s

-- name: forget_stretches
-- The shortest go: what the longest ones tell of a silent device stays.
DELETE FROM listening WHERE instance = %(instance)s AND began_at < %(began)s AND began_at IN (
  SELECT began_at FROM listening WHERE instance = %(instance)s ORDER BY ended_at - began_at DESC OFFSET %(kept)s)

-- name: select_limits
SELECT stale_after, offline_after FROM presence_limits
