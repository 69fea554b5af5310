-- Appliances on this database. One is away when it has not listened for as long as makes a device OFFLINE.

-- name: enlist
INSERT INTO ingest_instances (instance, name, version) VALUES (%(instance)s, %(name)s, %(version)s)
ON CONFLICT (instance) DO UPDATE SET name = EXCLUDED.name, version = EXCLUDED.version

-- name: list_peers
SELECT i.instance, i.name, i.version, h.at, (SELECT count(*) FROM device_state AS s WHERE s.heard_by = i.instance),
  h.at IS NULL OR h.at < %(now)s::timestamptz - l.offline_after * interval '1 second'
FROM ingest_instances AS i
CROSS JOIN presence_limits AS l
LEFT JOIN LATERAL (SELECT max(ended_at) AS at FROM listening WHERE instance = i.instance) AS h ON true
ORDER BY i.name NULLS LAST, i.instance

-- name: anybody_away
SELECT EXISTS (
  SELECT FROM ingest_instances AS i
  CROSS JOIN presence_limits AS l
  LEFT JOIN LATERAL (SELECT max(ended_at) AS at FROM listening WHERE instance = i.instance) AS h ON true
  WHERE i.instance <> %(here)s AND (h.at IS NULL OR h.at < %(now)s::timestamptz - l.offline_after * interval '1 second'))

-- name: list_away
SELECT i.instance, i.name, h.at, count(*)
FROM device_state AS s
JOIN device_registry AS d USING (tenant_id, device_id)
JOIN ingest_instances AS i ON i.instance = s.heard_by
CROSS JOIN presence_limits AS l
LEFT JOIN LATERAL (SELECT max(ended_at) AS at FROM listening WHERE instance = i.instance) AS h ON true
WHERE (%(tenant)s::text IS NULL OR s.tenant_id = %(tenant)s) AND d.status = 'ACTIVE'
  AND i.instance <> %(here)s
  AND (h.at IS NULL OR h.at < %(now)s::timestamptz - l.offline_after * interval '1 second')
GROUP BY i.instance, i.name, h.at
ORDER BY i.name NULLS LAST, i.instance

-- name: heard_device
SELECT heard_by FROM device_state WHERE tenant_id = %(tenant)s AND device_id = %(device)s

-- name: lock_peer
SELECT h.at IS NULL OR h.at < %(now)s::timestamptz - l.offline_after * interval '1 second', i.name
FROM ingest_instances AS i
CROSS JOIN presence_limits AS l
LEFT JOIN LATERAL (SELECT max(ended_at) AS at FROM listening WHERE instance = i.instance) AS h ON true
WHERE i.instance = %(instance)s
FOR UPDATE OF i

-- name: forget_listening
DELETE FROM listening WHERE instance = %(instance)s

-- name: delete_peer
DELETE FROM ingest_instances WHERE instance = %(instance)s

-- name: attend
-- The name of the session, and that a machine which vanished is noticed within a minute by the server, too.
SELECT set_config('application_name', %(name)s::text, false), set_config('tcp_keepalives_idle', '30', false),
  set_config('tcp_keepalives_interval', '10', false), set_config('tcp_keepalives_count', '3', false)

-- name: list_attendants
SELECT nullif(substr(s.application_name, length(%(name)s::text) + 1), ''), i.name, i.version
FROM pg_locks AS l
JOIN pg_stat_activity AS s USING (pid)
LEFT JOIN ingest_instances AS i ON s.application_name = %(name)s::text || i.instance
WHERE l.locktype = 'advisory' AND l.granted AND l.mode = 'ShareLock' AND l.objsubid = 1
  AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND ((l.classid::bigint << 32) | l.objid::bigint) = %(lock)s::bigint
ORDER BY i.name NULLS LAST, 1

-- name: newest_listening
SELECT l.instance, i.name, i.version, max(l.ended_at)
FROM listening AS l LEFT JOIN ingest_instances AS i USING (instance)
GROUP BY l.instance, i.name, i.version
ORDER BY i.name NULLS LAST, l.instance
