-- What quarantine holds, kept count of; and replays of it, which outlive the process that runs them.

-- What a row takes on disk, near enough: 160 bytes for the columns not named here and the row's places in the indexes.
ALTER TABLE quarantine_events ADD COLUMN size integer NOT NULL
  GENERATED ALWAYS AS (160 + octet_length(payload) + octet_length(topic) + octet_length(detail)) STORED;
COMMENT ON COLUMN quarantine_events.size IS 'Bytes, for the cap of its tenant.';

-- Counting what is held by reason, and the oldest of it; the oldest of what is decided, which goes first.
CREATE INDEX quarantine_events_reason ON quarantine_events (tenant_id, reason, id) WHERE status = 'HELD';
CREATE INDEX quarantine_events_decided ON quarantine_events (tenant_id, id) WHERE status <> 'HELD';

-- A customer decides on messages of its own.
GRANT UPDATE (status, decided_at, decided_by) ON quarantine_events TO appliance_web;

-- Totals -------------------------------------------------------------------------------------------------------------
-- Exact in every snapshot, whoever writes: a cap costs no scan. A statement that touches messages of several tenants
-- takes their totals in order of tenant.

CREATE TABLE quarantine_totals (
  tenant_id text COLLATE "C" PRIMARY KEY,
  messages bigint NOT NULL DEFAULT 0,
  bytes bigint NOT NULL DEFAULT 0,
  held bigint NOT NULL DEFAULT 0,
  held_bytes bigint NOT NULL DEFAULT 0,
  evicted bigint NOT NULL DEFAULT 0,
  evicted_at timestamptz,
  evicted_until timestamptz
) WITH (fillfactor = 50);  -- a few rows, added to all the time
COMMENT ON TABLE quarantine_totals IS 'How much quarantine_events has of each tenant. Written by its triggers.';
COMMENT ON COLUMN quarantine_totals.tenant_id IS 'Empty: of no known tenant.';
COMMENT ON COLUMN quarantine_totals.evicted IS 'How many held messages had to go, for want of room or for their age.';
COMMENT ON COLUMN quarantine_totals.evicted_at IS 'When one last had to go for want of room.';
COMMENT ON COLUMN quarantine_totals.evicted_until IS
  'When the newest that had to go was received: of what was held later, nothing is missing.';

ALTER TABLE quarantine_totals ENABLE ROW LEVEL SECURITY;
ALTER TABLE quarantine_totals FORCE ROW LEVEL SECURITY;
CREATE POLICY quarantine_totals_tenant ON quarantine_totals TO appliance_web
  USING (tenant_id = NULLIF(current_setting('appliance.tenant_id', true), ''));
CREATE POLICY quarantine_totals_owner ON quarantine_totals TO appliance_owner USING (true) WITH CHECK (true);
GRANT SELECT ON quarantine_totals TO appliance_ingest, appliance_web;
GRANT UPDATE (evicted, evicted_at, evicted_until) ON quarantine_totals TO appliance_ingest;

INSERT INTO quarantine_totals (tenant_id, messages, bytes, held, held_bytes)
SELECT coalesce(tenant_id, ''), count(*), sum(size), count(*) FILTER (WHERE status = 'HELD'),
  coalesce(sum(size) FILTER (WHERE status = 'HELD'), 0)
FROM quarantine_events GROUP BY 1;

CREATE FUNCTION quarantine_counted() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
  IF TG_OP = 'INSERT' THEN
    INSERT INTO public.quarantine_totals AS t (tenant_id, messages, bytes, held, held_bytes)
    SELECT coalesce(tenant_id, ''), count(*), sum(size), count(*) FILTER (WHERE status = 'HELD'),
      coalesce(sum(size) FILTER (WHERE status = 'HELD'), 0)
    FROM new_rows GROUP BY 1 ORDER BY 1
    ON CONFLICT (tenant_id) DO UPDATE SET messages = t.messages + EXCLUDED.messages, bytes = t.bytes + EXCLUDED.bytes,
      held = t.held + EXCLUDED.held, held_bytes = t.held_bytes + EXCLUDED.held_bytes;
  ELSIF TG_OP = 'DELETE' THEN
    INSERT INTO public.quarantine_totals AS t (tenant_id, messages, bytes, held, held_bytes)
    SELECT coalesce(tenant_id, ''), -count(*), -sum(size), -count(*) FILTER (WHERE status = 'HELD'),
      -coalesce(sum(size) FILTER (WHERE status = 'HELD'), 0)
    FROM old_rows GROUP BY 1 ORDER BY 1
    ON CONFLICT (tenant_id) DO UPDATE SET messages = t.messages + EXCLUDED.messages, bytes = t.bytes + EXCLUDED.bytes,
      held = t.held + EXCLUDED.held, held_bytes = t.held_bytes + EXCLUDED.held_bytes;
  ELSIF TG_OP = 'UPDATE' THEN
    INSERT INTO public.quarantine_totals AS t (tenant_id, messages, bytes, held, held_bytes)
    SELECT coalesce(tenant_id, ''), sum(sign), sum(sign * size), coalesce(sum(sign) FILTER (WHERE status = 'HELD'), 0),
      coalesce(sum(sign * size) FILTER (WHERE status = 'HELD'), 0)
    FROM (SELECT tenant_id, status, size, 1 AS sign FROM new_rows
      UNION ALL SELECT tenant_id, status, size, -1 FROM old_rows) AS changes
    GROUP BY 1 ORDER BY 1
    ON CONFLICT (tenant_id) DO UPDATE SET messages = t.messages + EXCLUDED.messages, bytes = t.bytes + EXCLUDED.bytes,
      held = t.held + EXCLUDED.held, held_bytes = t.held_bytes + EXCLUDED.held_bytes;
  ELSE
    UPDATE public.quarantine_totals SET messages = 0, bytes = 0, held = 0, held_bytes = 0;
  END IF;
  RETURN NULL;
END
$$;
CREATE TRIGGER quarantine_counted_insert AFTER INSERT ON quarantine_events
  REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION quarantine_counted();
CREATE TRIGGER quarantine_counted_update AFTER UPDATE ON quarantine_events
  REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION quarantine_counted();
CREATE TRIGGER quarantine_counted_delete AFTER DELETE ON quarantine_events
  REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION quarantine_counted();
CREATE TRIGGER quarantine_counted_truncate AFTER TRUNCATE ON quarantine_events
  FOR EACH STATEMENT EXECUTE FUNCTION quarantine_counted();

-- Replays ------------------------------------------------------------------------------------------------------------

CREATE TABLE quarantine_replays (
  replay_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  tenant_id text COLLATE "C",
  selection jsonb NOT NULL,
  status text COLLATE "C" NOT NULL DEFAULT 'WAITING',
  total bigint NOT NULL,
  last_id bigint NOT NULL,
  done_id bigint NOT NULL DEFAULT 0,
  replayed bigint NOT NULL DEFAULT 0,
  duplicate bigint NOT NULL DEFAULT 0,
  refused jsonb NOT NULL DEFAULT '{}',
  gone bigint NOT NULL DEFAULT 0,
  error text,
  created_at timestamptz NOT NULL DEFAULT now(),
  created_by text NOT NULL,
  ended_at timestamptz,
  instance text,
  beat_at timestamptz,
  CONSTRAINT quarantine_replays_status CHECK (status IN ('WAITING', 'RUNNING', 'DONE', 'CANCELLED', 'FAILED')),
  CONSTRAINT quarantine_replays_ended CHECK ((status IN ('WAITING', 'RUNNING')) = (ended_at IS NULL))
);
COMMENT ON TABLE quarantine_replays IS 'Jobs: held messages that are to be judged again, and how far that has come.';
COMMENT ON COLUMN quarantine_replays.tenant_id IS 'Whose messages; NULL: everybody''s, empty: those of no known tenant.';
COMMENT ON COLUMN quarantine_replays.last_id IS 'What is held later is none of its business.';
COMMENT ON COLUMN quarantine_replays.done_id IS 'Up to here it is done; moved in the transaction that does it.';
COMMENT ON COLUMN quarantine_replays.refused IS 'Reason -> how many stay held.';
COMMENT ON COLUMN quarantine_replays.gone IS 'Decided or evicted by somebody else meanwhile.';
COMMENT ON COLUMN quarantine_replays.instance IS 'Which appliance works on it, as long as beat_at is recent.';
CREATE INDEX quarantine_replays_open ON quarantine_replays (replay_id) WHERE ended_at IS NULL;
CREATE INDEX quarantine_replays_tenant ON quarantine_replays (tenant_id, replay_id);

ALTER TABLE quarantine_replays ENABLE ROW LEVEL SECURITY;
ALTER TABLE quarantine_replays FORCE ROW LEVEL SECURITY;
CREATE POLICY quarantine_replays_tenant ON quarantine_replays TO appliance_web
  USING (tenant_id = NULLIF(current_setting('appliance.tenant_id', true), ''));
CREATE POLICY quarantine_replays_owner ON quarantine_replays TO appliance_owner USING (true) WITH CHECK (true);
GRANT SELECT, INSERT, UPDATE, DELETE ON quarantine_replays TO appliance_ingest;
GRANT SELECT, INSERT (tenant_id, selection, total, last_id, created_by), UPDATE (status, ended_at)
  ON quarantine_replays TO appliance_web;

CREATE FUNCTION replay_asked() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
  PERFORM pg_notify('appliance_replay', '');
  RETURN NULL;
END
$$;
CREATE TRIGGER replay_asked AFTER INSERT ON quarantine_replays FOR EACH STATEMENT EXECUTE FUNCTION replay_asked();
