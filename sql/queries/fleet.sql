-- Devices as people see them: found, filtered, sorted, looked at. %(tenant)s NULL is everybody's, for operators.
--
-- A filter: each NULL leaves its column alone; in a list of sites or subscriptions '' stands for none.

-- name: lock_device
SELECT tenant_id, device_id, status, subscription_id, site_id, name, place, tags, interval_seconds, rate, burst, updated_at
FROM device_registry WHERE tenant_id = %(tenant)s AND device_id = %(device)s
FOR NO KEY UPDATE

-- name: update_limits
UPDATE device_registry SET rate = %(rate)s, burst = %(burst)s, updated_at = %(now)s
WHERE tenant_id = %(tenant)s AND device_id = %(device)s

-- name: list_fleet
-- Those that wait for a person first, then by one key. The key is text, so that a place in the list is of one type
-- whatever it is sorted by.
WITH matching AS (
  SELECT d.tenant_id, d.device_id, d.status = 'PENDING' AS waiting, count(*) OVER () AS total,
    CASE %(sort)s
      WHEN 'name' THEN lower(coalesce(d.name, d.device_id COLLATE "default"))
      WHEN 'site' THEN coalesce(d.site_id COLLATE "default", '')
      WHEN 'last_seen' THEN to_char(coalesce(s.last_seen_at, '0001-01-01Z') AT TIME ZONE 'UTC', 'YYYYMMDDHH24MISSUS')
      WHEN 'created' THEN to_char(d.created_at AT TIME ZONE 'UTC', 'YYYYMMDDHH24MISSUS')
      ELSE d.device_id COLLATE "default"
    END COLLATE "C" AS key
  FROM device_registry AS d
  LEFT JOIN device_state AS s USING (tenant_id, device_id)
  JOIN presence_watch AS w ON w.instance = coalesce(s.heard_by, '')
  WHERE d.status <> 'DECOMMISSIONED'
    AND (%(tenant)s::text IS NULL OR d.tenant_id = %(tenant)s)
    AND (%(statuses)s::text[] IS NULL OR d.status = ANY(%(statuses)s))
    AND (%(sites)s::text[] IS NULL OR coalesce(d.site_id, '') = ANY(%(sites)s))
    AND (%(subscriptions)s::text[] IS NULL OR coalesce(d.subscription_id, '') = ANY(%(subscriptions)s))
    AND (%(tags)s::text[] IS NULL OR d.tags && %(tags)s)
    AND (%(patterns)s::text[] IS NULL OR lower(concat_ws(' ', d.device_id COLLATE "default", d.name, d.place,
      array_to_string(d.tags, ' '))) LIKE ALL (%(patterns)s))
    AND (%(presences)s::text[] IS NULL
      OR d.status = 'ACTIVE' AND presence_of(s, d.interval_seconds, w) = ANY(%(presences)s))
), page AS (
  SELECT tenant_id, device_id, waiting, key, total FROM matching
  WHERE %(after_device)s::text IS NULL
    OR waiting < %(after_waiting)s
    OR waiting = %(after_waiting)s AND (
      CASE WHEN %(down)s THEN key < %(after_key)s ELSE key > %(after_key)s END
      OR key = %(after_key)s AND (tenant_id, device_id) > (%(after_tenant)s::text, %(after_device)s))
  ORDER BY waiting DESC, CASE WHEN %(down)s THEN key END DESC, CASE WHEN NOT %(down)s THEN key END, tenant_id, device_id
  LIMIT %(limit)s
)
SELECT d.tenant_id, d.device_id, d.status, d.subscription_id, d.site_id, d.name, d.place, d.tags, d.interval_seconds,
  p.name, d.created_at, d.updated_at, d.rate, d.burst, presence_of(s, d.interval_seconds, w), s.last_ts, s.last_seen_at,
  s.last_heard_at, s.refused_at, s.refused_reason, s.ts_adjusted_at, coalesce(s.null_metrics, 0), coalesce(s.unplaced, 0),
  s.learned_interval,
  coalesce(s.latest, '{}'), c.device_id IS NOT NULL, c.switch_at, page.waiting, page.key, page.total
FROM page
JOIN device_registry AS d USING (tenant_id, device_id)
LEFT JOIN device_state AS s USING (tenant_id, device_id)
LEFT JOIN device_credentials AS c USING (tenant_id, device_id)
LEFT JOIN sites AS p ON p.tenant_id = d.tenant_id AND p.site_id = d.site_id
JOIN presence_watch AS w ON w.instance = coalesce(s.heard_by, '')
ORDER BY waiting DESC, CASE WHEN %(down)s THEN key END DESC, CASE WHEN NOT %(down)s THEN key END, d.tenant_id, d.device_id

-- name: get_of_fleet
SELECT d.tenant_id, d.device_id, d.status, d.subscription_id, d.site_id, d.name, d.place, d.tags, d.interval_seconds,
  p.name, d.created_at, d.updated_at, d.rate, d.burst, presence_of(s, d.interval_seconds, w), s.last_ts, s.last_seen_at,
  s.last_heard_at, s.refused_at, s.refused_reason, s.ts_adjusted_at, coalesce(s.null_metrics, 0), coalesce(s.unplaced, 0),
  s.learned_interval,
  coalesce(s.latest, '{}'), c.device_id IS NOT NULL, c.switch_at
FROM device_registry AS d
LEFT JOIN device_state AS s USING (tenant_id, device_id)
LEFT JOIN device_credentials AS c USING (tenant_id, device_id)
LEFT JOIN sites AS p ON p.tenant_id = d.tenant_id AND p.site_id = d.site_id
JOIN presence_watch AS w ON w.instance = coalesce(s.heard_by, '')
WHERE d.tenant_id = %(tenant)s AND d.device_id = %(device)s AND d.status <> 'DECOMMISSIONED'

-- name: named_of_fleet
SELECT d.tenant_id, d.device_id, d.status, d.subscription_id, d.site_id, d.name, d.place, d.tags, d.interval_seconds,
  p.name, d.created_at, d.updated_at, d.rate, d.burst, presence_of(s, d.interval_seconds, w), s.last_ts, s.last_seen_at,
  s.last_heard_at, s.refused_at, s.refused_reason, s.ts_adjusted_at, coalesce(s.null_metrics, 0), coalesce(s.unplaced, 0),
  s.learned_interval,
  coalesce(s.latest, '{}'), c.device_id IS NOT NULL, c.switch_at
FROM unnest(%(tenants)s::text[], %(devices)s::text[]) AS n (tenant_id, device_id)
JOIN device_registry AS d USING (tenant_id, device_id)
LEFT JOIN device_state AS s USING (tenant_id, device_id)
LEFT JOIN device_credentials AS c USING (tenant_id, device_id)
LEFT JOIN sites AS p ON p.tenant_id = d.tenant_id AND p.site_id = d.site_id
JOIN presence_watch AS w ON w.instance = coalesce(s.heard_by, '')
WHERE d.status <> 'DECOMMISSIONED'

-- name: allowance_full_at
SELECT allowance_full_at FROM device_state WHERE tenant_id = %(tenant)s AND device_id = %(device)s

-- name: count_fleet
-- What a filter can choose from, each with how many devices have it. Presence is that of ACTIVE devices.
SELECT CASE grouping(d.status, f.presence, d.site_id, d.subscription_id)
    WHEN 7 THEN 'status' WHEN 11 THEN 'presence' WHEN 13 THEN 'site' ELSE 'subscription' END,
  coalesce(d.status, f.presence, d.site_id COLLATE "default", d.subscription_id COLLATE "default", ''), count(*)
FROM device_registry AS d
LEFT JOIN device_state AS s USING (tenant_id, device_id)
JOIN presence_watch AS w ON w.instance = coalesce(s.heard_by, '')
CROSS JOIN LATERAL (
  SELECT CASE WHEN d.status = 'ACTIVE' THEN presence_of(s, d.interval_seconds, w) END AS presence
) AS f
WHERE d.status <> 'DECOMMISSIONED' AND (%(tenant)s::text IS NULL OR d.tenant_id = %(tenant)s)
GROUP BY GROUPING SETS ((d.status), (f.presence), (d.site_id), (d.subscription_id))
ORDER BY 1, 3 DESC, 2

-- name: count_by_site
-- One line a site, the devices without one in a line of their own; presence is that of ACTIVE devices.
SELECT d.tenant_id, coalesce(d.site_id, ''), coalesce(p.name, d.site_id, ''),
  count(*) FILTER (WHERE d.status = 'ACTIVE'), count(*) FILTER (WHERE d.status = 'PENDING'),
  count(*) FILTER (WHERE d.status NOT IN ('ACTIVE', 'PENDING')),
  count(*) FILTER (WHERE f.presence = 'ONLINE'), count(*) FILTER (WHERE f.presence = 'STALE'),
  count(*) FILTER (WHERE f.presence = 'OFFLINE'), count(*) FILTER (WHERE f.presence = 'REFUSED'),
  count(*) FILTER (WHERE f.presence = 'NEW'), count(s.last_seen_at)
FROM device_registry AS d
LEFT JOIN device_state AS s USING (tenant_id, device_id)
LEFT JOIN sites AS p ON p.tenant_id = d.tenant_id AND p.site_id = d.site_id
JOIN presence_watch AS w ON w.instance = coalesce(s.heard_by, '')
CROSS JOIN LATERAL (
  SELECT CASE WHEN d.status = 'ACTIVE' THEN presence_of(s, d.interval_seconds, w) END AS presence
) AS f
WHERE d.status <> 'DECOMMISSIONED' AND (%(tenant)s::text IS NULL OR d.tenant_id = %(tenant)s)
GROUP BY 1, 2, 3
ORDER BY 1, 3, 2

-- name: open_claim_users
-- Tenants whose claim user is open: whoever has its password may announce devices.
SELECT tenant_id FROM tenants
WHERE claim_enabled AND claim_mqtt_hash IS NOT NULL AND status = 'ACTIVE'
  AND (%(tenant)s::text IS NULL OR tenant_id = %(tenant)s)
ORDER BY tenant_id
