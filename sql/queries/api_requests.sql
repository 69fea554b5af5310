-- name: select_answer
SELECT sealed FROM api_requests WHERE user_id = %(user)s AND key_hash = %(hash)s AND until > %(settled)s

-- name: limit_wait
-- For the next statement: how long it waits for the request that holds the key.
SELECT set_config('appliance.lock_timeout', current_setting('lock_timeout'), true),
  set_config('lock_timeout', %(milliseconds)s::text, true)

-- name: end_wait
SELECT set_config('lock_timeout', current_setting('appliance.lock_timeout'), true)

-- name: keep_answer
-- In the transaction of the change, under the lock of the key: a row that is there is over, and its key free again.
INSERT INTO api_requests (user_id, key_hash, tenant_id, sealed, asked_at, until)
VALUES (%(user)s, %(hash)s, %(tenant)s, %(sealed)s, %(now)s, %(until)s)
ON CONFLICT (user_id, key_hash) DO UPDATE
SET sealed = EXCLUDED.sealed, asked_at = EXCLUDED.asked_at, until = EXCLUDED.until
WHERE api_requests.until <= %(settled)s

-- name: sum_kept
SELECT coalesce(sum(octet_length(sealed)), 0)::bigint FROM api_requests WHERE user_id = %(user)s

-- name: complete_answer
UPDATE api_requests SET sealed = %(sealed)s WHERE user_id = %(user)s AND key_hash = %(hash)s AND sealed = %(before)s

-- name: forget_over
DELETE FROM api_requests WHERE until <= %(settled)s

-- Times of a wrong clock (see time_healed) ---------------------------------------------------------------------------

-- name: heal_requests
-- None was made to last that long.
UPDATE api_requests SET until = %(latest)s, asked_at = least(asked_at, %(now)s) WHERE until > %(latest)s

-- name: carry_requests
UPDATE api_requests SET until = until + %(step)s WHERE until > %(since)s
