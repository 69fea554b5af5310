-- Whether pages listen to single keys. Who speaks to the browser, or types with a stick, switches them off (WCAG 2.1.4).

ALTER TABLE users ADD COLUMN shortcuts boolean NOT NULL DEFAULT true;
COMMENT ON COLUMN users.shortcuts IS 'Whether single keys do something on the pages of this user.';

GRANT SELECT (shortcuts) ON users TO appliance_web;
