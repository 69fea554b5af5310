-- What every later step builds on: tenants and devices, telemetry by day, quarantine, the ledger.
--
-- Text that is a key is COLLATE "C": compared byte by byte it costs a fraction of a language's rules in every index
-- insert and lookup, and a new version of the system's libraries cannot turn an index into a wrong one.
--
-- Row-level security is enabled and forced on every table with a tenant_id, partitions too. appliance_web sees the rows
-- of one tenant, named for one transaction by set_config('appliance.tenant_id', ..., true); a setting that was never
-- made reads NULL, one that was reset reads '', and NULLIF makes both match nothing. FORCE binds the owner too, so it has
-- a policy of its own, or migrations and SECURITY DEFINER functions would see empty tables. appliance_ingest and
-- appliance_backup bypass row-level security (COPY and pg_dump are refused under it).

-- What the backup reads: everything there is and will be.
ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO appliance_backup;
ALTER DEFAULT PRIVILEGES GRANT SELECT ON SEQUENCES TO appliance_backup;
-- Nobody calls a function who was not named.
ALTER DEFAULT PRIVILEGES REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC;

-- Made before this step, by the migrations themselves.
GRANT SELECT ON schema_migrations TO appliance_ingest, appliance_web, appliance_backup;

-- Tenants and devices ------------------------------------------------------------------------------------------------

CREATE TABLE tenants (
  tenant_id text COLLATE "C" PRIMARY KEY,
  name text,
  status text NOT NULL DEFAULT 'ACTIVE',
  provisioning text NOT NULL DEFAULT 'auto',
  time_zone text NOT NULL DEFAULT 'UTC',
  rate double precision,
  burst double precision,
  tenant_rate double precision,
  created_at timestamptz NOT NULL DEFAULT now(),
  updated_at timestamptz NOT NULL DEFAULT now(),
  CONSTRAINT tenants_id_grammar CHECK (tenant_id ~ '^[A-Za-z0-9_-][A-Za-z0-9._-]{0,63}$'),
  CONSTRAINT tenants_status CHECK (status IN ('ACTIVE', 'SUSPENDED')),
  CONSTRAINT tenants_provisioning CHECK (provisioning IN ('auto', 'approve', 'off')),
  -- 'NaN' and 'infinity' are numbers to Postgres, and above every limit.
  CONSTRAINT tenants_rate_sane CHECK (rate > 0 AND rate <= 1e6),
  CONSTRAINT tenants_burst_sane CHECK (burst >= 1 AND burst <= 1e6),
  CONSTRAINT tenants_tenant_rate_sane CHECK (tenant_rate >= 0 AND tenant_rate <= 1e9)
);
COMMENT ON TABLE tenants IS 'Whom devices and their data belong to.';
COMMENT ON COLUMN tenants.provisioning IS 'What becomes of a device never seen: created, held for approval, refused.';
COMMENT ON COLUMN tenants.rate IS 'Messages a second of each of its devices; NULL: as configured.';
COMMENT ON COLUMN tenants.burst IS 'Messages at once of each of its devices; NULL: as configured.';
COMMENT ON COLUMN tenants.tenant_rate IS 'Messages a second of all its devices together, 0: no limit; NULL: as configured.';

CREATE TABLE device_registry (
  tenant_id text COLLATE "C" NOT NULL REFERENCES tenants,
  device_id text COLLATE "C" NOT NULL,
  status text NOT NULL DEFAULT 'ACTIVE',
  site_id text COLLATE "C",
  name text,
  place text,
  tags text[] NOT NULL DEFAULT '{}',
  interval_seconds double precision,
  rate double precision,
  burst double precision,
  created_at timestamptz NOT NULL DEFAULT now(),
  updated_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (tenant_id, device_id),
  CONSTRAINT device_registry_id_grammar CHECK (device_id ~ '^[A-Za-z0-9_-][A-Za-z0-9._-]{0,63}$'),
  CONSTRAINT device_registry_interval_sane CHECK (interval_seconds > 0 AND interval_seconds <= 31536000),
  CONSTRAINT device_registry_rate_sane CHECK (rate > 0 AND rate <= 1e6),
  CONSTRAINT device_registry_burst_sane CHECK (burst >= 1 AND burst <= 1e6)
);
COMMENT ON TABLE device_registry IS 'Every device that was ever admitted, the deleted ones included.';
COMMENT ON COLUMN device_registry.place IS 'Where exactly it hangs, in the words of whoever hung it up.';
COMMENT ON COLUMN device_registry.interval_seconds IS 'How often it should report; NULL: nobody said.';
CREATE INDEX device_registry_site ON device_registry (tenant_id, site_id) WHERE site_id IS NOT NULL;

CREATE TABLE device_state (
  tenant_id text COLLATE "C" NOT NULL,
  device_id text COLLATE "C" NOT NULL,
  last_ts timestamptz,
  last_seen_at timestamptz,
  last_heard_at timestamptz,
  ts_adjusted_at timestamptz,
  null_metrics bigint NOT NULL DEFAULT 0,
  latest jsonb NOT NULL DEFAULT '{}',
  PRIMARY KEY (tenant_id, device_id)
) WITH (fillfactor = 50);  -- written once a second: half a page free keeps the updates off the index (HOT)
COMMENT ON TABLE device_state IS
  'What is newest of each device. May run a second behind telemetry, and is rebuilt from it after a crash.';
COMMENT ON COLUMN device_state.last_ts IS 'The newest time any of its readings carries.';
COMMENT ON COLUMN device_state.last_seen_at IS 'When its newest reading was received.';
COMMENT ON COLUMN device_state.last_heard_at IS 'When anything of it was received, heartbeats and status included.';
COMMENT ON COLUMN device_state.ts_adjusted_at IS 'When it last sent a time that could not be right.';
COMMENT ON COLUMN device_state.null_metrics IS 'How many metrics it sent as null.';
COMMENT ON COLUMN device_state.latest IS 'Metric -> newest value.';

-- Telemetry ----------------------------------------------------------------------------------------------------------

-- The order of columns is that of the rows in ingest/telemetry.py, which writes COPY's binary format itself.
CREATE TABLE telemetry (
  tenant_id text COLLATE "C" NOT NULL,
  device_id text COLLATE "C" NOT NULL,
  kind text COLLATE "C" NOT NULL,
  ts timestamptz NOT NULL,
  digest bigint NOT NULL,
  received_at timestamptz NOT NULL,
  ts_adjusted boolean NOT NULL,
  late boolean NOT NULL,
  seq bigint,
  site_id text COLLATE "C",
  lat double precision,
  lng double precision,
  metrics jsonb NOT NULL,
  PRIMARY KEY (tenant_id, device_id, ts, digest)
) PARTITION BY RANGE (ts);
COMMENT ON TABLE telemetry IS
  'Every reading. One partition a UTC day, telemetry_YYYYMMDD. No foreign keys, no checks: readings were judged before.';
COMMENT ON COLUMN telemetry.ts IS 'The time the device gave, or the receive time if it gave none or a wrong one.';
COMMENT ON COLUMN telemetry.digest IS
  'Of kind and payload if the device gave the time: the same message twice is one row. Else random: each one stays.';
COMMENT ON COLUMN telemetry.late IS 'Older than the newest of its device when it came.';

-- Made apart and then attached: CREATE TABLE ... PARTITION OF would lock out every reader and writer of telemetry.
-- CREATE and ATTACH wait only for one another.
CREATE FUNCTION telemetry_ensure_partitions(first date, last date) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
  day date;
  partition text;
  made integer := 0;
BEGIN
  IF last - first > 4000 THEN
    RAISE EXCEPTION 'partitions for % to % are more than anybody needs', first, last
      USING ERRCODE = 'invalid_parameter_value';
  END IF;
  FOR day IN SELECT d::date FROM generate_series(first::timestamp, last::timestamp, '1 day') AS d LOOP
    partition := 'telemetry_' || to_char(day, 'YYYYMMDD');
    CONTINUE WHEN to_regclass('public.' || partition) IS NOT NULL;
    -- 'tele' and 'part' as numbers: the space of two keys, which nothing else here uses.
    PERFORM pg_advisory_xact_lock(1952803941, 1885434484);
    -- Asked of the table, not of to_regclass, whose answer may be a cached one from before the lock.
    CONTINUE WHEN EXISTS (
      SELECT FROM pg_class WHERE relname = partition AND relnamespace = 'public'::regnamespace);
    EXECUTE format('CREATE TABLE public.%I (LIKE public.telemetry INCLUDING ALL)', partition);
    EXECUTE format('ALTER TABLE public.%I ENABLE ROW LEVEL SECURITY', partition);
    EXECUTE format('ALTER TABLE public.%I FORCE ROW LEVEL SECURITY', partition);
    EXECUTE format(
      'CREATE POLICY tenant ON public.%I TO appliance_web'
      ' USING (tenant_id = NULLIF(current_setting(''appliance.tenant_id'', true), ''''))', partition);
    EXECUTE format('CREATE POLICY owner ON public.%I TO appliance_owner USING (true) WITH CHECK (true)', partition);
    EXECUTE format('GRANT SELECT ON public.%I TO appliance_backup', partition);
    EXECUTE format(
      'ALTER TABLE public.telemetry ATTACH PARTITION public.%I FOR VALUES FROM (%L) TO (%L)',
      partition, day::timestamp AT TIME ZONE 'UTC', (day + 1)::timestamp AT TIME ZONE 'UTC');
    made := made + 1;
  END LOOP;
  RETURN made;
END
$$;
COMMENT ON FUNCTION telemetry_ensure_partitions IS
  'Makes the missing partitions of the days first to last, both included, and says how many it made.';

-- Quarantine ---------------------------------------------------------------------------------------------------------

CREATE TABLE quarantine_events (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  ingested_at timestamptz NOT NULL,
  event_ts timestamptz,
  topic text NOT NULL,
  tenant_id text COLLATE "C",
  site_id text COLLATE "C",
  device_id text COLLATE "C",
  kind text,
  reason text COLLATE "C" NOT NULL,
  detail text NOT NULL DEFAULT '',
  payload bytea NOT NULL,
  status text COLLATE "C" NOT NULL DEFAULT 'HELD',
  decided_at timestamptz,
  decided_by text,
  CONSTRAINT quarantine_events_status CHECK (status IN ('HELD', 'REPLAYED', 'DISMISSED')),
  CONSTRAINT quarantine_events_decided CHECK ((status = 'HELD') = (decided_at IS NULL))
);
COMMENT ON TABLE quarantine_events IS 'Messages that were not accepted: some of each kind, and all that could still become good.';
COMMENT ON COLUMN quarantine_events.tenant_id IS 'NULL: of no known tenant; only operators see it.';
COMMENT ON COLUMN quarantine_events.payload IS 'As received, whatever it was.';
-- The page of a tenant, newest first; what is held of a device, oldest first; ageing out.
CREATE INDEX quarantine_events_tenant ON quarantine_events (tenant_id, id);
CREATE INDEX quarantine_events_held ON quarantine_events (tenant_id, device_id, id) WHERE status = 'HELD';
CREATE INDEX quarantine_events_ingested ON quarantine_events (ingested_at);

CREATE TABLE quarantine_counters_minute (
  bucket_minute timestamptz NOT NULL,
  tenant_id text COLLATE "C" NOT NULL,
  reason text COLLATE "C" NOT NULL,
  cnt bigint NOT NULL,
  PRIMARY KEY (bucket_minute, tenant_id, reason),
  CONSTRAINT quarantine_counters_minute_positive CHECK (cnt > 0)
) WITH (fillfactor = 70);  -- a row is added to for a minute
COMMENT ON TABLE quarantine_counters_minute IS 'How many messages were refused, exactly.';
COMMENT ON COLUMN quarantine_counters_minute.tenant_id IS 'Empty: of no known tenant.';

-- The ledger ---------------------------------------------------------------------------------------------------------

CREATE TABLE ingest_ledger (
  minute timestamptz NOT NULL,
  instance text COLLATE "C" NOT NULL,
  tenant_id text COLLATE "C" NOT NULL DEFAULT '',
  received bigint NOT NULL DEFAULT 0,
  stored bigint NOT NULL DEFAULT 0,
  refused bigint NOT NULL DEFAULT 0,
  duplicate bigint NOT NULL DEFAULT 0,
  qos0 bigint NOT NULL DEFAULT 0,
  replayed bigint NOT NULL DEFAULT 0,
  evicted bigint NOT NULL DEFAULT 0,
  partition_dropped bigint NOT NULL DEFAULT 0,
  PRIMARY KEY (minute, instance, tenant_id),
  -- Nothing that came in is unaccounted for.
  CONSTRAINT ingest_ledger_balanced CHECK (received = stored + refused + duplicate)
) WITH (fillfactor = 70);  -- a row is added to for a minute
COMMENT ON TABLE ingest_ledger IS 'What became of every message, written in the transaction that decided it.';
COMMENT ON COLUMN ingest_ledger.instance IS 'Which appliance on this database.';
COMMENT ON COLUMN ingest_ledger.tenant_id IS 'Empty: of no known tenant.';
COMMENT ON COLUMN ingest_ledger.qos0 IS 'Of received, how many came at QoS 0.';
COMMENT ON COLUMN ingest_ledger.partition_dropped IS 'Stored before and gone with the age limit or the disk budget.';

-- Walls --------------------------------------------------------------------------------------------------------------

DO $$
DECLARE
  name text;
BEGIN
  FOREACH name IN ARRAY ARRAY['tenants', 'device_registry', 'device_state', 'telemetry', 'quarantine_events',
    'quarantine_counters_minute', 'ingest_ledger']
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

GRANT SELECT, INSERT, UPDATE, DELETE ON tenants, device_registry, device_state, quarantine_events,
  quarantine_counters_minute, ingest_ledger TO appliance_ingest;
-- A reading is never changed; old ones go with their partition.
GRANT SELECT, INSERT ON telemetry TO appliance_ingest;
GRANT EXECUTE ON FUNCTION telemetry_ensure_partitions(date, date) TO appliance_ingest;

GRANT SELECT ON tenants, device_registry, device_state, telemetry, quarantine_events, quarantine_counters_minute,
  ingest_ledger TO appliance_web;
