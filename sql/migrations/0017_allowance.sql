-- The allowance: what a device that was away may send late, beside its token bucket.

ALTER TABLE device_state ADD COLUMN allowance_full_at timestamptz;
COMMENT ON COLUMN device_state.allowance_full_at IS
  'When its bucket and its allowance are both full again if it sends nothing more; NULL: they filled since it was registered.';

-- Not a column of tenants: people lock those rows, and every change of one is told to the caches.
CREATE TABLE tenant_allowances (
  tenant_id text COLLATE "C" PRIMARY KEY,
  full_at timestamptz NOT NULL
) WITH (fillfactor = 50);  -- written once a second at most: half a page free keeps the updates off the index (HOT)
COMMENT ON TABLE tenant_allowances IS
  'Of tenants with a limit: when bucket and allowance of all their devices together are full again.';

ALTER TABLE tenant_allowances ENABLE ROW LEVEL SECURITY;
ALTER TABLE tenant_allowances FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant_allowances_tenant ON tenant_allowances TO appliance_web
  USING (tenant_id = NULLIF(current_setting('appliance.tenant_id', true), ''));
CREATE POLICY tenant_allowances_owner ON tenant_allowances TO appliance_owner USING (true) WITH CHECK (true);
GRANT SELECT, INSERT, UPDATE, DELETE ON tenant_allowances TO appliance_ingest;
GRANT SELECT ON tenant_allowances TO appliance_web;
