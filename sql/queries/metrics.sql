-- What tenants call their metrics. %(tenant)s NULL is everybody's, for operators.

-- name: list_metrics
SELECT tenant_id, name, label, unit, decimals, usual_low, usual_high, updated_at
FROM metrics
WHERE (%(tenant)s::text IS NULL OR tenant_id = %(tenant)s)
  AND (%(after_tenant)s::text IS NULL OR (tenant_id, name) > (%(after_tenant)s, %(after_name)s))
ORDER BY tenant_id, name
LIMIT %(limit)s

-- name: select_metrics
SELECT tenant_id, name, label, unit, decimals, usual_low, usual_high, updated_at
FROM metrics WHERE tenant_id = %(tenant)s AND name = ANY(%(names)s::text[])

-- name: lock_metric
SELECT tenant_id, name, label, unit, decimals, usual_low, usual_high, updated_at
FROM metrics WHERE tenant_id = %(tenant)s AND name = %(name)s
FOR UPDATE

-- name: insert_metric
INSERT INTO metrics (tenant_id, name, label, unit, decimals, usual_low, usual_high, created_at, updated_at)
VALUES (%(tenant)s, %(name)s, %(label)s, %(unit)s, %(decimals)s, %(usual_low)s, %(usual_high)s, %(now)s, %(now)s)
ON CONFLICT (tenant_id, name) DO NOTHING
RETURNING tenant_id, name, label, unit, decimals, usual_low, usual_high, updated_at

-- name: update_metric
UPDATE metrics SET label = %(label)s, unit = %(unit)s, decimals = %(decimals)s, usual_low = %(usual_low)s,
  usual_high = %(usual_high)s, updated_at = %(now)s
WHERE tenant_id = %(tenant)s AND name = %(name)s
RETURNING tenant_id, name, label, unit, decimals, usual_low, usual_high, updated_at

-- name: delete_metric
DELETE FROM metrics WHERE tenant_id = %(tenant)s AND name = %(name)s

-- name: unknown_metrics
-- What devices heard lately send and nobody has named, each with a value. A tenant that has many names learns no more.
SELECT DISTINCT ON (s.tenant_id, l.name) s.tenant_id, l.name, l.value
FROM device_state AS s CROSS JOIN LATERAL jsonb_each(s.latest) AS l (name, value)
WHERE s.last_heard_at >= %(since)s
  AND NOT EXISTS (SELECT FROM metrics AS m WHERE m.tenant_id = s.tenant_id AND m.name = l.name)
  AND EXISTS (SELECT FROM tenants AS t WHERE t.tenant_id = s.tenant_id)
  AND (SELECT count(*) FROM metrics AS m WHERE m.tenant_id = s.tenant_id) < %(most)s
ORDER BY s.tenant_id, l.name
LIMIT %(limit)s

-- name: learn_metrics
INSERT INTO metrics (tenant_id, name, label, unit, decimals, created_at, updated_at)
SELECT n.tenant_id, n.name, n.label, n.unit, n.decimals, %(now)s::timestamptz, %(now)s
FROM unnest(%(tenants)s::text[], %(names)s::text[], %(labels)s::text[], %(units)s::text[], %(decimals)s::smallint[])
  AS n (tenant_id, name, label, unit, decimals)
ORDER BY n.tenant_id, n.name
ON CONFLICT (tenant_id, name) DO NOTHING
