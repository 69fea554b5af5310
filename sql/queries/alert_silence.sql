-- Alerts of silent devices and sites. Times are handed in; silence is counted by presence_watch, as presence is.

-- name: list_rules
SELECT tenant_id, rule_id, version, built_in, parameters, updated_at, site_ids, tags, device_prefixes, device_ids
FROM alert_rules WHERE kind = 'no_data' AND enabled AND deleted_at IS NULL
ORDER BY tenant_id, rule_id

-- name: list_slices
-- The first device of each slice. All processes cut the same ones.
SELECT tenant_id, device_id
FROM (
  SELECT tenant_id, device_id, row_number() OVER (ORDER BY tenant_id, device_id) AS place
  FROM device_registry WHERE status = 'ACTIVE'
) AS d
WHERE (place - 1) %% %(size)s::int = 0
ORDER BY tenant_id, device_id

-- name: lock_slice
-- Not had: another appliance works on the slice. What follows in the transaction waits for no lock longer than this.
SELECT set_config('lock_timeout', %(wait)s, true), pg_try_advisory_xact_lock(%(key)s)

-- name: list_open_silences
-- Of the devices of a slice.
SELECT tenant_id, device_id, id, rule_id, started_at, inhibited_by
FROM fleet_alert
WHERE status <> 'CLOSED' AND alert_type IN ('NO_HEARTBEAT', 'NO_DATA')
  AND (tenant_id, device_id) >= (%(tenant)s::text, %(device)s::text)
  AND (tenant_id, device_id) < (%(until_tenant)s::text, %(until_device)s::text)
ORDER BY id

-- name: list_inhibiting
-- Those of the alerts that inhibit others: their site is silent, or has just begun to come back. Devices come back one by
-- one, and each is given `stale_after` after another one. A return that lies ahead was written by a wrong clock.
SELECT i.id FROM fleet_alert AS i JOIN presence_watch AS w ON w.instance = ''
WHERE i.id = ANY(%(alerts)s)
  AND (site_silence_stands(i) OR (i.details ->> 'returned_at')::timestamptz <= %(now)s
    AND silence_since((i.details ->> 'returned_at')::timestamptz, w) < w.stale_after)

-- name: list_quiet_devices
-- The ACTIVE devices of a slice that were heard once and that a rule may call silent, or of which such an alert is open
-- (`alerted`). Arrays say what rules ask: the shortest silence of a tenant, and of a metric of a tenant. The silences are
-- of metrics for which they may be long enough.
SELECT f.tenant_id, f.device_id, f.site_id, f.tags, f.subscription_id, f.served, f.presence, f.heard_at, f.silence,
  f.offline_after, f.said_offline, f.last_ts, f.metric_times, coalesce(f.silences, '{}')
FROM (
  SELECT d.tenant_id, d.device_id, d.site_id, d.tags, d.subscription_id, t.status = 'ACTIVE' AS served,
    presence_of(s, d.interval_seconds, w) AS presence, h.heard_at, h.silence,
    greatest(10 * coalesce(d.interval_seconds, s.learned_interval), w.offline_after) AS offline_after,
    coalesce(s.offline_at >= greatest(s.last_heard_at, s.last_seen_at, s.refused_at), false) AS said_offline,
    s.last_ts, s.metric_times,
    (
      SELECT jsonb_object_agg(m.metric, silence_since(to_timestamp(v.came), w))
      FROM unnest(%(metric_tenants)s::text[], %(metrics)s::text[], %(metric_least)s::float8[])
        AS m (tenant_id, metric, least)
      CROSS JOIN LATERAL (SELECT (s.metric_times ->> m.metric)::float8 / 1000000 AS came OFFSET 0) AS v
      WHERE m.tenant_id = d.tenant_id
        AND h.silence + greatest(0, extract(epoch FROM s.last_ts)::float8 - v.came) >= m.least
    ) AS silences
  FROM (
    SELECT * FROM device_registry
    WHERE status = 'ACTIVE' AND (tenant_id, device_id) >= (%(tenant)s::text, %(device)s::text)
      AND (tenant_id, device_id) < (%(until_tenant)s::text, %(until_device)s::text)
    OFFSET 0  -- read once: with the two bounds, each look for one device would read from the first of the slice on
  ) AS d
  JOIN tenants AS t USING (tenant_id)
  JOIN device_state AS s USING (tenant_id, device_id)
  JOIN presence_watch AS w ON w.instance = coalesce(s.heard_by, '')
  CROSS JOIN LATERAL (
    SELECT g.heard_at, silence_since(g.heard_at, w) AS silence
    FROM (
      SELECT CASE WHEN s.refused_at > coalesce(s.last_seen_at, '-infinity') THEN coalesce(s.last_heard_at, s.refused_at)
        ELSE coalesce(s.last_seen_at, s.last_heard_at) END AS heard_at
    ) AS g
    OFFSET 0
  ) AS h
  WHERE h.heard_at IS NOT NULL
  OFFSET 0
) AS f
LEFT JOIN unnest(%(tenants)s::text[], %(least)s::float8[]) AS r (tenant_id, least) USING (tenant_id)
WHERE f.silences IS NOT NULL
  OR r.tenant_id IS NOT NULL AND (f.presence = 'OFFLINE' OR f.silence >= r.least)
  OR f.tenant_id || '/' || f.device_id = ANY (%(alerted)s::text[])
ORDER BY f.tenant_id, f.device_id

-- name: list_newest
-- The newest alert of each fingerprint.
SELECT w.tenant_id, w.fingerprint, a.close_reason, a.rule_version, a.started_at, a.closed_at
FROM unnest(%(tenants)s::text[], %(fingerprints)s::text[]) AS w (tenant_id, fingerprint)
CROSS JOIN LATERAL (
  SELECT f.close_reason, f.rule_version, f.started_at, f.closed_at FROM fleet_alert AS f
  WHERE f.tenant_id = w.tenant_id AND f.fingerprint = w.fingerprint
  ORDER BY f.id DESC LIMIT 1
) AS a

-- name: open_silences
-- Nothing is made for a rule or a device that has changed meanwhile. Both stay as they are until the commit.
WITH wanted AS (
  SELECT w.*
  FROM unnest(%(tenants)s::text[], %(devices)s::text[], %(rules)s::uuid[], %(versions)s::bigint[], %(types)s::text[],
    %(fingerprints)s::text[], %(summaries)s::text[], %(details)s::text[], %(started)s::timestamptz[],
    %(inhibited)s::bigint[])
    AS w (tenant_id, device_id, rule_id, version, alert_type, fingerprint, summary, details, started_at, inhibited_by)
), in_force AS (
  SELECT w.*, r.severity, d.site_id
  FROM wanted AS w
  JOIN alert_rules AS r ON (r.tenant_id, r.rule_id, r.version) = (w.tenant_id, w.rule_id, w.version)
    AND r.enabled AND r.deleted_at IS NULL
  JOIN device_registry AS d ON (d.tenant_id, d.device_id) = (w.tenant_id, w.device_id) AND d.status = 'ACTIVE'
  ORDER BY w.tenant_id, w.rule_id, w.device_id
  FOR SHARE OF r, d
), made AS (
  INSERT INTO fleet_alert (tenant_id, site_id, device_id, rule_id, rule_version, alert_type, fingerprint, severity,
    summary, details, created_at, started_at, last_triggered_at, due_at, inhibited_by)
  SELECT tenant_id, site_id, device_id, rule_id, version, alert_type, fingerprint, severity, summary, details::jsonb,
    %(now)s, started_at, %(now)s, %(now)s, inhibited_by
  FROM in_force
  ON CONFLICT (tenant_id, fingerprint) WHERE status <> 'CLOSED' DO NOTHING
  RETURNING tenant_id, id, inhibited_by
)
INSERT INTO alert_events (tenant_id, alert_id, at, kind, details)
SELECT tenant_id, id, %(now)s, 'opened', '{}' FROM made
UNION ALL
SELECT tenant_id, id, %(now)s, 'inhibited', jsonb_build_object('alert_id', inhibited_by) FROM made
WHERE inhibited_by IS NOT NULL

-- name: close_silences
-- A row that a person is changing is left for the next round.
WITH ended AS (
  SELECT id FROM fleet_alert WHERE id = ANY(%(alerts)s) AND status <> 'CLOSED'
  ORDER BY id FOR NO KEY UPDATE SKIP LOCKED
), closed AS (
  UPDATE fleet_alert AS a
  SET status = 'CLOSED', closed_at = %(now)s, close_reason = 'cleared', past = a.due_at > %(now)s AND a.status = 'OPEN'
  FROM ended AS e WHERE a.id = e.id
  RETURNING a.tenant_id, a.id
)
INSERT INTO alert_events (tenant_id, alert_id, at, kind, details)
SELECT tenant_id, id, %(now)s, 'closed', '{"reason": "cleared"}' FROM closed

-- name: release_silences
-- What no other alert stands for any more: it is due now.
WITH freed AS (
  SELECT id, inhibited_by FROM fleet_alert
  WHERE id = ANY(%(alerts)s) AND status <> 'CLOSED' AND inhibited_by IS NOT NULL
  ORDER BY id FOR NO KEY UPDATE SKIP LOCKED
), released AS (
  UPDATE fleet_alert AS a SET inhibited_by = NULL, due_at = %(now)s
  FROM freed AS f WHERE a.id = f.id
  RETURNING a.tenant_id, a.id, f.inhibited_by
)
INSERT INTO alert_events (tenant_id, alert_id, at, kind, details)
SELECT tenant_id, id, %(now)s, 'released', jsonb_build_object('alert_id', inhibited_by) FROM released

-- Sites ---------------------------------------------------------------------------------------------------------------

-- name: count_sites
-- How many devices of each site were heard once, how many of them are silent, and since when all of these are. Those of
-- lapsed subscriptions count for nothing.
SELECT d.tenant_id, d.site_id, coalesce(min(p.name), d.site_id), count(*),
  count(*) FILTER (WHERE presence_of(s, d.interval_seconds, w) IN ('STALE', 'OFFLINE')),
  max(coalesce(s.last_heard_at, s.last_seen_at))
    FILTER (WHERE presence_of(s, d.interval_seconds, w) IN ('STALE', 'OFFLINE'))
FROM unnest(%(tenants)s::text[], %(sites)s::text[]) AS v (tenant_id, site_id)
JOIN device_registry AS d ON (d.tenant_id, d.site_id) = (v.tenant_id, v.site_id)
JOIN device_state AS s ON (s.tenant_id, s.device_id) = (d.tenant_id, d.device_id)
JOIN presence_watch AS w ON w.instance = coalesce(s.heard_by, '')
LEFT JOIN sites AS p ON (p.tenant_id, p.site_id) = (d.tenant_id, d.site_id)
WHERE d.status = 'ACTIVE' AND coalesce(s.last_heard_at, s.last_seen_at, s.refused_at) IS NOT NULL
  AND d.subscription_id <> ALL (%(lapsed)s::text[])
GROUP BY d.tenant_id, d.site_id

-- name: list_silent_sites
-- Of the sites, those that stand for their devices, with the id of the alert.
SELECT a.tenant_id, a.site_id, a.id
FROM unnest(%(tenants)s::text[], %(sites)s::text[]) AS v (tenant_id, site_id)
JOIN fleet_alert AS a ON (a.tenant_id, a.site_id) = (v.tenant_id, v.site_id)
WHERE a.alert_type = 'SITE_SILENT' AND (a.status <> 'CLOSED' OR a.close_reason = 'closed' AND NOT a.details ? 'cleared_at')
ORDER BY a.id

-- name: open_site
WITH made AS (
  INSERT INTO fleet_alert (tenant_id, site_id, alert_type, fingerprint, severity, summary, details, created_at,
    started_at, last_triggered_at, due_at)
  VALUES (%(tenant)s, %(site)s, 'SITE_SILENT', %(fingerprint)s, %(severity)s, %(summary)s, %(details)s::text::jsonb,
    %(now)s, %(started)s, %(now)s, %(now)s)
  ON CONFLICT (tenant_id, fingerprint) WHERE status <> 'CLOSED' DO NOTHING
  RETURNING tenant_id, id
)
INSERT INTO alert_events (tenant_id, alert_id, at, kind) SELECT tenant_id, id, %(now)s, 'opened' FROM made
RETURNING alert_id

-- name: lock_silent_sites
-- Those of another appliance's round, and those that a person is changing, are left for the next one. How long it was
-- listened to since a device came back last.
SELECT a.id, a.tenant_id, a.site_id, a.status, a.closed_at, a.details,
  silence_since((a.details ->> 'returned_at')::timestamptz, w)
FROM fleet_alert AS a JOIN presence_watch AS w ON w.instance = ''
WHERE a.alert_type = 'SITE_SILENT' AND (a.status <> 'CLOSED' OR a.close_reason = 'closed' AND NOT a.details ? 'cleared_at')
  AND a.id > %(after)s
ORDER BY a.id LIMIT %(limit)s
FOR NO KEY UPDATE OF a SKIP LOCKED

-- name: update_site
UPDATE fleet_alert SET summary = CASE WHEN status = 'CLOSED' THEN summary ELSE %(summary)s END,
  details = %(details)s::text::jsonb,
  last_triggered_at = CASE WHEN status = 'CLOSED' THEN last_triggered_at ELSE %(now)s END
WHERE id = %(alert)s

-- name: close_site
-- An alert that a person has closed before is closed as it is; only that the site is heard again is noted.
WITH before AS (
  SELECT id, status FROM fleet_alert WHERE id = %(alert)s
), ended AS (
  UPDATE fleet_alert AS a SET status = 'CLOSED', closed_at = coalesce(a.closed_at, %(now)s),
    close_reason = coalesce(a.close_reason, %(reason)s),
    summary = CASE WHEN b.status = 'CLOSED' THEN a.summary ELSE %(summary)s END,
    details = %(details)s::text::jsonb || jsonb_build_object('cleared_at', %(now)s::timestamptz)
  FROM before AS b WHERE a.id = b.id
  RETURNING a.tenant_id, a.id, b.status AS before
)
INSERT INTO alert_events (tenant_id, alert_id, at, kind, details)
SELECT tenant_id, id, %(now)s, 'closed', jsonb_build_object('reason', %(reason)s::text) FROM ended WHERE before <> 'CLOSED'

-- name: move_inhibited
UPDATE fleet_alert SET inhibited_by = %(alert)s
WHERE tenant_id = %(tenant)s AND inhibited_by = %(before)s AND status <> 'CLOSED'

-- Other alerts of silent devices --------------------------------------------------------------------------------------

-- name: list_unread
-- Since when nothing comes that could end an alert: of its metric, if the time of that is kept, else of its device.
SELECT a.id, least(s.last_seen_at,
  'epoch'::timestamptz + (s.metric_times ->> (a.details ->> 'metric'))::bigint * interval '1 microsecond')
FROM fleet_alert AS a
JOIN device_registry AS d ON (d.tenant_id, d.device_id) = (a.tenant_id, a.device_id)
JOIN device_state AS s ON (s.tenant_id, s.device_id) = (a.tenant_id, a.device_id)
JOIN presence_watch AS w ON w.instance = coalesce(s.heard_by, '')
WHERE a.id = ANY(%(alerts)s) AND a.status <> 'CLOSED' AND a.alert_type IN ('THRESHOLD', 'WINDOW', 'CHANGE')
  AND s.last_seen_at IS NOT NULL AND presence_of(s, d.interval_seconds, w) IN ('STALE', 'OFFLINE')
