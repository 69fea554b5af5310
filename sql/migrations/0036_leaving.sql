-- Tenants that leave. A tenant is DELETING from the moment somebody asks for its deletion: ingest and provisioning know it no
-- more, its people and devices have lost their credentials, and nothing brings it back. What it left is deleted in slices.

ALTER TABLE tenants
  DROP CONSTRAINT tenants_status,
  ADD CONSTRAINT tenants_status CHECK (status IN ('ACTIVE', 'SUSPENDED', 'DELETING')),
  ADD CONSTRAINT tenants_deleting_closed CHECK (
    status <> 'DELETING' OR (NOT claim_enabled AND claim_mqtt_hash IS NULL AND claim_token_hash IS NULL));

CREATE FUNCTION tenants_stay_deleting() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
  RAISE EXCEPTION 'tenant "%" is being deleted: nothing brings it back', OLD.tenant_id
    USING ERRCODE = 'check_violation', CONSTRAINT = 'tenants_stay_deleting';
END
$$;
CREATE TRIGGER tenants_stay_deleting BEFORE UPDATE OF status ON tenants
  FOR EACH ROW WHEN (OLD.status = 'DELETING' AND NEW.status <> 'DELETING') EXECUTE FUNCTION tenants_stay_deleting();

-- Without a tenant_id: it outlives the tenant, and only operators see it. Who has the same id later inherits nothing of it.
CREATE TABLE tenant_deletions (
  deletion_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  deleted_tenant text COLLATE "C" NOT NULL,
  name text,
  status text NOT NULL DEFAULT 'RUNNING',
  requested_at timestamptz NOT NULL,
  requested_by text NOT NULL,
  expected jsonb,
  deleted jsonb NOT NULL DEFAULT '{}',
  beat_at timestamptz,
  removed_at timestamptz,
  removed_by_transaction xid8,
  finished_at timestamptz,
  CONSTRAINT tenant_deletions_status CHECK (status IN ('RUNNING', 'CHECKING', 'DONE')),
  CONSTRAINT tenant_deletions_removed CHECK (
    (status = 'RUNNING') = (removed_at IS NULL) AND (removed_at IS NULL) = (removed_by_transaction IS NULL)),
  CONSTRAINT tenant_deletions_finished CHECK ((status = 'DONE') = (finished_at IS NOT NULL)),
  CONSTRAINT tenant_deletions_counts CHECK (jsonb_typeof(deleted) = 'object' AND jsonb_typeof(expected) = 'object')
);
COMMENT ON TABLE tenant_deletions IS 'Tenants that were deleted or are being deleted, by whom, and how many rows of what went.';
COMMENT ON COLUMN tenant_deletions.status IS
  'RUNNING: rows are deleted. CHECKING: the tenant itself is gone, and what may have come in last is looked for. DONE.';
COMMENT ON COLUMN tenant_deletions.expected IS 'Table -> rows counted before the first slice; NULL: not counted yet.';
COMMENT ON COLUMN tenant_deletions.deleted IS 'Table -> rows deleted; written in the transaction that deletes them.';
COMMENT ON COLUMN tenant_deletions.removed_by_transaction IS
  'Which transaction removed the tenant: what was open beside it may have stored a row that it did not see.';
CREATE UNIQUE INDEX tenant_deletions_unfinished ON tenant_deletions (deleted_tenant) WHERE status <> 'DONE';
CREATE INDEX tenant_deletions_tenant ON tenant_deletions (deleted_tenant);
GRANT SELECT, INSERT, UPDATE ON tenant_deletions TO appliance_ingest;

CREATE FUNCTION tenant_tables() RETURNS TABLE (table_name text, partition_of text)
LANGUAGE sql STABLE SET search_path = pg_catalog, public, pg_temp AS $$
  SELECT c.relname::text, p.relname::text
  FROM pg_class AS c
  JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attname = 'tenant_id' AND NOT a.attisdropped
  LEFT JOIN pg_inherits AS i ON i.inhrelid = c.oid LEFT JOIN pg_class AS p ON p.oid = i.inhparent
  WHERE c.relkind = 'r' AND c.relnamespace = 'public'::regnamespace
  ORDER BY c.relname
$$;
COMMENT ON FUNCTION tenant_tables IS 'Every table that holds rows of tenants, by the catalogue: no list that can be incomplete.';
GRANT EXECUTE ON FUNCTION tenant_tables() TO appliance_ingest;

CREATE FUNCTION tenant_rows_left(of_tenant text) RETURNS SETOF text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
  candidate text;
  found_one boolean;
BEGIN
  FOR candidate IN SELECT t.table_name FROM public.tenant_tables() AS t WHERE t.table_name <> 'tenants' LOOP
    EXECUTE format('SELECT EXISTS (SELECT FROM public.%I WHERE tenant_id = $1)', candidate) INTO found_one USING of_tenant;
    IF found_one THEN
      RETURN NEXT candidate;
    END IF;
  END LOOP;
END
$$;
COMMENT ON FUNCTION tenant_rows_left IS 'The tables that have rows of a tenant; asked of all of them.';
GRANT EXECUTE ON FUNCTION tenant_rows_left(text) TO appliance_ingest;

CREATE FUNCTION tenant_rows_count(of_tenant text, of_table text) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
  counted bigint;
BEGIN
  IF NOT EXISTS (SELECT FROM public.tenant_tables() AS t WHERE t.table_name = of_table) THEN
    RETURN 0;  -- a day that has been dropped meanwhile
  END IF;
  EXECUTE format('SELECT count(*) FROM public.%I WHERE tenant_id = $1', of_table) INTO counted USING of_tenant;
  RETURN counted;
END
$$;
GRANT EXECUTE ON FUNCTION tenant_rows_count(text, text) TO appliance_ingest;

-- Waits for nobody: who holds a lock, another process with the same work or the stream, goes first.
CREATE FUNCTION tenant_delete_slice(
  of_deletion bigint, of_table text, at_most integer, at_time timestamptz, by_instance text
) RETURNS bigint
LANGUAGE plpgsql STRICT SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp SET lock_timeout = '200ms' AS $$
DECLARE
  leaving text;
  parent text;
  counted text;
  gone bigint;
BEGIN
  SELECT d.deleted_tenant INTO leaving FROM public.tenant_deletions AS d
  WHERE d.deletion_id = of_deletion FOR NO KEY UPDATE;
  -- A statement of its own, after the lock: the id may belong to somebody else by now.
  IF leaving IS NULL OR EXISTS (
    SELECT FROM public.tenants AS t WHERE t.tenant_id = leaving AND t.status <> 'DELETING') THEN
    RETURN 0;
  END IF;
  SELECT t.partition_of INTO parent FROM public.tenant_tables() AS t
  WHERE t.table_name = of_table AND t.table_name <> 'tenants';
  IF NOT FOUND THEN
    RETURN 0;  -- a day that has been dropped meanwhile
  END IF;
  IF of_table = 'ingest_ledger' THEN
    -- The books stay, under the name of nobody: what was received by the minute is still the truth.
    WITH moved AS (
      DELETE FROM public.ingest_ledger WHERE ctid = ANY (ARRAY(
        SELECT l.ctid FROM public.ingest_ledger AS l WHERE l.tenant_id = leaving LIMIT at_most))
      RETURNING *
    )
    INSERT INTO public.ingest_ledger AS l (minute, instance, tenant_id, received, stored, refused, duplicate, qos0, replayed,
      evicted, partition_dropped, cleared)
    SELECT m.minute, m.instance, '', m.received, m.stored, m.refused, m.duplicate, m.qos0, m.replayed, m.evicted,
      m.partition_dropped, m.cleared
    FROM moved AS m ORDER BY m.minute, m.instance
    ON CONFLICT (minute, instance, tenant_id) DO UPDATE SET
      received = l.received + EXCLUDED.received, stored = l.stored + EXCLUDED.stored,
      refused = l.refused + EXCLUDED.refused, duplicate = l.duplicate + EXCLUDED.duplicate, qos0 = l.qos0 + EXCLUDED.qos0,
      replayed = l.replayed + EXCLUDED.replayed, evicted = l.evicted + EXCLUDED.evicted,
      partition_dropped = l.partition_dropped + EXCLUDED.partition_dropped, cleared = l.cleared + EXCLUDED.cleared;
  ELSIF of_table = 'quarantine_counters_minute' THEN
    WITH moved AS (
      DELETE FROM public.quarantine_counters_minute WHERE ctid = ANY (ARRAY(
        SELECT c.ctid FROM public.quarantine_counters_minute AS c WHERE c.tenant_id = leaving LIMIT at_most))
      RETURNING *
    )
    INSERT INTO public.quarantine_counters_minute AS c (bucket_minute, tenant_id, reason, cnt)
    SELECT m.bucket_minute, '', m.reason, m.cnt FROM moved AS m ORDER BY m.bucket_minute, m.reason
    ON CONFLICT (bucket_minute, tenant_id, reason) DO UPDATE SET cnt = c.cnt + EXCLUDED.cnt;
  ELSIF of_table = 'subscriptions' THEN
    -- Together: an add-on names its main one. They are few, and what hangs on them has gone before.
    DELETE FROM public.subscriptions WHERE tenant_id = leaving;
  ELSE
    EXECUTE format(
      'DELETE FROM public.%1$I WHERE ctid = ANY (ARRAY(SELECT ctid FROM public.%1$I WHERE tenant_id = $1 LIMIT $2))',
      of_table) USING leaving, at_most;
  END IF;
  GET DIAGNOSTICS gone = ROW_COUNT;
  IF gone > 0 AND parent = 'telemetry' THEN
    -- Stored before and gone, as with a day that is dropped: the books of every instant balance.
    INSERT INTO public.ingest_ledger AS l (minute, instance, tenant_id, partition_dropped)
    VALUES (date_trunc('minute', at_time), by_instance, '', gone)
    ON CONFLICT (minute, instance, tenant_id) DO UPDATE SET
      partition_dropped = l.partition_dropped + EXCLUDED.partition_dropped;
  END IF;
  counted := coalesce(parent, of_table);
  UPDATE public.tenant_deletions AS d SET beat_at = at_time,
    deleted = CASE WHEN gone = 0 THEN d.deleted ELSE
      d.deleted || jsonb_build_object(counted, coalesce((d.deleted ->> counted)::bigint, 0) + gone) END
  WHERE d.deletion_id = of_deletion;
  RETURN gone;
END
$$;
COMMENT ON FUNCTION tenant_delete_slice IS
  'Deletes up to at_most rows of the tenant of a deletion from one table, and counts them in it: all of it or nothing.';
GRANT EXECUTE ON FUNCTION tenant_delete_slice(bigint, text, integer, timestamptz, text) TO appliance_ingest;
