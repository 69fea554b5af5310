-- Where devices stand. %(tenant)s NULL is everybody's, for operators.

-- name: list_sites
SELECT s.tenant_id, s.site_id, s.name, s.time_zone, t.time_zone, s.lat, s.lng, s.updated_at,
  (SELECT count(*) FROM device_registry AS d
   WHERE d.tenant_id = s.tenant_id AND d.site_id = s.site_id AND d.status <> 'DECOMMISSIONED')
FROM sites AS s JOIN tenants AS t USING (tenant_id)
WHERE (%(tenant)s::text IS NULL OR s.tenant_id = %(tenant)s)
  AND (%(after_tenant)s::text IS NULL OR (s.tenant_id, s.site_id) > (%(after_tenant)s, %(after_site)s))
ORDER BY s.tenant_id, s.site_id
LIMIT %(limit)s

-- name: select_site
SELECT s.tenant_id, s.site_id, s.name, s.time_zone, t.time_zone, s.lat, s.lng, s.updated_at,
  (SELECT count(*) FROM device_registry AS d
   WHERE d.tenant_id = s.tenant_id AND d.site_id = s.site_id AND d.status <> 'DECOMMISSIONED')
FROM sites AS s JOIN tenants AS t USING (tenant_id)
WHERE s.tenant_id = %(tenant)s AND s.site_id = %(site)s

-- name: lock_site
-- Whoever registers a device there does not wait for us: a site is only mentioned.
SELECT 1 FROM sites WHERE tenant_id = %(tenant)s AND site_id = %(site)s FOR UPDATE

-- name: insert_site
INSERT INTO sites (tenant_id, site_id, name, time_zone, lat, lng, created_at, updated_at)
VALUES (%(tenant)s, %(site)s, %(name)s, %(time_zone)s, %(lat)s, %(lng)s, %(now)s, %(now)s)
ON CONFLICT (tenant_id, site_id) DO NOTHING

-- name: mention_sites
INSERT INTO sites (tenant_id, site_id, name, created_at, updated_at)
SELECT m.tenant_id, m.site_id, m.name, %(now)s, %(now)s
FROM unnest(%(tenants)s::text[], %(sites)s::text[], %(names)s::text[]) AS m (tenant_id, site_id, name)
ORDER BY m.tenant_id, m.site_id
ON CONFLICT (tenant_id, site_id) DO NOTHING

-- name: update_site
UPDATE sites SET name = %(name)s, time_zone = %(time_zone)s, lat = %(lat)s, lng = %(lng)s,
  updated_at = %(now)s
WHERE tenant_id = %(tenant)s AND site_id = %(site)s

-- name: delete_site
DELETE FROM sites WHERE tenant_id = %(tenant)s AND site_id = %(site)s

-- name: select_site_names
SELECT site_id, name FROM sites WHERE tenant_id = %(tenant)s AND site_id = ANY(%(sites)s::text[]) AND name IS NOT NULL
