-- Presence: whether a device that should talk does. Derived from what is here, never written (see presence_of).

ALTER TABLE device_state
  ADD COLUMN refused_at timestamptz,
  ADD COLUMN refused_reason text COLLATE "C",
  ADD COLUMN offline_at timestamptz,
  ADD COLUMN learned_interval double precision,
  ADD CONSTRAINT device_state_refused_for_a_reason CHECK ((refused_at IS NULL) = (refused_reason IS NULL));
COMMENT ON COLUMN device_state.refused_at IS
  'When a message of it was last not accepted, by any check but the rate limit: a device over its limit is accepted, too.';
COMMENT ON COLUMN device_state.refused_reason IS 'Why not.';
COMMENT ON COLUMN device_state.offline_at IS 'When it, or its will, said `offline`; counts until its next message.';
COMMENT ON COLUMN device_state.learned_interval IS 'Seconds: the median of the last 20 gaps between its messages.';

CREATE TABLE listening (
  instance text COLLATE "C" NOT NULL,
  began_at timestamptz NOT NULL,
  ended_at timestamptz NOT NULL,
  PRIMARY KEY (instance, began_at),
  CONSTRAINT listening_forward CHECK (ended_at >= began_at)
);
COMMENT ON TABLE listening IS
  'Stretches of time in which an appliance took messages without a break: it ran, Postgres answered, the broker was there.';
COMMENT ON COLUMN listening.ended_at IS 'Moved on every few seconds while it lasts.';

CREATE TABLE presence_limits (
  singleton boolean PRIMARY KEY DEFAULT true,
  stale_after double precision NOT NULL,
  offline_after double precision NOT NULL,
  CONSTRAINT presence_limits_one_row CHECK (singleton),
  CONSTRAINT presence_limits_ordered CHECK (stale_after > 0 AND offline_after >= stale_after)
);
COMMENT ON TABLE presence_limits IS '[presence] of appliance.toml, as of the last start.';
INSERT INTO presence_limits (stale_after, offline_after) VALUES (90, 300);

GRANT SELECT, INSERT, UPDATE, DELETE ON listening TO appliance_ingest;
GRANT SELECT, UPDATE ON presence_limits TO appliance_ingest;
GRANT SELECT ON listening, presence_limits TO appliance_web;

-- All that presence needs beside a device's own row, once a query: the stretches of all instances laid together, in
-- order, behind a first one that stands for the time before anything is known. longest_after[i] is the length in seconds
-- of the longest stretch after the i-th.
CREATE VIEW presence_watch WITH (security_invoker = true) AS
WITH merged AS (
  SELECT unnest(range_agg(tstzrange(began_at, ended_at, '[]'))) AS stretch FROM listening
), stretches AS (
  SELECT '-infinity'::timestamptz AS began_at, NULL::timestamptz AS ended_at
  UNION ALL
  SELECT lower(stretch), upper(stretch) FROM merged
), measured AS (
  SELECT began_at, ended_at,
    max(extract(epoch FROM ended_at - began_at)::float8)
      OVER (ORDER BY began_at ROWS BETWEEN 1 FOLLOWING AND UNBOUNDED FOLLOWING) AS longest_after
  FROM stretches
)
SELECT array_agg(m.began_at ORDER BY m.began_at) AS began_at, array_agg(m.ended_at ORDER BY m.began_at) AS ended_at,
  array_agg(m.longest_after ORDER BY m.began_at) AS longest_after, l.stale_after, l.offline_after
FROM measured AS m CROSS JOIN presence_limits AS l
GROUP BY l.stale_after, l.offline_after;
COMMENT ON VIEW presence_watch IS 'One row, for presence_of.';

-- Both are expressions that the planner writes into the query, so that 10,000 devices cost milliseconds.

CREATE FUNCTION silence_since(moment timestamptz, watch presence_watch) RETURNS double precision
LANGUAGE sql STABLE PARALLEL SAFE AS $$
  SELECT greatest(
    extract(epoch FROM watch.ended_at[width_bucket(moment, watch.began_at)] - moment)::float8,
    watch.longest_after[width_bucket(moment, watch.began_at)],
    0)
$$;
COMMENT ON FUNCTION silence_since IS
  'Seconds of silence after the moment, as far as it was listened to: the longest stretch without a break.';

CREATE FUNCTION presence_of(state device_state, interval_seconds double precision, watch presence_watch) RETURNS text
LANGUAGE sql STABLE PARALLEL SAFE AS $$
  SELECT CASE
    WHEN state.refused_at > coalesce(state.last_seen_at, '-infinity') THEN
      CASE WHEN silence_since(state.last_heard_at, watch)
        >= greatest(10 * coalesce(interval_seconds, state.learned_interval), watch.offline_after)
      THEN 'OFFLINE' ELSE 'REFUSED' END
    WHEN state.last_seen_at IS NULL OR state.offline_at >= state.last_seen_at THEN 'OFFLINE'
    WHEN silence_since(state.last_seen_at, watch)
      >= greatest(10 * coalesce(interval_seconds, state.learned_interval), watch.offline_after) THEN 'OFFLINE'
    WHEN silence_since(state.last_seen_at, watch)
      >= greatest(3 * coalesce(interval_seconds, state.learned_interval), watch.stale_after) THEN 'STALE'
    ELSE 'ONLINE' END
$$;
COMMENT ON FUNCTION presence_of IS
  'ONLINE, STALE, OFFLINE or REFUSED; the interval is the one a person set, if any. The same as presence.presence_at.';

GRANT SELECT ON presence_watch TO appliance_ingest, appliance_web;
GRANT EXECUTE ON FUNCTION silence_since(timestamptz, presence_watch),
  presence_of(device_state, double precision, presence_watch) TO appliance_ingest, appliance_web;
