-- Readiness is told by deeds: without messages, a probe commits something small.

ALTER TABLE ingest_instances ADD COLUMN probed_at timestamptz;
COMMENT ON COLUMN ingest_instances.probed_at IS 'When a probe last committed, while no messages came.';
