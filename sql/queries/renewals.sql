-- name: select_request
-- A key is looked up with the tenant's subscriptions locked: of two first requests the second finds the answer.
SELECT request_id, subscription_id, hash, again, answer FROM renewal_requests
WHERE tenant_id = %(tenant)s AND key = %(key)s AND until > %(now)s

-- name: select_equal
-- The newest renewal by the same request, whatever its key.
SELECT request_id, answer FROM renewal_requests
WHERE tenant_id = %(tenant)s AND subscription_id = %(subscription)s AND hash = ANY(%(hashes)s::bytea[]) AND changed
  AND asked_at > %(since)s
ORDER BY asked_at DESC, request_id DESC LIMIT 1

-- name: select_answer
SELECT answer FROM renewal_requests
WHERE tenant_id = %(tenant)s AND subscription_id = %(subscription)s AND request_id = %(request)s

-- name: free_key
DELETE FROM renewal_requests WHERE tenant_id = %(tenant)s AND key = %(key)s AND until <= %(now)s

-- name: insert_request
INSERT INTO renewal_requests (tenant_id, subscription_id, key, hash, again, changed, answer, asked_at, until)
VALUES (%(tenant)s, %(subscription)s, %(key)s, %(hash)s, %(again)s, %(changed)s, %(answer)s::jsonb, %(now)s, %(until)s)
RETURNING request_id

-- name: select_candidates
-- Devices with a seat, longest silent first. One that was never heard counts as silent since it was registered.
SELECT d.device_id, d.name, s.last_seen_at, COALESCE(s.last_seen_at, d.created_at) AS silent_since, d.place,
  presence_of(s, d.interval_seconds, w)
FROM device_registry AS d
LEFT JOIN device_state AS s USING (tenant_id, device_id)
JOIN presence_watch AS w ON w.instance = coalesce(s.heard_by, '')
WHERE d.tenant_id = %(tenant)s AND d.subscription_id = %(subscription)s
  AND (%(search)s::text IS NULL OR d.device_id ILIKE %(search)s OR d.name ILIKE %(search)s OR d.place ILIKE %(search)s)
ORDER BY COALESCE(s.last_seen_at, d.created_at), d.device_id
LIMIT %(limit)s
