-- Warnings of the end of terms. Times are handed in; a tenant of NULL is every tenant.

-- name: select_tenants
SELECT tenant_id, time_zone, status = 'ACTIVE' FROM tenants
WHERE tenant_id <> 'appliance' AND (%(tenant)s::text IS NULL OR tenant_id = %(tenant)s)

-- name: select_given
-- The steps of the present terms.
SELECT w.tenant_id, w.subscription_id, w.days
FROM subscription_warnings AS w JOIN subscriptions AS s USING (tenant_id, subscription_id, term_start)
WHERE %(tenant)s::text IS NULL OR w.tenant_id = %(tenant)s

-- name: select_renewed
-- When the present terms that end until then were bought, of those that are renewals.
SELECT t.tenant_id, t.subscription_id, max(t.bought_at)
FROM subscriptions AS s JOIN subscription_terms AS t USING (tenant_id, subscription_id, term_start)
WHERE t.kind = 'RENEWED' AND s.term_end <= %(until)s AND (%(tenant)s::text IS NULL OR s.tenant_id = %(tenant)s)
GROUP BY 1, 2

-- name: select_kept
-- The alerts of a keeper, those too that a person has closed while their condition lasts: without a summary.
SELECT c.tenant_id, c.fingerprint, a.summary, a.details
FROM alert_conditions AS c LEFT JOIN fleet_alert AS a
  ON (a.tenant_id, a.fingerprint) = (c.tenant_id, c.fingerprint) AND a.status <> 'CLOSED'
WHERE c.keeper = %(keeper)s AND (%(tenant)s::text IS NULL OR c.tenant_id = %(tenant)s)
ORDER BY 1, 2

-- name: insert_given
INSERT INTO subscription_warnings (tenant_id, subscription_id, term_start, days, warned_at)
VALUES (%(tenant)s, %(subscription)s, %(term_start)s, %(days)s, %(now)s)

-- name: forget_given
DELETE FROM subscription_warnings
WHERE tenant_id = %(tenant)s AND subscription_id = %(subscription)s AND term_start = %(term_start)s
  AND days = ANY (%(days)s::integer[])

-- name: forget_requests
DELETE FROM renewal_requests WHERE until <= %(now)s

-- name: forget_terms
-- What was warned of in terms that are over. An operator may take a renewal back, so they stay for a while.
DELETE FROM subscription_warnings AS w WHERE w.warned_at < %(before)s AND NOT EXISTS (
  SELECT FROM subscriptions AS s
  WHERE (s.tenant_id, s.subscription_id, s.term_start) = (w.tenant_id, w.subscription_id, w.term_start))
