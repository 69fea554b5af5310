-- Presence, one: a device of which nothing ever came is NEW, not OFFLINE; and `offline` no longer moves last_seen_at.

COMMENT ON COLUMN device_state.offline_at IS
  'When an `offline` of it, or its will, came that counts: nothing else of the device came around it. Ends with its next message.';

-- Presence, two: silence counts as far as the instance listened that heard the device last. Laid together, the listening
-- of all instances would make the devices of one that is away OFFLINE.

ALTER TABLE device_state ADD COLUMN heard_by text REFERENCES ingest_instances ON DELETE SET NULL;
COMMENT ON COLUMN device_state.heard_by IS
  'The instance that heard it last. NULL: unknown, or that instance was removed; then all instances count as one.';
UPDATE device_state SET heard_by = (SELECT min(instance) FROM ingest_instances)
WHERE (SELECT count(*) FROM ingest_instances) = 1;

ALTER TABLE ingest_instances
  ADD COLUMN name text,
  ADD COLUMN version text;
COMMENT ON COLUMN ingest_instances.name IS 'The name of its machine, as of its last start.';
COMMENT ON COLUMN ingest_instances.version IS 'Of its program, as of its last start.';
GRANT DELETE ON ingest_instances TO appliance_ingest;
GRANT SELECT (instance, name) ON ingest_instances TO appliance_web;

DROP FUNCTION presence_of(device_state, double precision, presence_watch);
DROP FUNCTION silence_since(timestamptz, presence_watch);
DROP VIEW presence_watch;

-- All that presence needs beside a device's own row, one row an instance and one ('') for all of them laid together: the
-- stretches in order, behind a first one that stands for the time before anything is known. longest_after[i] is the length
-- in seconds of the longest stretch after the i-th. A function, so that the planner knows that they are few: it takes the
-- body of a view for thousands of rows, and an external server with jit would compile each query for longer than it runs.
CREATE FUNCTION presence_watches() RETURNS TABLE (
  instance text, began_at timestamptz[], ended_at timestamptz[], longest_after double precision[],
  stale_after double precision, offline_after double precision
) LANGUAGE plpgsql STABLE PARALLEL SAFE ROWS 2 SET jit = off SET search_path = pg_catalog, public, pg_temp AS $$
#variable_conflict use_column
BEGIN
  RETURN QUERY
  WITH heard AS (
    SELECT l.instance, tstzrange(l.began_at, l.ended_at, '[]') AS stretch FROM listening AS l
    UNION ALL
    SELECT '', unnest(range_agg(tstzrange(l.began_at, l.ended_at, '[]'))) FROM listening AS l
  ), stretches AS (
    SELECT every.instance, '-infinity'::timestamptz AS began, NULL::timestamptz AS ended
    FROM (SELECT i.instance FROM ingest_instances AS i UNION SELECT l.instance FROM listening AS l UNION SELECT '') AS every
    UNION ALL
    SELECT h.instance, lower(h.stretch), upper(h.stretch) FROM heard AS h
  ), measured AS (
    SELECT s.instance, s.began, s.ended,
      max(extract(epoch FROM s.ended - s.began)::float8)
        OVER (PARTITION BY s.instance ORDER BY s.began ROWS BETWEEN 1 FOLLOWING AND UNBOUNDED FOLLOWING) AS longest
    FROM stretches AS s
  )
  SELECT m.instance, array_agg(m.began ORDER BY m.began), array_agg(m.ended ORDER BY m.began),
    array_agg(m.longest ORDER BY m.began), p.stale_after, p.offline_after
  FROM measured AS m CROSS JOIN presence_limits AS p
  GROUP BY m.instance, p.stale_after, p.offline_after;
END
$$;
GRANT EXECUTE ON FUNCTION presence_watches() TO appliance_ingest, appliance_web;

CREATE VIEW presence_watch WITH (security_invoker = true) AS SELECT * FROM presence_watches();
COMMENT ON VIEW presence_watch IS 'For presence_of: joined ON w.instance = coalesce(s.heard_by, '''').';
GRANT SELECT ON presence_watch TO appliance_ingest, appliance_web;

CREATE FUNCTION silence_since(moment timestamptz, watch presence_watch) RETURNS double precision
LANGUAGE sql STABLE PARALLEL SAFE AS $$
  SELECT greatest(
    extract(epoch FROM watch.ended_at[width_bucket(moment, watch.began_at)] - moment)::float8,
    watch.longest_after[width_bucket(moment, watch.began_at)],
    0)
$$;
COMMENT ON FUNCTION silence_since IS
  'Seconds of silence after the moment, as far as it was listened to: the longest stretch without a break.';

CREATE FUNCTION presence_of(state device_state, interval_seconds double precision, watch presence_watch)
RETURNS text LANGUAGE sql STABLE PARALLEL SAFE AS $$
  SELECT CASE
    WHEN coalesce(state.last_heard_at, state.last_seen_at, state.refused_at) IS NULL THEN
      CASE WHEN state.offline_at IS NULL THEN 'NEW' ELSE 'OFFLINE' END
    WHEN state.offline_at >= greatest(state.last_heard_at, state.last_seen_at, state.refused_at) THEN 'OFFLINE'
    WHEN state.refused_at > coalesce(state.last_seen_at, '-infinity') THEN
      CASE WHEN silence_since(coalesce(state.last_heard_at, state.refused_at), watch)
        >= greatest(10 * coalesce(interval_seconds, state.learned_interval), watch.offline_after)
      THEN 'OFFLINE' ELSE 'REFUSED' END
    WHEN silence_since(coalesce(state.last_seen_at, state.last_heard_at), watch)
      >= greatest(10 * coalesce(interval_seconds, state.learned_interval), watch.offline_after) THEN 'OFFLINE'
    WHEN silence_since(coalesce(state.last_seen_at, state.last_heard_at), watch)
      >= greatest(3 * coalesce(interval_seconds, state.learned_interval), watch.stale_after) THEN 'STALE'
    ELSE 'ONLINE' END
$$;
COMMENT ON FUNCTION presence_of IS
  'ONLINE, STALE, OFFLINE, REFUSED or NEW; the interval is the one a person set, if any. The same as presence.presence_at.';

GRANT EXECUTE ON FUNCTION silence_since(timestamptz, presence_watch),
  presence_of(device_state, double precision, presence_watch) TO appliance_ingest, appliance_web;
