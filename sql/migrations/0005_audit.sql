-- Who changed what. Rows are written in the transaction of the change, and nothing the product logs in with can change
-- or remove one. They outlive what they tell of: no foreign keys.

CREATE TABLE audit_log (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  at timestamptz NOT NULL DEFAULT clock_timestamp(),
  tenant_id text COLLATE "C",
  actor text NOT NULL,
  actor_kind text NOT NULL,
  action text NOT NULL,
  object_type text NOT NULL,
  object_id text NOT NULL,
  before jsonb,
  after jsonb,
  address text,
  CONSTRAINT audit_log_actor_kind CHECK (actor_kind IN ('user', 'token', 'command', 'device', 'appliance'))
);
COMMENT ON COLUMN audit_log.tenant_id IS 'NULL: of the appliance as a whole; only operators see it.';
CREATE INDEX audit_log_tenant ON audit_log (tenant_id, id);
CREATE INDEX audit_log_object ON audit_log (tenant_id, object_type, object_id, id);

ALTER TABLE audit_log ENABLE ROW LEVEL SECURITY;
ALTER TABLE audit_log FORCE ROW LEVEL SECURITY;
CREATE POLICY audit_log_tenant ON audit_log TO appliance_web
  USING (tenant_id = NULLIF(current_setting('appliance.tenant_id', true), ''));
CREATE POLICY audit_log_owner ON audit_log TO appliance_owner USING (true) WITH CHECK (true);
GRANT SELECT, INSERT ON audit_log TO appliance_ingest, appliance_web;
