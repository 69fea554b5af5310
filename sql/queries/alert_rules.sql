-- Rules of alerts. %(tenant)s NULL is everybody's, for operators.

-- name: list_rules
-- Alerts of a rule that are not closed are found by their fingerprints. Of the others the newest %(most)s count: more
-- than those nobody reads, and a rule that opens all day costs the page no more.
WITH page AS (
  SELECT * FROM (
    SELECT r.*, lower(r.name) COLLATE "C" AS sort_name, CASE WHEN %(by_severity)s
      THEN array_position(ARRAY['critical', 'high', 'medium', 'low', 'info'], r.severity) ELSE 0 END AS rank
    FROM alert_rules AS r
    WHERE r.deleted_at IS NULL
      AND (%(tenant)s::text IS NULL OR r.tenant_id = %(tenant)s)
      AND (%(rule)s::uuid IS NULL OR r.rule_id = %(rule)s)
      AND (%(enabled)s::boolean IS NULL OR r.enabled = %(enabled)s)
      AND (NOT %(failing)s OR r.error IS NOT NULL)
      AND (%(severities)s::text[] = '{}' OR r.severity = ANY(%(severities)s))
      AND (%(kinds)s::text[] = '{}' OR r.kind = ANY(%(kinds)s))
      AND NOT EXISTS (
        SELECT FROM unnest(%(words)s::text[]) AS w (word)
        WHERE position(w.word IN lower(concat_ws(' ', r.name, r.description, r.parameters->>'metric', array_to_string(
          r.site_ids || r.tags || r.device_prefixes || r.device_ids, ' ')))) = 0)
  ) AS matching
  WHERE %(after_name)s::text IS NULL
    OR (rank, sort_name, tenant_id, rule_id) > (%(after_rank)s, %(after_name)s, %(after_tenant)s, %(after_rule)s::uuid)
  ORDER BY rank, sort_name, tenant_id, rule_id
  LIMIT %(limit)s
)
SELECT p.tenant_id, p.rule_id, p.name, p.description, p.enabled, p.severity, p.kind, p.parameters, p.site_ids, p.tags,
  p.device_prefixes, p.device_ids, p.built_in, p.version, p.error, p.error_at, p.created_at, p.updated_at,
  p.rank, p.sort_name, p.error_count, unclosed.count, newest.count, newest.last_at
FROM page AS p
CROSS JOIN LATERAL (
  SELECT count(*) FROM fleet_alert AS a
  WHERE a.tenant_id = p.tenant_id AND a.status <> 'CLOSED'
    AND a.fingerprint >= 'rule:' || p.rule_id || ':' AND a.fingerprint < 'rule:' || p.rule_id || ';'
) AS unclosed
CROSS JOIN LATERAL (
  SELECT count(*) FILTER (WHERE created_at >= %(since)s), max(created_at) AS last_at
  FROM (
    SELECT a.created_at FROM fleet_alert AS a WHERE a.tenant_id = p.tenant_id AND a.rule_id = p.rule_id
    ORDER BY a.id DESC LIMIT %(most)s
  ) AS a
) AS newest
ORDER BY p.rank, p.sort_name, p.tenant_id, p.rule_id

-- name: count_rules
SELECT kind, count(*), count(*) FILTER (WHERE error IS NOT NULL)
FROM alert_rules
WHERE deleted_at IS NULL AND (%(tenant)s::text IS NULL OR tenant_id = %(tenant)s)
GROUP BY kind

-- name: count_covered
-- The ACTIVE devices that each of the rules is about; as alert_rule_covers has it, without a call for each pair.
SELECT r.tenant_id, r.rule_id, (
  SELECT count(*) FROM device_registry AS d
  WHERE d.tenant_id = r.tenant_id AND d.status = 'ACTIVE' AND (
    (r.site_ids = '{}' AND r.tags = '{}' AND r.device_prefixes = '{}' AND r.device_ids = '{}')
    OR d.device_id = ANY(r.device_ids) OR d.site_id = ANY(r.site_ids) OR d.tags && r.tags
    OR d.device_id ^@ ANY(r.device_prefixes)))
FROM alert_rules AS r WHERE r.rule_id = ANY(%(rules)s)

-- name: count_of_tenant
SELECT count(*) FROM alert_rules WHERE tenant_id = %(tenant)s AND deleted_at IS NULL

-- name: lock_rule
SELECT 1 FROM alert_rules WHERE tenant_id = %(tenant)s AND rule_id = %(rule)s AND deleted_at IS NULL FOR NO KEY UPDATE

-- name: insert_rule
INSERT INTO alert_rules (tenant_id, name, description, enabled, severity, kind, parameters, site_ids, tags,
  device_prefixes, device_ids, created_at, updated_at)
VALUES (%(tenant)s, %(name)s, %(description)s, %(enabled)s, %(severity)s, %(kind)s, %(parameters)s::jsonb, %(site_ids)s,
  %(tags)s, %(device_prefixes)s, %(device_ids)s, %(now)s, %(now)s)
RETURNING rule_id

-- name: update_rule
UPDATE alert_rules SET name = %(name)s, description = %(description)s, enabled = %(enabled)s, severity = %(severity)s,
  kind = %(kind)s, parameters = %(parameters)s::jsonb, site_ids = %(site_ids)s, tags = %(tags)s,
  device_prefixes = %(device_prefixes)s, device_ids = %(device_ids)s, updated_at = %(now)s, error = NULL, error_at = NULL
WHERE tenant_id = %(tenant)s AND rule_id = %(rule)s AND deleted_at IS NULL

-- name: delete_rule
UPDATE alert_rules SET deleted_at = %(now)s, updated_at = %(now)s
WHERE tenant_id = %(tenant)s AND rule_id = %(rule)s AND deleted_at IS NULL

-- name: load_rules
-- One that raised an error is skipped until it is saved again, which wipes the error.
SELECT r.tenant_id, r.rule_id, r.name, r.description, r.enabled, r.severity, r.kind, r.parameters, r.site_ids, r.tags,
  r.device_prefixes, r.device_ids, r.built_in, r.version, r.error, r.error_at, r.created_at, r.updated_at
FROM alert_rules AS r
WHERE r.enabled AND r.deleted_at IS NULL AND r.error IS NULL AND (%(tenants)s::text[] IS NULL OR r.tenant_id = ANY(%(tenants)s))
ORDER BY r.tenant_id, r.rule_id

-- name: mark_error
UPDATE alert_rules SET error = %(error)s, error_at = %(now)s, error_count = error_count + %(times)s
WHERE tenant_id = %(tenant)s AND rule_id = %(rule)s AND version = %(version)s AND deleted_at IS NULL

-- name: enable_rule
UPDATE alert_rules SET enabled = %(enabled)s, updated_at = %(now)s
WHERE tenant_id = %(tenant)s AND rule_id = %(rule)s AND deleted_at IS NULL
