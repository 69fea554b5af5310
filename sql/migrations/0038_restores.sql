-- Restores from backups. Until an operator confirms that the machine of the backup is off, no notice is sent: two machines
-- would tell the same.

CREATE TABLE restores (
  restore_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  restored_at timestamptz NOT NULL,
  made_at timestamptz NOT NULL,
  confirmed_at timestamptz,
  confirmed_by text,
  CONSTRAINT restores_confirmed CHECK ((confirmed_at IS NULL) = (confirmed_by IS NULL))
);
COMMENT ON TABLE restores IS 'Restores of this appliance from a backup, and who confirmed that the old machine is off.';
COMMENT ON COLUMN restores.made_at IS 'When the backup was made.';
COMMENT ON COLUMN restores.confirmed_at IS 'NULL: notices are held.';
GRANT SELECT, INSERT, UPDATE ON restores TO appliance_ingest;

COMMENT ON COLUMN delivery_jobs.reason IS
  'Why it is held (PENDING), skipped or dead: a code of appliance.delivery.outbox.job.Reason. unconfirmed: see restores.';
