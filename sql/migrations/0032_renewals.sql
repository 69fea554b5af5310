-- Renewals: what was sold told apart from what was corrected, requests to renew that are answered once, and warnings of
-- the end of a term that are given once.

ALTER TABLE subscription_terms ADD COLUMN kind text, ADD COLUMN corrects_term_id bigint;

-- Until now each change by an operator added a row that looked like a sale, with the start of the term it changed.
UPDATE subscription_terms AS t SET
  kind = CASE WHEN t.term_id = f.first_id THEN 'SOLD' ELSE 'CORRECTED' END,
  corrects_term_id = NULLIF(f.first_id, t.term_id)
FROM (
  SELECT tenant_id, term_id, min(term_id) OVER (PARTITION BY tenant_id, subscription_id, term_start) AS first_id
  FROM subscription_terms
) AS f
WHERE f.tenant_id = t.tenant_id AND f.term_id = t.term_id;

ALTER TABLE subscription_terms
  ALTER COLUMN kind SET NOT NULL,
  ADD CONSTRAINT subscription_terms_kind CHECK (kind IN ('SOLD', 'RENEWED', 'CORRECTED')),
  ADD CONSTRAINT subscription_terms_corrects CHECK ((kind = 'CORRECTED') = (corrects_term_id IS NOT NULL)),
  ADD CONSTRAINT subscription_terms_corrected FOREIGN KEY (tenant_id, corrects_term_id)
    REFERENCES subscription_terms (tenant_id, term_id) ON DELETE CASCADE;
CREATE INDEX subscription_terms_corrections ON subscription_terms (tenant_id, corrects_term_id)
  WHERE corrects_term_id IS NOT NULL;
COMMENT ON COLUMN subscription_terms.kind IS
  'SOLD, RENEWED: a term that was bought. CORRECTED: what an operator made of the term that corrects_term_id names.';

-- Requests that changed a subscription, and those that were answered as one of them.
CREATE TABLE renewal_requests (
  tenant_id text COLLATE "C" NOT NULL,
  request_id bigint GENERATED ALWAYS AS IDENTITY,
  subscription_id text COLLATE "C" NOT NULL,
  key text COLLATE "C",
  hash bytea NOT NULL,
  again boolean NOT NULL,
  changed boolean NOT NULL,
  answer jsonb NOT NULL,
  asked_at timestamptz NOT NULL,
  until timestamptz NOT NULL,
  PRIMARY KEY (tenant_id, request_id),
  FOREIGN KEY (tenant_id, subscription_id) REFERENCES subscriptions (tenant_id, subscription_id) ON DELETE CASCADE,
  CONSTRAINT renewal_requests_key UNIQUE (tenant_id, key)
);
COMMENT ON TABLE renewal_requests IS 'Requests to renew that succeeded, with their answers, so that a repeated one is answered and does nothing.';
COMMENT ON COLUMN renewal_requests.key IS 'The Idempotency-Key; NULL: none was sent.';
COMMENT ON COLUMN renewal_requests.hash IS 'Of subscription, days, limit, plan and sorted devices.';
COMMENT ON COLUMN renewal_requests.changed IS 'It renewed; false: it was answered as an equal one before it.';
COMMENT ON COLUMN renewal_requests.until IS 'After this the key is free again.';
CREATE INDEX renewal_requests_equal ON renewal_requests (tenant_id, subscription_id, hash, asked_at) WHERE changed;
CREATE INDEX renewal_requests_until ON renewal_requests (until);

-- The steps before the end of a term that were warned of. An alert may be closed and deleted; this stays with the term.
CREATE TABLE subscription_warnings (
  tenant_id text COLLATE "C" NOT NULL,
  subscription_id text COLLATE "C" NOT NULL,
  term_start timestamptz NOT NULL,
  days integer NOT NULL,
  warned_at timestamptz NOT NULL,
  PRIMARY KEY (tenant_id, subscription_id, term_start, days),
  FOREIGN KEY (tenant_id, subscription_id) REFERENCES subscriptions (tenant_id, subscription_id) ON DELETE CASCADE
);
COMMENT ON TABLE subscription_warnings IS 'The steps, in days before the end of a term, that people were warned of: each once a term.';

DO $$
DECLARE
  name text;
BEGIN
  FOREACH name IN ARRAY ARRAY['renewal_requests', 'subscription_warnings'] LOOP
    EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
    EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', name);
    EXECUTE format($policy$CREATE POLICY %I ON %I TO appliance_web
      USING (tenant_id = NULLIF(current_setting('appliance.tenant_id', true), ''))$policy$, name || '_tenant', name);
    EXECUTE format('CREATE POLICY %I ON %I TO appliance_owner USING (true) WITH CHECK (true)', name || '_owner', name);
  END LOOP;
END
$$;
GRANT SELECT, INSERT, UPDATE, DELETE ON renewal_requests, subscription_warnings TO appliance_ingest;
GRANT SELECT, INSERT, DELETE ON renewal_requests TO appliance_web;
GRANT SELECT ON subscription_warnings TO appliance_web;
