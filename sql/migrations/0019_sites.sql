-- One grammar for the ids of sites. Texts that devices named before and that are no id become the name of their site;
-- the id is made from them as the program makes it (appliance/devices/site_ids.py).

CREATE FUNCTION pg_temp.site_id_of(given text) RETURNS text LANGUAGE sql IMMUTABLE AS $$
  SELECT CASE WHEN given ~ '^[A-Za-z0-9_-][A-Za-z0-9._-]{0,63}$' THEN given ELSE
    coalesce(nullif(left(btrim(regexp_replace(regexp_replace(
      normalize(given, NFKD), '[^\u0001-\u007f]', '', 'g'), '[^A-Za-z0-9._-]+', '-', 'g'), '-.'), 57), ''), 'site')
    || '-' || left(encode(sha256(convert_to(given, 'UTF8')), 'hex'), 6) END
$$;

-- Once for each text, not for each row: millions of messages may be held.
CREATE TEMPORARY TABLE renamed_sites ON COMMIT DROP AS
SELECT given, pg_temp.site_id_of(given) AS site_id
FROM (
  SELECT site_id FROM sites UNION SELECT site_id FROM device_registry UNION SELECT site_id FROM quarantine_events
) AS every (given)
WHERE given !~ '^[A-Za-z0-9_-][A-Za-z0-9._-]{0,63}$';
ANALYZE renamed_sites;

INSERT INTO sites (tenant_id, site_id, name, time_zone, lat, lng, created_at, updated_at)
SELECT s.tenant_id, r.site_id,
  coalesce(s.name, nullif(btrim(regexp_replace(r.given, '[\u0001-\u001f\u007f-\u009f]+', ' ', 'g')), '')),
  s.time_zone, s.lat, s.lng, s.created_at, s.updated_at
FROM renamed_sites AS r JOIN sites AS s ON s.site_id = r.given
ON CONFLICT DO NOTHING;

UPDATE device_registry AS d SET site_id = r.site_id FROM renamed_sites AS r WHERE d.site_id = r.given;

-- Held messages are looked for by the site that they name.
UPDATE quarantine_events AS q SET site_id = r.site_id FROM renamed_sites AS r WHERE q.site_id = r.given;

DELETE FROM sites AS s USING renamed_sites AS r WHERE s.site_id = r.given;

DROP FUNCTION pg_temp.site_id_of(text);
