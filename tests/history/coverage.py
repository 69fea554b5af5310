"""Whether roll-ups follow: every hour of a device that has readings is marked, or rolled up with all of them."""

UNCOVERED = """
SELECT t.device_id, t.hour, t.readings, (
    SELECT max(h.readings) FROM telemetry_hourly AS h
    WHERE h.tenant_id = t.tenant_id AND h.device_id = t.device_id AND h.hour = t.hour) AS rolled_up
FROM (
  SELECT tenant_id, device_id, date_trunc('hour', ts, 'UTC') AS hour, count(*) AS readings
  FROM telemetry GROUP BY 1, 2, 3
) AS t
WHERE NOT EXISTS (
    SELECT FROM telemetry_marks AS m
    WHERE m.tenant_id = t.tenant_id AND m.device_id = t.device_id AND m.hour = t.hour)
  AND t.readings IS DISTINCT FROM (
    SELECT max(h.readings) FROM telemetry_hourly AS h
    WHERE h.tenant_id = t.tenant_id AND h.device_id = t.device_id AND h.hour = t.hour)
"""
"""Hours of devices that charts would show wrongly. Holds for readings of which each has one metric, the same of all."""
