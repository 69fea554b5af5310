-- What is kept in memory is never wrong for long: a change - by this process, another one or a hand on psql - is told
-- once a statement, and only when a column that is kept has changed. Two channels:
--
--   appliance_registry  what ingest reads of tenants, subscriptions, devices and their HTTP tokens
--   appliance_broker    what the files of the embedded broker are made from
--
-- The payload is JSON: {"devices": [[tenant, device], ...]}; {"tenants": [tenant, ...]} when that grows too long or the
-- change is one of tenants or subscriptions; {"all": true} when even that does. Telemetry, states, seat counts and the
-- times of last use tell nothing.

-- Arguments: the channel, whether rows are of a 'device' or of a 'tenant', the columns that matter, separated by commas.
CREATE FUNCTION tell_changes() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
  channel CONSTANT text := TG_ARGV[0];
  device CONSTANT text := CASE TG_ARGV[1] WHEN 'device' THEN 'device_id' ELSE 'NULL::text' END;
  kept CONSTANT text := concat_ws(', ', 'tenant_id', device, TG_ARGV[2]);
  source text;
  tenants text[];
  devices jsonb;
  payload text;
BEGIN
  IF TG_OP = 'TRUNCATE' THEN
    PERFORM pg_notify(channel, '{"all": true}');
    RETURN NULL;
  END IF;
  -- The difference of both sides: rows that changed where it matters, under their old key and their new one.
  source := CASE TG_OP
    WHEN 'INSERT' THEN format('SELECT tenant_id, %s AS device_id FROM new_rows', device)
    WHEN 'DELETE' THEN format('SELECT tenant_id, %s AS device_id FROM old_rows', device)
    ELSE format(
      'SELECT d.tenant_id, %1$s AS device_id FROM (
         (SELECT %2$s FROM old_rows EXCEPT SELECT %2$s FROM new_rows)
         UNION ALL (SELECT %2$s FROM new_rows EXCEPT SELECT %2$s FROM old_rows)) AS d', device, kept)
  END;
  EXECUTE format(
    'WITH changed AS (SELECT DISTINCT tenant_id, device_id FROM (%s) AS s)
     SELECT (SELECT array_agg(DISTINCT tenant_id ORDER BY tenant_id) FROM changed),
       (SELECT jsonb_agg(jsonb_build_array(tenant_id, device_id) ORDER BY tenant_id, device_id)
        FROM changed HAVING count(*) <= 50 AND count(device_id) > 0)', source) INTO tenants, devices;
  IF tenants IS NULL THEN
    RETURN NULL;
  END IF;
  payload := jsonb_build_object('devices', devices)::text;
  -- Postgres takes at most 8,000 bytes.
  IF devices IS NULL OR octet_length(payload) >= 7000 THEN
    payload := jsonb_build_object('tenants', tenants)::text;
  END IF;
  IF octet_length(payload) >= 7000 THEN
    payload := '{"all": true}';
  END IF;
  PERFORM pg_notify(channel, payload);
  RETURN NULL;
END
$$;

CREATE TRIGGER tenants_tell_registry_insert AFTER INSERT ON tenants
  REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION
  tell_changes('appliance_registry', 'tenant', 'status, provisioning, rate, burst, tenant_rate, claim_enabled, claim_token_hash');
CREATE TRIGGER tenants_tell_registry_update AFTER UPDATE ON tenants
  REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION
  tell_changes('appliance_registry', 'tenant', 'status, provisioning, rate, burst, tenant_rate, claim_enabled, claim_token_hash');
CREATE TRIGGER tenants_tell_registry_delete AFTER DELETE ON tenants
  REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION
  tell_changes('appliance_registry', 'tenant', 'status, provisioning, rate, burst, tenant_rate, claim_enabled, claim_token_hash');

CREATE TRIGGER subscriptions_tell_registry_insert AFTER INSERT ON subscriptions
  REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION
  tell_changes('appliance_registry', 'tenant', 'subscription_id, subscription_type, parent_subscription_id, device_limit, term_start, term_end, grace_end, hold_reason');
CREATE TRIGGER subscriptions_tell_registry_update AFTER UPDATE ON subscriptions
  REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION
  tell_changes('appliance_registry', 'tenant', 'subscription_id, subscription_type, parent_subscription_id, device_limit, term_start, term_end, grace_end, hold_reason');
CREATE TRIGGER subscriptions_tell_registry_delete AFTER DELETE ON subscriptions
  REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION
  tell_changes('appliance_registry', 'tenant', 'subscription_id, subscription_type, parent_subscription_id, device_limit, term_start, term_end, grace_end, hold_reason');

CREATE TRIGGER device_registry_tell_registry_insert AFTER INSERT ON device_registry
  REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION
  tell_changes('appliance_registry', 'device', 'status, subscription_id, site_id, rate, burst');
CREATE TRIGGER device_registry_tell_registry_update AFTER UPDATE ON device_registry
  REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION
  tell_changes('appliance_registry', 'device', 'status, subscription_id, site_id, rate, burst');
CREATE TRIGGER device_registry_tell_registry_delete AFTER DELETE ON device_registry
  REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION
  tell_changes('appliance_registry', 'device', 'status, subscription_id, site_id, rate, burst');

CREATE TRIGGER device_credentials_tell_registry_insert AFTER INSERT ON device_credentials
  REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION
  tell_changes('appliance_registry', 'device', 'token_hash, previous_token_hash, previous_token_until');
CREATE TRIGGER device_credentials_tell_registry_update AFTER UPDATE ON device_credentials
  REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION
  tell_changes('appliance_registry', 'device', 'token_hash, previous_token_hash, previous_token_until');
CREATE TRIGGER device_credentials_tell_registry_delete AFTER DELETE ON device_credentials
  REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION
  tell_changes('appliance_registry', 'device', 'token_hash, previous_token_hash, previous_token_until');

CREATE TRIGGER tenants_tell_broker_insert AFTER INSERT ON tenants
  REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION
  tell_changes('appliance_broker', 'tenant', 'status, claim_enabled, claim_mqtt_hash');
CREATE TRIGGER tenants_tell_broker_update AFTER UPDATE ON tenants
  REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION
  tell_changes('appliance_broker', 'tenant', 'status, claim_enabled, claim_mqtt_hash');
CREATE TRIGGER tenants_tell_broker_delete AFTER DELETE ON tenants
  REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION
  tell_changes('appliance_broker', 'tenant', 'status, claim_enabled, claim_mqtt_hash');

CREATE TRIGGER device_credentials_tell_broker_insert AFTER INSERT ON device_credentials
  REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION
  tell_changes('appliance_broker', 'device', 'mqtt_hash, staged_mqtt_hash, switch_at');
CREATE TRIGGER device_credentials_tell_broker_update AFTER UPDATE ON device_credentials
  REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION
  tell_changes('appliance_broker', 'device', 'mqtt_hash, staged_mqtt_hash, switch_at');
CREATE TRIGGER device_credentials_tell_broker_delete AFTER DELETE ON device_credentials
  REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION
  tell_changes('appliance_broker', 'device', 'mqtt_hash, staged_mqtt_hash, switch_at');

CREATE TRIGGER tenants_tell_registry_truncate AFTER TRUNCATE ON tenants FOR EACH STATEMENT EXECUTE FUNCTION
  tell_changes('appliance_registry');
CREATE TRIGGER subscriptions_tell_registry_truncate AFTER TRUNCATE ON subscriptions FOR EACH STATEMENT EXECUTE FUNCTION
  tell_changes('appliance_registry');
CREATE TRIGGER device_registry_tell_registry_truncate AFTER TRUNCATE ON device_registry FOR EACH STATEMENT EXECUTE FUNCTION
  tell_changes('appliance_registry');
CREATE TRIGGER device_credentials_tell_registry_truncate AFTER TRUNCATE ON device_credentials FOR EACH STATEMENT EXECUTE FUNCTION
  tell_changes('appliance_registry');
CREATE TRIGGER tenants_tell_broker_truncate AFTER TRUNCATE ON tenants FOR EACH STATEMENT EXECUTE FUNCTION
  tell_changes('appliance_broker');
CREATE TRIGGER device_credentials_tell_broker_truncate AFTER TRUNCATE ON device_credentials FOR EACH STATEMENT EXECUTE FUNCTION
  tell_changes('appliance_broker');
