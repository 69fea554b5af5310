-- How deliveries go, for the lists of integrations and routes. %(tenant)s NULL is everybody's, for operators.

-- name: breakers
SELECT tenant_id, integration_id, failures, next_probe_at FROM integration_health
WHERE breaker_opened_at IS NOT NULL AND (%(tenant)s::text IS NULL OR tenant_id = %(tenant)s)

-- name: deliveries
-- Of each route and integration: what was delivered and what failed since a time, and what waits after a try that failed.
SELECT n.tenant_id, n.route_id, n.integration_id, sum(n.delivered)::bigint, sum(n.failed)::bigint, sum(n.waiting)::bigint
FROM (
  SELECT tenant_id, route_id, integration_id, count(*) FILTER (WHERE status = 'COMPLETED') AS delivered,
    count(*) FILTER (WHERE status = 'DEAD') AS failed, 0 AS waiting
  FROM delivery_jobs
  WHERE finished_at IS NOT NULL AND finished_at > %(since)s AND status IN ('COMPLETED', 'DEAD')
    AND (%(tenant)s::text IS NULL OR tenant_id = %(tenant)s)
  GROUP BY 1, 2, 3
  UNION ALL
  SELECT tenant_id, route_id, integration_id, 0, 0, count(*) FROM delivery_jobs
  WHERE status = 'PENDING' AND reason IN ('retrying', 'unreachable') AND (%(tenant)s::text IS NULL OR tenant_id = %(tenant)s)
  GROUP BY 1, 2, 3
) AS n
GROUP BY 1, 2, 3

-- name: count_both
SELECT (SELECT count(*) FROM integration_routes WHERE %(tenant)s::text IS NULL OR tenant_id = %(tenant)s),
  (SELECT count(*) FROM integrations WHERE %(tenant)s::text IS NULL OR tenant_id = %(tenant)s)
