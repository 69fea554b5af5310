-- Jobs are written beside the events of alerts, in the same transaction and whoever writes the events: a batch, a person,
-- another trigger. They follow from what routes and integrations say just then; no row of them is locked.

CREATE FUNCTION route_matches(
  route integration_routes, severity text, alert_type text, site_id text, device_id text, tags text[]
) RETURNS boolean LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT severity = ANY (route.severities)
    AND (route.alert_types = '{}' OR alert_type = ANY (route.alert_types))
    AND (route.site_ids = '{}' OR coalesce(site_id = ANY (route.site_ids), false))
    AND (route.tags = '{}' OR coalesce(tags && route.tags, false))
    AND (route.device_prefixes = '{}' OR coalesce(device_id ^@ ANY (route.device_prefixes), false))
$$;
COMMENT ON FUNCTION route_matches IS
  'Whether the alert meets the conditions of the route. The same as appliance.delivery.routes.matching.matches.';

CREATE FUNCTION route_takes(
  route integration_routes, event text, told boolean,
  severity text, alert_type text, site_id text, device_id text, tags text[]
) RETURNS boolean LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT event = ANY (route.deliver_on) AND CASE
    WHEN event = 'OPEN' OR 'OPEN' <> ALL (route.deliver_on)
      THEN route_matches(route, severity, alert_type, site_id, device_id, tags)
    ELSE told END
$$;
COMMENT ON FUNCTION route_takes IS
  'Whether an enabled route takes the event, but for routes with `stop` before it; `told`: it has an OPEN job of the alert. The same as appliance.delivery.routes.matching.takes.';
GRANT EXECUTE ON FUNCTION route_matches(integration_routes, text, text, text, text, text[]) TO appliance_ingest, appliance_web;
GRANT EXECUTE ON FUNCTION route_takes(integration_routes, text, boolean, text, text, text, text, text[])
  TO appliance_ingest, appliance_web;

-- The plans are kept for the session, which may begin when the tables are empty: all the same, the rows of each event are
-- looked up by key, in the order written here.
CREATE FUNCTION alert_events_write_jobs() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
SET join_collapse_limit = 1 SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
AS $$
BEGIN
  IF NOT EXISTS (
    SELECT FROM new_rows AS e JOIN integration_routes AS r USING (tenant_id)
    WHERE e.kind IN ('opened', 'acknowledged', 'closed') AND r.enabled)
  THEN
    RETURN NULL;
  END IF;

  INSERT INTO delivery_jobs (tenant_id, alert_id, route_id, integration_id, event, created_at, next_run_at)
  SELECT t.tenant_id, t.alert_id, t.route_id, t.integration_id, 'OPEN', t.at,
    greatest(t.due_at, t.at + t.delay_seconds * interval '1 second')
  FROM (
    SELECT e.id AS event_id, e.tenant_id, e.alert_id, e.at, a.due_at, r.route_id, r.integration_id, r.delay_seconds, r.priority,
      bool_or(r.stop) OVER (
        PARTITION BY e.id ORDER BY r.priority, r.route_id ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS stopped
    FROM new_rows AS e
      JOIN fleet_alert AS a ON (a.tenant_id, a.id) = (e.tenant_id, e.alert_id)
      LEFT JOIN device_registry AS d ON (d.tenant_id, d.device_id) = (a.tenant_id, a.device_id)
      JOIN integration_routes AS r ON r.tenant_id = e.tenant_id
      JOIN integrations AS i ON (i.tenant_id, i.integration_id) = (r.tenant_id, r.integration_id)
    WHERE e.kind = 'opened' AND r.enabled AND i.enabled
      AND route_takes(r, 'OPEN', false, a.severity, a.alert_type, a.site_id, a.device_id, d.tags)
      AND a.details ->> 'integration_id' IS DISTINCT FROM r.integration_id::text  -- that it fails is told by others
  ) AS t
  WHERE t.stopped IS NOT TRUE
  ORDER BY t.event_id, t.priority, t.route_id
  ON CONFLICT (tenant_id, alert_id, route_id, event, occurrence) DO NOTHING;

  IF NOT EXISTS (SELECT FROM new_rows WHERE kind IN ('acknowledged', 'closed')) THEN
    RETURN NULL;
  END IF;

  -- What was told gets its end, where it was told: `stop` of another route and a route that leads elsewhere by now change
  -- nothing about it.
  INSERT INTO delivery_jobs (tenant_id, alert_id, route_id, integration_id, event, occurrence, created_at, next_run_at)
  SELECT t.tenant_id, t.alert_id, t.route_id, t.integration_id, t.event, CASE t.event WHEN 'ACKNOWLEDGED' THEN 1 + (
      SELECT count(*) FROM delivery_jobs AS j
      WHERE (j.tenant_id, j.alert_id, j.route_id, j.event) = (t.tenant_id, t.alert_id, t.route_id, t.event))
    ELSE 1 END, t.at, t.at
  FROM (
    SELECT e.id AS event_id, e.tenant_id, e.alert_id, e.at, upper(e.kind) AS event, r.route_id, i.integration_id, r.priority,
      told.here,
      bool_or(r.stop) OVER (
        PARTITION BY e.id ORDER BY r.priority, r.route_id ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS stopped
    FROM new_rows AS e
      JOIN fleet_alert AS a ON (a.tenant_id, a.id) = (e.tenant_id, e.alert_id)
      LEFT JOIN device_registry AS d ON (d.tenant_id, d.device_id) = (a.tenant_id, a.device_id)
      CROSS JOIN LATERAL (
        SELECT array_agg(j.route_id) AS routes, array_agg(j.integration_id) AS integrations
        FROM delivery_jobs AS j WHERE (j.tenant_id, j.alert_id, j.event) = (e.tenant_id, e.alert_id, 'OPEN')
      ) AS opened
      JOIN integration_routes AS r ON r.tenant_id = e.tenant_id
      CROSS JOIN LATERAL (
        SELECT coalesce('OPEN' = ANY (r.deliver_on) AND r.route_id = ANY (opened.routes), false) AS here
      ) AS told
      JOIN integrations AS i ON i.tenant_id = r.tenant_id AND i.integration_id = CASE
        WHEN told.here THEN opened.integrations[array_position(opened.routes, r.route_id)] ELSE r.integration_id END
    WHERE e.kind IN ('acknowledged', 'closed') AND r.enabled AND i.enabled
      AND route_takes(r, upper(e.kind), told.here, a.severity, a.alert_type, a.site_id, a.device_id, d.tags)
      AND (told.here OR a.details ->> 'integration_id' IS DISTINCT FROM r.integration_id::text)
  ) AS t
  WHERE t.here OR t.stopped IS NOT TRUE
  ORDER BY t.event_id, t.priority, t.route_id
  ON CONFLICT (tenant_id, alert_id, route_id, event, occurrence) DO NOTHING;
  RETURN NULL;
END
$$;
COMMENT ON FUNCTION alert_events_write_jobs IS 'The same as appliance.delivery.routes.matching.decide for each event.';
CREATE TRIGGER alert_events_write_jobs AFTER INSERT ON alert_events
  REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION alert_events_write_jobs();
