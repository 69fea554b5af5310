-- Instances of the appliance on this database, and how far each has written the devices' states.

CREATE TABLE ingest_instances (
  instance text PRIMARY KEY,
  state_written_at timestamptz NOT NULL DEFAULT '-infinity',
  last_batch uuid
);
COMMENT ON TABLE ingest_instances IS
  'One row for each appliance that stores here. State of devices later than state_written_at is rebuilt from telemetry at its start.';

COMMENT ON COLUMN ingest_instances.last_batch IS
  'The batch it committed last: tells, after a COMMIT whose answer was lost, what became of it.';

GRANT SELECT, INSERT, UPDATE ON ingest_instances TO appliance_ingest;
GRANT SELECT ON ingest_instances TO appliance_backup;

-- Rows arrive in the order of received_at, so a block range index finds the newest ones at next to no cost.
CREATE INDEX telemetry_received_at ON telemetry USING brin (received_at);
