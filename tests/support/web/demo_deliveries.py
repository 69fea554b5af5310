"""The deliveries of the demo tenant: its integrations and routes, and notices in every state with their tries.

Written after the alerts and their events, so that no trigger writes jobs beside them. Nobody can open the
secrets: each dashboard of a test has a key of its own.
"""

DELIVERY = 88123
"""The notice with most to show: it was tried five times."""
DEAD_DELIVERY = 88109
MAIN_ROUTE = "b0000000-0000-4000-8000-000000000020"
"""The route that took it."""
MAIN_INTEGRATION = "a0000000-0000-4000-8000-000000000020"
GONE_INTEGRATION = "a0000000-0000-4000-8000-000000000090"
"""The integration that the appliance has disabled."""

ROWS = (
    """
    INSERT INTO integrations (tenant_id, integration_id, name, type, enabled, disabled_reason, config, secrets,
      created_at, updated_at)
    SELECT %(tenant)s, ('a0000000-0000-4000-8000-0000000000' || i.n)::uuid, i.name, i.type, i.off IS NULL, i.off,
      i.config::jsonb, (SELECT coalesce(jsonb_object_agg(name, 'c2VhbGVk'), '{}') FROM unnest(i.secrets) AS s (name)),
      now() - interval '60 days', now() - interval '9 days'
    FROM (VALUES
      ('10', 'On-call', 'pagerduty', NULL, '{routing_key}'::text[], '{}'),
      ('20', 'Maintenance desk', 'webhook', NULL, '{authorization,signing_secret}',
        '{"url": "https://hooks.norrvik.example/desk/v1", "headers": ["X-Environment: production"]}'),
      ('30', 'Operations channel', 'slack', NULL, '{url}', '{}'),
      ('35', 'Shift phones', 'ntfy', NULL, '{token}', '{"url": "https://ntfy.norrvik.example", "topic": "shift"}'),
      ('40', 'Plant broker', 'mqtt', NULL, '{}',
        '{"host": "plant.norrvik.example", "port": 8883, "tls": true, "topic": "alarms/{severity}"}'),
      ('50', 'Shift mail', 'email', NULL, '{}',
        '{"server": "appliance", "recipients": ["shift@norrvik.example", "store@norrvik.example"]}'),
      ('60', 'Quality office', 'teams', NULL, '{url}', '{}'),
      ('90', 'Old ticket hook', 'webhook', 'gone', '{signing_secret}', '{"url": "https://tickets.norrvik.example/in"}')
    ) AS i (n, name, type, off, secrets, config)
    """,
    """
    INSERT INTO integration_health (tenant_id, integration_id, failures, failing_since, breaker_opened_at,
      next_probe_at, last_success_at, last_failure_at, last_error)
    SELECT %(tenant)s, ('a0000000-0000-4000-8000-0000000000' || h.n)::uuid, h.failures,
      CASE WHEN h.failures > 0 THEN now() - interval '44 min' END, CASE WHEN h.failures >= 5 THEN now() END,
      CASE WHEN h.failures >= 5 THEN now() + interval '50 s' END, now() - h.success::interval,
      CASE WHEN h.failures > 0 THEN now() - interval '3 min' END, h.error
    FROM (VALUES
      ('10', 0, '8 min', NULL), ('20', 4, '52 min', 'status: answered 503'), ('30', 0, '8 min', NULL),
      ('35', 0, '13 d', NULL), ('40', 5, '3 h', 'plant.norrvik.example has no address.'),
      ('50', 0, '63 min', NULL), ('60', 0, '2 h', NULL), ('90', 0, '11 d', NULL)
    ) AS h (n, failures, success, error)
    """,
    """
    INSERT INTO integration_routes (tenant_id, route_id, name, enabled, integration_id, severities, site_ids,
      device_prefixes, deliver_on, priority, delay_seconds, stop, created_at, updated_at)
    SELECT %(tenant)s, ('b0000000-0000-4000-8000-0000000000' || r.n)::uuid, r.name, r.n <> '90',
      ('a0000000-0000-4000-8000-0000000000' || r.n)::uuid, r.severities::text[], r.sites::text[], r.prefixes::text[],
      r.steps::text[], r.n::integer, r.wait, false, now() - interval '60 days', now() - interval '9 days'
    FROM (VALUES
      ('10', 'On-call', '{critical}', '{}', '{}', '{OPEN,ACKNOWLEDGED,CLOSED}', 0),
      ('20', 'Maintenance desk', '{critical,high}', '{bergen-quay,drammen-dc}', '{}', '{OPEN,CLOSED}', 0),
      ('30', 'Operations channel', '{critical,high,medium}', '{}', '{}', '{OPEN,CLOSED}', 0),
      ('35', 'Shift lead', '{critical}', '{bergen-quay}', '{}', '{OPEN}', 1800),
      ('40', 'Line signals', '{critical,high}', '{drammen-dc}', '{}', '{OPEN,CLOSED}', 0),
      ('50', 'Shift mail', '{medium,low}', '{}', '{}', '{OPEN,CLOSED}', 0),
      ('60', 'Quality office', '{critical,high}', '{}', '{BGO-FRZ}', '{CLOSED}', 0),
      ('90', 'Old ticket hook', '{critical}', '{moss-terminal}', '{}', '{OPEN}', 0)
    ) AS r (n, name, severities, sites, prefixes, steps, wait)
    """,
    """
    INSERT INTO delivery_jobs (job_id, tenant_id, alert_id, route_id, integration_id, event, status, reason,
      created_at, next_run_at, tries, attempts, receipt, merged_into, finished_at)
    SELECT j.id, %(tenant)s, j.alert, ('b0000000-0000-4000-8000-0000000000' || j.route)::uuid,
      ('a0000000-0000-4000-8000-0000000000' || j.route)::uuid, j.event, j.status, j.reason, b.at,
      CASE WHEN j.next IS NULL THEN b.at ELSE now() + j.next::interval END, j.tries, j.attempts, j.receipt, j.carrier,
      CASE WHEN j.status IN ('COMPLETED', 'DEAD', 'SKIPPED') THEN b.at + interval '2 s' END
    FROM (VALUES
      (88101, 101, '10', 'OPEN', 'COMPLETED', NULL, NULL, 1, 1, 'confirmed', NULL::bigint),
      (88102, 101, '30', 'CLOSED', 'COMPLETED', NULL, NULL, 2, 2, 'confirmed', NULL),
      (88103, 111, '30', 'OPEN', 'SKIPPED', 'overtaken', NULL, 0, 0, 'none', NULL),
      (88104, 112, '10', 'OPEN', 'PENDING', 'silenced', '3 h', 0, 0, 'none', NULL),
      (88105, 112, '20', 'OPEN', 'PENDING', 'silenced', '3 h', 0, 0, 'none', NULL),
      (88106, 108, '50', 'OPEN', 'COMPLETED', NULL, NULL, 1, 1, 'confirmed', NULL),
      (88107, 107, '30', 'OPEN', 'COMPLETED', NULL, NULL, 2, 2, 'confirmed', NULL),
      (88108, 107, '40', 'OPEN', 'PENDING', 'unreachable', '40 s', 0, 14, 'none', NULL),
      (88109, 107, '20', 'OPEN', 'DEAD', 'refused', NULL, 1, 1, 'refused', NULL),
      (88110, 104, '30', 'OPEN', 'COMPLETED', NULL, NULL, 1, 1, 'confirmed', NULL),
      (88111, 105, '30', 'OPEN', 'PENDING', 'inhibited', '10 min', 0, 0, 'none', NULL),
      (88112, 109, '50', 'OPEN', 'SKIPPED', 'merged', NULL, 0, 0, 'confirmed', 88106),
      (88120, 106, '10', 'OPEN', 'COMPLETED', NULL, NULL, 1, 1, 'confirmed', NULL),
      (88123, 106, '20', 'OPEN', 'PENDING', 'retrying', '27 min', 5, 5, 'refused', NULL),
      (88124, 106, '30', 'OPEN', 'COMPLETED', NULL, NULL, 1, 1, 'confirmed', NULL),
      (88125, 106, '35', 'OPEN', 'PENDING', NULL, '22 min', 0, 0, 'none', NULL)
    ) AS j (id, alert, route, event, status, reason, next, tries, attempts, receipt, carrier)
    JOIN fleet_alert AS a ON a.id = j.alert
    CROSS JOIN LATERAL (SELECT CASE j.event WHEN 'CLOSED' THEN a.closed_at ELSE a.started_at END AS at) AS b
    """,
    "UPDATE delivery_jobs SET unreachable_since = created_at WHERE reason = 'unreachable'",
    "SELECT setval(pg_get_serial_sequence('delivery_jobs', 'job_id'), 89000)",
    """
    INSERT INTO delivery_attempts (tenant_id, job_id, at, latency_ms, outcome, http_status, address, answer, error,
      request)
    SELECT %(tenant)s, t.job, j.created_at + t.after::interval, t.took, t.outcome, t.status, '203.0.113.20', t.answer,
      t.error, CASE WHEN j.job_id IN (88123, 88109) THEN
        E'POST https://hooks.norrvik.example/desk/v1\nwebhook-id: ' || j.message_id || E'\nwebhook-signature: '
        || E'v1,••••••••\n\n{"type": "alert.opened", "timestamp": "2026-11-23T13:06:12Z", "data": {"alert":'
        || ' {"alert_id": ' || j.alert_id || ', "severity": "critical"}}}' END
    FROM (VALUES
      (88101, '1 s', 600, 'delivered', 202, 'Event processed', NULL),
      (88102, '1 s', 10000, 'retry', NULL, NULL, 'No answer within 10 s.'),
      (88102, '7 s', 412, 'delivered', 200, 'ok', NULL),
      (88120, '1 s', 600, 'delivered', 202, '{"status": "success", "message": "Event processed"}', NULL),
      (88123, '1 s', 912, 'retry', 502, 'Bad gateway', NULL),
      (88123, '6 s', 10000, 'retry', NULL, NULL, 'No answer within 10 s.'),
      (88123, '36 s', 731, 'retry', 503, 'maintenance until 15:00 UTC', NULL),
      (88123, '156 s', 804, 'retry', 503, 'maintenance until 15:00 UTC', NULL),
      (88123, '300 s', 811, 'retry', 503, 'maintenance until 15:00 UTC', NULL),
      (88124, '1 s', 312, 'delivered', 200, 'ok', NULL),
      (88110, '1 s', 288, 'delivered', 200, 'ok', NULL),
      (88107, '1 s', 90, 'retry', 429, 'slow down', NULL),
      (88107, '7 s', 305, 'delivered', 200, 'ok', NULL),
      (88108, '1 s', 3000, 'unreached', NULL, NULL, 'plant.norrvik.example has no address.'),
      (88106, '2 s', 1404, 'delivered', 250, '2.0.0 Ok: queued', NULL),
      (88109, '1 s', 702, 'refused', 422, '{"error": "unknown asset BGO-FRZ-013"}', NULL)
    ) AS t (job, after, took, outcome, status, answer, error)
    JOIN delivery_jobs AS j ON j.job_id = t.job
    ORDER BY t.job, t.after::interval
    """,
)
