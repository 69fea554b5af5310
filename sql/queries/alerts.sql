-- Alerts as people see and change them. %(tenant)s NULL is an operator's view of all tenants.
--
-- The tab of an alert, the first that fits: closed, inhibited, silenced, acknowledged, open. %(settled)s is the instant
-- by which a silence ends; it stands still while the clock is in doubt. An alert that an active maintenance window covers
-- is silenced too: the program says which are active, see in_maintenance.

-- name: get_alert
SELECT a.id, a.tenant_id, a.site_id, a.device_id, a.rule_id, a.alert_type, a.fingerprint, a.status, a.severity, a.summary,
  a.details::text, a.created_at, a.started_at, a.last_triggered_at, a.trigger_count, a.due_at, a.past, a.inhibited_by,
  a.acknowledged_at, a.acknowledged_by, a.silenced_until, a.silenced_by, a.silence_reason, a.closed_at, a.closed_by,
  a.close_reason, d.name, d.place, s.name, r.name
FROM fleet_alert AS a
LEFT JOIN device_registry AS d ON (d.tenant_id, d.device_id) = (a.tenant_id, a.device_id)
LEFT JOIN sites AS s ON (s.tenant_id, s.site_id) = (a.tenant_id, a.site_id)
LEFT JOIN alert_rules AS r ON (r.tenant_id, r.rule_id) = (a.tenant_id, a.rule_id)
WHERE a.id = %(alert)s AND (%(tenant)s::text IS NULL OR a.tenant_id = %(tenant)s)

-- name: list_alerts
-- Sorted by a key, then by time: ascending where %(ascending)s. What a plan knows of the parameters it folds away: the
-- list that is sorted by time alone reads an index.
SELECT a.id, a.tenant_id, a.site_id, a.device_id, a.rule_id, a.alert_type, a.fingerprint, a.status, a.severity, a.summary,
  a.details::text, a.created_at, a.started_at, a.last_triggered_at, a.trigger_count, a.due_at, a.past, a.inhibited_by,
  a.acknowledged_at, a.acknowledged_by, a.silenced_until, a.silenced_by, a.silence_reason, a.closed_at, a.closed_by,
  a.close_reason, d.name, d.place, s.name, r.name, k.key
FROM fleet_alert AS a
LEFT JOIN device_registry AS d ON (d.tenant_id, d.device_id) = (a.tenant_id, a.device_id)
LEFT JOIN sites AS s ON (s.tenant_id, s.site_id) = (a.tenant_id, a.site_id)
LEFT JOIN alert_rules AS r ON (r.tenant_id, r.rule_id) = (a.tenant_id, a.rule_id)
CROSS JOIN LATERAL (SELECT CASE %(sort)s
  WHEN 'severity' THEN array_position(%(severities)s::text[], a.severity)::text
  WHEN 'device' THEN CASE WHEN a.device_id IS NULL THEN '1' ELSE '0' || lower(coalesce(d.name, a.device_id COLLATE "default")) END
  ELSE '' END COLLATE "C" AS key) AS k
CROSS JOIN LATERAL (SELECT coalesce(a.silenced_until > %(settled)s, false)
  OR cardinality(%(maintenance_ids)s::text[]) > 0 AND in_maintenance(a.tenant_id, a.site_id, a.device_id,
    %(maintenance_tenants)s::text[], %(maintenance_kinds)s::text[], %(maintenance_ids)s::text[]) AS silenced) AS q
WHERE (%(tenant)s::text IS NULL OR a.tenant_id = %(tenant)s)
  AND CASE %(tab)s
    WHEN 'closed' THEN a.status = 'CLOSED'
    WHEN 'inhibited' THEN a.status <> 'CLOSED' AND a.inhibited_by IS NOT NULL
    WHEN 'silenced' THEN a.status <> 'CLOSED' AND a.inhibited_by IS NULL AND q.silenced
    WHEN 'acknowledged' THEN a.status = 'ACKNOWLEDGED' AND a.inhibited_by IS NULL AND NOT q.silenced
    WHEN 'open' THEN a.status = 'OPEN' AND a.inhibited_by IS NULL AND NOT q.silenced
    ELSE true END
  AND (%(statuses)s::text[] IS NULL OR a.status = ANY(%(statuses)s))
  AND (%(chosen_severities)s::text[] IS NULL OR a.severity = ANY(%(chosen_severities)s))
  AND (%(types)s::text[] IS NULL OR a.alert_type = ANY(%(types)s))
  AND (%(device)s::text IS NULL OR a.device_id = %(device)s)
  AND (%(sites)s::text[] IS NULL OR coalesce(a.site_id, '') = ANY(%(sites)s))
  AND (%(rule)s::uuid IS NULL OR a.rule_id = %(rule)s)
  AND (%(cause)s::bigint IS NULL OR a.inhibited_by = %(cause)s)
  AND (%(since)s::timestamptz IS NULL OR a.created_at >= %(since)s)
  AND (%(until)s::timestamptz IS NULL OR a.created_at < %(until)s)
  AND (%(patterns)s::text[] IS NULL OR lower(concat_ws(' ', a.summary, a.device_id COLLATE "default", d.name, d.place, s.name,
    r.name)) LIKE ALL (%(patterns)s))
  AND (%(after_id)s::bigint IS NULL OR k.key > %(after_key)s OR k.key = %(after_key)s AND CASE
    WHEN %(ascending)s THEN (a.created_at, a.id) > (%(after_at)s::timestamptz, %(after_id)s::bigint)
    ELSE (a.created_at, a.id) < (%(after_at)s::timestamptz, %(after_id)s::bigint) END)
ORDER BY k.key,
  CASE WHEN %(ascending)s THEN a.created_at END, CASE WHEN NOT %(ascending)s THEN a.created_at END DESC,
  CASE WHEN %(ascending)s THEN a.id END, CASE WHEN NOT %(ascending)s THEN a.id END DESC
LIMIT %(limit)s

-- name: count_unclosed
SELECT CASE WHEN inhibited_by IS NOT NULL THEN 'inhibited' WHEN silenced_until > %(settled)s THEN 'silenced'
  WHEN cardinality(%(maintenance_ids)s::text[]) > 0 AND in_maintenance(tenant_id, site_id, device_id,
    %(maintenance_tenants)s::text[], %(maintenance_kinds)s::text[], %(maintenance_ids)s::text[]) THEN 'silenced'
  ELSE lower(status) END AS tab, severity, count(*)
FROM fleet_alert
WHERE status <> 'CLOSED' AND (%(tenant)s::text IS NULL OR tenant_id = %(tenant)s)
GROUP BY 1, 2

-- name: count_closed
-- No more than %(most)s are counted, so that a page costs the same after years.
SELECT count(*) FROM (
  SELECT FROM fleet_alert WHERE status = 'CLOSED' AND (%(tenant)s::text IS NULL OR tenant_id = %(tenant)s) LIMIT %(most)s
) AS counted

-- name: timeline_of_alert
SELECT id, at, kind, actor, actor_kind, note, details::text
FROM alert_events
WHERE alert_id = %(alert)s AND tenant_id = %(tenant)s
ORDER BY id DESC
LIMIT %(limit)s

-- name: set_timeouts
-- To the end of the transaction.
SELECT set_config('statement_timeout', %(statement)s, true), set_config('lock_timeout', %(lock)s, true)

-- name: lock_alerts
-- With the alert that stands for each, unless that is closed or gone. Not FOR UPDATE: entries of the timeline may be
-- written meanwhile.
SELECT a.id, a.status, coalesce(a.silenced_until > %(settled)s, false), c.id
FROM fleet_alert AS a
LEFT JOIN fleet_alert AS c
  ON (c.tenant_id, c.id) = (a.tenant_id, a.inhibited_by) AND c.status <> 'CLOSED' AND a.status <> 'CLOSED'
WHERE a.tenant_id = %(tenant)s AND a.id = ANY(%(ids)s::bigint[])
ORDER BY a.id
FOR NO KEY UPDATE OF a

-- name: acknowledge_alerts
WITH changed AS (
  UPDATE fleet_alert AS a SET status = 'ACKNOWLEDGED', acknowledged_at = %(now)s, acknowledged_by = %(actor)s
  FROM unnest(%(ids)s::bigint[]) AS c (id)
  WHERE a.tenant_id = %(tenant)s AND a.id = c.id
  RETURNING a.id
)
INSERT INTO alert_events (tenant_id, alert_id, at, kind, actor, actor_kind, note)
SELECT %(tenant)s, id, %(now)s, 'acknowledged', %(actor)s, %(actor_kind)s, %(note)s FROM changed ORDER BY id

-- name: unacknowledge_alerts
WITH changed AS (
  UPDATE fleet_alert AS a SET status = 'OPEN', acknowledged_at = NULL, acknowledged_by = NULL
  FROM unnest(%(ids)s::bigint[]) AS c (id)
  WHERE a.tenant_id = %(tenant)s AND a.id = c.id
  RETURNING a.id
)
INSERT INTO alert_events (tenant_id, alert_id, at, kind, actor, actor_kind, note)
SELECT %(tenant)s, id, %(now)s, 'unacknowledged', %(actor)s, %(actor_kind)s, %(note)s FROM changed ORDER BY id

-- name: close_alerts
-- Closed before its notices were due, it is past: somebody who has acknowledged it has seen it.
WITH changed AS (
  UPDATE fleet_alert AS a SET status = 'CLOSED', closed_at = %(now)s, closed_by = %(actor)s, close_reason = 'closed',
    past = a.status = 'OPEN' AND a.due_at > %(now)s
  FROM unnest(%(ids)s::bigint[]) AS c (id)
  WHERE a.tenant_id = %(tenant)s AND a.id = c.id
  RETURNING a.id
)
INSERT INTO alert_events (tenant_id, alert_id, at, kind, actor, actor_kind, note, details)
SELECT %(tenant)s, id, %(now)s, 'closed', %(actor)s, %(actor_kind)s, %(note)s, '{"reason": "closed"}' FROM changed ORDER BY id

-- name: silence_alerts
WITH changed AS (
  UPDATE fleet_alert AS a SET silenced_until = %(until)s, silenced_by = %(actor)s, silence_reason = %(note)s
  FROM unnest(%(ids)s::bigint[]) AS c (id)
  WHERE a.tenant_id = %(tenant)s AND a.id = c.id
  RETURNING a.id
)
INSERT INTO alert_events (tenant_id, alert_id, at, kind, actor, actor_kind, note, details)
SELECT %(tenant)s, id, %(now)s, 'silenced', %(actor)s, %(actor_kind)s, %(note)s,
  jsonb_build_object('until', %(until)s::timestamptz)
FROM changed ORDER BY id

-- name: unsilence_alerts
WITH changed AS (
  UPDATE fleet_alert AS a SET silenced_until = NULL, silenced_by = NULL, silence_reason = NULL
  FROM unnest(%(ids)s::bigint[]) AS c (id)
  WHERE a.tenant_id = %(tenant)s AND a.id = c.id
  RETURNING a.id
)
INSERT INTO alert_events (tenant_id, alert_id, at, kind, actor, actor_kind, note)
SELECT %(tenant)s, id, %(now)s, 'unsilenced', %(actor)s, %(actor_kind)s, %(note)s FROM changed ORDER BY id

-- name: delete_alerts
-- The timeline goes with it.
DELETE FROM fleet_alert WHERE tenant_id = %(tenant)s AND id = ANY(%(ids)s::bigint[])

-- name: add_note
INSERT INTO alert_events (tenant_id, alert_id, at, kind, actor, actor_kind, note)
SELECT %(tenant)s, c.id, %(now)s, 'note', %(actor)s, %(actor_kind)s, %(note)s FROM unnest(%(ids)s::bigint[]) AS c (id)

-- name: heal_alerts
-- Times of a wrong clock, those of readings among them. What nobody can know is the present: an alert that were due or
-- closed in ten years would be told, or open anew, then.
WITH wrong AS (
  SELECT id FROM fleet_alert
  WHERE greatest(created_at, started_at, last_triggered_at, acknowledged_at, closed_at) > %(latest)s
    OR due_at > %(latest)s::timestamptz + interval '1 minute'
  ORDER BY id FOR NO KEY UPDATE
)
UPDATE fleet_alert AS a
SET created_at = coalesce(time_healed(a.created_at, %(latest)s, %(now)s, %(step)s), %(now)s),
  started_at = coalesce(time_healed(a.started_at, %(latest)s, %(now)s, %(step)s), %(now)s),
  last_triggered_at = coalesce(time_healed(a.last_triggered_at, %(latest)s, %(now)s, %(step)s), %(now)s),
  due_at = coalesce(time_healed(a.due_at, %(latest)s::timestamptz + interval '1 minute', %(now)s, %(step)s), %(now)s),
  acknowledged_at = CASE WHEN a.acknowledged_at IS NOT NULL
    THEN coalesce(time_healed(a.acknowledged_at, %(latest)s, %(now)s, %(step)s), %(now)s) END,
  closed_at = CASE WHEN a.closed_at IS NOT NULL
    THEN coalesce(time_healed(a.closed_at, %(latest)s, %(now)s, %(step)s), %(now)s) END
FROM wrong AS w WHERE a.id = w.id

-- name: heal_silences
-- A silence that ends later than any may was given under a wrong clock. It keeps its length where the step is known, and
-- ends where nobody can tell: rather told than silenced for years.
WITH wrong AS (
  SELECT id, tenant_id, status,
    CASE WHEN silenced_until + %(step)s::interval <= %(longest)s THEN silenced_until + %(step)s::interval END AS healed
  FROM fleet_alert WHERE silenced_until > %(longest)s
  ORDER BY id FOR NO KEY UPDATE
), moved AS (
  UPDATE fleet_alert AS a SET silenced_until = w.healed,
    silenced_by = CASE WHEN w.healed IS NOT NULL THEN a.silenced_by END,
    silence_reason = CASE WHEN w.healed IS NOT NULL THEN a.silence_reason END
  FROM wrong AS w WHERE a.id = w.id
)
INSERT INTO alert_events (tenant_id, alert_id, at, kind)
SELECT tenant_id, id, %(now)s, 'unsilenced' FROM wrong WHERE healed IS NULL AND status <> 'CLOSED'
