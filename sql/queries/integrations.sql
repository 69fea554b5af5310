-- Integrations, as people make, see, change and delete them. %(tenant)s NULL is everybody's, for operators.

-- name: list_integrations
SELECT i.tenant_id, i.integration_id, i.name, i.type, i.enabled, i.disabled_reason, i.config::text, i.secrets::text, i.concurrency,
  i.version, i.created_at, i.updated_at, h.last_success_at, h.last_failure_at, h.last_error, h.failing_since, h.unreachable_since,
  (SELECT count(*) FROM integration_routes AS r WHERE (r.tenant_id, r.integration_id) = (i.tenant_id, i.integration_id)),
  k.name
FROM integrations AS i
CROSS JOIN LATERAL (SELECT lower(i.name) COLLATE "C" AS name) AS k
LEFT JOIN integration_health AS h ON (h.tenant_id, h.integration_id) = (i.tenant_id, i.integration_id)
WHERE (%(tenant)s::text IS NULL OR i.tenant_id = %(tenant)s)
  AND (%(integration)s::uuid IS NULL OR i.integration_id = %(integration)s)
  AND (cardinality(%(types)s::text[]) = 0 OR i.type = ANY (%(types)s))
  AND (%(enabled)s::boolean IS NULL OR i.enabled = %(enabled)s)
  AND (SELECT coalesce(bool_and(position(w.word IN lower(i.name)) > 0), true) FROM unnest(%(words)s::text[]) AS w (word))
  AND (%(after_tenant)s::text IS NULL
    OR (i.tenant_id, k.name, i.integration_id) > (%(after_tenant)s, %(after_name)s, %(after_id)s::uuid))
ORDER BY i.tenant_id, k.name, i.integration_id
LIMIT %(limit)s

-- name: count_of_tenant
SELECT count(*) FROM integrations WHERE tenant_id = %(tenant)s

-- name: tenant_exists
SELECT 1 FROM tenants WHERE tenant_id = %(tenant)s AND status <> 'DELETING'

-- name: lock_integration
SELECT 1 FROM integrations WHERE tenant_id = %(tenant)s AND integration_id = %(integration)s FOR UPDATE

-- name: insert_integration
INSERT INTO integrations (tenant_id, integration_id, name, type, enabled, config, secrets, concurrency, created_at, updated_at)
VALUES (%(tenant)s, %(integration)s, %(name)s, %(type)s, %(enabled)s, %(config)s::jsonb, %(secrets)s::jsonb, %(concurrency)s,
  %(now)s, %(now)s)

-- name: update_integration
UPDATE integrations SET name = %(name)s, enabled = %(enabled)s,
  disabled_reason = CASE WHEN NOT %(enabled)s AND NOT enabled THEN disabled_reason END,
  config = %(config)s::jsonb, secrets = %(secrets)s::jsonb, concurrency = %(concurrency)s, version = version + 1,
  updated_at = %(now)s
WHERE tenant_id = %(tenant)s AND integration_id = %(integration)s

-- name: close_breaker
-- What a person has changed is tried at once.
UPDATE integration_health SET failures = 0, breaker_opened_at = NULL, next_probe_at = NULL
WHERE tenant_id = %(tenant)s AND integration_id = %(integration)s AND (failures > 0 OR breaker_opened_at IS NOT NULL)

-- name: routes_of_integration
SELECT name FROM integration_routes WHERE tenant_id = %(tenant)s AND integration_id = %(integration)s ORDER BY lower(name)

-- name: delete_integration
DELETE FROM integrations WHERE tenant_id = %(tenant)s AND integration_id = %(integration)s

-- name: note_sample
-- A sample that was delivered ends a pause: what waits is tried at once.
UPDATE integration_health SET failures = 0, failing_since = NULL, breaker_opened_at = NULL, next_probe_at = NULL,
  unreachable_since = NULL
WHERE tenant_id = %(tenant)s AND integration_id = %(integration)s
