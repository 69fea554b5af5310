-- The appliance's own tenant. Alerts about the appliance itself are its, and later the routes that tell of them.
--
-- Nobody makes, changes or deletes it: the row is fixed here, and what customers have - devices, subscriptions, sites,
-- metrics, rules, users - is refused. A claim user would have the name of the appliance's own broker user.

ALTER TABLE tenants
  DROP CONSTRAINT tenants_name_is_free,
  ADD CONSTRAINT tenants_appliance_fixed CHECK (tenant_id <> 'appliance' OR (
    status = 'ACTIVE' AND provisioning = 'off' AND NOT claim_enabled AND claim_mqtt_hash IS NULL
    AND rate IS NULL AND burst IS NULL AND tenant_rate IS NULL));

DO $$
DECLARE
  name text;
BEGIN
  FOREACH name IN ARRAY ARRAY['device_registry', 'device_credentials', 'subscriptions', 'sites', 'metrics', 'alert_rules', 'users']
  LOOP
    EXECUTE format('ALTER TABLE %I ADD CONSTRAINT %I CHECK (tenant_id <> ''appliance'')', name, name || '_of_customer');
  END LOOP;
END
$$;

CREATE FUNCTION tenants_keep_appliance() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
  RAISE EXCEPTION 'the tenant "appliance" is the appliance itself: it is neither renamed nor deleted'
    USING ERRCODE = 'check_violation', CONSTRAINT = 'tenants_appliance_kept';
END
$$;
CREATE TRIGGER tenants_keep_appliance BEFORE DELETE ON tenants
  FOR EACH ROW WHEN (OLD.tenant_id = 'appliance') EXECUTE FUNCTION tenants_keep_appliance();
CREATE TRIGGER tenants_keep_appliances_name BEFORE UPDATE OF tenant_id ON tenants
  FOR EACH ROW WHEN (OLD.tenant_id = 'appliance' AND NEW.tenant_id <> OLD.tenant_id)
  EXECUTE FUNCTION tenants_keep_appliance();

-- Its time is that of the step before this one, which is service time.
INSERT INTO tenants (tenant_id, name, provisioning, claim_enabled, created_at, updated_at)
SELECT 'appliance', 'This appliance', 'off', false, m.applied_at, m.applied_at
FROM schema_migrations AS m ORDER BY m.version DESC LIMIT 1;
