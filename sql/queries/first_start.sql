-- name: insert_first_tenant
INSERT INTO tenants (tenant_id, name) SELECT %(tenant)s, 'Demo' WHERE NOT EXISTS (SELECT FROM tenants)
ON CONFLICT DO NOTHING RETURNING tenant_id
