-- Maintenance windows. %(tenant)s NULL is everybody's, for operators. No statement decides whether one is active: local
-- times are reckoned by the program.

-- name: select_windows
SELECT tenant_id, window_id, name, reason, site_ids, tags, device_ids, kind, starts, ends, weekdays, start_time,
  length_minutes, until, time_zone, ended_at, created_at, created_by, updated_at
FROM maintenance_windows
WHERE %(tenant)s::text IS NULL OR tenant_id = %(tenant)s
ORDER BY tenant_id, window_id
LIMIT %(limit)s

-- name: select_windows_not_over
-- For the windows in memory: those of some tenants, for NULL of all.
SELECT tenant_id, window_id, name, reason, site_ids, tags, device_ids, kind, starts, ends, weekdays, start_time,
  length_minutes, until, time_zone, ended_at, created_at, created_by, updated_at
FROM maintenance_windows
WHERE (%(tenants)s::text[] IS NULL OR tenant_id = ANY (%(tenants)s)) AND (over_at IS NULL OR over_at > %(now)s)

-- name: select_window
SELECT tenant_id, window_id, name, reason, site_ids, tags, device_ids, kind, starts, ends, weekdays, start_time,
  length_minutes, until, time_zone, ended_at, created_at, created_by, updated_at
FROM maintenance_windows WHERE tenant_id = %(tenant)s AND window_id = %(window)s

-- name: lock_window
SELECT 1 FROM maintenance_windows WHERE tenant_id = %(tenant)s AND window_id = %(window)s FOR UPDATE

-- name: count_windows
SELECT count(*) FROM maintenance_windows WHERE tenant_id = %(tenant)s

-- name: insert_window
INSERT INTO maintenance_windows (tenant_id, name, reason, site_ids, tags, device_ids, kind, starts, ends, weekdays,
  start_time, length_minutes, until, time_zone, over_at, created_at, created_by, updated_at)
VALUES (%(tenant)s, %(name)s, %(reason)s, %(site_ids)s, %(tags)s, %(device_ids)s, %(kind)s, %(starts)s, %(ends)s,
  %(weekdays)s, %(start_time)s, %(length_minutes)s, %(until)s, %(time_zone)s, %(over_at)s, %(now)s, %(actor)s, %(now)s)
RETURNING window_id

-- name: update_window
UPDATE maintenance_windows SET name = %(name)s, reason = %(reason)s, site_ids = %(site_ids)s, tags = %(tags)s,
  device_ids = %(device_ids)s, kind = %(kind)s, starts = %(starts)s, ends = %(ends)s, weekdays = %(weekdays)s,
  start_time = %(start_time)s, length_minutes = %(length_minutes)s, until = %(until)s, time_zone = %(time_zone)s,
  ended_at = %(ended_at)s, over_at = %(over_at)s, updated_at = greatest(%(now)s, updated_at + interval '1 microsecond')
WHERE tenant_id = %(tenant)s AND window_id = %(window)s

-- name: delete_window
DELETE FROM maintenance_windows WHERE tenant_id = %(tenant)s AND window_id = %(window)s

-- name: delete_windows_over
-- Windows whose last occurrence ended long ago.
DELETE FROM maintenance_windows WHERE over_at < %(before)s

-- name: zone_of_scope
-- The zone of the tenant, or of its only site that a window is about.
SELECT coalesce(
  (SELECT s.time_zone FROM sites AS s WHERE s.tenant_id = t.tenant_id AND s.site_id = %(site)s), t.time_zone)
FROM tenants AS t WHERE t.tenant_id = %(tenant)s

-- name: select_unknown_sites
SELECT m.site_id FROM unnest(%(sites)s::text[]) AS m (site_id)
WHERE NOT EXISTS (SELECT FROM sites AS s WHERE s.tenant_id = %(tenant)s AND s.site_id = m.site_id)
LIMIT 1

-- name: select_unknown_devices
SELECT m.device_id FROM unnest(%(devices)s::text[]) AS m (device_id)
WHERE NOT EXISTS (SELECT FROM device_registry AS d
  WHERE d.tenant_id = %(tenant)s AND d.device_id = m.device_id AND d.status <> 'DECOMMISSIONED')
LIMIT 1

-- name: count_covered
-- The number of devices that each of some windows is about.
SELECT w.window_id, (
  SELECT count(*) FROM device_registry AS d
  WHERE d.tenant_id = w.tenant_id AND d.status <> 'DECOMMISSIONED'
    AND ((w.site_ids = '{}' AND w.tags = '{}' AND w.device_ids = '{}') OR d.device_id = ANY (w.device_ids)
      OR d.site_id = ANY (w.site_ids) OR d.tags && w.tags))
FROM maintenance_windows AS w
WHERE (w.tenant_id, w.window_id) IN (SELECT * FROM unnest(%(tenants)s::text[], %(windows)s::uuid[]))

-- name: count_devices
-- The number of devices that a scope is about.
SELECT count(*) FROM device_registry AS d
WHERE d.tenant_id = %(tenant)s AND d.status <> 'DECOMMISSIONED'
  AND (%(everything)s OR d.device_id = ANY (%(device_ids)s::text[]) OR d.site_id = ANY (%(site_ids)s::text[])
    OR d.tags && %(tags)s::text[])

-- name: select_sharing
-- Of some windows, those that cover a device that a scope covers too.
SELECT w.window_id FROM maintenance_windows AS w
WHERE w.tenant_id = %(tenant)s AND w.window_id = ANY (%(windows)s::uuid[]) AND (
  %(everything)s OR (w.site_ids = '{}' AND w.tags = '{}' AND w.device_ids = '{}')
  OR w.site_ids && %(site_ids)s::text[] OR w.tags && %(tags)s::text[] OR w.device_ids && %(device_ids)s::text[]
  OR EXISTS (SELECT FROM device_registry AS d
    WHERE d.tenant_id = w.tenant_id AND d.status <> 'DECOMMISSIONED'
      AND (d.device_id = ANY (w.device_ids) OR d.site_id = ANY (w.site_ids) OR d.tags && w.tags)
      AND (d.device_id = ANY (%(device_ids)s::text[]) OR d.site_id = ANY (%(site_ids)s::text[])
        OR d.tags && %(tags)s::text[])))
