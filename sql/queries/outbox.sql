-- The outbox: claims of due jobs, and what becomes of them.
--
-- Times are handed in, by service time. The database's own clock is read for leases alone, by which processes with
-- clocks of their own tell who has stopped working.

-- name: bound_lock_waits
-- In this transaction. A row that somebody holds, with a hand on psql, costs what waits for it another try, and nobody else.
SELECT set_config('lock_timeout', %(milliseconds)s::text, true)

-- name: begin_by_key
-- In this transaction, too. Its statements find what they need by key, whatever the planner knows of tables that were
-- small a minute ago: so their plans are made once, and kept. Where a condition would lead through all jobs of a tenant, it
-- has IS TRUE, which no index serves.
SELECT set_config('lock_timeout', %(milliseconds)s::text, true), set_config('plan_cache_mode', 'force_generic_plan', true),
  set_config('enable_seqscan', 'off', true), set_config('enable_hashjoin', 'off', true),
  set_config('enable_mergejoin', 'off', true)

-- name: begin_claim
-- The same, and the lock of an integration: the bound on waiting is set by then.
SELECT set_config('lock_timeout', %(milliseconds)s::text, true), set_config('plan_cache_mode', 'force_generic_plan', true),
  set_config('enable_seqscan', 'off', true), set_config('enable_hashjoin', 'off', true),
  set_config('enable_mergejoin', 'off', true), pg_advisory_xact_lock(%(key)s::bigint)

-- name: due_integrations
-- When the next job of each integration is due (with an open breaker: when it is probed), and how many it takes at a time.
SELECT i.tenant_id, i.integration_id,
  greatest(n.next_run_at, CASE WHEN i.enabled AND h.breaker_opened_at IS NOT NULL THEN h.next_probe_at END), i.concurrency
FROM integrations AS i
CROSS JOIN LATERAL (
  SELECT j.next_run_at FROM delivery_jobs AS j
  WHERE j.tenant_id = i.tenant_id AND j.integration_id = i.integration_id AND j.status = 'PENDING'
  ORDER BY j.next_run_at LIMIT 1
) AS n
LEFT JOIN integration_health AS h ON (h.tenant_id, h.integration_id) = (i.tenant_id, i.integration_id)

-- name: claimed_integration
SELECT i.name, i.type, i.enabled, i.disabled_reason, i.config::text, i.secrets::text, i.concurrency, i.version, i.created_at,
  i.updated_at, coalesce(h.failures, 0), h.breaker_opened_at IS NOT NULL, h.next_probe_at,
  (SELECT count(*) FROM delivery_jobs AS p
    WHERE (p.tenant_id, p.integration_id) = (i.tenant_id, i.integration_id) AND p.status = 'PROCESSING'),
  EXISTS (SELECT FROM delivery_jobs AS w
    WHERE (w.tenant_id, w.integration_id) = (i.tenant_id, i.integration_id) AND w.status = 'PENDING'
      AND w.unreachable_since IS NOT NULL AND w.next_run_at <= %(now)s)
FROM integrations AS i
LEFT JOIN integration_health AS h ON (h.tenant_id, h.integration_id) = (i.tenant_id, i.integration_id)
WHERE i.tenant_id = %(tenant)s AND i.integration_id = %(integration)s

-- name: terms_of_routes
-- How the routes of jobs deliver, and what each has told in this minute.
SELECT r.route_id, r.enabled, r.remind_minutes > 0, r.delay_seconds, r.throttle_seconds, r.burst, r.quiet_from,
  r.quiet_until, r.quiet_zone,
  r.quiet_spares_critical,
  CASE WHEN r.burst > 0 THEN (SELECT count(*) FROM delivery_jobs AS t
    WHERE (t.tenant_id, t.route_id) = (r.tenant_id, r.route_id) AND t.merged_into IS NULL AND t.told_at >= %(minute)s)
  ELSE 0 END
FROM (SELECT DISTINCT j.route_id FROM delivery_jobs AS j WHERE j.job_id = ANY (%(ids)s::bigint[]) OFFSET 0) AS asked
CROSS JOIN LATERAL (
  SELECT x.* FROM integration_routes AS x WHERE (x.tenant_id, x.route_id) = (%(tenant)s, asked.route_id) OFFSET 0
) AS r

-- name: mark_waited
-- While the breaker is open: what is due finds no way out.
UPDATE delivery_jobs AS j SET unreachable_since = %(now)s, reason = 'unreachable',
  severity_rank = (SELECT array_position(%(severities)s::text[], a.severity) FROM fleet_alert AS a WHERE a.id = j.alert_id)
WHERE j.tenant_id = %(tenant)s AND j.integration_id = %(integration)s AND j.status = 'PENDING' AND j.next_run_at <= %(now)s
  AND j.unreachable_since IS NULL AND (j.reason IS NULL OR j.reason IN ('retrying', 'merging'))

-- name: pick_due
-- Without what delivery_blocked says of: written out, since a function would be planned anew with each claim.
SELECT j.job_id FROM delivery_jobs AS j
WHERE j.tenant_id = %(tenant)s AND j.integration_id = %(integration)s AND j.status = 'PENDING' AND j.next_run_at <= %(now)s
  AND j.unreachable_since IS NULL AND j.job_id <> ALL (%(busy)s::bigint[]) AND (j.event = 'OPEN' OR NOT EXISTS (
    SELECT FROM delivery_jobs AS e
    WHERE e.alert_id = j.alert_id AND e.route_id IS NOT DISTINCT FROM j.route_id AND (e.tenant_id = j.tenant_id) IS TRUE
      AND (delivery_rank(e.event), e.job_id) < (delivery_rank(j.event), j.job_id)
      AND (e.status = 'PROCESSING' OR e.status = 'PENDING' AND NOT (e.event = 'REMINDER' AND e.attempts = 0)
        OR EXISTS (SELECT FROM delivery_jobs AS x
          WHERE x.job_id = e.merged_into AND x.job_id <> j.job_id AND x.status IN ('PENDING', 'PROCESSING')))))
ORDER BY j.next_run_at, j.job_id
LIMIT %(limit)s
FOR UPDATE SKIP LOCKED

-- name: pick_worst
-- What found no way out: worst and newest first.
SELECT j.job_id FROM delivery_jobs AS j
WHERE j.tenant_id = %(tenant)s AND j.integration_id = %(integration)s AND j.status = 'PENDING' AND j.next_run_at <= %(now)s
  AND j.unreachable_since IS NOT NULL AND j.job_id <> ALL (%(busy)s::bigint[])
  AND (j.event = 'OPEN' OR NOT delivery_blocked(j))
ORDER BY j.severity_rank, j.job_id DESC
LIMIT %(limit)s
FOR UPDATE SKIP LOCKED

-- name: pick_ended
-- Of one route: what was never told of alerts that have ended, whether it is due or not.
SELECT j.job_id FROM delivery_jobs AS j
CROSS JOIN LATERAL (
  SELECT x.past FROM fleet_alert AS x
  WHERE (x.tenant_id, x.id) = (j.tenant_id, j.alert_id) AND x.status = 'CLOSED' OFFSET 0
) AS a
WHERE j.tenant_id = %(tenant)s AND j.integration_id = %(integration)s AND j.status = 'PENDING' AND j.route_id = %(route)s
  AND j.job_id <> ALL (%(busy)s::bigint[]) AND j.receipt = 'none' AND (a.past OR j.unreachable_since IS NOT NULL)
  AND NOT EXISTS (SELECT FROM delivery_jobs AS x WHERE x.merged_into = j.job_id)
ORDER BY j.job_id
LIMIT %(limit)s
FOR UPDATE OF j SKIP LOCKED

-- name: pick_end
-- Of one route and alert: the end, if it was never tried.
SELECT j.job_id FROM delivery_jobs AS j
WHERE (j.tenant_id, j.alert_id, j.route_id) = (%(tenant)s, %(alert)s, %(route)s) AND j.integration_id = %(integration)s
  AND j.event = 'CLOSED' AND j.status = 'PENDING' AND j.receipt = 'none' AND j.job_id <> ALL (%(busy)s::bigint[])
FOR UPDATE SKIP LOCKED

-- name: pick_gathered
-- Of one route: what waits to be told with others.
SELECT j.job_id FROM delivery_jobs AS j
WHERE j.tenant_id = %(tenant)s AND j.integration_id = %(integration)s AND j.status = 'PENDING' AND j.next_run_at <= %(now)s
  AND j.route_id = %(route)s AND j.reason = %(gathered)s AND j.event = %(event)s
  AND j.job_id <> ALL (%(busy)s::bigint[]) AND NOT delivery_blocked(j)
ORDER BY j.job_id
LIMIT %(limit)s
FOR UPDATE SKIP LOCKED

-- name: select_cases
-- What a decision needs to know of jobs. The plan is fixed: each job is looked at by itself, by keys (OFFSET 0), and what
-- belongs to the same alert by that alert (IS NOT DISTINCT FROM). Estimates would be those of a table that was small a
-- minute ago. No index serves what IS TRUE: an alert and its jobs are found by the alert.
SELECT j.job_id, j.alert_id, j.route_id, j.event, j.occurrence, j.message_id, j.reason, j.receipt, j.created_at, j.tries,
  j.attempts, j.unreachable_since IS NOT NULL, EXISTS (SELECT FROM delivery_jobs AS x WHERE x.merged_into = j.job_id),
  a.status, coalesce(a.close_reason = 'superseded', false), a.severity, a.past, a.due_at, a.inhibited_by IS NOT NULL,
  c.id IS NOT NULL, a.silenced_until, a.fingerprint, a.site_id, a.device_id, coalesce(d.tags, '{}'),
  coalesce(route_matches(r.route, a.severity, a.alert_type, a.site_id, a.device_id, d.tags), false)
    AND a.details ->> 'integration_id' IS DISTINCT FROM j.integration_id::text, o.told,
  coalesce(o.in_summary, false), t.told_at, %(summary)s AND delivery_blocked(j), o.opening_id
FROM delivery_jobs AS j
CROSS JOIN LATERAL (
  SELECT x.* FROM fleet_alert AS x WHERE x.id = j.alert_id AND (x.tenant_id = j.tenant_id) IS TRUE OFFSET 0
) AS a
LEFT JOIN LATERAL (
  SELECT x.id FROM fleet_alert AS x
  WHERE x.id = a.inhibited_by AND (x.tenant_id = a.tenant_id AND x.status <> 'CLOSED') IS TRUE OFFSET 0
) AS c ON true
LEFT JOIN LATERAL (
  SELECT x.tags FROM device_registry AS x WHERE (x.tenant_id, x.device_id) = (a.tenant_id, a.device_id) OFFSET 0
) AS d ON true
LEFT JOIN LATERAL (
  SELECT x.throttle_seconds, x AS route FROM integration_routes AS x WHERE (x.tenant_id, x.route_id) = (j.tenant_id, j.route_id)
  OFFSET 0
) AS r ON true
LEFT JOIN LATERAL (
  SELECT bool_or(e.receipt IN ('possible', 'confirmed')) AS told,
    bool_or(e.reason = 'merged' OR EXISTS (SELECT FROM delivery_jobs AS x WHERE x.merged_into = e.job_id))
      FILTER (WHERE e.event = 'OPEN') AS in_summary,
    min(e.message_id::text) FILTER (WHERE e.event = 'OPEN')::uuid AS opening_id
  FROM delivery_jobs AS e
  WHERE e.alert_id = j.alert_id AND e.route_id IS NOT DISTINCT FROM j.route_id AND (e.tenant_id = j.tenant_id) IS TRUE
    AND e.event IN ('OPEN', 'REMINDER') AND j.event IN ('ACKNOWLEDGED', 'CLOSED')
) AS o ON true
LEFT JOIN LATERAL (
  SELECT max(e.told_at) AS told_at FROM delivery_jobs AS e
  WHERE j.event = 'OPEN' AND r.throttle_seconds > 0 AND (e.tenant_id, e.route_id) = (j.tenant_id, j.route_id)
    AND e.fingerprint = a.fingerprint AND e.job_id <> j.job_id
    AND e.told_at > %(now)s::timestamptz - r.throttle_seconds * interval '1 second'
) AS t ON true
WHERE j.job_id = ANY (%(ids)s::bigint[])

-- name: defer_blocked
-- Due jobs behind an earlier one of the same alert and route, or behind one that tells it, wait with that, and are
-- released when it ends. An earlier one that is held although its alert has closed is decided on first. Behind one that is
-- being sent nothing is put off: it may end just now, and would release nothing.
WITH blocked AS (
  SELECT j.job_id, e.job_id AS earlier, e.next_run_at,
    a.status = 'CLOSED' AND coalesce(e.reason = ANY (%(held)s::text[]), false) AS stale
  FROM delivery_jobs AS j
  CROSS JOIN LATERAL (
    SELECT x.status FROM fleet_alert AS x WHERE x.id = j.alert_id AND (x.tenant_id = j.tenant_id) IS TRUE OFFSET 0
  ) AS a
  CROSS JOIN LATERAL (
    SELECT coalesce(k.job_id, x.job_id) AS job_id, coalesce(k.next_run_at, x.next_run_at) AS next_run_at,
      coalesce(k.status, x.status) AS status, CASE WHEN k.job_id IS NULL THEN x.reason END AS reason
    FROM delivery_jobs AS x
    LEFT JOIN delivery_jobs AS k ON k.job_id = x.merged_into AND k.job_id <> j.job_id AND k.status IN ('PENDING', 'PROCESSING')
    WHERE x.alert_id = j.alert_id AND x.route_id IS NOT DISTINCT FROM j.route_id AND (x.tenant_id = j.tenant_id) IS TRUE
      AND (delivery_rank(x.event), x.job_id) < (delivery_rank(j.event), j.job_id)
      AND (x.status = 'PROCESSING' OR x.status = 'PENDING' AND NOT (x.event = 'REMINDER' AND x.attempts = 0)
        OR k.job_id IS NOT NULL)
    ORDER BY delivery_rank(x.event), x.job_id LIMIT 1
  ) AS e
  WHERE j.tenant_id = %(tenant)s AND j.integration_id = %(integration)s AND j.status = 'PENDING' AND j.next_run_at <= %(now)s
    AND j.event <> 'OPEN' AND e.status = 'PENDING'
  ORDER BY j.next_run_at, j.job_id LIMIT %(limit)s
), woken AS (
  UPDATE delivery_jobs AS e SET next_run_at = %(now)s
  FROM (SELECT DISTINCT earlier FROM blocked WHERE next_run_at > %(now)s AND stale) AS w
  WHERE e.job_id = w.earlier AND e.status = 'PENDING'
)
UPDATE delivery_jobs AS j
SET reason = 'waiting', next_run_at = least(CASE WHEN NOT b.stale THEN greatest(b.next_run_at, %(soon)s) END, %(again)s)
FROM blocked AS b
WHERE j.job_id = b.job_id AND j.status = 'PENDING'

-- name: skip_jobs
UPDATE delivery_jobs AS j SET status = 'SKIPPED', reason = s.reason, finished_at = %(now)s
FROM unnest(%(ids)s::bigint[], %(reasons)s::text[]) AS s (job_id, reason)
WHERE (j.tenant_id = %(tenant)s) IS TRUE AND j.job_id = s.job_id

-- name: hold_jobs
UPDATE delivery_jobs AS j SET reason = h.reason, next_run_at = h.until
FROM unnest(%(ids)s::bigint[], %(reasons)s::text[], %(untils)s::timestamptz[]) AS h (job_id, reason, until)
WHERE (j.tenant_id = %(tenant)s) IS TRUE AND j.job_id = h.job_id

-- name: merge_jobs
-- The members, and what else would be told of alerts whose OPEN is among them.
UPDATE delivery_jobs AS j SET status = 'SKIPPED', reason = 'merged', merged_into = %(carrier)s, finished_at = %(now)s,
  told_at = %(now)s, fingerprint = CASE WHEN j.event = 'OPEN' THEN a.fingerprint END
FROM fleet_alert AS a
WHERE j.tenant_id = %(tenant)s AND j.job_id <> %(carrier)s AND j.status = 'PENDING' AND j.route_id = %(route)s
  AND (j.job_id = ANY (%(ids)s::bigint[]) OR j.alert_id = ANY (%(alerts)s::bigint[]))
  AND (a.tenant_id, a.id) = (j.tenant_id, j.alert_id)

-- name: lease_jobs
UPDATE delivery_jobs AS j SET status = 'PROCESSING', reason = NULL, leased_by = %(instance)s,
  lease_until = clock_timestamp() + %(lease)s * interval '1 second', told_at = %(now)s,
  fingerprint = CASE WHEN j.event = 'OPEN' THEN l.fingerprint END
FROM unnest(%(ids)s::bigint[], %(fingerprints)s::text[]) AS l (job_id, fingerprint)
WHERE (j.tenant_id = %(tenant)s) IS TRUE AND j.job_id = l.job_id

-- name: merged_alerts
-- The alerts that jobs tell beside their own, newest first, and how many there are.
SELECT m.merged_into, (array_agg(m.alert_id ORDER BY m.alert_id DESC))[1:%(most)s], count(*)
FROM (SELECT DISTINCT j.merged_into, j.alert_id FROM delivery_jobs AS j JOIN delivery_jobs AS c ON c.job_id = j.merged_into
  WHERE j.merged_into = ANY (%(ids)s::bigint[]) AND j.alert_id <> c.alert_id) AS m
GROUP BY m.merged_into

-- name: set_probe
UPDATE integration_health SET next_probe_at = %(next)s WHERE tenant_id = %(tenant)s AND integration_id = %(integration)s

-- name: release_waiting
-- What waited behind jobs that have ended, or behind the one that tells them. The order is fixed: from these jobs to their
-- alerts, not through all jobs of the tenant.
UPDATE delivery_jobs AS w SET reason = NULL, next_run_at = %(now)s
FROM (
  SELECT x.job_id
  FROM (
    (SELECT j.tenant_id, j.alert_id, j.route_id FROM delivery_jobs AS j
      WHERE j.job_id = ANY (%(ids)s::bigint[]) AND j.finished_at IS NOT NULL OFFSET 0)
    UNION
    (SELECT j.tenant_id, j.alert_id, j.route_id FROM delivery_jobs AS j WHERE j.merged_into = ANY (%(ids)s::bigint[]) OFFSET 0)
  ) AS e
  CROSS JOIN LATERAL (
    SELECT w.job_id FROM delivery_jobs AS w
    WHERE (w.alert_id, w.route_id) = (e.alert_id, e.route_id)
      AND (w.tenant_id = e.tenant_id AND w.status = 'PENDING' AND w.reason = 'waiting') IS TRUE OFFSET 0
  ) AS x
  WHERE e.tenant_id = %(tenant)s
) AS x
WHERE w.job_id = x.job_id AND (w.status = 'PENDING' AND w.reason = 'waiting') IS TRUE

-- name: settle_job
-- How tries of one tenant went, and what becomes of their jobs: how many those were. A job that another process has taken
-- meanwhile stays as it is.
WITH tried AS MATERIALIZED (
  SELECT * FROM json_to_recordset(%(rows)s::text::json) AS t (job_id bigint, status text, reason text, next timestamptz,
    tries integer, receipt text, unreached boolean, rank integer, told boolean, finished timestamptz, at timestamptz,
    latency_ms integer, outcome text, http_status integer, address text, answer text, error text, request text)
  ORDER BY 1
), kept AS (
  INSERT INTO delivery_attempts (tenant_id, job_id, at, latency_ms, outcome, http_status, address, answer, error, request)
  SELECT j.tenant_id, t.job_id, t.at, t.latency_ms, t.outcome, t.http_status, t.address, t.answer, t.error, t.request
  FROM tried AS t
  CROSS JOIN LATERAL (
    SELECT x.tenant_id FROM delivery_jobs AS x WHERE x.job_id = t.job_id AND (x.tenant_id = %(tenant)s) IS TRUE OFFSET 0
  ) AS j
), settled AS (
  UPDATE delivery_jobs AS j SET status = t.status, reason = t.reason, next_run_at = coalesce(t.next, j.next_run_at),
    tries = t.tries, attempts = j.attempts + 1, receipt = t.receipt,
    unreachable_since = CASE WHEN t.unreached THEN coalesce(j.unreachable_since, %(now)s) END,
    severity_rank = CASE WHEN t.unreached THEN t.rank END,
    told_at = CASE WHEN t.told THEN j.told_at END, fingerprint = CASE WHEN t.told THEN j.fingerprint END,
    leased_by = NULL, lease_until = NULL, finished_at = t.finished
  FROM tried AS t
  WHERE (j.tenant_id = %(tenant)s AND j.status = 'PROCESSING') IS TRUE AND j.job_id = t.job_id AND j.leased_by = %(instance)s
  RETURNING 1
)
SELECT count(*) FROM settled

-- name: note_success
INSERT INTO integration_health AS h (tenant_id, integration_id, last_success_at)
SELECT tenant_id, integration_id, %(now)s FROM integrations
WHERE tenant_id = %(tenant)s AND integration_id = ANY (%(integrations)s::uuid[]) ORDER BY integration_id
ON CONFLICT (tenant_id, integration_id) DO UPDATE SET failures = 0, failing_since = NULL, breaker_opened_at = NULL,
  next_probe_at = NULL, unreachable_since = NULL, last_success_at = %(now)s

-- name: note_failure
INSERT INTO integration_health AS h (tenant_id, integration_id, failures, failing_since, unreachable_since, last_failure_at,
  last_error)
SELECT tenant_id, integration_id, 1, %(now)s, CASE WHEN %(unreached)s THEN %(now)s::timestamptz END, %(now)s, %(error)s
FROM integrations WHERE tenant_id = %(tenant)s AND integration_id = %(integration)s
ON CONFLICT (tenant_id, integration_id) DO UPDATE SET failures = h.failures + 1,
  failing_since = coalesce(h.failing_since, %(now)s),
  unreachable_since = CASE WHEN %(unreached)s THEN coalesce(h.unreachable_since, %(now)s) END,
  breaker_opened_at = CASE WHEN h.failures + 1 >= %(opens)s THEN coalesce(h.breaker_opened_at, %(now)s) END,
  next_probe_at = CASE WHEN h.failures + 1 >= %(opens)s THEN %(probe)s::timestamptz END,
  last_failure_at = %(now)s, last_error = %(error)s

-- name: disable_gone
UPDATE integrations SET enabled = false, disabled_reason = 'gone', updated_at = %(now)s
WHERE tenant_id = %(tenant)s AND integration_id = %(integration)s AND enabled
RETURNING name

-- name: settle_members
-- What is known of the receipt of a notice is known of all that it tells.
UPDATE delivery_jobs SET receipt = %(receipt)s, told_at = CASE WHEN %(told)s THEN told_at END,
  fingerprint = CASE WHEN %(told)s THEN fingerprint END
WHERE (tenant_id = %(tenant)s) IS TRUE AND merged_into = %(job)s

-- name: insert_reminders
-- After notices that ended, arrived or not: the next reminder of each alert that they tell and that waits for somebody.
INSERT INTO delivery_jobs (tenant_id, alert_id, route_id, integration_id, event, occurrence, created_at, next_run_at, reason)
SELECT j.tenant_id, j.alert_id, j.route_id, j.integration_id, 'REMINDER',
  CASE j.event WHEN 'REMINDER' THEN j.occurrence + 1 ELSE 1 END, %(now)s,
  %(now)s::timestamptz + r.remind_minutes * interval '1 minute', 'delayed'
FROM (
  (SELECT * FROM delivery_jobs WHERE job_id = ANY (%(ids)s::bigint[]) OFFSET 0)
  UNION ALL
  (SELECT * FROM delivery_jobs WHERE merged_into = ANY (%(ids)s::bigint[]) OFFSET 0)
) AS j
CROSS JOIN LATERAL (
  SELECT FROM delivery_jobs AS x WHERE x.job_id = coalesce(j.merged_into, j.job_id) AND x.status IN ('COMPLETED', 'DEAD')
  OFFSET 0
) AS c
CROSS JOIN LATERAL (
  SELECT x.remind_minutes FROM integration_routes AS x
  WHERE (x.tenant_id, x.route_id) = (j.tenant_id, j.route_id) AND x.enabled AND x.remind_minutes > 0 OFFSET 0
) AS r
CROSS JOIN LATERAL (
  SELECT FROM fleet_alert AS x
  WHERE x.id = j.alert_id AND (x.tenant_id = j.tenant_id AND x.status = 'OPEN') IS TRUE
    AND NOT coalesce(x.silenced_until > %(settled)s, false) OFFSET 0
) AS a
WHERE j.event IN ('OPEN', 'REMINDER')
ON CONFLICT DO NOTHING

-- name: take_back
-- Jobs whose process has ended: all of an instance that starts, or those whose lease has run out. They may have arrived.
-- One that was lost on every step of the retry table is dead: it may be what ends the process.
WITH lost AS (
  SELECT job_id FROM delivery_jobs
  WHERE status = 'PROCESSING' AND job_id <> ALL (%(busy)s::bigint[])
    AND (leased_by = %(instance)s OR lease_until < clock_timestamp())
  ORDER BY job_id FOR UPDATE SKIP LOCKED
), back AS (
  UPDATE delivery_jobs AS j SET status = CASE WHEN j.tries >= %(steps)s THEN 'DEAD' ELSE 'PENDING' END,
    reason = CASE WHEN j.tries >= %(steps)s THEN 'exhausted' ELSE 'retrying' END,
    finished_at = CASE WHEN j.tries >= %(steps)s THEN %(now)s::timestamptz END,
    tries = j.tries + 1, attempts = j.attempts + 1, next_run_at = %(now)s, leased_by = NULL, lease_until = NULL,
    receipt = CASE j.receipt WHEN 'confirmed' THEN 'confirmed' ELSE 'possible' END
  FROM lost AS l WHERE j.job_id = l.job_id
  RETURNING j.tenant_id, j.job_id
)
INSERT INTO delivery_attempts (tenant_id, job_id, at, latency_ms, outcome, error)
SELECT tenant_id, job_id, %(now)s, 0, 'lost', 'The appliance ended before the answer was written down.' FROM back
RETURNING job_id

-- name: give_back
-- At a stop: what is in flight is tried again after the start, and may have arrived.
WITH back AS (
  UPDATE delivery_jobs SET status = 'PENDING', reason = 'retrying', attempts = attempts + 1, next_run_at = %(now)s,
    leased_by = NULL, lease_until = NULL, receipt = CASE receipt WHEN 'confirmed' THEN 'confirmed' ELSE 'possible' END
  WHERE status = 'PROCESSING' AND leased_by = %(instance)s AND job_id = ANY (%(ids)s::bigint[])
  RETURNING tenant_id, job_id
)
INSERT INTO delivery_attempts (tenant_id, job_id, at, latency_ms, outcome, error)
SELECT tenant_id, job_id, %(now)s, 0, 'lost', 'The appliance was stopped before an answer came.' FROM back

-- name: any_waiting
-- Whether any job is not due yet: without one, nothing is held.
SELECT EXISTS (SELECT FROM delivery_jobs WHERE status = 'PENDING' AND next_run_at > %(now)s)

-- name: wake_held
-- Held jobs of alerts that moved, as far as that may end what holds them; and reminders that wait for their next try although
-- somebody is on it, since the end waits behind them.
UPDATE delivery_jobs AS j SET next_run_at = %(now)s
FROM (
  SELECT h.job_id FROM delivery_jobs AS h
  CROSS JOIN LATERAL (
    SELECT x.* FROM fleet_alert AS x WHERE (x.tenant_id, x.id) = (h.tenant_id, h.alert_id) OFFSET 0
  ) AS a
  LEFT JOIN LATERAL (
    SELECT x.id FROM fleet_alert AS x
    WHERE (x.tenant_id, x.id) = (a.tenant_id, a.inhibited_by) AND x.status <> 'CLOSED' OFFSET 0
  ) AS c ON true
  WHERE h.status = 'PENDING' AND h.next_run_at > %(now)s AND (%(tenants)s::text[] IS NULL OR h.tenant_id = ANY (%(tenants)s))
    AND (h.reason IS NULL OR h.reason = ANY (%(held)s::text[]) OR h.event = 'REMINDER' AND h.reason = 'retrying')
    AND (a.status = 'CLOSED' AND NOT (a.past AND a.due_at > %(now)s)
      OR a.status = 'ACKNOWLEDGED' AND h.event IN ('OPEN', 'REMINDER')
      OR h.reason = 'inhibited' AND c.id IS NULL
      OR h.reason = 'silenced' AND coalesce(a.silenced_until <= %(settled)s, true)
      OR h.event = 'REMINDER' AND h.reason <> 'retrying' AND a.silenced_until > %(settled)s)
  ORDER BY h.job_id FOR UPDATE OF h
) AS w
WHERE j.job_id = w.job_id

-- name: wake_all_held
-- Routes or maintenance windows changed: whatever they hold is decided again.
UPDATE delivery_jobs AS j SET next_run_at = %(now)s
FROM (
  SELECT job_id FROM delivery_jobs
  WHERE status = 'PENDING' AND next_run_at > %(now)s AND (%(tenants)s::text[] IS NULL OR tenant_id = ANY (%(tenants)s))
    AND event <> 'REMINDER' AND (reason IS NULL OR reason = ANY (%(held)s::text[]))
  ORDER BY job_id FOR UPDATE
) AS w
WHERE j.job_id = w.job_id

-- name: select_hold
-- The newest restore of which nobody has confirmed that the old machine is off.
SELECT restored_at, made_at FROM restores WHERE confirmed_at IS NULL ORDER BY restore_id DESC LIMIT 1

-- name: count_held
SELECT count(*) FROM delivery_jobs WHERE status = 'PENDING' AND reason = 'unconfirmed'

-- name: hold_due
-- What is due while nobody has confirmed that the old machine is off, unless a person asked for it since.
UPDATE delivery_jobs SET reason = 'unconfirmed'
WHERE status = 'PENDING' AND next_run_at <= %(now)s AND reason IS DISTINCT FROM 'unconfirmed'
  AND reason IS DISTINCT FROM 'by_hand'

-- name: confirm_restores
UPDATE restores SET confirmed_at = %(now)s, confirmed_by = %(actor)s WHERE confirmed_at IS NULL
RETURNING restore_id, made_at

-- name: count_queue
SELECT CASE WHEN reason = 'unreachable' THEN 'unreachable' WHEN reason = 'retrying' THEN 'retrying'
  WHEN reason = 'unconfirmed' OR next_run_at > %(now)s THEN 'held' ELSE 'due' END, count(*)
FROM delivery_jobs WHERE status = 'PENDING' GROUP BY 1
UNION ALL
SELECT 'sending', count(*) FROM delivery_jobs WHERE status = 'PROCESSING'

-- name: count_failing
-- By type: enabled integrations whose newest try failed.
SELECT i.type, count(*)
FROM integrations AS i
JOIN integration_health AS h ON (h.tenant_id, h.integration_id) = (i.tenant_id, i.integration_id)
WHERE i.enabled AND h.failing_since IS NOT NULL
GROUP BY i.type

-- name: expire_waiting
-- What has waited for a way out for too long.
UPDATE delivery_jobs AS j SET status = 'DEAD', reason = 'too_old', finished_at = %(now)s
FROM (SELECT job_id FROM delivery_jobs WHERE status = 'PENDING' AND unreachable_since < %(before)s
  ORDER BY job_id LIMIT %(limit)s FOR UPDATE SKIP LOCKED) AS o
WHERE j.job_id = o.job_id
RETURNING j.job_id

-- name: skip_orphans
-- Of integrations that were deleted: no courier looks at them.
UPDATE delivery_jobs AS j SET status = 'SKIPPED', reason = 'integration_off', finished_at = %(now)s
FROM (SELECT o.job_id FROM delivery_jobs AS o WHERE o.status = 'PENDING' AND NOT EXISTS (SELECT FROM integrations AS i
    WHERE (i.tenant_id, i.integration_id) = (o.tenant_id, o.integration_id))
  ORDER BY o.job_id LIMIT %(limit)s FOR UPDATE SKIP LOCKED) AS g
WHERE j.job_id = g.job_id

-- name: delete_finished
-- With their attempts. Those of an alert that is not closed stay: its end is told to whom its opening was.
DELETE FROM delivery_jobs WHERE job_id IN (
  SELECT j.job_id FROM delivery_jobs AS j
  CROSS JOIN LATERAL (
    SELECT FROM fleet_alert AS x WHERE (x.tenant_id, x.id) = (j.tenant_id, j.alert_id) AND x.status = 'CLOSED' OFFSET 0
  ) AS a
  WHERE j.finished_at < %(before)s ORDER BY j.finished_at LIMIT %(limit)s FOR UPDATE OF j SKIP LOCKED)

-- name: heal_jobs
-- Times of a wrong clock. What is held is decided on again, whatever it was held until; what nobody can know is the present.
WITH wrong AS (
  SELECT job_id, created_at > %(latest)s AS strange FROM delivery_jobs
  WHERE status IN ('PENDING', 'PROCESSING') AND greatest(created_at, next_run_at, unreachable_since, told_at) > %(latest)s
    OR finished_at > %(latest)s
  ORDER BY job_id FOR NO KEY UPDATE
)
UPDATE delivery_jobs AS j
SET created_at = coalesce(time_healed(j.created_at, %(latest)s, %(now)s, %(step)s), %(now)s),
  next_run_at = CASE
    WHEN j.next_run_at <= %(latest)s THEN j.next_run_at
    WHEN w.strange OR j.next_run_at > %(latest)s::timestamptz + interval '8 days' THEN %(now)s
    WHEN j.event = 'REMINDER' OR j.reason = 'retrying' THEN j.next_run_at
    ELSE %(now)s END,
  unreachable_since = CASE WHEN j.unreachable_since IS NOT NULL
    THEN coalesce(time_healed(j.unreachable_since, %(latest)s, %(now)s, %(step)s), %(now)s) END,
  told_at = time_healed(j.told_at, %(latest)s, %(now)s, %(step)s),
  finished_at = CASE WHEN j.finished_at IS NOT NULL
    THEN coalesce(time_healed(j.finished_at, %(latest)s, %(now)s, %(step)s), %(now)s) END
FROM wrong AS w WHERE j.job_id = w.job_id

-- name: heal_health
UPDATE integration_health
SET failing_since = time_healed(failing_since, %(latest)s, %(now)s, %(step)s),
  breaker_opened_at = CASE WHEN breaker_opened_at IS NOT NULL
    THEN coalesce(time_healed(breaker_opened_at, %(latest)s, %(now)s, %(step)s), %(now)s) END,
  next_probe_at = CASE WHEN next_probe_at IS NOT NULL THEN %(now)s::timestamptz END,
  unreachable_since = CASE WHEN unreachable_since IS NOT NULL
    THEN coalesce(time_healed(unreachable_since, %(latest)s, %(now)s, %(step)s), %(now)s) END,
  last_success_at = time_healed(last_success_at, %(latest)s, %(now)s, %(step)s),
  last_failure_at = time_healed(last_failure_at, %(latest)s, %(now)s, %(step)s)
WHERE greatest(failing_since, breaker_opened_at, next_probe_at, unreachable_since, last_success_at, last_failure_at) > %(latest)s
