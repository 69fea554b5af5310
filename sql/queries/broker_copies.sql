-- name: select_copy
-- What the broker's files are made from, and what had happened when it was read: one statement, so one snapshot. The
-- lines are put together here: 10,000 of them cost the appliance's loop the copy of one value.
SELECT pg_current_snapshot()::text,
  coalesce((SELECT string_agg(tenant_id || '/device/' || device_id || ':' || mqtt_hash || E'\n', '' ORDER BY tenant_id, device_id)
    FROM device_credentials), ''),
  coalesce((SELECT string_agg(tenant_id || ':' || claim_mqtt_hash || E'\n', '' ORDER BY tenant_id)
    FROM tenants WHERE claim_enabled AND claim_mqtt_hash IS NOT NULL), ''),
  coalesce((SELECT string_agg('user ' || t.tenant_id
        || E'\ntopic write tenant/' || t.tenant_id || E'/device/+/telemetry'
        || E'\ntopic write tenant/' || t.tenant_id || E'/device/+/heartbeat'
        || E'\ntopic write tenant/' || t.tenant_id || E'/device/+/status'
        || E'\ntopic deny tenant/' || t.tenant_id || E'/+\n' || coalesce(shut_out.denials, ''), '' ORDER BY t.tenant_id)
    FROM tenants AS t LEFT JOIN (SELECT tenant_id,
        string_agg('topic deny tenant/' || tenant_id || '/device/' || device_id || E'/#\n', '' ORDER BY device_id) AS denials
      FROM device_credentials GROUP BY tenant_id) AS shut_out USING (tenant_id)
    WHERE t.claim_enabled AND t.claim_mqtt_hash IS NOT NULL), ''),
  (SELECT min(switch_at) FROM device_credentials)

-- name: hold_lock
SELECT pg_advisory_lock_shared(%(key)s)

-- name: record_copy
INSERT INTO broker_copies (instance, lock_key, applied, applied_at)
VALUES (%(instance)s, %(key)s, %(snapshot)s::pg_snapshot, %(now)s)
ON CONFLICT (instance) DO UPDATE SET lock_key = EXCLUDED.lock_key, applied = EXCLUDED.applied, applied_at = EXCLUDED.applied_at

-- name: this_change
-- Told to whoever serves a broker even if nothing of the files has changed: it is asked for, so it is to be recorded.
SELECT pg_current_xact_id()::text, pg_notify(%(channel)s, '{}')

-- name: copies_lacking
-- Of the brokers that somebody serves now: how many there are, and how many do not know this change yet.
SELECT count(*), count(*) FILTER (WHERE NOT pg_visible_in_snapshot(%(change)s::text::xid8, c.applied))
FROM broker_copies AS c
WHERE EXISTS (
  SELECT 1 FROM pg_locks AS l
  WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1
    AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
    AND (l.classid::bigint << 32) | l.objid::bigint = c.lock_key)
