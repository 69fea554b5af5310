-- Presence, one: a device of which nothing ever came is NEW, not OFFLINE; and `offline` no longer moves last_seen_at.

COMMENT ON COLUMN device_state.offline_at IS
  'When an `offline` of it, or its will, came that counts: nothing else of the device came around it. Ends with its next message.';

CREATE OR REPLACE FUNCTION presence_of(state device_state, interval_seconds double precision, watch presence_watch)
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

-- Presence, two: the instance that heard a device last.
