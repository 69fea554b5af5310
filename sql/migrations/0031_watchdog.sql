-- Probes of the watchdog: written with a batch, taken by the dispatcher of deliveries. They are of an appliance, not of a
-- tenant.

CREATE TABLE watchdog_probes (
  instance text COLLATE "C" NOT NULL,
  number bigint NOT NULL,
  at timestamptz NOT NULL,
  PRIMARY KEY (instance, number)
);
COMMENT ON TABLE watchdog_probes IS
  'Rows that have passed broker, commit and rule, and wait for the outbox of their appliance: a few, for moments.';
GRANT SELECT, INSERT, UPDATE, DELETE ON watchdog_probes TO appliance_ingest;
