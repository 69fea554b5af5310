-- People. Columns of a user stand in one order everywhere: that of people/users.py.

-- name: insert_user
INSERT INTO users (tenant_id, email, name, role, created_at)
VALUES (%(tenant)s, %(email)s, %(name)s, %(role)s, %(now)s)
ON CONFLICT DO NOTHING
RETURNING user_id, tenant_id, email, name, role, password_set_at IS NOT NULL, second_factor_since IS NOT NULL, time_zone,
  theme, shortcuts, created_at, last_sign_in_at, disabled_at

-- name: select_user
SELECT user_id, tenant_id, email, name, role, password_set_at IS NOT NULL, second_factor_since IS NOT NULL, time_zone,
  theme, shortcuts, created_at, last_sign_in_at, disabled_at
FROM users WHERE user_id = %(user)s

-- name: lock_user
SELECT user_id, tenant_id, email, name, role, password_set_at IS NOT NULL, second_factor_since IS NOT NULL, time_zone,
  theme, shortcuts, created_at, last_sign_in_at, disabled_at
FROM users WHERE user_id = %(user)s
FOR NO KEY UPDATE

-- name: select_by_email
SELECT user_id, tenant_id, email, name, role, password_set_at IS NOT NULL, second_factor_since IS NOT NULL, time_zone,
  theme, shortcuts, created_at, last_sign_in_at, disabled_at
FROM users
WHERE email = %(email)s AND (%(tenant)s::text IS NULL OR tenant_id = %(tenant)s)
ORDER BY tenant_id NULLS FIRST

-- name: list_users
SELECT user_id, tenant_id, email, name, role, password_set_at IS NOT NULL, second_factor_since IS NOT NULL, time_zone,
  theme, shortcuts, created_at, last_sign_in_at, disabled_at
FROM users
WHERE (%(tenant)s::text IS NULL OR tenant_id = %(tenant)s)
  AND (%(role)s::text IS NULL OR role = %(role)s)
  AND (%(state)s::text IS NULL OR %(state)s =
    CASE WHEN disabled_at IS NOT NULL THEN 'disabled' WHEN password_set_at IS NULL THEN 'invited' ELSE 'active' END)
  AND (%(search)s::text IS NULL OR strpos(email, lower(%(search)s)) > 0 OR strpos(lower(name), lower(%(search)s)) > 0)
  AND (%(after_email)s::text IS NULL OR (email, user_id) > (%(after_email)s, %(after_user)s::uuid))
ORDER BY email, user_id
LIMIT %(limit)s

-- name: any_user
SELECT EXISTS (SELECT FROM users)

-- name: lock_operators
-- Whoever would take the last one away waits here for whoever takes the last but one.
SELECT user_id FROM users WHERE role = 'operator' AND disabled_at IS NULL ORDER BY user_id FOR NO KEY UPDATE

-- name: set_role
UPDATE users SET role = %(role)s WHERE user_id = %(user)s

-- name: set_disabled
UPDATE users SET disabled_at = %(at)s WHERE user_id = %(user)s

-- name: drop_second_factor
UPDATE users SET totp_secret = NULL, totp_step = NULL, second_factor_since = NULL WHERE user_id = %(user)s

-- name: set_second_factor
UPDATE users SET totp_secret = %(secret)s, totp_step = %(step)s, second_factor_since = %(now)s WHERE user_id = %(user)s

-- name: use_code
-- Of two who bring the same code at once, one finds the step taken. A step far ahead was taken by a wrong clock.
UPDATE users SET totp_step = %(step)s
WHERE user_id = %(user)s AND (totp_step IS NULL OR totp_step < %(step)s OR totp_step > %(step)s + %(wrong)s::bigint)

-- name: set_profile
UPDATE users SET name = %(name)s, time_zone = %(zone)s, theme = %(theme)s, shortcuts = %(shortcuts)s WHERE user_id = %(user)s

-- name: set_password
UPDATE users SET password_hash = %(hash)s, password_set_at = %(now)s WHERE user_id = %(user)s

-- name: refresh_hash
-- The same password, hashed at today's cost; unless it was changed meanwhile.
UPDATE users SET password_hash = %(hash)s WHERE user_id = %(user)s AND password_hash = %(before)s

-- name: note_sign_in
UPDATE users SET last_sign_in_at = %(now)s WHERE user_id = %(user)s

-- name: accounts
-- Who could be meant, with what proves it. The last column: how many accounts share one address at most, here.
SELECT u.user_id, u.tenant_id, u.email, u.name, u.role, u.password_set_at IS NOT NULL, u.second_factor_since IS NOT NULL,
  u.time_zone, u.theme, u.shortcuts, u.created_at, u.last_sign_in_at, u.disabled_at, u.password_hash
FROM users AS u
WHERE u.email = %(email)s AND u.disabled_at IS NULL AND u.password_hash IS NOT NULL
ORDER BY u.last_sign_in_at DESC NULLS LAST, u.user_id

-- name: most_accounts
SELECT coalesce(max(n), 1)::int FROM (
  SELECT count(*) AS n FROM users WHERE disabled_at IS NULL AND password_hash IS NOT NULL GROUP BY email
) AS counted

-- name: proof
SELECT password_hash, totp_secret, totp_step FROM users WHERE user_id = %(user)s AND disabled_at IS NULL

-- Sessions -----------------------------------------------------------------------------------------------------------

-- name: insert_session
INSERT INTO sessions (session_hash, user_id, tenant_id, created_at, seen_at, idle_until, expires_at, kept, address, agent)
VALUES (%(hash)s, %(user)s, %(tenant)s, %(now)s, %(now)s, %(idle_until)s, %(expires_at)s, %(kept)s, %(address)s, %(agent)s)

-- name: find_session
SELECT u.user_id, u.tenant_id, u.email, u.name, u.role, u.password_set_at IS NOT NULL, u.second_factor_since IS NOT NULL,
  u.time_zone, u.theme, u.shortcuts, u.created_at, u.last_sign_in_at, u.disabled_at,
  s.session_id, s.seen_at, s.kept, t.time_zone
FROM sessions AS s JOIN users AS u USING (user_id) LEFT JOIN tenants AS t ON t.tenant_id = u.tenant_id
WHERE s.session_hash = %(hash)s AND s.expires_at > %(now)s AND s.idle_until > %(now)s AND u.disabled_at IS NULL

-- name: touch_session
UPDATE sessions SET seen_at = %(now)s, idle_until = %(idle_until)s, address = %(address)s WHERE session_hash = %(hash)s

-- name: list_sessions
SELECT session_id, created_at, seen_at, expires_at, kept, address, agent
FROM sessions
WHERE user_id = %(user)s AND expires_at > %(now)s AND idle_until > %(now)s
ORDER BY seen_at DESC, session_id

-- name: end_session
DELETE FROM sessions WHERE session_id = %(session)s AND user_id = %(user)s

-- name: end_replaced
DELETE FROM sessions WHERE session_hash = %(hash)s

-- name: end_sessions
DELETE FROM sessions WHERE user_id = %(user)s AND session_id IS DISTINCT FROM %(but)s::uuid

-- name: end_tokens
DELETE FROM api_tokens WHERE user_id = %(user)s

-- name: end_oldest_sessions
DELETE FROM sessions WHERE session_id IN (
  SELECT session_id FROM sessions WHERE user_id = %(user)s ORDER BY seen_at DESC, session_id OFFSET %(keep)s
)

-- name: sweep_sessions
DELETE FROM sessions WHERE expires_at <= %(now)s

-- name: sweep_links
DELETE FROM links WHERE expires_at <= %(now)s

-- name: sweep_browsers
DELETE FROM known_browsers WHERE seen_at <= %(since)s

-- name: select_knowing
SELECT user_id FROM known_browsers WHERE user_id = ANY(%(users)s::uuid[]) AND browser_hash = %(hash)s::bytea

-- name: know_browser
INSERT INTO known_browsers (user_id, browser_hash, tenant_id, seen_at)
VALUES (%(user)s, %(hash)s, %(tenant)s, %(now)s)
ON CONFLICT (user_id, browser_hash) DO UPDATE SET seen_at = EXCLUDED.seen_at

-- name: forget_browsers
DELETE FROM known_browsers WHERE user_id = %(user)s

-- One-time links -----------------------------------------------------------------------------------------------------

-- name: insert_link
INSERT INTO links (link_hash, purpose, user_id, tenant_id, expires_at, keep_signed_in)
VALUES (%(hash)s, %(purpose)s, %(user)s, %(tenant)s, %(expires_at)s, %(keep)s)

-- name: peek_link
SELECT user_id, tenant_id, keep_signed_in FROM links
WHERE link_hash = %(hash)s AND purpose = %(purpose)s AND expires_at > %(now)s

-- name: take_link
DELETE FROM links
WHERE link_hash = %(hash)s AND purpose = %(purpose)s AND expires_at > %(now)s
RETURNING user_id, tenant_id, keep_signed_in

-- name: drop_links
DELETE FROM links WHERE user_id = %(user)s

-- name: drop_set_up_links
DELETE FROM links WHERE purpose = 'set-up'

-- API tokens ---------------------------------------------------------------------------------------------------------

-- name: insert_token
INSERT INTO api_tokens (token_hash, user_id, tenant_id, name, scopes, created_at, expires_at)
VALUES (%(hash)s, %(user)s, %(tenant)s, %(name)s, %(scopes)s, %(now)s, %(expires_at)s)
RETURNING token_id

-- name: find_token
SELECT u.user_id, u.tenant_id, u.email, u.name, u.role, u.password_set_at IS NOT NULL, u.second_factor_since IS NOT NULL,
  u.time_zone, u.theme, u.shortcuts, u.created_at, u.last_sign_in_at, u.disabled_at,
  k.token_id, k.name, k.scopes, k.created_at, k.expires_at, k.last_used_at, t.time_zone
FROM api_tokens AS k JOIN users AS u USING (user_id) LEFT JOIN tenants AS t ON t.tenant_id = u.tenant_id
WHERE k.token_hash = %(hash)s AND k.expires_at > %(now)s AND u.disabled_at IS NULL

-- name: touch_token
UPDATE api_tokens SET last_used_at = %(now)s WHERE token_id = %(token)s

-- name: list_tokens
SELECT token_id, name, scopes, created_at, expires_at, last_used_at
FROM api_tokens WHERE user_id = %(user)s ORDER BY created_at, token_id

-- name: revoke_token
DELETE FROM api_tokens WHERE token_id = %(token)s AND user_id = %(user)s RETURNING name, tenant_id

-- name: revoke_tokens
DELETE FROM api_tokens WHERE user_id = %(user)s RETURNING token_id, name, tenant_id

-- The audit ----------------------------------------------------------------------------------------------------------

-- name: list_audit
SELECT id, at, tenant_id, actor, actor_kind, action, object_type, object_id, before, after, address
FROM audit_log
WHERE (%(tenant)s::text IS NULL OR tenant_id = %(tenant)s)
  AND (%(actor)s::text IS NULL OR actor = %(actor)s OR actor_kind = 'token' AND starts_with(actor, %(actor)s || ' ('))
  AND (%(type)s::text IS NULL OR object_type = %(type)s)
  AND (%(object)s::text IS NULL OR object_id = %(object)s)
  AND (%(action)s::text IS NULL OR starts_with(action, %(action)s))
  AND (%(since)s::timestamptz IS NULL OR at >= %(since)s)
  AND (%(until)s::timestamptz IS NULL OR at < %(until)s)
  AND (%(before_id)s::bigint IS NULL OR id < %(before_id)s)
ORDER BY id DESC
LIMIT %(limit)s

-- name: select_emails
SELECT user_id, email FROM users WHERE user_id = ANY(%(ids)s::uuid[])

-- name: select_rule_names
SELECT rule_id, name FROM alert_rules WHERE rule_id = ANY(%(ids)s::uuid[])

-- name: select_window_names
SELECT window_id, name FROM maintenance_windows WHERE window_id = ANY(%(ids)s::uuid[])

-- Times of a wrong clock (see time_healed) ---------------------------------------------------------------------------

-- name: heal_sessions
-- What a session was given while the clock was ahead - its begin, its last use - moves back, and its ends with them.
UPDATE sessions AS s SET created_at = h.created_at, expires_at = s.expires_at + (h.created_at - s.created_at),
  seen_at = h.seen_at, idle_until = s.idle_until + (h.seen_at - s.seen_at)
FROM (
  SELECT session_hash, coalesce(time_healed(created_at, %(latest)s, %(now)s, %(step)s), %(now)s) AS created_at,
    coalesce(time_healed(seen_at, %(latest)s, %(now)s, %(step)s), %(now)s) AS seen_at
  FROM sessions WHERE greatest(created_at, seen_at) > %(latest)s
) AS h
WHERE h.session_hash = s.session_hash

-- name: carry_sessions
-- Alive in a doubt in which service time was behind: they go on for as long as they would have.
UPDATE sessions SET expires_at = expires_at + %(step)s, idle_until = idle_until + %(step)s,
  seen_at = CASE WHEN seen_at >= %(since)s THEN seen_at + %(step)s ELSE seen_at END
WHERE expires_at > %(since)s AND idle_until > %(since)s AND seen_at <= %(before)s

-- name: carry_links
UPDATE links SET expires_at = expires_at + %(step)s WHERE expires_at > %(since)s

-- name: heal_links
-- None was made to last that long.
UPDATE links SET expires_at = %(latest)s WHERE expires_at > %(latest)s

-- name: heal_tokens
UPDATE api_tokens SET created_at = %(now)s, expires_at = expires_at - (created_at - %(now)s),
  last_used_at = time_healed(last_used_at, %(latest)s, %(now)s, %(step)s)
WHERE created_at > %(latest)s

-- name: heal_browsers
UPDATE known_browsers SET seen_at = %(now)s WHERE seen_at > %(latest)s

-- name: heal_users
UPDATE users SET last_sign_in_at = time_healed(last_sign_in_at, %(latest)s, %(now)s, %(step)s)
WHERE last_sign_in_at > %(latest)s
