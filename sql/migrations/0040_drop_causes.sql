-- The audit says which limit a day of readings went for: in place of 'budget' the causes are 'max_bytes' (the one of the
-- configuration) and 'disk' (the disk was nearly full), and no other word is taken. Rows from before keep 'budget'.
-- telemetry_drop_day is otherwise as in 0039.
CREATE OR REPLACE FUNCTION telemetry_drop_day(
  of_day date, cutoff timestamptz, at_time timestamptz, by_instance text, by_actor text, cause text, without_rollups boolean
) RETURNS bigint
LANGUAGE plpgsql STRICT SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp
SET lock_timeout = '200ms' SET timezone = 'UTC' SET datestyle = 'ISO' AS $$
DECLARE
  partition text := 'telemetry_' || to_char(of_day, 'YYYYMMDD');
  began timestamptz := of_day::timestamp AT TIME ZONE 'UTC';
  ended timestamptz := (of_day + 1)::timestamp AT TIME ZONE 'UTC';
  ahead boolean := began > at_time + interval '30 days';
  for_room boolean := cause IN ('max_bytes', 'disk');
  youngest timestamptz := at_time - CASE WHEN cause IN ('max_bytes', 'disk') THEN interval '1 hour' ELSE interval '1 day' END;
  size bigint;
  counts jsonb;
  readings bigint;
  pending bigint;
BEGIN
  IF cause NOT IN ('age', 'ahead', 'max_bytes', 'disk') THEN
    RAISE EXCEPTION '% is no cause to drop readings for', cause USING ERRCODE = 'invalid_parameter_value';
  END IF;
  -- Nothing of the last day goes by age, nothing of the present one at all, whatever the caller asks for.
  IF (for_room OR NOT ahead) AND (ended > cutoff OR cutoff > youngest) THEN
    RAISE EXCEPTION 'readings of % are not all older than %', of_day, cutoff USING ERRCODE = 'invalid_parameter_value';
  END IF;
  IF without_rollups AND NOT for_room THEN
    RAISE EXCEPTION 'only for room a day goes without its roll-ups' USING ERRCODE = 'invalid_parameter_value';
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
  SELECT count(DISTINCT (m.tenant_id, m.device_id, m.hour)) INTO pending
  FROM public.telemetry_marks AS m WHERE m.hour >= began AND m.hour < ended;
  IF pending > 0 AND NOT without_rollups THEN
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
    jsonb_build_object('readings', readings, 'bytes', size),
    jsonb_build_object('cause', cause)
      || CASE WHEN pending > 0 THEN jsonb_build_object('hours_not_rolled_up', pending) ELSE '{}' END);
  RETURN readings;
END
$$;
