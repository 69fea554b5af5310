-- name: select_admission
SELECT d.tenant_id, d.device_id, d.status, d.subscription_id, d.site_id, c.token_hash, c.previous_token_hash,
  c.previous_token_until, (extract(epoch FROM d.created_at) * 1000000)::bigint
FROM device_registry AS d
JOIN unnest(%(tenants)s::text[], %(devices)s::text[]) AS k (tenant_id, device_id) USING (tenant_id, device_id)
LEFT JOIN device_credentials AS c USING (tenant_id, device_id)

-- name: select_senders
-- Of a tenant that is being deleted there are none.
SELECT d.tenant_id, d.device_id, d.status, c.device_id IS NOT NULL
FROM device_registry AS d
JOIN unnest(%(tenants)s::text[], %(devices)s::text[]) AS k (tenant_id, device_id) USING (tenant_id, device_id)
LEFT JOIN device_credentials AS c USING (tenant_id, device_id)
WHERE EXISTS (SELECT FROM tenants AS t WHERE t.tenant_id = d.tenant_id AND t.status <> 'DELETING')

-- name: select_tenants
-- The appliance's own is not there for devices, nor is one that is being deleted.
SELECT t.tenant_id, t.status, t.claim_enabled, t.claim_token_hash,
  (extract(epoch FROM t.created_at) * 1000000)::bigint, (extract(epoch FROM a.full_at) * 1000000)::bigint
FROM tenants AS t LEFT JOIN tenant_allowances AS a USING (tenant_id)
WHERE t.tenant_id = ANY(%(tenants)s::text[]) AND t.tenant_id <> 'appliance' AND t.status <> 'DELETING'

-- name: adopt_sites
-- A device without a site takes the first one that it names. Locked in order of id first, like every device row.
WITH homeless AS (
  SELECT d.tenant_id, d.device_id, k.site_id
  FROM device_registry AS d
  JOIN unnest(%(tenants)s::text[], %(devices)s::text[], %(sites)s::text[]) AS k (tenant_id, device_id, site_id)
    USING (tenant_id, device_id)
  WHERE d.site_id IS NULL
  ORDER BY d.tenant_id, d.device_id
  FOR NO KEY UPDATE OF d
)
UPDATE device_registry AS d SET site_id = h.site_id, updated_at = %(now)s
FROM homeless AS h
WHERE d.tenant_id = h.tenant_id AND d.device_id = h.device_id

-- name: select_overrides
SELECT tenant_id, NULL AS device_id, rate, burst, tenant_rate FROM tenants
WHERE rate IS NOT NULL OR burst IS NOT NULL OR tenant_rate IS NOT NULL
UNION ALL
SELECT tenant_id, device_id, rate, burst, NULL FROM device_registry WHERE rate IS NOT NULL OR burst IS NOT NULL
