-- Integrations, routes, and the outbox: what is to be told to whom, and how that went.
--
-- Locks: whoever writes an event of an alert writes the jobs that follow from it, in the same statement's trigger, and
-- locks no row of a route or an integration for it (no foreign keys to them). Couriers lock jobs, and an advisory lock of
-- the integration before them.

CREATE TABLE integrations (
  tenant_id text COLLATE "C" NOT NULL REFERENCES tenants,
  integration_id uuid NOT NULL DEFAULT gen_random_uuid(),
  name text NOT NULL,
  type text NOT NULL,
  enabled boolean NOT NULL DEFAULT true,
  disabled_reason text,
  config jsonb NOT NULL,
  secrets jsonb NOT NULL DEFAULT '{}',
  concurrency integer NOT NULL DEFAULT 2,
  version bigint NOT NULL DEFAULT 1,
  created_at timestamptz NOT NULL,
  updated_at timestamptz NOT NULL,
  PRIMARY KEY (tenant_id, integration_id),
  CONSTRAINT integrations_name_sane CHECK (length(name) BETWEEN 1 AND 128 AND name !~ '[[:cntrl:]]'),
  CONSTRAINT integrations_type CHECK (type ~ '^[a-z]{1,32}$'),
  CONSTRAINT integrations_config_object CHECK (jsonb_typeof(config) = 'object'),
  CONSTRAINT integrations_secrets_object CHECK (jsonb_typeof(secrets) = 'object'),
  CONSTRAINT integrations_concurrency CHECK (concurrency BETWEEN 1 AND 16),
  CONSTRAINT integrations_disabled CHECK (disabled_reason IS NULL OR NOT enabled)
);
COMMENT ON TABLE integrations IS 'Where notices are sent: one row a receiver.';
COMMENT ON COLUMN integrations.type IS 'A key of appliance.delivery.senders.table.';
COMMENT ON COLUMN integrations.disabled_reason IS 'Why the appliance disabled it: ''gone'' after the answer 410. NULL: a person did.';
COMMENT ON COLUMN integrations.secrets IS 'Sealed by field, as base64: purpose integration:{tenant}:{id}:{field}.';
COMMENT ON COLUMN integrations.concurrency IS 'Deliveries at a time, over all processes.';
COMMENT ON COLUMN integrations.version IS 'Grows with every change by a person.';
CREATE UNIQUE INDEX integrations_name ON integrations (tenant_id, lower(name));

CREATE TABLE integration_health (
  tenant_id text COLLATE "C" NOT NULL,
  integration_id uuid NOT NULL,
  failures integer NOT NULL DEFAULT 0,
  failing_since timestamptz,
  breaker_opened_at timestamptz,
  next_probe_at timestamptz,
  unreachable_since timestamptz,
  last_success_at timestamptz,
  last_failure_at timestamptz,
  last_error text,
  PRIMARY KEY (tenant_id, integration_id),
  FOREIGN KEY (tenant_id, integration_id) REFERENCES integrations ON DELETE CASCADE
) WITH (fillfactor = 80);
COMMENT ON TABLE integration_health IS 'How deliveries to an integration go. No row: never used.';
COMMENT ON COLUMN integration_health.failures IS 'In a row, whatever their kind; 5 open the circuit breaker.';
COMMENT ON COLUMN integration_health.unreachable_since IS 'Since when tries reach nobody; NULL: the last one reached somebody.';

-- Routes of the platform before this one name a least severity (1 all, 5 critical alone) in place of a list. Of their table
-- nothing else is certain: not the types of its ids, not that its integrations and tenants are there. Its rows are read as
-- JSON, and what the new table can hold is taken over.
CREATE FUNCTION pg_temp.words_of(given jsonb) RETURNS text[] LANGUAGE sql IMMUTABLE AS $$
  SELECT coalesce(array_agg(w.word ORDER BY w.place), '{}') FROM (
    SELECT btrim(v.word) AS word, min(v.place) AS place FROM (
      SELECT e.word, e.place FROM jsonb_array_elements_text(
        CASE jsonb_typeof(given) WHEN 'array' THEN given ELSE '[]' END) WITH ORDINALITY AS e (word, place)
      UNION ALL
      SELECT e.word, e.place FROM unnest(string_to_array(
        CASE jsonb_typeof(given) WHEN 'string' THEN btrim(given #>> '{}', '{}') END, ',')) WITH ORDINALITY AS e (word, place)
    ) AS v
    WHERE btrim(v.word) <> '' GROUP BY 1
  ) AS w
$$;
CREATE FUNCTION pg_temp.id_of(given jsonb) RETURNS uuid LANGUAGE sql IMMUTABLE AS $$
  SELECT CASE WHEN given #>> '{}' ~* '^[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}$' THEN (given #>> '{}')::uuid
    ELSE md5(coalesce(given #>> '{}', ''))::uuid END
$$;
COMMENT ON FUNCTION pg_temp.id_of IS 'Another number or text always becomes the same id.';
CREATE FUNCTION pg_temp.number_of(given jsonb, lowest integer, highest integer, otherwise integer) RETURNS integer
LANGUAGE sql IMMUTABLE AS $$
  SELECT CASE WHEN given #>> '{}' ~ '^[0-9]{1,9}$' AND (given #>> '{}')::integer BETWEEN lowest AND highest
    THEN (given #>> '{}')::integer ELSE otherwise END
$$;
CREATE TEMPORARY TABLE routes_before (item jsonb NOT NULL) ON COMMIT DROP;
DO $$
BEGIN
  IF to_regclass('public.integration_routes') IS NOT NULL THEN
    INSERT INTO routes_before SELECT to_jsonb(r) FROM public.integration_routes AS r;
    DROP TABLE public.integration_routes CASCADE;  -- with the views and keys of others that name it
  END IF;
END
$$;

CREATE TABLE integration_routes (
  tenant_id text COLLATE "C" NOT NULL,
  route_id uuid NOT NULL DEFAULT gen_random_uuid(),
  name text NOT NULL,
  enabled boolean NOT NULL DEFAULT true,
  integration_id uuid NOT NULL,
  severities text[] NOT NULL,
  alert_types text[] NOT NULL DEFAULT '{}',
  site_ids text[] NOT NULL DEFAULT '{}',
  tags text[] NOT NULL DEFAULT '{}',
  device_prefixes text[] NOT NULL DEFAULT '{}',
  deliver_on text[] NOT NULL DEFAULT '{OPEN,CLOSED}',
  priority integer NOT NULL DEFAULT 100,
  stop boolean NOT NULL DEFAULT false,
  delay_seconds integer NOT NULL DEFAULT 0,
  remind_minutes integer NOT NULL DEFAULT 0,
  throttle_seconds integer NOT NULL DEFAULT 0,
  burst integer NOT NULL DEFAULT 10,
  quiet_from time,
  quiet_until time,
  quiet_zone text,
  quiet_spares_critical boolean NOT NULL DEFAULT true,
  version bigint NOT NULL DEFAULT 1,
  created_at timestamptz NOT NULL,
  updated_at timestamptz NOT NULL,
  PRIMARY KEY (tenant_id, route_id),
  CONSTRAINT integration_routes_name_sane CHECK (length(name) BETWEEN 1 AND 128 AND name !~ '[[:cntrl:]]'),
  CONSTRAINT integration_routes_severities CHECK (
    cardinality(severities) > 0 AND severities <@ ARRAY['critical', 'high', 'medium', 'low', 'info']),
  CONSTRAINT integration_routes_deliver_on CHECK (
    cardinality(deliver_on) > 0 AND deliver_on <@ ARRAY['OPEN', 'ACKNOWLEDGED', 'CLOSED']),
  CONSTRAINT integration_routes_priority CHECK (priority BETWEEN 0 AND 1000000),
  CONSTRAINT integration_routes_delay CHECK (delay_seconds BETWEEN 0 AND 604800),
  CONSTRAINT integration_routes_remind CHECK (remind_minutes BETWEEN 0 AND 10080),
  CONSTRAINT integration_routes_throttle CHECK (throttle_seconds BETWEEN 0 AND 604800),
  CONSTRAINT integration_routes_burst CHECK (burst BETWEEN 0 AND 10000),
  CONSTRAINT integration_routes_quiet CHECK (
    (quiet_from IS NULL) = (quiet_until IS NULL) AND (quiet_from IS NULL) = (quiet_zone IS NULL) AND quiet_from <> quiet_until)
);
COMMENT ON TABLE integration_routes IS 'Which alerts are told to which integration, and how.';
COMMENT ON COLUMN integration_routes.severities IS 'Never empty. The other lists: empty means all.';
COMMENT ON COLUMN integration_routes.priority IS 'Low first; of equal ones by route_id.';
COMMENT ON COLUMN integration_routes.stop IS 'No later route is tried for an event that this one takes.';
COMMENT ON COLUMN integration_routes.burst IS 'Notices of alerts a minute before further ones are gathered into one; 0: never.';
COMMENT ON COLUMN integration_routes.quiet_from IS 'Local time in quiet_zone, as quiet_until is; past midnight where it is later than that.';
CREATE UNIQUE INDEX integration_routes_name ON integration_routes (tenant_id, lower(name));
CREATE INDEX integration_routes_integration ON integration_routes (tenant_id, integration_id);

INSERT INTO integration_routes (tenant_id, route_id, name, enabled, integration_id, severities, alert_types, site_ids, tags,
  device_prefixes, deliver_on, priority, stop, delay_seconds, remind_minutes, throttle_seconds, created_at, updated_at)
SELECT n.tenant_id, n.route_id,
  CASE WHEN row_number() OVER (PARTITION BY n.tenant_id, lower(n.name) ORDER BY n.route_id) = 1 THEN n.name
    ELSE left(n.name, 100) || ' (' || n.route_id || ')' END,
  n.enabled, n.integration_id,
  CASE WHEN n.severities <> '{}' THEN n.severities
    ELSE ('{critical,high,medium,low,info}'::text[])[:CASE n.min_severity WHEN '2' THEN 4 WHEN '3' THEN 3 WHEN '4' THEN 2 WHEN '5' THEN 1
      ELSE 5 END] END,
  n.alert_types, n.site_ids, n.tags, n.device_prefixes, CASE WHEN n.deliver_on <> '{}' THEN n.deliver_on ELSE '{OPEN,CLOSED}' END,
  n.priority, n.stop, n.delay_seconds, n.remind_minutes, n.throttle_seconds, m.applied_at, m.applied_at
FROM (
  SELECT DISTINCT ON (1, 2) b.item ->> 'tenant_id' AS tenant_id,
    pg_temp.id_of(coalesce(nullif(b.item -> 'route_id', 'null'), nullif(b.item -> 'id', 'null'), b.item)) AS route_id,
    coalesce(nullif(btrim(left(regexp_replace(b.item ->> 'name', '[[:cntrl:]]', ' ', 'g'), 128)), ''), 'Route') AS name,
    lower(coalesce(b.item ->> 'enabled', 'true')) NOT IN ('false', 'f', 'no', 'n', 'off', '0') AS enabled,
    pg_temp.id_of(b.item -> 'integration_id') AS integration_id,
    ARRAY(SELECT s.word FROM unnest('{critical,high,medium,low,info}'::text[]) AS s (word)
      WHERE s.word = ANY (pg_temp.words_of(lower((b.item -> 'severities')::text)::jsonb))) AS severities,
    b.item ->> 'min_severity' AS min_severity,
    pg_temp.words_of(b.item -> 'alert_types') AS alert_types,
    pg_temp.words_of(b.item -> 'site_ids') AS site_ids,
    pg_temp.words_of(b.item -> 'tags') AS tags,
    pg_temp.words_of(b.item -> 'device_prefixes') AS device_prefixes,
    ARRAY(SELECT d.word FROM unnest('{OPEN,ACKNOWLEDGED,CLOSED}'::text[]) AS d (word)
      WHERE d.word = ANY (pg_temp.words_of(upper((b.item -> 'deliver_on')::text)::jsonb))) AS deliver_on,
    pg_temp.number_of(b.item -> 'priority', 0, 1000000, 100) AS priority,
    lower(coalesce(b.item ->> 'stop', 'false')) IN ('true', 't', 'yes', 'y', 'on', '1') AS stop,
    pg_temp.number_of(b.item -> 'delay_seconds', 0, 604800, 0) AS delay_seconds,
    pg_temp.number_of(b.item -> 'remind_minutes', 0, 10080, 0) AS remind_minutes,
    pg_temp.number_of(b.item -> 'throttle_seconds', 0, 604800, 0) AS throttle_seconds
  FROM routes_before AS b WHERE b.item ->> 'tenant_id' IS NOT NULL
  ORDER BY 1, 2
) AS n
-- The time is that of the step before this one, which is service time.
CROSS JOIN (SELECT applied_at FROM schema_migrations ORDER BY version DESC LIMIT 1) AS m;
DROP TABLE routes_before;
DROP FUNCTION pg_temp.words_of(jsonb), pg_temp.id_of(jsonb), pg_temp.number_of(jsonb, integer, integer, integer);

-- Not validated: a route that was taken over may lead nowhere until somebody edits it. Whatever is written from here on is
-- checked, and an integration that a route names is not deleted.
ALTER TABLE integration_routes
  ADD CONSTRAINT integration_routes_tenant FOREIGN KEY (tenant_id) REFERENCES tenants NOT VALID,
  ADD CONSTRAINT integration_routes_integration_id FOREIGN KEY (tenant_id, integration_id) REFERENCES integrations NOT VALID;

CREATE TABLE delivery_jobs (
  job_id bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,
  tenant_id text COLLATE "C" NOT NULL,
  alert_id bigint NOT NULL,
  route_id uuid NOT NULL,
  integration_id uuid NOT NULL,
  event text NOT NULL,
  occurrence integer NOT NULL DEFAULT 1,
  message_id uuid NOT NULL DEFAULT gen_random_uuid(),
  status text NOT NULL DEFAULT 'PENDING',
  reason text,
  created_at timestamptz NOT NULL,
  next_run_at timestamptz NOT NULL,
  tries integer NOT NULL DEFAULT 0,
  attempts integer NOT NULL DEFAULT 0,
  receipt text NOT NULL DEFAULT 'none',
  unreachable_since timestamptz,
  severity_rank integer,
  merged_into bigint,
  told_at timestamptz,
  fingerprint text COLLATE "C",
  leased_by text,
  lease_until timestamptz,
  finished_at timestamptz,
  FOREIGN KEY (tenant_id, alert_id) REFERENCES fleet_alert (tenant_id, id) ON DELETE CASCADE,
  UNIQUE (tenant_id, alert_id, route_id, event, occurrence),
  CONSTRAINT delivery_jobs_of_tenant UNIQUE (tenant_id, job_id),
  CONSTRAINT delivery_jobs_event CHECK (event IN ('OPEN', 'REMINDER', 'ACKNOWLEDGED', 'CLOSED')),
  CONSTRAINT delivery_jobs_status CHECK (status IN ('PENDING', 'PROCESSING', 'COMPLETED', 'DEAD', 'SKIPPED')),
  CONSTRAINT delivery_jobs_receipt CHECK (receipt IN ('none', 'refused', 'possible', 'confirmed')),
  CONSTRAINT delivery_jobs_lease CHECK (
    (status = 'PROCESSING') = (leased_by IS NOT NULL) AND (status = 'PROCESSING') = (lease_until IS NOT NULL)),
  CONSTRAINT delivery_jobs_finished CHECK ((status IN ('COMPLETED', 'DEAD', 'SKIPPED')) = (finished_at IS NOT NULL)),
  CONSTRAINT delivery_jobs_reason CHECK (status NOT IN ('DEAD', 'SKIPPED') OR reason IS NOT NULL)
) WITH (fillfactor = 80);
COMMENT ON TABLE delivery_jobs IS 'The outbox: one row for each notice that a route is to deliver.';
COMMENT ON COLUMN delivery_jobs.message_id IS 'The same on every try, so that the receiver can tell a repeat.';
COMMENT ON COLUMN delivery_jobs.reason IS
  'Why it is held (PENDING), skipped or dead: a code of appliance.delivery.outbox.job.Reason.';
COMMENT ON COLUMN delivery_jobs.tries IS 'Steps of the retry table that are used; a try that reached nobody uses none.';
COMMENT ON COLUMN delivery_jobs.attempts IS 'All tries, those included that reached nobody.';
COMMENT ON COLUMN delivery_jobs.receipt IS
  'What is known of its receipt: none (never reached anybody), refused (every answer was a refusal), possible (a time-out), confirmed.';
COMMENT ON COLUMN delivery_jobs.unreachable_since IS 'When its first try reached nobody; such a notice is told in its present state.';
COMMENT ON COLUMN delivery_jobs.severity_rank IS 'Of its alert while there is no way out, 1 is critical: by this it is told when there is one.';
COMMENT ON COLUMN delivery_jobs.merged_into IS 'The job whose notice tells of this one as well.';
COMMENT ON COLUMN delivery_jobs.told_at IS 'When its newest try began, unless that was refused or reached nobody: what throttle and burst count.';
COMMENT ON COLUMN delivery_jobs.fingerprint IS 'Of its alert, once an OPEN is told: what the throttle counts.';
COMMENT ON COLUMN delivery_jobs.lease_until IS 'By the clock of the database: past it, the process that sends is taken for dead.';
CREATE INDEX delivery_jobs_due ON delivery_jobs (tenant_id, integration_id, next_run_at) WHERE status = 'PENDING';
CREATE INDEX delivery_jobs_next ON delivery_jobs (next_run_at) WHERE status = 'PENDING';
CREATE INDEX delivery_jobs_processing ON delivery_jobs (tenant_id, integration_id) WHERE status = 'PROCESSING';
CREATE INDEX delivery_jobs_route ON delivery_jobs (tenant_id, route_id, job_id DESC);
CREATE INDEX delivery_jobs_created ON delivery_jobs (tenant_id, created_at DESC, job_id DESC);
CREATE INDEX delivery_jobs_merged ON delivery_jobs (merged_into) WHERE merged_into IS NOT NULL;
CREATE INDEX delivery_jobs_fresh ON delivery_jobs (tenant_id, integration_id, next_run_at)
  WHERE status = 'PENDING' AND unreachable_since IS NULL;
CREATE INDEX delivery_jobs_waited ON delivery_jobs (tenant_id, integration_id, severity_rank, job_id DESC)
  WHERE status = 'PENDING' AND unreachable_since IS NOT NULL;
CREATE INDEX delivery_jobs_told ON delivery_jobs (tenant_id, route_id, told_at) WHERE told_at IS NOT NULL AND merged_into IS NULL;
CREATE INDEX delivery_jobs_throttle ON delivery_jobs (tenant_id, route_id, fingerprint, told_at) WHERE fingerprint IS NOT NULL;
CREATE INDEX delivery_jobs_finished ON delivery_jobs (finished_at) WHERE finished_at IS NOT NULL;

CREATE TABLE delivery_attempts (
  attempt_id bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,
  tenant_id text COLLATE "C" NOT NULL,
  job_id bigint NOT NULL,
  at timestamptz NOT NULL,
  latency_ms integer NOT NULL,
  outcome text NOT NULL,
  http_status integer,
  address text,
  answer text,
  error text,
  request text,
  FOREIGN KEY (tenant_id, job_id) REFERENCES delivery_jobs (tenant_id, job_id) ON DELETE CASCADE,
  CONSTRAINT delivery_attempts_outcome CHECK (outcome IN ('delivered', 'retry', 'refused', 'gone', 'unreached', 'lost'))
);
COMMENT ON TABLE delivery_attempts IS 'Every try of a job: when, how long, what was answered.';
COMMENT ON COLUMN delivery_attempts.outcome IS
  'lost: the process ended between sending and writing down how it went. The others: appliance.delivery.senders.sender.Verdict.';
COMMENT ON COLUMN delivery_attempts.answer IS 'The first 2 KiB, undecodable bytes replaced.';
COMMENT ON COLUMN delivery_attempts.request IS 'What was sent, its secrets masked, at most 8 KiB.';
CREATE INDEX delivery_attempts_of_job ON delivery_attempts (tenant_id, job_id, attempt_id);

CREATE FUNCTION delivery_rank(event text) RETURNS integer LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT array_position(ARRAY['OPEN', 'REMINDER', 'ACKNOWLEDGED', 'CLOSED'], event)
$$;
COMMENT ON FUNCTION delivery_rank IS 'The order in which the steps of an alert are told.';
GRANT EXECUTE ON FUNCTION delivery_rank(text) TO appliance_ingest, appliance_web;

-- What is earlier, of the same alert and route, and not finished; or told by a job that is not. A reminder that was never
-- tried blocks nothing: it is skipped when it is due. The alert alone finds the rows, whatever the planner knows: a few.
CREATE FUNCTION delivery_blocked(job delivery_jobs) RETURNS boolean LANGUAGE sql STABLE PARALLEL SAFE
SET search_path = pg_catalog, public, pg_temp AS $$
  SELECT EXISTS (
    SELECT FROM delivery_jobs AS e
    WHERE (e.tenant_id, e.alert_id) = (job.tenant_id, job.alert_id) AND e.route_id IS NOT DISTINCT FROM job.route_id
      AND (delivery_rank(e.event), e.job_id) < (delivery_rank(job.event), job.job_id)
      AND (e.status = 'PROCESSING' OR e.status = 'PENDING' AND NOT (e.event = 'REMINDER' AND e.attempts = 0)
        OR EXISTS (SELECT FROM delivery_jobs AS x
          WHERE x.job_id = e.merged_into AND x.job_id <> job.job_id AND x.status IN ('PENDING', 'PROCESSING'))))
$$;
COMMENT ON FUNCTION delivery_blocked IS 'Whether an earlier notice of the same alert and route is not finished.';
GRANT EXECUTE ON FUNCTION delivery_blocked(delivery_jobs) TO appliance_ingest, appliance_web;

DO $$
DECLARE
  name text;
BEGIN
  FOREACH name IN ARRAY ARRAY['integrations', 'integration_health', 'integration_routes', 'delivery_jobs', 'delivery_attempts'] LOOP
    EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
    EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', name);
    EXECUTE format(
      'CREATE POLICY %I ON %I TO appliance_web'
      ' USING (tenant_id = NULLIF(current_setting(''appliance.tenant_id'', true), ''''))', name || '_tenant', name);
    EXECUTE format('CREATE POLICY %I ON %I TO appliance_owner USING (true) WITH CHECK (true)', name || '_owner', name);
  END LOOP;
END
$$;
GRANT SELECT, INSERT, UPDATE, DELETE ON integrations, integration_routes TO appliance_ingest, appliance_web;
GRANT SELECT, UPDATE ON integration_health TO appliance_web;
GRANT SELECT, INSERT, UPDATE, DELETE ON integration_health, delivery_jobs, delivery_attempts TO appliance_ingest;
GRANT SELECT, UPDATE ON delivery_jobs TO appliance_web;
GRANT SELECT, INSERT ON delivery_attempts TO appliance_web;

-- Changes are told: appliance_routes (integrations and routes), appliance_deliveries (jobs that are new or due earlier,
-- for couriers and pages), both {"tenants": [...]}.
DO $$
DECLARE
  name text;
  columns text;
BEGIN
  FOREACH name IN ARRAY ARRAY['integrations', 'integration_routes'] LOOP
    columns := CASE name WHEN 'integrations' THEN 'integration_id, version, enabled' ELSE 'route_id, version, enabled' END;
    EXECUTE format(
      'CREATE TRIGGER %I AFTER INSERT ON %I REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT'
      ' EXECUTE FUNCTION tell_changes(''appliance_routes'', ''tenant'', %L)', name || '_tell_insert', name, columns);
    EXECUTE format(
      'CREATE TRIGGER %I AFTER UPDATE ON %I REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT'
      ' EXECUTE FUNCTION tell_changes(''appliance_routes'', ''tenant'', %L)', name || '_tell_update', name, columns);
    EXECUTE format(
      'CREATE TRIGGER %I AFTER DELETE ON %I REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT'
      ' EXECUTE FUNCTION tell_changes(''appliance_routes'', ''tenant'', %L)', name || '_tell_delete', name, columns);
    EXECUTE format(
      'CREATE TRIGGER %I AFTER TRUNCATE ON %I FOR EACH STATEMENT EXECUTE FUNCTION tell_changes(''appliance_routes'')',
      name || '_tell_truncate', name);
  END LOOP;
END
$$;
CREATE TRIGGER delivery_jobs_tell_insert AFTER INSERT ON delivery_jobs
  REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION
  tell_changes('appliance_deliveries', 'tenant', 'job_id, status, next_run_at');
CREATE TRIGGER delivery_jobs_tell_update AFTER UPDATE ON delivery_jobs
  REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION
  tell_changes('appliance_deliveries', 'tenant', 'job_id, status, next_run_at');
