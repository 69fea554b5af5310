-- name: record
INSERT INTO audit_log (at, tenant_id, actor, actor_kind, action, object_type, object_id, before, after, address)
SELECT %(now)s::timestamptz, e.tenant_id, %(actor)s, %(actor_kind)s, e.action, e.object_type, e.object_id, e.before::jsonb,
  e.after::jsonb, %(address)s
FROM unnest(
  %(tenants)s::text[], %(actions)s::text[], %(types)s::text[], %(ids)s::text[], %(befores)s::text[], %(afters)s::text[]
) WITH ORDINALITY AS e (tenant_id, action, object_type, object_id, before, after, place)
ORDER BY e.place
