-- Time zones that were renamed, stored by their present names. Which names are old is what the program knows, not Postgres:
-- it hands them in, and service time with them. Each changed row has its row in the audit.

CREATE FUNCTION zones_rename(old_names text[], present_names text[], at_time timestamptz) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp SET lock_timeout = '200ms' AS $$
DECLARE
  changed bigint;
BEGIN
  WITH renamed AS (
    SELECT * FROM unnest(old_names, present_names) AS n (old, present)
  ), changed_tenants AS (
    UPDATE public.tenants AS t SET time_zone = n.present FROM renamed AS n
    WHERE t.time_zone = n.old AND t.status <> 'DELETING'
    RETURNING t.tenant_id AS tenant, 'tenant.describe' AS action, 'tenant' AS kind, t.tenant_id::text AS id,
      jsonb_build_object('time_zone', n.old) AS before, jsonb_build_object('time_zone', n.present) AS after
  ), changed_sites AS (
    UPDATE public.sites AS s SET time_zone = n.present FROM renamed AS n WHERE s.time_zone = n.old
    RETURNING s.tenant_id, 'site.update', 'site', s.site_id::text,
      jsonb_build_object('time_zone', n.old), jsonb_build_object('time_zone', n.present)
  ), changed_users AS (
    UPDATE public.users AS u SET time_zone = n.present FROM renamed AS n WHERE u.time_zone = n.old
    RETURNING u.tenant_id, 'user.set_profile', 'user', u.user_id::text,
      jsonb_build_object('time_zone', n.old), jsonb_build_object('time_zone', n.present)
  ), changed_windows AS (
    UPDATE public.maintenance_windows AS w SET time_zone = n.present FROM renamed AS n WHERE w.time_zone = n.old
    RETURNING w.tenant_id, 'maintenance.update', 'maintenance', w.window_id::text,
      jsonb_build_object('name', w.name, 'time_zone', n.old), jsonb_build_object('name', w.name, 'time_zone', n.present)
  ), changed_routes AS (
    UPDATE public.integration_routes AS r SET quiet_zone = n.present FROM renamed AS n WHERE r.quiet_zone = n.old
    RETURNING r.tenant_id, 'route.update', 'route', r.route_id::text,
      jsonb_build_object('name', r.name, 'quiet_zone', n.old),
      jsonb_build_object('name', r.name, 'quiet_zone', n.present)
  )
  INSERT INTO public.audit_log (at, tenant_id, actor, actor_kind, action, object_type, object_id, before, after)
  SELECT at_time, c.tenant, 'time zones', 'appliance', c.action, c.kind, c.id, c.before, c.after FROM (
    SELECT * FROM changed_tenants UNION ALL SELECT * FROM changed_sites UNION ALL SELECT * FROM changed_users
    UNION ALL SELECT * FROM changed_windows UNION ALL SELECT * FROM changed_routes
  ) AS c (tenant, action, kind, id, before, after);
  GET DIAGNOSTICS changed = ROW_COUNT;
  RETURN changed;
END
$$;
GRANT EXECUTE ON FUNCTION zones_rename(text[], text[], timestamptz) TO appliance_ingest;
COMMENT ON FUNCTION zones_rename IS
  'Gives each stored time zone of an old name its present one, and records it in the audit; returns the number of rows.';
