-- Maintenance windows: when alerts are recorded and shown, and their notices wait. Local times are kept as people said
-- them and are reckoned by the program alone, whose zones may differ from those that Postgres knows.

CREATE TABLE maintenance_windows (
  tenant_id text COLLATE "C" NOT NULL REFERENCES tenants,
  window_id uuid NOT NULL DEFAULT gen_random_uuid(),
  name text NOT NULL,
  reason text NOT NULL DEFAULT '',
  site_ids text[] NOT NULL DEFAULT '{}',
  tags text[] NOT NULL DEFAULT '{}',
  device_ids text[] NOT NULL DEFAULT '{}',
  kind text NOT NULL,
  starts timestamp,
  ends timestamp,
  weekdays text[],
  start_time time,
  length_minutes integer,
  until date,
  time_zone text NOT NULL,
  ended_at timestamptz,
  over_at timestamptz,
  created_at timestamptz NOT NULL,
  created_by text NOT NULL,
  updated_at timestamptz NOT NULL,
  PRIMARY KEY (tenant_id, window_id),
  CONSTRAINT maintenance_windows_name_sane CHECK (length(name) BETWEEN 1 AND 128 AND name !~ '[[:cntrl:]]'),
  CONSTRAINT maintenance_windows_reason_sane CHECK (length(reason) <= 512 AND reason !~ '[[:cntrl:]]'),
  CONSTRAINT maintenance_windows_kind CHECK (kind IN ('once', 'weekly')),
  CONSTRAINT maintenance_windows_once CHECK (
    (kind = 'once') = (starts IS NOT NULL) AND (kind = 'once') = (ends IS NOT NULL) AND ends > starts),
  CONSTRAINT maintenance_windows_weekly CHECK (
    (kind = 'weekly') = (weekdays IS NOT NULL) AND (kind = 'weekly') = (start_time IS NOT NULL)
    AND (kind = 'weekly') = (length_minutes IS NOT NULL) AND (kind = 'weekly' OR until IS NULL)),
  CONSTRAINT maintenance_windows_weekdays CHECK (
    cardinality(weekdays) > 0 AND weekdays <@ ARRAY['mon', 'tue', 'wed', 'thu', 'fri', 'sat', 'sun']),
  CONSTRAINT maintenance_windows_length CHECK (length_minutes BETWEEN 1 AND 10080)
);
COMMENT ON TABLE maintenance_windows IS 'When alerts are recorded and shown, and their notices wait until the end.';
COMMENT ON COLUMN maintenance_windows.site_ids IS
  'A device is covered that any of the three lists names; with all of them empty, the whole tenant.';
COMMENT ON COLUMN maintenance_windows.starts IS 'Local time in time_zone, as ends and start_time are.';
COMMENT ON COLUMN maintenance_windows.length_minutes IS 'On the wall clock: the end is a local time too.';
COMMENT ON COLUMN maintenance_windows.until IS 'The last day on which it starts; NULL: without an end.';
COMMENT ON COLUMN maintenance_windows.ended_at IS
  'When a person ended it: of a weekly window the occurrence that was active then.';
COMMENT ON COLUMN maintenance_windows.over_at IS 'When its last occurrence ends, as the program reckoned it; NULL: never.';

ALTER TABLE maintenance_windows ENABLE ROW LEVEL SECURITY;
ALTER TABLE maintenance_windows FORCE ROW LEVEL SECURITY;
CREATE POLICY maintenance_windows_tenant ON maintenance_windows TO appliance_web
  USING (tenant_id = NULLIF(current_setting('appliance.tenant_id', true), ''));
CREATE POLICY maintenance_windows_owner ON maintenance_windows TO appliance_owner USING (true) WITH CHECK (true);
GRANT SELECT, INSERT, UPDATE, DELETE ON maintenance_windows TO appliance_ingest, appliance_web;

CREATE FUNCTION in_maintenance(
  tenant_id text, site_id text, device_id text, tenants text[], kinds text[], ids text[]
) RETURNS boolean LANGUAGE sql STABLE PARALLEL SAFE AS $$
  SELECT EXISTS (
    SELECT FROM unnest(tenants, kinds, ids) AS m (tenant_id, kind, id)
    WHERE m.tenant_id = in_maintenance.tenant_id AND (
      m.kind = 'all'
      OR (m.kind = 'site' AND m.id = in_maintenance.site_id)
      OR (m.kind = 'device' AND m.id = in_maintenance.device_id)
      OR (m.kind = 'tag' AND EXISTS (
        SELECT FROM device_registry AS d
        WHERE d.tenant_id = in_maintenance.tenant_id AND d.device_id = in_maintenance.device_id AND m.id = ANY (d.tags)))))
$$;
COMMENT ON FUNCTION in_maintenance IS
  'Whether an alert is covered by a window that is active, which the program says: three lists, an element each. See appliance.alerts.maintenance.book.';
GRANT EXECUTE ON FUNCTION in_maintenance(text, text, text, text[], text[], text[]) TO appliance_ingest, appliance_web;

CREATE TRIGGER maintenance_windows_tell_insert AFTER INSERT ON maintenance_windows
  REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION
  tell_changes('appliance_rules', 'tenant', 'window_id, updated_at');
CREATE TRIGGER maintenance_windows_tell_update AFTER UPDATE ON maintenance_windows
  REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION
  tell_changes('appliance_rules', 'tenant',
    'window_id, name, reason, site_ids, tags, device_ids, kind, starts, ends, weekdays, start_time, length_minutes, until, time_zone, ended_at, over_at');
CREATE TRIGGER maintenance_windows_tell_delete AFTER DELETE ON maintenance_windows
  REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION
  tell_changes('appliance_rules', 'tenant', 'window_id, updated_at');
CREATE TRIGGER maintenance_windows_tell_truncate AFTER TRUNCATE ON maintenance_windows FOR EACH STATEMENT EXECUTE FUNCTION
  tell_changes('appliance_rules');
