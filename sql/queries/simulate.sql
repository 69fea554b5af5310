-- The stage of `appliance simulate --show`: what no function of the product does to a device or a table.

-- name: limit_device
UPDATE device_registry SET rate = %(rate)s, burst = 1
WHERE tenant_id = %(tenant)s AND device_id = %(device)s AND (rate, burst) IS DISTINCT FROM (%(rate)s, 1::double precision)

-- name: impatiently
-- Nobody who writes readings waits behind us for longer than that.
SELECT set_config('lock_timeout', '3s', true)

-- name: refuse_rows
-- NOT VALID: what is there already is not looked at.
ALTER TABLE telemetry ADD CONSTRAINT simulated_refusal
  CHECK (NOT (tenant_id = 'sim-show' AND metrics ? 'sim_refused')) NOT VALID

-- name: take_rows
ALTER TABLE telemetry DROP CONSTRAINT IF EXISTS simulated_refusal
