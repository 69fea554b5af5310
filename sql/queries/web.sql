-- Read by the dashboard. %(tenant)s NULL is an operator's view of all tenants.

-- name: begin_reading
-- For one transaction: its tenant under row-level security, and no change.
SELECT set_config('appliance.tenant_id', %(tenant)s, true), set_config('transaction_read_only', 'on', true)

-- name: begin_changing
SELECT set_config('appliance.tenant_id', %(tenant)s, true)

-- name: count_people
-- All that the role may see: an operator's first steps are those of the appliance, a customer's those of the tenant.
SELECT count(*) FROM users WHERE disabled_at IS NULL

-- name: sum_books
-- By step of %(step)s since %(since)s; what a wrong clock counted later than %(until)s is of no step.
SELECT date_bin(%(step)s, minute, %(since)s::timestamptz) AS began, sum(received)::bigint, sum(stored)::bigint,
  sum(refused)::bigint, sum(duplicate)::bigint, sum(cleared)::bigint
FROM ingest_ledger
WHERE minute >= %(since)s AND minute < %(until)s AND (%(tenant)s::text IS NULL OR tenant_id = %(tenant)s)
GROUP BY began
ORDER BY began

-- name: sum_reasons
SELECT reason, sum(cnt)::bigint
FROM quarantine_counters_minute
WHERE bucket_minute >= %(since)s AND bucket_minute < %(until)s AND (%(tenant)s::text IS NULL OR tenant_id = %(tenant)s)
GROUP BY reason
ORDER BY 2 DESC, 1

-- name: count_held
-- Their number is an exact total, so that it costs nothing however many there are.
SELECT coalesce(sum(held), 0)::bigint, (
  SELECT ingested_at FROM quarantine_events
  WHERE status = 'HELD' AND (%(tenant)s::text IS NULL OR tenant_id = %(tenant)s)
  ORDER BY ingested_at LIMIT 1
)
FROM quarantine_totals
WHERE %(tenant)s::text IS NULL OR tenant_id = %(tenant)s

-- name: last_readings
-- The devices heard last, each with its newest reading: a few index look-ups, however long telemetry is.
SELECT t.tenant_id, t.device_id, t.ts, t.received_at, t.kind, t.metrics
FROM (
  SELECT tenant_id, device_id, s.last_ts FROM device_state AS s
  WHERE (%(tenant)s::text IS NULL OR tenant_id = %(tenant)s)
    AND (%(site)s::text IS NULL OR EXISTS (
      SELECT FROM device_registry AS r
      WHERE (r.tenant_id, r.device_id) = (s.tenant_id, s.device_id) AND coalesce(r.site_id, '') = %(site)s))
  ORDER BY s.last_seen_at DESC NULLS LAST LIMIT %(limit)s
) AS d
CROSS JOIN LATERAL (
  SELECT * FROM telemetry WHERE tenant_id = d.tenant_id AND device_id = d.device_id AND ts = d.last_ts LIMIT 1
) AS t
ORDER BY t.received_at DESC

-- name: minutes
SELECT minute, tenant_id, sum(stored + duplicate)::bigint, sum(refused)::bigint
FROM ingest_ledger
WHERE minute >= %(since)s
GROUP BY minute, tenant_id
ORDER BY minute

-- name: count_open_alerts_of_devices
-- Open alerts of each device of a page, and the severity of the worst. Alerts that are not closed are few.
SELECT a.tenant_id, a.device_id, count(*),
  (array_agg(a.severity ORDER BY array_position(ARRAY['critical', 'high', 'medium', 'low', 'info'], a.severity)))[1]
FROM fleet_alert AS a
JOIN unnest(%(tenants)s::text[], %(devices)s::text[]) AS d (tenant_id, device_id)
  ON (d.tenant_id COLLATE "C", d.device_id COLLATE "C") = (a.tenant_id, a.device_id)
WHERE a.status = 'OPEN' AND a.inhibited_by IS NULL
GROUP BY 1, 2

-- name: count_own_routes
-- Routes by which somebody is told that an alert of the appliance itself opened.
SELECT count(*)
FROM integration_routes AS r
JOIN integrations AS i ON (i.tenant_id, i.integration_id) = (r.tenant_id, r.integration_id)
WHERE r.tenant_id = %(tenant)s AND r.enabled AND i.enabled AND 'OPEN' = ANY (r.deliver_on)

-- name: count_own_rules
-- Alert rules that people have made.
SELECT count(*) FROM alert_rules
WHERE built_in IS NULL AND deleted_at IS NULL AND (%(tenant)s::text IS NULL OR tenant_id = %(tenant)s)

-- name: integration_tried
-- Whether a sample or a notice has arrived anywhere.
SELECT EXISTS (
  SELECT FROM tenants AS t
  WHERE (%(tenant)s::text IS NULL OR t.tenant_id = %(tenant)s)
    AND (EXISTS (SELECT FROM integration_health AS h WHERE h.tenant_id = t.tenant_id AND h.last_success_at IS NOT NULL)
      OR EXISTS (SELECT FROM audit_log AS a WHERE a.tenant_id = t.tenant_id AND a.object_type = 'integration'
        AND a.action = 'integration.test' AND a.after ->> 'outcome' = 'delivered')))

-- name: count_beside_navigation
-- All devices, those that wait for approval, messages held, alerts that are open, integrations with an alert that they fail,
-- integrations whose last tries failed, and whether the one tenant is suspended. Each page asks: it must stay cheap.
SELECT
  (SELECT count(*) FROM device_registry
   WHERE status <> 'DECOMMISSIONED' AND (%(tenant)s::text IS NULL OR tenant_id = %(tenant)s)),
  (SELECT count(*) FROM device_registry
   WHERE status = 'PENDING' AND (%(tenant)s::text IS NULL OR tenant_id = %(tenant)s)),
  (SELECT coalesce(sum(held), 0)::bigint FROM quarantine_totals
   WHERE %(tenant)s::text IS NULL OR tenant_id = %(tenant)s),
  (SELECT count(*) FROM fleet_alert
   WHERE status = 'OPEN' AND inhibited_by IS NULL AND (silenced_until > %(settled)s) IS NOT TRUE
     AND NOT (cardinality(%(maintenance_ids)s::text[]) > 0 AND in_maintenance(tenant_id, site_id, device_id,
       %(maintenance_tenants)s::text[], %(maintenance_kinds)s::text[], %(maintenance_ids)s::text[]))
     AND (%(tenant)s::text IS NULL OR tenant_id = %(tenant)s)),
  (SELECT count(*) FROM fleet_alert
   WHERE status <> 'CLOSED' AND details ? 'integration_id' AND (%(tenant)s::text IS NULL OR tenant_id = %(tenant)s)),
  (SELECT count(*) FROM integrations AS i JOIN integration_health AS h USING (tenant_id, integration_id)
   WHERE i.enabled AND h.failing_since IS NOT NULL AND (%(tenant)s::text IS NULL OR i.tenant_id = %(tenant)s)),
  EXISTS (SELECT FROM tenants WHERE tenant_id = %(tenant)s AND status = 'SUSPENDED')

-- name: sole_tenant
-- The tenant, if there is exactly one: an operator need not choose it. The appliance's own is none of them.
SELECT min(tenant_id) FROM tenants WHERE tenant_id <> 'appliance' AND status <> 'DELETING' HAVING count(*) = 1

-- name: tenant_choices
SELECT tenant_id, name FROM tenants
WHERE tenant_id <> 'appliance' AND status <> 'DELETING' ORDER BY lower(coalesce(nullif(name, ''), tenant_id COLLATE "default")), tenant_id
LIMIT %(limit)s

-- name: no_way_out
-- Integrations that reach nobody: since when the first and the last of them, how many, the name of one, how many others were
-- reached after the last was lost, how many others have been tried at all, and the notices that wait. Each page asks:
-- integrations are few, and what waits has an index. Nothing if all is well.
WITH tried AS (
  SELECT i.tenant_id, i.integration_id, i.name, h.unreachable_since,
    greatest(h.last_success_at, CASE WHEN h.unreachable_since IS NULL THEN h.last_failure_at END) AS reached_at
  FROM integrations AS i JOIN integration_health AS h USING (tenant_id, integration_id)
  WHERE i.enabled AND (%(tenant)s::text IS NULL OR i.tenant_id = %(tenant)s)
), away AS (
  SELECT * FROM tried WHERE unreachable_since <= %(before)s
)
SELECT s.first, s.last, s.number, s.name,
  (SELECT count(*) FROM tried WHERE unreachable_since IS NULL AND reached_at >= s.last),
  (SELECT count(*) FROM tried WHERE unreachable_since IS NULL AND reached_at IS NOT NULL),
  (SELECT count(*) FROM away AS x JOIN delivery_jobs AS j USING (tenant_id, integration_id)
   WHERE j.status = 'PENDING' AND j.unreachable_since IS NOT NULL)
FROM (
  SELECT min(unreachable_since) AS first, max(unreachable_since) AS last, count(*) AS number, min(name) AS name FROM away
) AS s
WHERE s.number > 0

-- name: select_tenant_zones
SELECT tenant_id, name, time_zone FROM tenants WHERE tenant_id = ANY(%(tenants)s::text[])
