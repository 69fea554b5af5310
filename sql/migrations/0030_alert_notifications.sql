-- Alerts and jobs are told of without SQL that is planned anew each time: their statements are part of many batches, and
-- mostly change no row, or only counts.

CREATE FUNCTION tell_tenants(channel text, tenants text[]) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
  payload CONSTANT text := jsonb_build_object('tenants', tenants)::text;
BEGIN
  IF tenants IS NOT NULL THEN  -- Postgres takes at most 8,000 bytes
    PERFORM pg_notify(channel, CASE WHEN octet_length(payload) < 7000 THEN payload ELSE '{"all": true}' END);
  END IF;
END
$$;
COMMENT ON FUNCTION tell_tenants IS 'Notifies of what changed of these tenants; NULL: of none.';
GRANT EXECUTE ON FUNCTION tell_tenants(text, text[]) TO appliance_ingest, appliance_web;

CREATE FUNCTION fleet_alert_tell() RETURNS trigger
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
      SELECT array_agg(DISTINCT d.tenant_id) FROM (
        (SELECT tenant_id, id, status, severity, silenced_until, inhibited_by FROM old_rows
          EXCEPT SELECT tenant_id, id, status, severity, silenced_until, inhibited_by FROM new_rows)
        UNION ALL
        (SELECT tenant_id, id, status, severity, silenced_until, inhibited_by FROM new_rows
          EXCEPT SELECT tenant_id, id, status, severity, silenced_until, inhibited_by FROM old_rows)) AS d);
  END IF;
  PERFORM tell_tenants('appliance_alerts', tenants);
  RETURN NULL;
END
$$;
DROP TRIGGER fleet_alert_tell_insert ON fleet_alert;
DROP TRIGGER fleet_alert_tell_update ON fleet_alert;
DROP TRIGGER fleet_alert_tell_delete ON fleet_alert;
CREATE TRIGGER fleet_alert_tell_insert AFTER INSERT ON fleet_alert
  REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION fleet_alert_tell();
CREATE TRIGGER fleet_alert_tell_update AFTER UPDATE ON fleet_alert
  REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION fleet_alert_tell();
CREATE TRIGGER fleet_alert_tell_delete AFTER DELETE ON fleet_alert
  REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION fleet_alert_tell();

CREATE FUNCTION delivery_jobs_tell() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
  tenants text[];
BEGIN
  IF TG_OP = 'INSERT' THEN
    tenants := (SELECT array_agg(DISTINCT tenant_id) FROM new_rows);
  ELSIF EXISTS (SELECT FROM new_rows) THEN
    tenants := (
      SELECT array_agg(DISTINCT d.tenant_id) FROM (
        (SELECT tenant_id, job_id, status, next_run_at FROM old_rows
          EXCEPT SELECT tenant_id, job_id, status, next_run_at FROM new_rows)
        UNION ALL
        (SELECT tenant_id, job_id, status, next_run_at FROM new_rows
          EXCEPT SELECT tenant_id, job_id, status, next_run_at FROM old_rows)) AS d);
  END IF;
  PERFORM tell_tenants('appliance_deliveries', tenants);
  RETURN NULL;
END
$$;
DROP TRIGGER delivery_jobs_tell_insert ON delivery_jobs;
DROP TRIGGER delivery_jobs_tell_update ON delivery_jobs;
CREATE TRIGGER delivery_jobs_tell_insert AFTER INSERT ON delivery_jobs
  REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION delivery_jobs_tell();
CREATE TRIGGER delivery_jobs_tell_update AFTER UPDATE ON delivery_jobs
  REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION delivery_jobs_tell();
