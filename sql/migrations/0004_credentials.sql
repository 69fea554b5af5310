-- What devices prove themselves with. Secrets are random, at least 128 bits, shown once; only their hashes are here.

CREATE TABLE device_credentials (
  tenant_id text COLLATE "C" NOT NULL,
  device_id text COLLATE "C" NOT NULL,
  mqtt_hash text NOT NULL,
  token_hash bytea NOT NULL,
  previous_token_hash bytea,
  previous_token_until timestamptz,
  staged_mqtt_hash text,
  staged_at timestamptz,
  switch_at timestamptz,
  created_at timestamptz NOT NULL DEFAULT now(),
  rotated_at timestamptz,
  last_used_at timestamptz,
  PRIMARY KEY (tenant_id, device_id),
  FOREIGN KEY (tenant_id, device_id) REFERENCES device_registry (tenant_id, device_id) ON DELETE CASCADE,
  CONSTRAINT device_credentials_token_sha256 CHECK (octet_length(token_hash) = 32),
  CONSTRAINT device_credentials_previous_sha256 CHECK (octet_length(previous_token_hash) = 32),
  CONSTRAINT device_credentials_previous_ends CHECK ((previous_token_hash IS NULL) = (previous_token_until IS NULL)),
  CONSTRAINT device_credentials_staged_since CHECK ((staged_mqtt_hash IS NULL) = (staged_at IS NULL)),
  CONSTRAINT device_credentials_switch_staged CHECK (switch_at IS NULL OR staged_mqtt_hash IS NOT NULL)
);
COMMENT ON TABLE device_credentials IS
  'The broker user {tenant_id}/device/{device_id} and the HTTP token of a device. Revoking removes the row.';
COMMENT ON COLUMN device_credentials.mqtt_hash IS 'As it stands in the broker''s password file, behind the colon.';
COMMENT ON COLUMN device_credentials.token_hash IS 'SHA-256.';
COMMENT ON COLUMN device_credentials.previous_token_until IS 'The token before the last rotation is good until then.';
COMMENT ON COLUMN device_credentials.switch_at IS 'When the staged password takes over; NULL: when a person says so.';
CREATE INDEX device_credentials_switch ON device_credentials (switch_at) WHERE switch_at IS NOT NULL;

ALTER TABLE device_credentials ENABLE ROW LEVEL SECURITY;
ALTER TABLE device_credentials FORCE ROW LEVEL SECURITY;
CREATE POLICY device_credentials_tenant ON device_credentials TO appliance_web
  USING (tenant_id = NULLIF(current_setting('appliance.tenant_id', true), ''));
CREATE POLICY device_credentials_owner ON device_credentials TO appliance_owner USING (true) WITH CHECK (true);
GRANT SELECT, INSERT, UPDATE, DELETE ON device_credentials TO appliance_ingest, appliance_web;

-- The claim user of a tenant: the broker user {tenant_id}, with which new devices announce themselves.
ALTER TABLE tenants
  ADD COLUMN claim_enabled boolean NOT NULL DEFAULT true,
  ADD COLUMN claim_mqtt_hash text,
  ADD COLUMN claim_token_hash bytea,
  ADD CONSTRAINT tenants_claim_token_sha256 CHECK (octet_length(claim_token_hash) = 32),
  ADD CONSTRAINT tenants_claim_whole CHECK ((claim_mqtt_hash IS NULL) = (claim_token_hash IS NULL));
COMMENT ON COLUMN tenants.claim_mqtt_hash IS 'Of the claim password, as in the broker''s password file.';
COMMENT ON COLUMN tenants.claim_token_hash IS 'SHA-256 of the same claim password, for HTTP.';
GRANT UPDATE (claim_enabled, claim_mqtt_hash, claim_token_hash) ON tenants TO appliance_web;
