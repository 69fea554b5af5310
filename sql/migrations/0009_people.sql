-- People: users, their sessions, one-time links, API tokens and the browsers they are known by.
--
-- What proves who somebody is - hashes of passwords and sessions, second factors - is not for appliance_web, under which
-- customers' requests run: it is asked for before a tenant is known. appliance_web may list the people of its tenant,
-- invite them, change their role and end their sessions; its grants go column by column.

CREATE TABLE users (
  user_id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  tenant_id text COLLATE "C" REFERENCES tenants,
  email text COLLATE "C" NOT NULL,
  name text NOT NULL DEFAULT '',
  role text NOT NULL,
  password_hash text,
  password_set_at timestamptz,
  totp_secret bytea,
  totp_step bigint,
  second_factor_since timestamptz,
  time_zone text,
  theme text NOT NULL DEFAULT 'system',
  created_at timestamptz NOT NULL DEFAULT now(),
  last_sign_in_at timestamptz,
  disabled_at timestamptz,
  -- Per tenant, like every key: a global one would tell a tenant whom another has. Sign-in tries each of them.
  CONSTRAINT users_one_a_tenant UNIQUE NULLS NOT DISTINCT (tenant_id, email),
  CONSTRAINT users_of_tenant UNIQUE (tenant_id, user_id),
  CONSTRAINT users_role CHECK (role IN ('operator', 'admin', 'responder', 'viewer')),
  CONSTRAINT users_operators_have_no_tenant CHECK ((role = 'operator') = (tenant_id IS NULL)),
  CONSTRAINT users_theme CHECK (theme IN ('system', 'light', 'dark')),
  CONSTRAINT users_email_sane CHECK (email = lower(email) AND email ~ '^[!-~]+@[!-~]+$' AND length(email) <= 254),
  CONSTRAINT users_name_sane CHECK (length(name) <= 128 AND name !~ '[[:cntrl:]]'),
  CONSTRAINT users_argon2id CHECK (password_hash LIKE '$argon2id$%'),
  CONSTRAINT users_password_since CHECK ((password_hash IS NULL) = (password_set_at IS NULL)),
  CONSTRAINT users_second_factor_since CHECK ((totp_secret IS NULL) = (second_factor_since IS NULL))
);
COMMENT ON TABLE users IS 'Who may sign in. Nobody is ever deleted while their tenant is there: the audit names them.';
COMMENT ON COLUMN users.tenant_id IS 'NULL: an operator, who sees all tenants.';
COMMENT ON COLUMN users.email IS 'In lower case.';
COMMENT ON COLUMN users.password_hash IS 'NULL: invited, and has not come yet.';
COMMENT ON COLUMN users.totp_step IS 'The time step of the last code taken: a code works once.';
COMMENT ON COLUMN users.time_zone IS 'NULL: that of the tenant, for operators that of the machine.';
CREATE INDEX users_email ON users (email);

CREATE TABLE sessions (
  session_hash bytea PRIMARY KEY,
  session_id uuid NOT NULL UNIQUE DEFAULT gen_random_uuid(),
  user_id uuid NOT NULL REFERENCES users ON DELETE CASCADE,
  tenant_id text COLLATE "C",
  created_at timestamptz NOT NULL,
  seen_at timestamptz NOT NULL,
  idle_until timestamptz NOT NULL,
  expires_at timestamptz NOT NULL,
  kept boolean NOT NULL,
  address text,
  agent text,
  FOREIGN KEY (tenant_id, user_id) REFERENCES users (tenant_id, user_id) ON DELETE CASCADE,
  CONSTRAINT sessions_sha256 CHECK (octet_length(session_hash) = 32)
);
COMMENT ON TABLE sessions IS 'Who is signed in, and where. The cookie holds the id whose SHA-256 is here.';
COMMENT ON COLUMN sessions.session_id IS 'By which its owner ends it; opens nothing.';
COMMENT ON COLUMN sessions.idle_until IS 'Without a request until then it is over.';
COMMENT ON COLUMN sessions.kept IS 'Whether its owner asked to stay signed in.';
CREATE INDEX sessions_user ON sessions (user_id);
CREATE INDEX sessions_expiry ON sessions (expires_at);

CREATE TABLE links (
  link_hash bytea PRIMARY KEY,
  purpose text NOT NULL,
  user_id uuid REFERENCES users ON DELETE CASCADE,
  tenant_id text COLLATE "C",
  expires_at timestamptz NOT NULL,
  keep_signed_in boolean NOT NULL DEFAULT false,
  FOREIGN KEY (tenant_id, user_id) REFERENCES users (tenant_id, user_id) ON DELETE CASCADE,
  CONSTRAINT links_sha256 CHECK (octet_length(link_hash) = 32),
  CONSTRAINT links_purpose CHECK (purpose IN ('set-up', 'password', 'second-factor')),
  CONSTRAINT links_set_up_is_nobodys CHECK ((purpose = 'set-up') = (user_id IS NULL))
);
COMMENT ON TABLE links IS 'What opens one door once: the set-up page, a new password, the second step of a sign-in.';
CREATE INDEX links_user ON links (user_id);

CREATE TABLE api_tokens (
  token_id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  token_hash bytea NOT NULL UNIQUE,
  user_id uuid NOT NULL REFERENCES users ON DELETE CASCADE,
  tenant_id text COLLATE "C",
  name text NOT NULL,
  scopes text[] NOT NULL,
  created_at timestamptz NOT NULL,
  expires_at timestamptz NOT NULL,
  last_used_at timestamptz,
  FOREIGN KEY (tenant_id, user_id) REFERENCES users (tenant_id, user_id) ON DELETE CASCADE,
  CONSTRAINT api_tokens_sha256 CHECK (octet_length(token_hash) = 32),
  CONSTRAINT api_tokens_name_sane CHECK (length(name) BETWEEN 1 AND 128 AND name !~ '[[:cntrl:]]'),
  CONSTRAINT api_tokens_scopes CHECK (cardinality(scopes) > 0 AND scopes <@ ARRAY['read', 'write', 'ingest'])
);
COMMENT ON TABLE api_tokens IS 'Bearer tokens of users. Only the SHA-256 is here; revoking removes the row.';
CREATE INDEX api_tokens_user ON api_tokens (user_id);

CREATE TABLE known_browsers (
  user_id uuid NOT NULL REFERENCES users ON DELETE CASCADE,
  browser_hash bytea NOT NULL,
  tenant_id text COLLATE "C",
  seen_at timestamptz NOT NULL,
  PRIMARY KEY (user_id, browser_hash),
  FOREIGN KEY (tenant_id, user_id) REFERENCES users (tenant_id, user_id) ON DELETE CASCADE,
  CONSTRAINT known_browsers_sha256 CHECK (octet_length(browser_hash) = 32)
);
COMMENT ON TABLE known_browsers IS
  'From where a user has signed in before: there, somebody else''s wrong tries do not keep them out.';
CREATE INDEX known_browsers_seen ON known_browsers (seen_at);

DO $$
DECLARE
  name text;
BEGIN
  FOREACH name IN ARRAY ARRAY['users', 'sessions', 'links', 'api_tokens', 'known_browsers']
  LOOP
    EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
    EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', name);
    EXECUTE format(
      'CREATE POLICY %I ON %I TO appliance_web'
      ' USING (tenant_id = NULLIF(current_setting(''appliance.tenant_id'', true), ''''))', name || '_tenant', name);
    EXECUTE format('CREATE POLICY %I ON %I TO appliance_owner USING (true) WITH CHECK (true)', name || '_owner', name);
  END LOOP;
END
$$;

GRANT SELECT, INSERT, UPDATE, DELETE ON users, sessions, links, api_tokens, known_browsers TO appliance_ingest;

GRANT SELECT (user_id, tenant_id, email, name, role, password_set_at, second_factor_since, time_zone, theme, created_at,
  last_sign_in_at, disabled_at) ON users TO appliance_web;
GRANT INSERT (tenant_id, email, name, role) ON users TO appliance_web;
GRANT UPDATE (role, disabled_at, totp_secret, totp_step, second_factor_since) ON users TO appliance_web;
GRANT SELECT (session_id, user_id, tenant_id, created_at, seen_at, idle_until, expires_at, kept, address, agent), DELETE
  ON sessions TO appliance_web;
GRANT SELECT (purpose, user_id, tenant_id, expires_at), INSERT, DELETE ON links TO appliance_web;
GRANT SELECT (token_id, user_id, tenant_id, name, scopes, created_at, expires_at, last_used_at), INSERT, DELETE
  ON api_tokens TO appliance_web;

-- The audit by person and by time.
CREATE INDEX audit_log_actor ON audit_log (tenant_id, actor, id);
CREATE INDEX audit_log_at ON audit_log (at);
