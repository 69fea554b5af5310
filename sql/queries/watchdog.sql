-- The watchdog's probes.

-- name: write_probe
-- Written with a batch; it wakes the dispatcher of deliveries.
WITH written AS (
  INSERT INTO watchdog_probes (instance, number, at)
  SELECT %(instance)s, %(number)s, %(now)s::timestamptz
  WHERE (SELECT count(*) FROM watchdog_probes WHERE instance = %(instance)s) < %(most)s
  ON CONFLICT DO NOTHING
  RETURNING number
)
SELECT pg_notify('appliance_deliveries', '{"tenants": []}') FROM written

-- name: take_probes
DELETE FROM watchdog_probes AS p
USING (
  SELECT instance, number FROM watchdog_probes WHERE instance = %(instance)s OR at < %(before)s
  ORDER BY instance, number FOR UPDATE SKIP LOCKED
) AS t
WHERE (p.instance, p.number) = (t.instance, t.number)
RETURNING p.instance, p.number
