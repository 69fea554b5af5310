-- Hourly roll-ups of telemetry: what long charts are drawn from, and what stays when the readings are gone.
--
-- Who stores readings leaves marks: this hour of this device has something new. The roller takes marks and, in the same
-- statement, reckons the hour anew from telemetry. A mark is written with or after its readings, so whoever sees it sees
-- them, too; marks are only added and removed, so nobody waits for anybody. While there are marks of an hour, charts
-- take it from telemetry itself.

CREATE TABLE telemetry_hourly (
  tenant_id text COLLATE "C" NOT NULL,
  device_id text COLLATE "C" NOT NULL,
  metric text COLLATE "C" NOT NULL,
  hour timestamptz NOT NULL,
  readings bigint NOT NULL,
  total double precision NOT NULL,
  low double precision NOT NULL,
  high double precision NOT NULL,
  last double precision NOT NULL,
  PRIMARY KEY (tenant_id, device_id, metric, hour),
  CONSTRAINT telemetry_hourly_not_empty CHECK (readings > 0)
);
COMMENT ON TABLE telemetry_hourly IS
  'Numbers, and booleans as 0 and 1, of each device, metric and UTC hour that has any. Outlives the readings.';
COMMENT ON COLUMN telemetry_hourly.total IS 'Of the values; divided by readings it is their mean.';
COMMENT ON COLUMN telemetry_hourly.last IS 'The value of the newest reading of the hour.';
-- Hours are written in order, so a block range index finds those past their age at next to no cost.
CREATE INDEX telemetry_hourly_hour ON telemetry_hourly USING brin (hour);

CREATE TABLE telemetry_marks (
  mark_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  tenant_id text COLLATE "C" NOT NULL,
  device_id text COLLATE "C" NOT NULL,
  hour timestamptz NOT NULL,
  marked_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE telemetry_marks IS 'Hours of devices in which readings were stored since the hour was last rolled up.';
CREATE INDEX telemetry_marks_device ON telemetry_marks (tenant_id, device_id, hour);

DO $$
DECLARE
  name text;
BEGIN
  FOREACH name IN ARRAY ARRAY['telemetry_hourly', 'telemetry_marks']
  LOOP
    EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
    EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', name);
    EXECUTE format(
      'CREATE POLICY %I ON %I TO appliance_web'
      ' USING (tenant_id = NULLIF(current_setting(''appliance.tenant_id'', true), ''''))', name || '_tenant', name);
    EXECUTE format('CREATE POLICY %I ON %I TO appliance_owner USING (true) WITH CHECK (true)', name || '_owner', name);
  END LOOP;
END
$$;
GRANT SELECT, INSERT, UPDATE, DELETE ON telemetry_hourly, telemetry_marks TO appliance_ingest;
GRANT SELECT ON telemetry_hourly, telemetry_marks TO appliance_web;

-- The planner writes this expression into the query.
CREATE FUNCTION metric_value(value jsonb) RETURNS double precision
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT CASE jsonb_typeof(value)
    WHEN 'number' THEN value::double precision
    WHEN 'boolean' THEN value::boolean::integer::double precision END
$$;
COMMENT ON FUNCTION metric_value IS 'A metric as charts draw it: a number, a boolean as 0 or 1; NULL for text.';
GRANT EXECUTE ON FUNCTION metric_value(jsonb) TO appliance_ingest, appliance_web;

-- What was stored before there were marks.
INSERT INTO telemetry_marks (tenant_id, device_id, hour)
SELECT DISTINCT tenant_id, device_id, date_trunc('hour', ts, 'UTC') FROM telemetry;

-- A device that is deleted together with its readings: its roll-ups go, too. Marks first, and so the roller, who may be
-- at work on one of them, is waited for.
CREATE OR REPLACE FUNCTION erase_history(of_tenant text, of_device text, at_most integer) RETURNS bigint
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
    UPDATE public.device_registry SET erase_history = false, updated_at = now()
    WHERE tenant_id = of_tenant AND device_id = of_device;
  END IF;
  RETURN erased;
END
$$;
