-- name: lock_of_tenants
-- The second lock of every change of seats, in a statement of its own: what a lock waited for is in the rows returned.
-- NO KEY UPDATE excludes its own kind as FOR UPDATE would, but not the KEY SHARE that the foreign key of a device row
-- takes: with FOR UPDATE, hands on psql that insert devices in an order of their own deadlocked with us (a test tells).
SELECT subscription_id, tenant_id, subscription_type, parent_subscription_id, device_limit, active_device_count,
  term_start, term_end, status, grace_end, hold_reason, plan_id, description
FROM subscriptions WHERE tenant_id = ANY(%(tenants)s::text[])
ORDER BY tenant_id, subscription_id
FOR NO KEY UPDATE

-- name: select_of_tenants
SELECT subscription_id, tenant_id, subscription_type, parent_subscription_id, device_limit, active_device_count,
  term_start, term_end, status, grace_end, hold_reason, plan_id, description
FROM subscriptions WHERE tenant_id = ANY(%(tenants)s::text[])
ORDER BY tenant_id, subscription_id

-- name: select_all
SELECT subscription_id, tenant_id, subscription_type, parent_subscription_id, device_limit, active_device_count,
  term_start, term_end, status, grace_end, hold_reason, plan_id, description
FROM subscriptions
ORDER BY tenant_id, subscription_id

-- name: select_page
SELECT subscription_id, tenant_id, subscription_type, parent_subscription_id, device_limit, active_device_count,
  term_start, term_end, status, grace_end, hold_reason, plan_id, description
FROM subscriptions
WHERE (%(tenant)s::text IS NULL OR tenant_id = %(tenant)s)
  AND (%(after_tenant)s::text IS NULL OR (tenant_id, subscription_id) > (%(after_tenant)s, %(after_id)s::text))
ORDER BY tenant_id, subscription_id LIMIT %(limit)s

-- name: tenant_of
-- More than one is an error, which names a few.
SELECT tenant_id FROM subscriptions WHERE subscription_id = %(subscription)s ORDER BY tenant_id LIMIT 5

-- name: zone_of_tenant
SELECT time_zone FROM tenants WHERE tenant_id = %(tenant)s AND tenant_id <> 'appliance'

-- name: insert_subscription
-- The day of the number is that of UTC; from 100,000 on it grows a digit rather than lose one.
INSERT INTO subscriptions
  (subscription_id, tenant_id, subscription_type, parent_subscription_id, device_limit, term_start, term_end, status,
    plan_id, description, created_at)
VALUES (
  'SUB-' || to_char(%(now)s::timestamptz AT TIME ZONE 'UTC', 'YYYYMMDD') || '-'
    || regexp_replace(to_char(nextval('subscription_numbers'), 'FM0000000000000000000'), '^0+(?=\d{5})', ''),
  %(tenant)s, %(type)s, %(parent)s, %(limit)s, %(term_start)s, %(term_end)s, %(status)s, %(plan)s, %(description)s,
  %(now)s)
RETURNING subscription_id, tenant_id, subscription_type, parent_subscription_id, device_limit, active_device_count,
  term_start, term_end, status, grace_end, hold_reason, plan_id, description

-- name: update_subscription
-- Without the hold: who renews for a customer may not lift one.
UPDATE subscriptions SET subscription_type = %(type)s, device_limit = %(limit)s, term_start = %(term_start)s,
  term_end = %(term_end)s, grace_end = %(grace_end)s, status = %(status)s, plan_id = %(plan)s, description = %(description)s
WHERE tenant_id = %(tenant)s AND subscription_id = %(subscription)s

-- name: set_hold
UPDATE subscriptions SET hold_reason = %(hold_reason)s
WHERE tenant_id = %(tenant)s AND subscription_id = %(subscription)s

-- name: record_statuses
UPDATE subscriptions AS s SET status = r.status
FROM unnest(%(tenants)s::text[], %(subscriptions)s::text[], %(statuses)s::text[]) AS r (tenant_id, subscription_id, status)
WHERE s.tenant_id = r.tenant_id AND s.subscription_id = r.subscription_id

-- name: insert_term
INSERT INTO subscription_terms
  (tenant_id, subscription_id, kind, term_start, term_end, device_limit, plan_id, actor, idempotency_key, bought_at)
VALUES (%(tenant)s, %(subscription)s, %(kind)s, %(term_start)s, %(term_end)s, %(limit)s, %(plan)s, %(actor)s, %(key)s,
  %(now)s)

-- name: insert_correction
INSERT INTO subscription_terms
  (tenant_id, subscription_id, kind, corrects_term_id, term_start, term_end, device_limit, plan_id, actor, bought_at)
SELECT %(tenant)s, %(subscription)s, CASE WHEN c.term_id IS NULL THEN 'SOLD' ELSE 'CORRECTED' END, c.term_id,
  %(term_start)s, %(term_end)s, %(limit)s, %(plan)s, %(actor)s, %(now)s
FROM (
  SELECT max(term_id) AS term_id FROM subscription_terms
  WHERE tenant_id = %(tenant)s AND subscription_id = %(subscription)s AND kind <> 'CORRECTED'
) AS c

-- name: select_start_of_term_at
-- The start of the term that was bought last among those that begin before an instant.
SELECT term_start FROM subscription_terms
WHERE tenant_id = %(tenant)s AND subscription_id = %(subscription)s AND kind <> 'CORRECTED' AND term_start < %(at)s
ORDER BY term_start DESC, term_id DESC LIMIT 1

-- name: select_last_bought_kind
SELECT kind FROM subscription_terms
WHERE tenant_id = %(tenant)s AND subscription_id = %(subscription)s AND kind <> 'CORRECTED'
ORDER BY term_id DESC LIMIT 1

-- name: insert_event
INSERT INTO subscription_audit (tenant_id, subscription_id, event_type, actor, previous_state, new_state, details, ip, at)
VALUES (%(tenant)s, %(subscription)s, %(event)s, %(actor)s, %(previous)s::jsonb, %(new)s::jsonb, %(details)s::jsonb, %(ip)s,
  %(now)s)

-- name: list_terms
SELECT tenant_id, term_id, subscription_id, kind, corrects_term_id, term_start, term_end, device_limit, plan_id, actor,
  bought_at
FROM subscription_terms
WHERE (%(tenant)s::text IS NULL OR tenant_id = %(tenant)s)
  AND (%(subscription)s::text IS NULL OR subscription_id = %(subscription)s)
  AND (%(since)s::timestamptz IS NULL OR bought_at >= %(since)s)
  AND (%(until)s::timestamptz IS NULL OR bought_at < %(until)s)
  AND (%(before)s::bigint IS NULL OR term_id < %(before)s)
ORDER BY term_id DESC LIMIT %(limit)s

-- name: list_events
SELECT tenant_id, event_id, subscription_id, at, event_type, actor, previous_state, new_state, details, ip
FROM subscription_audit
WHERE (%(tenant)s::text IS NULL OR tenant_id = %(tenant)s)
  AND (%(subscription)s::text IS NULL OR subscription_id = %(subscription)s)
  AND (%(since)s::timestamptz IS NULL OR at >= %(since)s)
  AND (%(until)s::timestamptz IS NULL OR at < %(until)s)
  AND (%(before)s::bigint IS NULL OR event_id < %(before)s)
ORDER BY event_id DESC LIMIT %(limit)s

-- name: zones_of_tenants
SELECT tenant_id, time_zone FROM tenants WHERE tenant_id = ANY(%(tenants)s::text[])

-- name: select_running_starts
-- The start of the term that runs at an instant, of those whose newest term begins later.
SELECT tenant_id, subscription_id, max(term_start) FROM subscription_terms
WHERE tenant_id = ANY(%(tenants)s::text[]) AND subscription_id = ANY(%(subscriptions)s::text[])
  AND kind <> 'CORRECTED' AND term_start <= %(at)s
GROUP BY tenant_id, subscription_id
