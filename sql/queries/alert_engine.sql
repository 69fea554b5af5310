-- name: load_devices
SELECT tenant_id, device_id, site_id, tags
FROM device_registry JOIN unnest(%(tenants)s::text[], %(devices)s::text[]) AS k (tenant_id, device_id) USING (tenant_id, device_id)

-- name: load_states
SELECT s.tenant_id, s.device_id, s.rule_id, s.rule_version, s.version, s.judged_ts, s.state::text
FROM alert_rule_state AS s
JOIN unnest(%(tenants)s::text[], %(devices)s::text[]) AS k (tenant_id, device_id) USING (tenant_id, device_id)

-- name: lock_states
-- The same, after a write that met one of a peer: in the order in which states are written.
SELECT s.tenant_id, s.device_id, s.rule_id, s.rule_version, s.version, s.judged_ts, s.state::text
FROM alert_rule_state AS s
JOIN unnest(%(tenants)s::text[], %(devices)s::text[]) AS k (tenant_id, device_id) USING (tenant_id, device_id)
ORDER BY s.tenant_id, s.rule_id, s.device_id
FOR UPDATE OF s

-- name: write_states
-- `expected` is the version that was read, 0 for no row; `state` is null for a device that is at rest again. A row of an
-- older version of the rule, from a batch that was in flight while it was changed, counts as none. A row that is held is
-- still where it was found: who moves one gives it another version.
WITH wanted AS MATERIALIZED (
  SELECT (r.item ->> 0) COLLATE "C" AS tenant_id, (r.item ->> 1)::uuid AS rule_id, (r.item ->> 2) COLLATE "C" AS device_id,
    (r.item ->> 3)::bigint AS rule_version, (r.item ->> 4)::bigint AS expected, (r.item ->> 5)::bigint AS version,
    (r.item ->> 6)::bigint AS judged_ts, r.item -> 7 AS state
  FROM jsonb_array_elements(%(rows)s::text::jsonb) AS r (item)
), held AS MATERIALIZED (
  SELECT w.rule_version, w.version, w.judged_ts, w.state, s.place
  FROM (SELECT * FROM wanted WHERE expected > 0 ORDER BY tenant_id, rule_id, device_id) AS w
  CROSS JOIN LATERAL (
    SELECT s.ctid AS place FROM alert_rule_state AS s
    WHERE (s.tenant_id, s.rule_id, s.device_id) = (w.tenant_id, w.rule_id, w.device_id) AND s.version = w.expected
    FOR UPDATE OF s
  ) AS s
), gone AS (
  DELETE FROM alert_rule_state AS s WHERE s.ctid = ANY (ARRAY(SELECT place FROM held WHERE state = 'null'::jsonb))
  RETURNING 1
), moved AS (
  UPDATE alert_rule_state AS s
  SET rule_version = h.rule_version, version = h.version, judged_ts = h.judged_ts, state = h.state
  FROM held AS h
  WHERE s.ctid = ANY (ARRAY(SELECT place FROM held WHERE state <> 'null'::jsonb)) AND s.ctid = h.place
  RETURNING 1
), added AS (
  INSERT INTO alert_rule_state (tenant_id, rule_id, device_id, rule_version, version, judged_ts, state)
  SELECT tenant_id, rule_id, device_id, rule_version, version, judged_ts, state
  FROM wanted WHERE expected = 0 ORDER BY tenant_id, rule_id, device_id
  ON CONFLICT (tenant_id, rule_id, device_id) DO UPDATE
  SET rule_version = excluded.rule_version, version = excluded.version, judged_ts = excluded.judged_ts, state = excluded.state
  WHERE alert_rule_state.rule_version < excluded.rule_version
  RETURNING 1
)
SELECT alert_states_written(
  (SELECT count(*) FROM gone) + (SELECT count(*) FROM moved) + (SELECT count(*) FROM added), (SELECT count(*) FROM wanted))

-- name: close_alerts
-- A row that a person's transaction holds is not waited for: its end is queued with its counts, and written when it lets
-- go.
WITH wanted AS MATERIALIZED (
  SELECT (r.item ->> 0) COLLATE "C" AS tenant_id, (r.item ->> 1) COLLATE "C" AS fingerprint, (r.item ->> 2)::bigint AS triggers,
    'epoch'::timestamptz + (r.item ->> 3)::bigint * interval '1 microsecond' AS triggered_at, r.item -> 4 AS details
  FROM jsonb_array_elements(%(rows)s::text::jsonb) AS r (item)
), open AS MATERIALIZED (
  SELECT a.id, w.tenant_id, w.triggers, w.triggered_at, w.details
  FROM (SELECT * FROM wanted ORDER BY tenant_id, fingerprint) AS w CROSS JOIN LATERAL (
    SELECT a.id FROM fleet_alert AS a
    WHERE (a.tenant_id, a.fingerprint) = (w.tenant_id, w.fingerprint) AND a.status <> 'CLOSED' OFFSET 0
  ) AS a
), held AS MATERIALIZED (
  SELECT a.id FROM open AS o CROSS JOIN LATERAL (
    SELECT a.id FROM fleet_alert AS a WHERE a.id = o.id AND a.status <> 'CLOSED' FOR NO KEY UPDATE OF a SKIP LOCKED
  ) AS a
), closed AS (
  UPDATE fleet_alert AS a
  SET status = 'CLOSED', closed_at = %(now)s, close_reason = 'cleared', past = a.status = 'OPEN' AND a.due_at > %(now)s,
    trigger_count = a.trigger_count + o.triggers, last_triggered_at = greatest(a.last_triggered_at, o.triggered_at)
  FROM open AS o
  WHERE a.id = ANY (ARRAY(SELECT id FROM held)) AND a.id = o.id
  RETURNING a.tenant_id, a.id, o.details
), told AS (
  INSERT INTO alert_events (tenant_id, alert_id, at, kind, details)
  SELECT tenant_id, id, %(now)s, 'closed', details || jsonb_build_object('reason', 'cleared') FROM closed
)
INSERT INTO alert_ends (tenant_id, alert_id, at, reason, details)
SELECT tenant_id, id, %(now)s, 'cleared',
  details || jsonb_build_object('triggers', triggers, 'triggered_at', triggered_at)
FROM open WHERE id NOT IN (SELECT id FROM held)
ON CONFLICT DO NOTHING

-- name: cancel_ends
-- Before an alert opens: one whose end still waits to be written goes on. A statement of its own, so that what follows sees
-- the alert closed where the end was being written. Usually none waits, and nothing is looked up.
DELETE FROM alert_ends AS e
USING fleet_alert AS a, unnest(%(tenants)s::text[], %(fingerprints)s::text[]) AS k (tenant_id, fingerprint)
WHERE EXISTS (SELECT FROM alert_ends) AND (a.tenant_id, a.id) = (e.tenant_id, e.alert_id)
  AND (k.tenant_id, k.fingerprint) = (a.tenant_id, a.fingerprint)

-- name: open_alerts
-- `ended` is true for one that was over within the batch. Rule and device are held as they are until the commit: what a
-- person has changed meanwhile opens nothing. Each is looked up by its key: a batch names few of them.
WITH wanted AS MATERIALIZED (
  SELECT (r.item ->> 0) COLLATE "C" AS tenant_id, (r.item ->> 1) COLLATE "C" AS fingerprint,
    (r.item ->> 2) COLLATE "C" AS device_id, (r.item ->> 3)::uuid AS rule_id, (r.item ->> 4)::bigint AS rule_version,
    r.item ->> 5 AS alert_type, r.item ->> 6 AS severity, r.item ->> 7 AS summary, r.item -> 8 AS details,
    'epoch'::timestamptz + (r.item ->> 9)::bigint * interval '1 microsecond' AS started_at,
    'epoch'::timestamptz + (r.item ->> 10)::bigint * interval '1 microsecond' AS triggered_at,
    (r.item ->> 11)::bigint AS triggers, (r.item ->> 12)::boolean AS ended
  FROM jsonb_array_elements(%(rows)s::text::jsonb) AS r (item)
), in_force AS MATERIALIZED (
  SELECT w.tenant_id, w.rule_id, r.rule, r.everywhere
  FROM (SELECT DISTINCT tenant_id, rule_id, rule_version FROM wanted ORDER BY tenant_id, rule_id) AS w
  CROSS JOIN LATERAL (
    SELECT r AS rule, r.version, r.enabled, r.deleted_at,
      r.site_ids = '{}' AND r.tags = '{}' AND r.device_prefixes = '{}' AND r.device_ids = '{}' AS everywhere
    FROM alert_rules AS r
    WHERE (r.tenant_id, r.rule_id) = (w.tenant_id, w.rule_id) OFFSET 0 FOR SHARE OF r
  ) AS r
  WHERE r.version = w.rule_version AND r.enabled AND r.deleted_at IS NULL
), active AS MATERIALIZED (
  SELECT w.tenant_id, w.device_id, d.site_id, d.tags
  FROM (SELECT DISTINCT tenant_id, device_id FROM wanted ORDER BY tenant_id, device_id) AS w
  CROSS JOIN LATERAL (
    SELECT d.site_id, d.tags FROM device_registry AS d
    WHERE (d.tenant_id, d.device_id) = (w.tenant_id, w.device_id) AND d.status = 'ACTIVE'
    FOR SHARE OF d
  ) AS d
), opened AS (
  INSERT INTO fleet_alert (tenant_id, site_id, device_id, rule_id, rule_version, alert_type, fingerprint, status, severity,
    summary, details, created_at, started_at, last_triggered_at, trigger_count, due_at, past, closed_at, close_reason)
  SELECT w.tenant_id, d.site_id, w.device_id, w.rule_id, w.rule_version, w.alert_type, w.fingerprint,
    CASE WHEN w.ended THEN 'CLOSED' ELSE 'OPEN' END, w.severity, w.summary, w.details, %(now)s, w.started_at, w.triggered_at,
    w.triggers, CASE WHEN w.started_at < %(old)s THEN %(due)s::timestamptz ELSE %(now)s::timestamptz END,
    w.ended AND w.started_at < %(old)s, CASE WHEN w.ended THEN %(now)s::timestamptz END, CASE WHEN w.ended THEN 'cleared' END
  FROM (
    SELECT w.*, f.rule, f.everywhere FROM wanted AS w JOIN in_force AS f USING (tenant_id, rule_id) OFFSET 0
  ) AS w JOIN active AS d USING (tenant_id, device_id)
  WHERE w.everywhere OR alert_rule_covers(w.rule, w.device_id, d.site_id, d.tags)
  ORDER BY w.tenant_id, w.fingerprint, w.started_at
  ON CONFLICT (tenant_id, fingerprint) WHERE status <> 'CLOSED' DO NOTHING
  RETURNING tenant_id, id, started_at, status, details
)
INSERT INTO alert_events (tenant_id, alert_id, at, kind, details)
SELECT tenant_id, id, %(now)s, 'opened', jsonb_build_object('value', details -> 'value') FROM opened
UNION ALL
SELECT tenant_id, id, %(now)s, 'closed', jsonb_build_object('reason', 'cleared') FROM opened WHERE status = 'CLOSED'

-- name: count_triggers
-- Counts are not worth waiting for: the answer names the alerts that somebody holds, which are counted with the next write.
-- `first` is true for an alert that this transaction wanted to open: where a peer was first, it is counted there.
WITH wanted AS MATERIALIZED (
  SELECT (r.item ->> 0) COLLATE "C" AS tenant_id, (r.item ->> 1) COLLATE "C" AS fingerprint, (r.item ->> 2)::bigint AS triggers,
    'epoch'::timestamptz + (r.item ->> 3)::bigint * interval '1 microsecond' AS triggered_at, (r.item ->> 4)::boolean AS first
  FROM jsonb_array_elements(%(rows)s::text::jsonb) AS r (item)
), held AS MATERIALIZED (
  SELECT a.id, w.tenant_id, w.fingerprint, w.triggers, w.triggered_at
  FROM (SELECT * FROM wanted ORDER BY tenant_id, fingerprint) AS w
  CROSS JOIN LATERAL (
    SELECT a.id FROM fleet_alert AS a
    WHERE (a.tenant_id, a.fingerprint) = (w.tenant_id, w.fingerprint) AND a.status <> 'CLOSED'
      AND NOT (w.first AND a.xmin = pg_current_xact_id()::xid)
    FOR NO KEY UPDATE OF a SKIP LOCKED
  ) AS a
), counted AS (
  UPDATE fleet_alert AS a
  SET trigger_count = a.trigger_count + h.triggers, last_triggered_at = greatest(a.last_triggered_at, h.triggered_at)
  FROM held AS h WHERE a.id = ANY (ARRAY(SELECT id FROM held)) AND a.id = h.id
)
SELECT w.tenant_id, w.fingerprint
FROM (
  SELECT x.* FROM wanted AS x
  WHERE NOT EXISTS (SELECT FROM held AS h WHERE (h.tenant_id, h.fingerprint) = (x.tenant_id, x.fingerprint))
) AS w
CROSS JOIN LATERAL (
  SELECT FROM fleet_alert AS a
  WHERE (a.tenant_id, a.fingerprint) = (w.tenant_id, w.fingerprint) AND a.status <> 'CLOSED'
    AND NOT (w.first AND a.xmin = pg_current_xact_id()::xid)
  OFFSET 0
) AS a

-- name: reopenable
-- Conditions that go on although a person closed their alert so long ago that it may open anew.
SELECT w.tenant_id, w.fingerprint
FROM jsonb_array_elements(%(rows)s::text::jsonb) AS r (item)
CROSS JOIN LATERAL (SELECT r.item ->> 0 AS tenant_id, r.item ->> 1 AS fingerprint) AS w
CROSS JOIN LATERAL (
  SELECT a.status, a.closed_at FROM fleet_alert AS a
  WHERE (a.tenant_id, a.fingerprint) = (w.tenant_id, w.fingerprint) ORDER BY a.id DESC LIMIT 1
) AS newest
WHERE newest.status = 'CLOSED' AND newest.closed_at <= %(before)s

-- name: write_ends
-- The next slice of what close_alerts or a change of a rule queued; what somebody holds stays for another round. Answers
-- with the last one of the slice, and how many there were.
WITH picked AS MATERIALIZED (
  SELECT e.* FROM alert_ends AS e WHERE (e.tenant_id, e.alert_id) > (%(after_tenant)s, %(after_alert)s)
  ORDER BY e.tenant_id, e.alert_id LIMIT %(limit)s FOR UPDATE OF e SKIP LOCKED
), held AS MATERIALIZED (
  SELECT a.id, a.tenant_id, a.status, a.due_at, e.at, e.reason, e.details - 'triggers' - 'triggered_at' AS details,
    coalesce((e.details ->> 'triggers')::bigint, 0) AS triggers, (e.details ->> 'triggered_at')::timestamptz AS triggered_at
  FROM picked AS e
  CROSS JOIN LATERAL (
    SELECT x.id, x.tenant_id, x.status, x.due_at FROM fleet_alert AS x
    WHERE (x.tenant_id, x.id) = (e.tenant_id, e.alert_id) OFFSET 0 FOR NO KEY UPDATE OF x SKIP LOCKED
  ) AS a
), closed AS (
  UPDATE fleet_alert AS a
  SET status = 'CLOSED', closed_at = h.at, close_reason = h.reason, past = h.status = 'OPEN' AND h.due_at > h.at,
    trigger_count = a.trigger_count + h.triggers, last_triggered_at = greatest(a.last_triggered_at, h.triggered_at)
  FROM held AS h WHERE a.id = h.id AND a.status <> 'CLOSED'
  RETURNING a.tenant_id, a.id, h.at, h.reason, h.details
), told AS (
  INSERT INTO alert_events (tenant_id, alert_id, at, kind, details)
  SELECT tenant_id, id, at, 'closed', details || jsonb_build_object('reason', reason) FROM closed
), written AS (
  DELETE FROM alert_ends AS e USING held AS h WHERE (e.tenant_id, e.alert_id) = (h.tenant_id, h.id)
)
SELECT tenant_id, alert_id, (SELECT count(*) FROM picked) FROM picked ORDER BY tenant_id DESC, alert_id DESC LIMIT 1

-- name: drop_ends
-- Of alerts that are gone.
DELETE FROM alert_ends AS e
WHERE NOT EXISTS (SELECT FROM fleet_alert AS a WHERE (a.tenant_id, a.id) = (e.tenant_id, e.alert_id))

-- name: refill
-- The readings that fill a memory, in order of time.
SELECT (extract(epoch FROM t.ts) * 1000000)::bigint, t.metrics -> %(metric)s
FROM telemetry AS t
WHERE t.tenant_id = %(tenant)s AND t.device_id = %(device)s AND t.ts > %(since)s AND NOT t.late
  AND t.metrics ? %(metric)s
ORDER BY t.ts

-- name: other_judges
-- Whether another appliance listens: devices may send to both.
SELECT EXISTS (SELECT FROM listening WHERE instance <> %(instance)s AND ended_at > %(since)s)
