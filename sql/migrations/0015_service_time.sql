-- Times are given by the program, from its service time; the database reads no clock for it. The leases of replays are
-- the one exception: peers compare them with each other, by the one clock that they share.

ALTER TABLE schema_migrations ALTER COLUMN applied_at DROP DEFAULT;
ALTER TABLE tenants ALTER COLUMN created_at DROP DEFAULT, ALTER COLUMN updated_at DROP DEFAULT;
ALTER TABLE device_registry ALTER COLUMN created_at DROP DEFAULT, ALTER COLUMN updated_at DROP DEFAULT;
ALTER TABLE subscriptions ALTER COLUMN subscription_id DROP DEFAULT, ALTER COLUMN created_at DROP DEFAULT;
ALTER TABLE subscription_terms ALTER COLUMN bought_at DROP DEFAULT;
ALTER TABLE subscription_audit ALTER COLUMN at DROP DEFAULT;
ALTER TABLE sites ALTER COLUMN created_at DROP DEFAULT, ALTER COLUMN updated_at DROP DEFAULT;
ALTER TABLE device_credentials ALTER COLUMN created_at DROP DEFAULT;
ALTER TABLE audit_log ALTER COLUMN at DROP DEFAULT;
ALTER TABLE broker_copies ALTER COLUMN applied_at DROP DEFAULT;
ALTER TABLE quarantine_replays ALTER COLUMN created_at DROP DEFAULT;
ALTER TABLE users ALTER COLUMN created_at DROP DEFAULT;
ALTER TABLE metrics ALTER COLUMN created_at DROP DEFAULT, ALTER COLUMN updated_at DROP DEFAULT;
ALTER TABLE telemetry_marks ALTER COLUMN marked_at DROP DEFAULT;

-- Roles that are granted single columns write these, too, from now on.
GRANT INSERT (subscription_id, created_at) ON subscriptions TO appliance_ingest;
GRANT INSERT (created_at, updated_at) ON device_registry TO appliance_web;
GRANT INSERT (created_at) ON quarantine_replays TO appliance_web;
GRANT INSERT (created_at) ON users TO appliance_web;

-- A site that a device mentions first is as old as the change of the device.
CREATE OR REPLACE FUNCTION sites_mentioned() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
  INSERT INTO public.sites (tenant_id, site_id, created_at, updated_at)
  SELECT tenant_id, site_id, max(updated_at), max(updated_at) FROM new_rows WHERE site_id IS NOT NULL
  GROUP BY tenant_id, site_id ORDER BY tenant_id, site_id
  ON CONFLICT DO NOTHING;
  RETURN NULL;
END
$$;

DROP FUNCTION erase_history(text, text, integer);
CREATE FUNCTION erase_history(of_tenant text, of_device text, at_most integer, erased_at timestamptz) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
  erased bigint;
BEGIN
  -- Locked: whoever registers the device again waits, and its new readings are safe.
  PERFORM 1 FROM public.device_registry
  WHERE tenant_id = of_tenant AND device_id = of_device AND erase_history FOR UPDATE;
  IF NOT FOUND THEN
    RETURN 0;
  END IF;
  DELETE FROM public.telemetry_marks WHERE tenant_id = of_tenant AND device_id = of_device;
  DELETE FROM public.device_state WHERE tenant_id = of_tenant AND device_id = of_device;
  DELETE FROM public.telemetry WHERE tenant_id = of_tenant AND device_id = of_device AND (ts, digest) IN (
    SELECT t.ts, t.digest FROM public.telemetry AS t
    WHERE t.tenant_id = of_tenant AND t.device_id = of_device ORDER BY t.ts, t.digest LIMIT at_most);
  GET DIAGNOSTICS erased = ROW_COUNT;
  IF erased < at_most THEN
    DELETE FROM public.telemetry_hourly WHERE tenant_id = of_tenant AND device_id = of_device;
    UPDATE public.device_registry SET erase_history = false, updated_at = erased_at
    WHERE tenant_id = of_tenant AND device_id = of_device;
  END IF;
  RETURN erased;
END
$$;
GRANT EXECUTE ON FUNCTION erase_history(text, text, integer, timestamptz) TO appliance_ingest;
