-- Silence: the rule that every tenant has, and what the timer asks of alerts again and again.

-- The tenant `appliance` has no devices, and so no rule about them.
INSERT INTO alert_rules (tenant_id, name, description, severity, kind, parameters, built_in, created_at, updated_at)
SELECT tenant_id, 'No heartbeat', 'Opens when a device turns offline.', 'high', 'no_data', '{}', 'NO_HEARTBEAT',
  created_at, created_at
FROM tenants WHERE tenant_id <> 'appliance';

CREATE FUNCTION tenants_add_built_in_rules() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
  INSERT INTO alert_rules (tenant_id, name, description, severity, kind, parameters, built_in, created_at, updated_at)
  SELECT tenant_id, 'No heartbeat', 'Opens when a device turns offline.', 'high', 'no_data', '{}', 'NO_HEARTBEAT',
    created_at, created_at
  FROM new_rows WHERE tenant_id <> 'appliance';
  RETURN NULL;
END
$$;
CREATE TRIGGER tenants_built_in_rules AFTER INSERT ON tenants
  REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION tenants_add_built_in_rules();

-- Alerts that end when a device is heard again, by device.
CREATE INDEX fleet_alert_silence ON fleet_alert (tenant_id, device_id)
  WHERE status <> 'CLOSED' AND alert_type IN ('NO_HEARTBEAT', 'NO_DATA');

-- A silent site stands for its devices until it is heard again, even where a person has closed its alert before that.
CREATE FUNCTION site_silence_stands(alert fleet_alert) RETURNS boolean LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT alert.alert_type = 'SITE_SILENT'
    AND (alert.status <> 'CLOSED' OR alert.close_reason = 'closed' AND NOT alert.details ? 'cleared_at')
$$;
COMMENT ON FUNCTION site_silence_stands IS
  'Whether the site of the alert is still silent. `cleared_at` in the details: it ended after a person had closed the alert.';
GRANT EXECUTE ON FUNCTION site_silence_stands(fleet_alert) TO appliance_ingest, appliance_web;
CREATE INDEX fleet_alert_site_silent ON fleet_alert (tenant_id, site_id)
  WHERE alert_type = 'SITE_SILENT' AND (status <> 'CLOSED' OR close_reason = 'closed' AND NOT details ? 'cleared_at');
