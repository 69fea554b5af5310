-- Readings are dropped by age, a UTC day at a time: the day's partition as a whole, counted by tenant in the ledger and
-- recorded in the audit, in one transaction.

-- Two requirements decide the order of its steps. The count is exact, so nobody may store readings of the day
-- meanwhile: SHARE locks this one partition, in which ingest stores nothing any more, and leaves readers alone. And the
-- lock that detaching takes, which holds up every reader and writer of telemetry, must be short: it comes after the
-- count, is waited for as long as lock_timeout says, and what follows it is a matter of milliseconds. The ledger comes
-- after it: the writer locks telemetry first and its row of the ledger second, too.
--
-- cutoff is the moment by which the caller decided: the whole day must be older. A day that far in the future that only
-- a wrong clock can have made it is dropped as well, if it is empty.
--
-- Returns the number of readings dropped; NULL if there is no such partition, or while another session drops one.
-- Raises 55P03 if a lock is not had, 55000 if hours of the day are still to be rolled up, 22023 if the day may not go.
CREATE FUNCTION telemetry_drop_day(
  of_day date, cutoff timestamptz, at_time timestamptz, by_instance text, by_actor text, cause text
) RETURNS bigint
LANGUAGE plpgsql STRICT SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp
SET lock_timeout = '200ms' SET timezone = 'UTC' SET datestyle = 'ISO' AS $$
DECLARE
  partition text := 'telemetry_' || to_char(of_day, 'YYYYMMDD');
  began timestamptz := of_day::timestamp AT TIME ZONE 'UTC';
  ended timestamptz := (of_day + 1)::timestamp AT TIME ZONE 'UTC';
  ahead boolean := began > at_time + interval '30 days';
  size bigint;
  counts jsonb;
  readings bigint;
BEGIN
  -- Nothing of the last day ever goes, whatever the caller asks for.
  IF NOT ahead AND (ended > cutoff OR cutoff > at_time - interval '1 day') THEN
    RAISE EXCEPTION 'readings of % are not all older than %', of_day, cutoff USING ERRCODE = 'invalid_parameter_value';
  END IF;
  -- 'tele' and 'drop' as numbers: the space of two keys, which nothing else here uses.
  IF NOT pg_try_advisory_xact_lock(1952803941, 1685221232) THEN
    RETURN NULL;
  END IF;
  -- Found by its bounds as well as by its name: a partition that somebody made by hand is left alone.
  SELECT pg_total_relation_size(c.oid) INTO size
  FROM pg_class AS c JOIN pg_inherits AS i ON i.inhrelid = c.oid
  WHERE i.inhparent = 'public.telemetry'::regclass AND c.relnamespace = 'public'::regnamespace AND c.relname = partition
    AND pg_get_expr(c.relpartbound, c.oid) = format('FOR VALUES FROM (%L) TO (%L)', began, ended);
  IF NOT FOUND THEN
    RETURN NULL;
  END IF;
  EXECUTE format('LOCK TABLE public.%I IN SHARE MODE', partition);
  IF EXISTS (SELECT FROM public.telemetry_marks WHERE hour >= began AND hour < ended) THEN
    RAISE EXCEPTION 'hours of % are still to be rolled up', of_day USING ERRCODE = 'object_not_in_prerequisite_state';
  END IF;
  EXECUTE format(
    'SELECT coalesce(jsonb_object_agg(c.tenant_id, c.readings), ''{}''), coalesce(sum(c.readings), 0)::bigint'
    ' FROM (SELECT tenant_id, count(*) AS readings FROM public.%I GROUP BY tenant_id) AS c', partition)
  INTO counts, readings;
  IF ahead AND readings > 0 THEN
    RAISE EXCEPTION '% is in the future and has readings', of_day USING ERRCODE = 'invalid_parameter_value';
  END IF;
  EXECUTE format('ALTER TABLE public.telemetry DETACH PARTITION public.%I', partition);
  EXECUTE format('DROP TABLE public.%I', partition);
  INSERT INTO public.ingest_ledger AS l (minute, instance, tenant_id, partition_dropped)
  SELECT date_trunc('minute', at_time), by_instance, c.key, c.value::bigint
  FROM jsonb_each_text(counts) AS c ORDER BY c.key COLLATE "C"
  ON CONFLICT (minute, instance, tenant_id) DO UPDATE SET
    partition_dropped = l.partition_dropped + EXCLUDED.partition_dropped;
  INSERT INTO public.audit_log (at, actor, actor_kind, action, object_type, object_id, before, after)
  VALUES (at_time, by_actor, 'appliance', 'telemetry.drop', 'telemetry', of_day::text,
    jsonb_build_object('readings', readings, 'bytes', size), jsonb_build_object('cause', cause));
  RETURN readings;
END
$$;
COMMENT ON FUNCTION telemetry_drop_day IS
  'Drops the partition of a day, counts its readings in the ledger and records it in the audit: all of it or nothing.';
GRANT EXECUTE ON FUNCTION telemetry_drop_day(date, timestamptz, timestamptz, text, text, text) TO appliance_ingest;
