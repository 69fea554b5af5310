-- Alerts that no device's reading causes: which conditions hold, and what devices lose to their limits.

CREATE TABLE alert_conditions (
  tenant_id text COLLATE "C" NOT NULL REFERENCES tenants,
  fingerprint text COLLATE "C" NOT NULL,
  keeper text COLLATE "C",
  since timestamptz NOT NULL,
  PRIMARY KEY (tenant_id, fingerprint)
);
COMMENT ON TABLE alert_conditions IS
  'The conditions that hold now, with an alert or, where a person closed it, without: it opens anew only after its condition has ended.';
COMMENT ON COLUMN alert_conditions.keeper IS
  'What compares it with how things are, and ends it; NULL: whoever raised it ends it.';
CREATE INDEX alert_conditions_keeper ON alert_conditions (keeper, tenant_id, fingerprint) WHERE keeper IS NOT NULL;

CREATE TABLE message_losses (
  tenant_id text COLLATE "C" NOT NULL REFERENCES tenants,
  device_id text COLLATE "C" NOT NULL,
  lost bigint NOT NULL,
  first_at timestamptz NOT NULL,
  last_at timestamptz NOT NULL,
  PRIMARY KEY (tenant_id, device_id),
  CONSTRAINT message_losses_positive CHECK (lost > 0)
) WITH (fillfactor = 70);  -- a row is added to once a second
COMMENT ON TABLE message_losses IS
  'Registered devices whose messages were refused for a rate limit, until none was for ten minutes.';
COMMENT ON COLUMN message_losses.lost IS 'Messages since first_at.';

-- Devices that wait for a seat, counted one by one: there are as many probes as devices, not as messages.
CREATE INDEX quarantine_events_seatless ON quarantine_events (tenant_id, device_id)
  WHERE status = 'HELD' AND reason = 'NO_SUBSCRIPTION_CAPACITY';

DO $$
DECLARE
  name text;
BEGIN
  FOREACH name IN ARRAY ARRAY['alert_conditions', 'message_losses'] LOOP
    EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
    EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', name);
    EXECUTE format(
      'CREATE POLICY %I ON %I TO appliance_web'
      ' USING (tenant_id = NULLIF(current_setting(''appliance.tenant_id'', true), ''''))', name || '_tenant', name);
    EXECUTE format('CREATE POLICY %I ON %I TO appliance_owner USING (true) WITH CHECK (true)', name || '_owner', name);
  END LOOP;
END
$$;
GRANT SELECT, INSERT, UPDATE, DELETE ON alert_conditions, message_losses TO appliance_ingest;
