-- Requests of the API that were carried out, with their answers, so that one that is sent again is answered and does
-- nothing: Idempotency-Key. The row is written in the transaction of the change that it answers.

CREATE TABLE api_requests (
  user_id uuid NOT NULL REFERENCES users ON DELETE CASCADE,
  key_hash bytea NOT NULL,
  tenant_id text COLLATE "C",
  sealed bytea NOT NULL,
  asked_at timestamptz NOT NULL,
  until timestamptz NOT NULL,
  PRIMARY KEY (user_id, key_hash),
  FOREIGN KEY (tenant_id, user_id) REFERENCES users (tenant_id, user_id) ON DELETE CASCADE,
  CONSTRAINT api_requests_sha256 CHECK (octet_length(key_hash) = 32),
  CONSTRAINT api_requests_until CHECK (until > asked_at)
);
COMMENT ON TABLE api_requests IS
  'Requests that were carried out under an Idempotency-Key, with their answers. Its rows belong in no backup.';
COMMENT ON COLUMN api_requests.tenant_id IS 'That of the account; NULL: an operator''s.';
COMMENT ON COLUMN api_requests.key_hash IS 'SHA-256 of account, method, path and key.';
COMMENT ON COLUMN api_requests.sealed IS
  'Answer and content of the request, sealed with a key derived from the Idempotency-Key, and again with keys.json.';
COMMENT ON COLUMN api_requests.until IS 'After this the key is free again.';
CREATE INDEX api_requests_until ON api_requests (until);

ALTER TABLE api_requests ENABLE ROW LEVEL SECURITY;
ALTER TABLE api_requests FORCE ROW LEVEL SECURITY;
CREATE POLICY api_requests_tenant ON api_requests TO appliance_web
  USING (tenant_id = NULLIF(current_setting('appliance.tenant_id', true), ''));
CREATE POLICY api_requests_owner ON api_requests TO appliance_owner USING (true) WITH CHECK (true);
GRANT SELECT, INSERT, UPDATE, DELETE ON api_requests TO appliance_ingest;
GRANT SELECT, INSERT, UPDATE ON api_requests TO appliance_web;
