-- What was told gets its end also by a route that is disabled by now; and what an acknowledgement or a silence has ended
-- goes on when a person takes that back.

CREATE OR REPLACE FUNCTION alert_events_write_jobs() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
SET join_collapse_limit = 1 SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
AS $$
BEGIN
  IF NOT EXISTS (
    SELECT FROM new_rows AS e JOIN integration_routes AS r USING (tenant_id)
    WHERE e.kind = 'opened' AND r.enabled OR e.kind IN ('acknowledged', 'unacknowledged', 'unsilenced', 'closed'))
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

  IF NOT EXISTS (SELECT FROM new_rows WHERE kind IN ('acknowledged', 'unacknowledged', 'unsilenced', 'closed')) THEN
    RETURN NULL;
  END IF;

  -- What was told gets its end, where it was told: `stop` of another route, a route that leads elsewhere by now, and one
  -- that is disabled change nothing about it. Whether a receiver that is disabled can be told is decided when it is due.
  INSERT INTO delivery_jobs (tenant_id, alert_id, route_id, integration_id, event, occurrence, created_at, next_run_at)
  SELECT t.tenant_id, t.alert_id, t.route_id, t.integration_id, t.event, CASE t.event WHEN 'ACKNOWLEDGED' THEN 1 + (
      SELECT count(*) FROM delivery_jobs AS j
      WHERE (j.tenant_id, j.alert_id, j.route_id, j.event) = (t.tenant_id, t.alert_id, t.route_id, t.event))
    ELSE 1 END, t.at, t.at
  FROM (
    SELECT e.id AS event_id, e.tenant_id, e.alert_id, e.at, upper(e.kind) AS event, r.route_id, i.integration_id, r.priority,
      told.here,
      bool_or(r.stop AND r.enabled AND i.enabled) OVER (
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
    WHERE e.kind IN ('acknowledged', 'closed') AND (told.here OR r.enabled AND i.enabled)
      AND route_takes(r, upper(e.kind), told.here, a.severity, a.alert_type, a.site_id, a.device_id, d.tags)
      AND (told.here OR a.details ->> 'integration_id' IS DISTINCT FROM r.integration_id::text)
  ) AS t
  WHERE t.here OR t.stopped IS NOT TRUE
  ORDER BY t.event_id, t.priority, t.route_id
  ON CONFLICT (tenant_id, alert_id, route_id, event, occurrence) DO NOTHING;

  IF NOT EXISTS (SELECT FROM new_rows WHERE kind IN ('unacknowledged', 'unsilenced')) THEN
    RETURN NULL;
  END IF;

  -- Nobody is on it any more, or the silence was taken back: what that has ended is decided on anew. A job that a claim has
  -- locked may just be ended by it, so those that wait are waited for and left as they are. All this before the reminders,
  -- which follow where none waits.
  UPDATE delivery_jobs AS j SET
    next_run_at = CASE
      WHEN j.status = 'PENDING' THEN j.next_run_at
      WHEN j.event = 'REMINDER' THEN k.at + k.remind_minutes * interval '1 minute'
      ELSE k.at END,
    reason = CASE WHEN j.status = 'PENDING' THEN j.reason WHEN j.event = 'REMINDER' THEN 'delayed' END,
    status = 'PENDING', finished_at = NULL
  FROM (
    SELECT w.job_id, e.at, r.remind_minutes
    FROM new_rows AS e
      JOIN fleet_alert AS a ON (a.tenant_id, a.id) = (e.tenant_id, e.alert_id)
      JOIN delivery_jobs AS w ON (w.tenant_id, w.alert_id) = (e.tenant_id, e.alert_id)
      JOIN integration_routes AS r ON (r.tenant_id, r.route_id) = (w.tenant_id, w.route_id)
    WHERE e.kind IN ('unacknowledged', 'unsilenced') AND a.status = 'OPEN'
      AND w.event IN ('OPEN', 'REMINDER') AND w.receipt = 'none'
      AND (w.status = 'PENDING' OR w.status = 'SKIPPED' AND w.reason IN ('overtaken', 'silenced'))
    ORDER BY w.job_id FOR UPDATE OF w
  ) AS k
  WHERE j.job_id = k.job_id;

  INSERT INTO delivery_jobs (tenant_id, alert_id, route_id, integration_id, event, occurrence, created_at, next_run_at, reason)
  SELECT e.tenant_id, e.alert_id, j.route_id, j.integration_id, 'REMINDER', 1 + (
      SELECT count(*) FROM delivery_jobs AS x
      WHERE (x.tenant_id, x.alert_id, x.route_id, x.event) = (j.tenant_id, j.alert_id, j.route_id, 'REMINDER')),
    e.at, e.at + r.remind_minutes * interval '1 minute', 'delayed'
  FROM new_rows AS e
    JOIN fleet_alert AS a ON (a.tenant_id, a.id) = (e.tenant_id, e.alert_id)
    JOIN delivery_jobs AS j ON (j.tenant_id, j.alert_id, j.event) = (e.tenant_id, e.alert_id, 'OPEN')
    JOIN integration_routes AS r ON (r.tenant_id, r.route_id) = (j.tenant_id, j.route_id)
  WHERE e.kind IN ('unacknowledged', 'unsilenced') AND a.status = 'OPEN'
    AND r.enabled AND r.remind_minutes > 0 AND j.receipt IN ('possible', 'confirmed')
    AND j.status IN ('COMPLETED', 'DEAD', 'SKIPPED') AND NOT coalesce(a.silenced_until > e.at, false)
    AND NOT EXISTS (SELECT FROM delivery_jobs AS x
      WHERE (x.tenant_id, x.alert_id, x.route_id, x.event) = (j.tenant_id, j.alert_id, j.route_id, 'REMINDER')
        AND x.status IN ('PENDING', 'PROCESSING'))
  ON CONFLICT (tenant_id, alert_id, route_id, event, occurrence) DO NOTHING;
  RETURN NULL;
END
$$;

-- A change of a rule ends so many of its alerts at once; the others wait in alert_ends, and are ended in slices: a rule of
-- fifty thousand open alerts would be held for ten seconds, and each batch that opens an alert would wait for it.
CREATE OR REPLACE FUNCTION alert_rules_end_alerts() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
  at_once CONSTANT integer := 1000;
BEGIN
  DELETE FROM alert_rule_state AS s USING old_rows AS o JOIN new_rows AS n USING (tenant_id, rule_id)
  WHERE n.version <> o.version AND (s.tenant_id, s.rule_id) = (n.tenant_id, n.rule_id);
  WITH ended AS (
    SELECT a.id, n.updated_at AS at,
      CASE WHEN n.deleted_at IS NOT NULL THEN 'rule_deleted' WHEN NOT n.enabled THEN 'rule_disabled' ELSE 'rule_changed' END AS reason
    FROM fleet_alert AS a JOIN new_rows AS n USING (tenant_id, rule_id) JOIN old_rows AS o USING (tenant_id, rule_id)
    WHERE n.version <> o.version AND a.status <> 'CLOSED'
    ORDER BY a.id LIMIT at_once FOR NO KEY UPDATE OF a
  ), closed AS (
    UPDATE fleet_alert AS a
    SET status = 'CLOSED', closed_at = e.at, close_reason = e.reason, past = a.due_at > e.at AND a.status = 'OPEN'
    FROM ended AS e WHERE a.id = e.id
    RETURNING a.tenant_id, a.id, a.closed_at, a.close_reason
  )
  INSERT INTO alert_events (tenant_id, alert_id, at, kind, details)
  SELECT tenant_id, id, closed_at, 'closed', jsonb_build_object('reason', close_reason) FROM closed;
  INSERT INTO alert_ends (tenant_id, alert_id, at, reason)
  SELECT a.tenant_id, a.id, n.updated_at,
    CASE WHEN n.deleted_at IS NOT NULL THEN 'rule_deleted' WHEN NOT n.enabled THEN 'rule_disabled' ELSE 'rule_changed' END
  FROM fleet_alert AS a JOIN new_rows AS n USING (tenant_id, rule_id) JOIN old_rows AS o USING (tenant_id, rule_id)
  WHERE n.version <> o.version AND a.status <> 'CLOSED'
  ON CONFLICT DO NOTHING;
  RETURN NULL;
END
$$;
COMMENT ON TABLE alert_ends IS
  'Alerts whose end is still to be written: a person''s transaction held the row, or a change of a rule ended very many.';
