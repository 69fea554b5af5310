-- Links that acknowledge an alert once, without signing in: whoever opens one acts for the integration it was sent to.

ALTER TABLE audit_log
  DROP CONSTRAINT audit_log_actor_kind,
  ADD CONSTRAINT audit_log_actor_kind
    CHECK (actor_kind IN ('user', 'token', 'command', 'device', 'appliance', 'integration')) NOT VALID;
