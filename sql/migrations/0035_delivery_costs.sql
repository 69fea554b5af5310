-- What a delivery costs, in a database that has just been made as well as in one that has grown.

-- The jobs of an alert are found by this key, and by no other index: it begins with the alert. Plans that are made while the
-- tables are empty are kept by couriers; of several indexes that begin with the tenant, one that leads through all of its
-- jobs may be as good to them.
ALTER TABLE delivery_jobs
  DROP CONSTRAINT delivery_jobs_tenant_id_alert_id_route_id_event_occurrence_key,
  ADD CONSTRAINT delivery_jobs_of_alert UNIQUE (alert_id, route_id, event, occurrence, tenant_id);

-- Whoever is told looks for jobs that are due. A claim makes none due, so that it tells nobody.
CREATE OR REPLACE FUNCTION delivery_jobs_tell() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
  tenants text[];
BEGIN
  IF TG_OP = 'INSERT' THEN
    tenants := (SELECT array_agg(DISTINCT tenant_id) FROM new_rows);
  ELSIF EXISTS (SELECT FROM new_rows WHERE status <> 'PROCESSING') THEN
    tenants := (
      SELECT array_agg(DISTINCT n.tenant_id)
      FROM new_rows AS n JOIN old_rows AS o USING (job_id)
      WHERE n.status <> 'PROCESSING' AND (n.status, n.next_run_at) IS DISTINCT FROM (o.status, o.next_run_at));
  END IF;
  IF tenants IS NOT NULL THEN
    PERFORM tell_tenants('appliance_deliveries', tenants);
  END IF;
  RETURN NULL;
END
$$;

-- The same for alerts: most statements of a batch open or close none, and mostly change no row at all.
CREATE OR REPLACE FUNCTION fleet_alert_tell() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
  tenants text[];
BEGIN
  IF TG_OP = 'INSERT' THEN
    tenants := (SELECT array_agg(DISTINCT tenant_id) FROM new_rows);
  ELSIF TG_OP = 'DELETE' THEN
    tenants := (SELECT array_agg(DISTINCT tenant_id) FROM old_rows);
  ELSIF EXISTS (SELECT FROM new_rows) THEN
    tenants := (
      SELECT array_agg(DISTINCT n.tenant_id)
      FROM new_rows AS n JOIN old_rows AS o USING (id)
      WHERE (n.status, n.severity, n.silenced_until, n.inhibited_by)
        IS DISTINCT FROM (o.status, o.severity, o.silenced_until, o.inhibited_by));
  END IF;
  IF tenants IS NOT NULL THEN
    PERFORM tell_tenants('appliance_alerts', tenants);
  END IF;
  RETURN NULL;
END
$$;
