-- What people call the metrics of their devices, and what lists of devices and messages need to be quick.

CREATE TABLE metrics (
  tenant_id text COLLATE "C" NOT NULL REFERENCES tenants,
  name text COLLATE "C" NOT NULL,
  label text,
  unit text,
  decimals smallint,
  usual_low double precision,
  usual_high double precision,
  created_at timestamptz NOT NULL DEFAULT now(),
  updated_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (tenant_id, name),
  CONSTRAINT metrics_name_grammar CHECK (name ~ '^[A-Za-z_][A-Za-z0-9_.-]{0,63}$'),
  CONSTRAINT metrics_label_sane CHECK (length(label) BETWEEN 1 AND 64 AND label !~ '[[:cntrl:]]'),
  CONSTRAINT metrics_unit_sane CHECK (length(unit) BETWEEN 1 AND 16 AND unit !~ '[[:cntrl:]]'),
  CONSTRAINT metrics_decimals_sane CHECK (decimals BETWEEN 0 AND 9),
  -- 'NaN' and 'Infinity' are numbers to Postgres.
  CONSTRAINT metrics_usual_sane CHECK (
    usual_low > '-Infinity' AND usual_low < 'Infinity' AND usual_high > '-Infinity' AND usual_high < 'Infinity'),
  CONSTRAINT metrics_usual_order CHECK (usual_low < usual_high)
);
COMMENT ON TABLE metrics IS 'Metrics as people read them. A row comes by itself when a metric is first seen.';
COMMENT ON COLUMN metrics.label IS 'NULL: as its name.';
COMMENT ON COLUMN metrics.decimals IS 'NULL: as many as the device sends.';
COMMENT ON COLUMN metrics.usual_low IS 'Below it a value is unusual; no alert follows from that.';
ALTER TABLE metrics ENABLE ROW LEVEL SECURITY;
ALTER TABLE metrics FORCE ROW LEVEL SECURITY;
CREATE POLICY metrics_tenant ON metrics TO appliance_web
  USING (tenant_id = NULLIF(current_setting('appliance.tenant_id', true), ''));
CREATE POLICY metrics_owner ON metrics TO appliance_owner USING (true) WITH CHECK (true);
GRANT SELECT, INSERT, UPDATE, DELETE ON metrics TO appliance_ingest, appliance_web;

-- Two people who edit the same thing: the second is told, since its version is another one by then.
ALTER TABLE sites ADD COLUMN updated_at timestamptz NOT NULL DEFAULT now();

-- The messages of one device, newest first, whatever was decided on them.
CREATE INDEX quarantine_events_device ON quarantine_events (tenant_id, device_id, id);
