-- Topics that were cleared have a column of their own in the ledger; parts of a position are counted for each device.

ALTER TABLE ingest_ledger ADD COLUMN cleared bigint NOT NULL DEFAULT 0;
ALTER TABLE ingest_ledger DROP CONSTRAINT ingest_ledger_balanced,
  ADD CONSTRAINT ingest_ledger_balanced CHECK (received = stored + refused + duplicate + cleared);
COMMENT ON COLUMN ingest_ledger.cleared IS 'Empty retained messages: a topic was cleared, and nothing was said.';

ALTER TABLE device_state ADD COLUMN unplaced bigint NOT NULL DEFAULT 0;
COMMENT ON COLUMN device_state.unplaced IS
  'How many messages had a part of a position, or an impossible one: its parts were stored as metrics.';
