-- Subscriptions, the seats that devices take on them, and the sites devices stand at.

-- Subscriptions ------------------------------------------------------------------------------------------------------

CREATE SEQUENCE subscription_numbers;
GRANT USAGE ON SEQUENCE subscription_numbers TO appliance_ingest, appliance_web;

CREATE TABLE subscriptions (
  -- From 100,000 on the number grows a digit rather than lose one.
  subscription_id text COLLATE "C" NOT NULL DEFAULT 'SUB-' || to_char(now() AT TIME ZONE 'UTC', 'YYYYMMDD') || '-'
    || regexp_replace(to_char(nextval('subscription_numbers'), 'FM0000000000000000000'), '^0+(?=\d{5})', ''),
  tenant_id text COLLATE "C" NOT NULL REFERENCES tenants,
  subscription_type text NOT NULL,
  parent_subscription_id text COLLATE "C",
  device_limit integer NOT NULL,
  active_device_count integer NOT NULL DEFAULT 0,
  term_start timestamptz NOT NULL,
  term_end timestamptz NOT NULL,
  status text NOT NULL,
  grace_end timestamptz,
  hold_reason text,
  plan_id text,
  description text,
  created_at timestamptz NOT NULL DEFAULT now(),
  -- Per tenant, like every key: a global one would tell a tenant what another has.
  PRIMARY KEY (tenant_id, subscription_id),
  FOREIGN KEY (tenant_id, parent_subscription_id) REFERENCES subscriptions (tenant_id, subscription_id),
  CONSTRAINT subscriptions_type CHECK (subscription_type IN ('MAIN', 'ADDON', 'TRIAL', 'TEMPORARY')),
  CONSTRAINT subscriptions_status CHECK (status IN ('TRIAL', 'ACTIVE', 'GRACE', 'SUSPENDED', 'EXPIRED')),
  CONSTRAINT subscriptions_addon_has_parent CHECK ((subscription_type = 'ADDON') = (parent_subscription_id IS NOT NULL)),
  CONSTRAINT subscriptions_limit_positive CHECK (device_limit >= 1),
  CONSTRAINT subscriptions_seats_within_limit CHECK (active_device_count BETWEEN 0 AND device_limit),
  CONSTRAINT subscriptions_term_runs_forward CHECK (term_end > term_start),
  -- No 'infinity': a date that no program can hold would stop whoever reads the row.
  CONSTRAINT subscriptions_dates_sane CHECK (term_start >= '2000-01-01' AND term_end < '3000-01-01' AND grace_end < '3000-01-01')
);
COMMENT ON TABLE subscriptions IS 'What a tenant has bought: how many devices, until when.';
COMMENT ON COLUMN subscriptions.status IS
  'A record for people and for SQL; service is decided by the other columns and the clock (lifecycle.status_at).';
COMMENT ON COLUMN subscriptions.active_device_count IS
  'ACTIVE devices on this subscription. Written by the triggers of device_registry and by nothing else.';

-- One MAIN a tenant, an expired one included: it is renewed, never replaced, so there is nothing to choose between.
CREATE UNIQUE INDEX subscriptions_one_main ON subscriptions (tenant_id) WHERE subscription_type = 'MAIN';
CREATE INDEX subscriptions_parent ON subscriptions (tenant_id, parent_subscription_id);

ALTER TABLE subscriptions ENABLE ROW LEVEL SECURITY;
ALTER TABLE subscriptions FORCE ROW LEVEL SECURITY;
CREATE POLICY subscriptions_tenant ON subscriptions TO appliance_web
  USING (tenant_id = NULLIF(current_setting('appliance.tenant_id', true), ''));
-- FORCE binds the owner too, as which the seat triggers run.
CREATE POLICY subscriptions_owner ON subscriptions TO appliance_owner USING (true) WITH CHECK (true);

-- Column by column: active_device_count is in none of them.
GRANT SELECT, DELETE ON subscriptions TO appliance_ingest;
GRANT INSERT (tenant_id, subscription_type, parent_subscription_id, device_limit, term_start, term_end, status, grace_end,
  hold_reason, plan_id, description) ON subscriptions TO appliance_ingest;
GRANT UPDATE (subscription_type, parent_subscription_id, device_limit, term_start, term_end, status, grace_end,
  hold_reason, plan_id, description) ON subscriptions TO appliance_ingest;
-- A customer renews; only the operator sells, holds and ends.
GRANT SELECT ON subscriptions TO appliance_web;
GRANT UPDATE (subscription_type, device_limit, term_start, term_end, status, grace_end, plan_id, description)
  ON subscriptions TO appliance_web;

CREATE TABLE subscription_terms (
  tenant_id text COLLATE "C" NOT NULL,
  term_id bigint GENERATED ALWAYS AS IDENTITY,
  subscription_id text COLLATE "C" NOT NULL,
  term_start timestamptz NOT NULL,
  term_end timestamptz NOT NULL,
  device_limit integer NOT NULL,
  plan_id text,
  actor text NOT NULL,
  idempotency_key text,
  bought_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (tenant_id, term_id),
  FOREIGN KEY (tenant_id, subscription_id) REFERENCES subscriptions (tenant_id, subscription_id) ON DELETE CASCADE
);
COMMENT ON TABLE subscription_terms IS 'Every term ever bought. Append-only.';
CREATE INDEX subscription_terms_subscription ON subscription_terms (tenant_id, subscription_id, term_start);

CREATE TABLE subscription_audit (
  tenant_id text COLLATE "C" NOT NULL,
  event_id bigint GENERATED ALWAYS AS IDENTITY,
  subscription_id text COLLATE "C" NOT NULL,
  event_type text NOT NULL,
  actor text NOT NULL,
  previous_state jsonb,
  new_state jsonb,
  details jsonb,
  ip text,
  at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (tenant_id, event_id),
  FOREIGN KEY (tenant_id, subscription_id) REFERENCES subscriptions (tenant_id, subscription_id) ON DELETE CASCADE
);
COMMENT ON TABLE subscription_audit IS 'What happened to a subscription, and by whom. Append-only.';
CREATE INDEX subscription_audit_subscription ON subscription_audit (tenant_id, subscription_id, event_id);

ALTER TABLE subscription_terms ENABLE ROW LEVEL SECURITY;
ALTER TABLE subscription_terms FORCE ROW LEVEL SECURITY;
CREATE POLICY subscription_terms_tenant ON subscription_terms TO appliance_web
  USING (tenant_id = NULLIF(current_setting('appliance.tenant_id', true), ''));
CREATE POLICY subscription_terms_owner ON subscription_terms TO appliance_owner USING (true) WITH CHECK (true);
ALTER TABLE subscription_audit ENABLE ROW LEVEL SECURITY;
ALTER TABLE subscription_audit FORCE ROW LEVEL SECURITY;
CREATE POLICY subscription_audit_tenant ON subscription_audit TO appliance_web
  USING (tenant_id = NULLIF(current_setting('appliance.tenant_id', true), ''));
CREATE POLICY subscription_audit_owner ON subscription_audit TO appliance_owner USING (true) WITH CHECK (true);
GRANT SELECT, INSERT ON subscription_terms, subscription_audit TO appliance_ingest, appliance_web;

-- Sites --------------------------------------------------------------------------------------------------------------

CREATE TABLE sites (
  tenant_id text COLLATE "C" NOT NULL REFERENCES tenants,
  site_id text COLLATE "C" NOT NULL,
  name text,
  time_zone text,
  lat double precision,
  lng double precision,
  created_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (tenant_id, site_id),
  CONSTRAINT sites_position CHECK ((lat IS NULL) = (lng IS NULL) AND lat BETWEEN -90 AND 90 AND lng BETWEEN -180 AND 180)
);
COMMENT ON TABLE sites IS 'Where devices stand. Made at the first mention by a device, named by people afterwards.';
COMMENT ON COLUMN sites.time_zone IS 'NULL: the tenant''s.';
ALTER TABLE sites ENABLE ROW LEVEL SECURITY;
ALTER TABLE sites FORCE ROW LEVEL SECURITY;
CREATE POLICY sites_tenant ON sites TO appliance_web
  USING (tenant_id = NULLIF(current_setting('appliance.tenant_id', true), ''));
CREATE POLICY sites_owner ON sites TO appliance_owner USING (true) WITH CHECK (true);
GRANT SELECT, INSERT, UPDATE, DELETE ON sites TO appliance_ingest, appliance_web;

-- Devices and their seats --------------------------------------------------------------------------------------------

ALTER TABLE device_registry
  ADD COLUMN subscription_id text COLLATE "C",
  ADD COLUMN erase_history boolean NOT NULL DEFAULT false,
  ALTER COLUMN status DROP DEFAULT,
  ADD CONSTRAINT device_registry_subscription FOREIGN KEY (tenant_id, subscription_id)
    REFERENCES subscriptions (tenant_id, subscription_id),
  ADD CONSTRAINT device_registry_status
    CHECK (status IN ('PENDING', 'ACTIVE', 'INACTIVE', 'REVOKED', 'DECOMMISSIONED')),
  -- An ACTIVE device has a seat, and no other has.
  ADD CONSTRAINT device_registry_active_has_seat CHECK ((status = 'ACTIVE') = (subscription_id IS NOT NULL)),
  ADD CONSTRAINT device_registry_erased_is_deleted CHECK (NOT erase_history OR status = 'DECOMMISSIONED');
COMMENT ON COLUMN device_registry.erase_history IS 'Deleted together with its readings, and some may still be there.';
COMMENT ON COLUMN device_registry.status IS
  'DECOMMISSIONED is the tombstone of a deleted device: with it the device does not come back by itself.';
CREATE INDEX device_registry_subscription ON device_registry (tenant_id, subscription_id) WHERE subscription_id IS NOT NULL;
CREATE INDEX device_registry_erase ON device_registry (tenant_id, device_id) WHERE erase_history;
CREATE INDEX device_registry_pending ON device_registry (tenant_id) WHERE status = 'PENDING';

-- A customer's admin registers, describes, moves and deletes devices; deleting leaves the row.
GRANT INSERT (tenant_id, device_id, status, subscription_id, site_id, name, place, tags, interval_seconds)
  ON device_registry TO appliance_web;
GRANT UPDATE (status, subscription_id, site_id, name, place, tags, interval_seconds, erase_history, updated_at)
  ON device_registry TO appliance_web;

-- The count ----------------------------------------------------------------------------------------------------------
-- One pass a statement over its transition tables: 10,000 devices cost about as much as ten. Who changes seats has
-- locked the tenant's subscriptions before; a hand on psql has not, so they are locked here, in order of id.
-- NO KEY UPDATE: the foreign key of a device row just written holds KEY SHARE, which two such hands would share.

CREATE FUNCTION seats_apply(of_tenants text[], of_subscriptions text[], changes bigint[]) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
  PERFORM 1 FROM public.subscriptions AS s
  JOIN unnest(of_tenants, of_subscriptions) AS c (tenant_id, subscription_id) USING (tenant_id, subscription_id)
  ORDER BY s.tenant_id, s.subscription_id
  FOR NO KEY UPDATE OF s;
  UPDATE public.subscriptions AS s SET active_device_count = s.active_device_count + c.change
  FROM unnest(of_tenants, of_subscriptions, changes) AS c (tenant_id, subscription_id, change)
  WHERE s.tenant_id = c.tenant_id AND s.subscription_id = c.subscription_id;
END
$$;
REVOKE ALL ON FUNCTION seats_apply(text[], text[], bigint[]) FROM PUBLIC;

CREATE FUNCTION seats_taken() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
  PERFORM seats_apply(array_agg(c.tenant_id), array_agg(c.subscription_id), array_agg(c.change))
  FROM (SELECT tenant_id, subscription_id, count(*) AS change FROM new_rows
        WHERE subscription_id IS NOT NULL GROUP BY tenant_id, subscription_id) AS c
  HAVING count(*) > 0;
  RETURN NULL;
END
$$;

CREATE FUNCTION seats_freed() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
  PERFORM seats_apply(array_agg(c.tenant_id), array_agg(c.subscription_id), array_agg(c.change))
  FROM (SELECT tenant_id, subscription_id, -count(*) AS change FROM old_rows
        WHERE subscription_id IS NOT NULL GROUP BY tenant_id, subscription_id) AS c
  HAVING count(*) > 0;
  RETURN NULL;
END
$$;

CREATE FUNCTION seats_changed() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
  PERFORM seats_apply(array_agg(c.tenant_id), array_agg(c.subscription_id), array_agg(c.change))
  FROM (SELECT tenant_id, subscription_id, sum(change)::bigint AS change
        FROM (SELECT tenant_id, subscription_id, 1 AS change FROM new_rows
              UNION ALL SELECT tenant_id, subscription_id, -1 FROM old_rows) AS both_sides
        WHERE subscription_id IS NOT NULL
        GROUP BY tenant_id, subscription_id HAVING sum(change) <> 0) AS c
  HAVING count(*) > 0;
  RETURN NULL;
END
$$;

CREATE FUNCTION seats_emptied() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
  UPDATE public.subscriptions SET active_device_count = 0 WHERE active_device_count <> 0;
  RETURN NULL;
END
$$;

CREATE TRIGGER seats_taken AFTER INSERT ON device_registry
  REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION seats_taken();
CREATE TRIGGER seats_freed AFTER DELETE ON device_registry
  REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION seats_freed();
CREATE TRIGGER seats_changed AFTER UPDATE ON device_registry
  REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION seats_changed();
CREATE TRIGGER seats_emptied AFTER TRUNCATE ON device_registry
  FOR EACH STATEMENT EXECUTE FUNCTION seats_emptied();

-- The owner of a table cannot be refused a column, so the owner is refused here: the seat triggers run one level down.
CREATE FUNCTION seats_guard() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
  IF pg_trigger_depth() < 2 THEN
    RAISE EXCEPTION 'active_device_count follows device_registry and is never written by hand'
      USING ERRCODE = 'insufficient_privilege', CONSTRAINT = 'subscriptions_count_follows_devices';
  END IF;
  RETURN NEW;
END
$$;
CREATE TRIGGER seats_guard_update BEFORE UPDATE ON subscriptions FOR EACH ROW
  WHEN (NEW.active_device_count IS DISTINCT FROM OLD.active_device_count) EXECUTE FUNCTION seats_guard();
CREATE TRIGGER seats_guard_insert BEFORE INSERT ON subscriptions FOR EACH ROW
  WHEN (NEW.active_device_count <> 0) EXECUTE FUNCTION seats_guard();

-- Sites at their first mention, whoever mentions them.
CREATE FUNCTION sites_mentioned() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
  INSERT INTO public.sites (tenant_id, site_id)
  SELECT DISTINCT tenant_id, site_id FROM new_rows WHERE site_id IS NOT NULL ORDER BY tenant_id, site_id
  ON CONFLICT DO NOTHING;
  RETURN NULL;
END
$$;
CREATE TRIGGER sites_mentioned_insert AFTER INSERT ON device_registry
  REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION sites_mentioned();
CREATE TRIGGER sites_mentioned_update AFTER UPDATE ON device_registry
  REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION sites_mentioned();

-- History of deleted devices -----------------------------------------------------------------------------------------
-- Nobody may delete readings, except those of a device whose deletion said so: a slice at a time, oldest first.

CREATE FUNCTION erase_history(of_tenant text, of_device text, at_most integer) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
  erased bigint;
BEGIN
  -- Locked: whoever registers the device again waits, and its new readings are safe.
  PERFORM 1 FROM public.device_registry
  WHERE tenant_id = of_tenant AND device_id = of_device AND erase_history FOR UPDATE;
  IF NOT FOUND THEN
    RETURN 0;
  END IF;
  DELETE FROM public.device_state WHERE tenant_id = of_tenant AND device_id = of_device;
  DELETE FROM public.telemetry WHERE tenant_id = of_tenant AND device_id = of_device AND (ts, digest) IN (
    SELECT t.ts, t.digest FROM public.telemetry AS t
    WHERE t.tenant_id = of_tenant AND t.device_id = of_device ORDER BY t.ts, t.digest LIMIT at_most);
  GET DIAGNOSTICS erased = ROW_COUNT;
  IF erased < at_most THEN
    UPDATE public.device_registry SET erase_history = false, updated_at = now()
    WHERE tenant_id = of_tenant AND device_id = of_device;
  END IF;
  RETURN erased;
END
$$;
GRANT EXECUTE ON FUNCTION erase_history(text, text, integer) TO appliance_ingest;
