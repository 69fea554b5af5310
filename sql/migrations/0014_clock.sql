-- The service time: what operators have said of the machine's clock, and how times that a wrong clock wrote heal.

CREATE TABLE clock_confirmations (
  instance text COLLATE "C" PRIMARY KEY,
  wall timestamptz NOT NULL,
  elapsed double precision NOT NULL,
  boot_id text NOT NULL,
  CONSTRAINT clock_confirmations_elapsed_sane CHECK (elapsed >= 0 AND elapsed < 'infinity')
);
COMMENT ON TABLE clock_confirmations IS
  'The wall clock of an appliance as an operator has confirmed it. The appliance takes the row and removes it.';
COMMENT ON COLUMN clock_confirmations.wall IS 'What the wall clock showed.';
COMMENT ON COLUMN clock_confirmations.elapsed IS 'At that moment: seconds since the boot of the machine.';
COMMENT ON COLUMN clock_confirmations.boot_id IS 'Which boot that was. A wall clock that was set since is not the one confirmed.';
GRANT SELECT, INSERT, UPDATE, DELETE ON clock_confirmations TO appliance_ingest;

CREATE FUNCTION clock_confirmed() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
  PERFORM pg_notify('appliance_clock', NEW.instance);
  RETURN NULL;
END
$$;
CREATE TRIGGER clock_confirmed AFTER INSERT OR UPDATE ON clock_confirmations
  FOR EACH ROW EXECUTE FUNCTION clock_confirmed();

-- The planner writes this expression into the query.
CREATE FUNCTION time_healed(moment timestamptz, latest timestamptz, present timestamptz, step interval)
RETURNS timestamptz LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT CASE WHEN moment <= latest THEN moment WHEN moment + step <= present THEN moment + step END
$$;
COMMENT ON FUNCTION time_healed IS
  'A time after the latest possible one was written by a wrong clock: it moves by the step of the clock or, where that is unknown or leads past the present, becomes unknown.';
GRANT EXECUTE ON FUNCTION time_healed(timestamptz, timestamptz, timestamptz, interval) TO appliance_ingest;
