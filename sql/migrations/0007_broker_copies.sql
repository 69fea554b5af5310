-- What the embedded brokers have of the credentials: a command that makes, rotates or revokes one asks here whether it
-- has arrived.

CREATE TABLE broker_copies (
  instance text COLLATE "C" PRIMARY KEY,
  lock_key bigint NOT NULL,
  applied pg_snapshot NOT NULL,
  applied_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE broker_copies IS 'One row for each appliance with a broker of its own: which changes its broker knows.';
COMMENT ON COLUMN broker_copies.lock_key IS
  'Of an advisory lock that the appliance holds while it serves: without it nobody brings changes to that broker.';
COMMENT ON COLUMN broker_copies.applied IS 'Transactions visible in it are known to the broker.';
GRANT SELECT, INSERT, UPDATE ON broker_copies TO appliance_ingest;
GRANT SELECT ON broker_copies TO appliance_web;

-- The hashes are lines of the broker's password file: nothing in them may end a line or start another.
ALTER TABLE device_credentials
  ADD CONSTRAINT device_credentials_mqtt_hash CHECK (mqtt_hash ~ '^[!-9;-~]+$'),
  ADD CONSTRAINT device_credentials_staged_hash CHECK (staged_mqtt_hash ~ '^[!-9;-~]+$');
ALTER TABLE tenants
  ADD CONSTRAINT tenants_claim_hash CHECK (claim_mqtt_hash ~ '^[!-9;-~]+$'),
  -- A claim user has the name of its tenant, and this one is the appliance's own.
  ADD CONSTRAINT tenants_name_is_free CHECK (tenant_id <> 'appliance');
