"""Every check of the database: its promise is broken for real, and named; and nothing is written by looking."""

import subprocess
from collections.abc import Iterable, Sequence
from datetime import date, timedelta
from pathlib import Path

import psycopg
import pytest

from appliance import __version__
from appliance.cli.doctor import READ_ONLY, READERS
from appliance.doctor import schema, settings
from appliance.doctor.table import CHECKS
from tests.support.alerts import insert_alert
from tests.support.doctor import OF_THIS_SERVER, Patient
from tests.support.postgres_server import Database, programs

GROUND = """
INSERT INTO tenants (created_at, updated_at, tenant_id) VALUES (now(), now(), 'acme');
INSERT INTO subscriptions
  (created_at, tenant_id, subscription_id, subscription_type, device_limit, term_start, term_end, status)
VALUES (now(), 'acme', 'main', 'MAIN', 2, now(), now() + interval '90 days', 'ACTIVE');
INSERT INTO device_registry (created_at, updated_at, tenant_id, device_id, status, subscription_id)
VALUES (now(), now(), 'acme', 'd1', 'ACTIVE', 'main');
INSERT INTO ingest_ledger (minute, instance, received, stored, refused) VALUES (now(), 'here', 3, 2, 1);
"""


@pytest.fixture
def patient(database: Database, tmp_path: Path) -> Patient:
    sound = Patient(tmp_path / "data", database)
    for statement in filter(None, map(str.strip, GROUND.split(";"))):
        sound.run(statement)
    return sound


BREAKS: Sequence[tuple[str, str, str]] = (
    (
        "synchronous_commit",
        """
        DO $$ BEGIN
          EXECUTE format('ALTER ROLE appliance_ingest IN DATABASE %I SET synchronous_commit = off', current_database());
        END $$
        """,
        "RESET synchronous_commit;",
    ),
    ("migrations", "UPDATE schema_migrations SET checksum = 'another' WHERE version = 3", "0003_capacity.sql"),
    ("migrations", "DELETE FROM schema_migrations WHERE version > 30", "appliance migrate"),
    ("migrations", "INSERT INTO schema_migrations VALUES (9999, 'later', 'x', now(), '99.0')", "99.0"),
    ("guards", "ALTER TABLE device_registry DISABLE TRIGGER seats_taken", "ENABLE TRIGGER seats_taken"),
    ("guards", "DROP INDEX fleet_alert_one_open", "fleet_alert_one_open is missing (P13"),
    (
        "guards",
        """
        ALTER TABLE ingest_ledger DROP CONSTRAINT ingest_ledger_balanced,
          ADD CONSTRAINT ingest_ledger_balanced CHECK (received >= 0) NOT VALID
        """,
        "VALIDATE CONSTRAINT ingest_ledger_balanced",
    ),
    (
        "rights",
        "GRANT UPDATE (late) ON telemetry TO appliance_ingest",
        "REVOKE UPDATE ON telemetry FROM appliance_ingest",
    ),
    ("rights", "GRANT DELETE ON audit_log TO appliance_web", "REVOKE DELETE ON audit_log FROM appliance_web"),
    ("rights", "REVOKE SELECT ON sites FROM appliance_backup", "GRANT SELECT ON sites TO appliance_backup"),
    ("rights", "GRANT INSERT ON sites TO appliance_backup", "REVOKE INSERT ON sites FROM appliance_backup"),
    ("rights", "GRANT CREATE ON SCHEMA public TO appliance_web", "REVOKE CREATE ON SCHEMA public FROM appliance_web"),
    (
        "rights",
        "GRANT EXECUTE ON FUNCTION erase_history TO appliance_web",
        "appliance_web has the right EXECUTE on FUNCTION erase_history",
    ),
    (
        "rights",
        "DO $$ BEGIN EXECUTE format('GRANT CONNECT ON DATABASE %I TO PUBLIC', current_database()); END $$",
        "PUBLIC has the right CONNECT on DATABASE",
    ),
    ("row_level_security", "ALTER TABLE tenants NO FORCE ROW LEVEL SECURITY", "FORCE ROW LEVEL SECURITY"),
    ("row_level_security", "ALTER TABLE sites DISABLE ROW LEVEL SECURITY", "ENABLE ROW LEVEL SECURITY"),
    ("row_level_security", "CREATE POLICY hole ON sites USING (true)", "DROP POLICY hole ON sites"),
)
"""Check, what breaks it, and what the doctor then says."""


@pytest.mark.parametrize(("name", "statement", "said"), BREAKS)
def test_what_is_broken_in_the_schema_is_named_with_its_mend(
    patient: Patient, name: str, statement: str, said: str
) -> None:
    patient.run(statement)
    found = patient.examine()
    assert found.having("broken") == {name}
    assert said in found.text(name)
    assert found.exit_code == 1


def test_a_sound_database_breaks_no_promise_and_everything_was_looked_at(patient: Patient) -> None:
    found = patient.examine()
    assert found.having("broken") == frozenset()
    assert found.having("advice") == frozenset()
    assert found.having("unseen") == {"alive", "ready", "backups", "broker", "certificates", "postgres_program"}
    assert {check["name"] for check in found.printed["checks"]} == {check.name for check in CHECKS}


def test_a_server_that_syncs_nothing_is_named(patient: Patient) -> None:
    found = patient.examine()
    for name in OF_THIS_SERVER:
        assert found.status(name) == "broken"
        assert f"ALTER SYSTEM SET {name} = on" in found.text(name)
    assert found.exit_code == 1


def test_seats_that_do_not_match_the_devices_are_named(patient: Patient) -> None:
    patient.run("SET session_replication_role = replica; UPDATE subscriptions SET active_device_count = 2")
    found = patient.examine()
    assert found.having("broken") == {"seats"}
    assert "subscription main of tenant acme counts 2 devices, 1 is active" in found.text("seats")


def test_more_devices_than_the_limit_are_named(patient: Patient) -> None:
    patient.run(
        "SET session_replication_role = replica;"
        " ALTER TABLE subscriptions DROP CONSTRAINT subscriptions_seats_within_limit;"
        " INSERT INTO device_registry (created_at, updated_at, tenant_id, device_id, status, subscription_id)"
        " SELECT now(), now(), 'acme', 'more-' || n, 'ACTIVE', 'main' FROM generate_series(1, 2) AS n;"
        " UPDATE subscriptions SET active_device_count = 3"
    )
    found = patient.examine()
    assert found.having("broken") == {"guards", "seats"}
    assert "has 3 active devices, its limit is 2" in found.text("seats")


def test_accounts_that_do_not_balance_are_named(patient: Patient) -> None:
    patient.run(
        "ALTER TABLE ingest_ledger DROP CONSTRAINT ingest_ledger_balanced;"
        " UPDATE ingest_ledger SET received = received + 1"
    )
    found = patient.examine()
    assert found.having("broken") == {"guards", "ledger"}
    assert "the appliance here does not balance in 1 minute: 4 received, 3 stored" in found.text("ledger")


def test_a_device_that_is_registered_twice_is_named(patient: Patient) -> None:
    patient.run(
        "ALTER TABLE device_registry DROP CONSTRAINT device_registry_pkey CASCADE;"
        " INSERT INTO device_registry (created_at, updated_at, tenant_id, device_id, status)"
        " VALUES (now(), now(), 'acme', 'd1', 'INACTIVE')"
    )
    found = patient.examine()
    assert found.having("broken") == {"guards", "devices"}
    assert "the device d1 of tenant acme is there 2 times" in found.text("devices")


def test_an_alert_that_is_open_twice_is_named(patient: Patient) -> None:
    patient.run("DROP INDEX fleet_alert_one_open")
    with psycopg.connect(patient.database.conninfo()) as connection:
        for _ in range(2):
            insert_alert(connection, fingerprint="hot")
    found = patient.examine()
    assert found.having("broken") == {"guards", "alerts"}
    assert "the open alert hot of tenant acme is there 2 times" in found.text("alerts")


def test_a_role_with_a_right_too_many_is_named(patient: Patient) -> None:
    patient.run("ALTER ROLE appliance_web BYPASSRLS")  # of the whole server, so it is taken back
    try:
        found = patient.examine()
    finally:
        patient.run("ALTER ROLE appliance_web NOBYPASSRLS")
    assert found.having("broken") == {"roles"}
    assert "ALTER ROLE appliance_web" in found.text("roles")


def test_an_appliance_that_does_not_listen_is_advice(patient: Patient) -> None:
    patient.run("INSERT INTO ingest_instances (instance, name) VALUES ('here', 'hall'), ('gone', 'attic')")
    found = patient.examine()
    assert found.having("broken") == frozenset()
    assert "appliance peer remove gone" in found.text("peers")


def test_notices_that_are_held_since_a_restore_are_advice(patient: Patient) -> None:
    patient.run("INSERT INTO restores (restored_at, made_at) VALUES (now(), '2026-11-23 12:00+00')")
    found = patient.examine()
    assert found.having("broken") == frozenset()
    assert "the backup of 2026-11-23 12:00 UTC was restored" in found.text("notices")
    assert "appliance confirm-restore" in found.text("notices")


def test_an_appliance_of_another_version_is_advice(patient: Patient) -> None:
    patient.run("INSERT INTO ingest_instances (instance, name, version) VALUES ('here', 'hall', %s)", __version__)
    patient.run("INSERT INTO ingest_instances (instance, name, version) VALUES ('there', 'attic', '0.0.1')")
    for instance in ("here", "there"):
        patient.run("INSERT INTO listening VALUES (%s, now() - interval '1 hour', now())", instance)
    found = patient.examine()
    assert found.having("advice") == {"peers"}
    assert f"attic (there) is version 0.0.1, this one {__version__}" in found.text("peers")
    assert "hall" not in found.text("peers")


def test_a_schema_that_was_never_made_is_broken_and_the_rest_of_it_unseen(patient: Patient) -> None:
    patient.run("ALTER TABLE ingest_ledger RENAME TO elsewhere")
    found = patient.examine()
    assert found.status("ledger") == "unseen"
    assert found.text("ledger") == "the schema is not complete: see migrations"


def test_a_database_that_does_not_answer_is_broken(patient: Patient, tmp_path: Path) -> None:
    found = patient.examine(APPLIANCE_DATABASE_URL=f"postgresql://me:correct-horse-battery@/x?host={tmp_path}")
    assert found.having("broken") == {"database"}
    assert found.text("fsync") == "there is no connection: see database"
    assert "battery" not in found.text("database")
    assert found.exit_code == 1


def test_an_old_server_is_named() -> None:
    assert [found.text for found in settings.judge_version(14)] == ["the database server is Postgres 14"]
    assert list(settings.judge_version(15)) == []


def dump(database: Database) -> str:
    done = subprocess.run(
        [str(programs() / "pg_dump"), "--dbname", database.conninfo()],
        capture_output=True,
        text=True,
        check=True,
        env={"LC_ALL": "C.UTF-8"},
    )
    lines = done.stdout.splitlines()
    return "\n".join(line for line in lines if not line.startswith((r"\restrict", r"\unrestrict")))  # a random word


def test_looking_writes_nothing(patient: Patient) -> None:
    before = dump(patient.database), contents(patient.folder)
    patient.examine()
    patient.command()
    assert (dump(patient.database), contents(patient.folder)) == before


def contents(folder: Path) -> list[tuple[str, int, int, bytes]]:
    return [
        (str(path), path.lstat().st_mode, path.lstat().st_mtime_ns, path.read_bytes() if path.is_file() else b"")
        for path in sorted(folder.rglob("*"))
    ]


@pytest.mark.parametrize("role", ["appliance_backup", "appliance_ingest", "appliance_owner"])
def test_the_session_can_only_read(patient: Patient, role: str) -> None:

    assert role in READERS
    with (
        psycopg.connect(patient.database.conninfo(role), options=READ_ONLY) as connection,
        pytest.raises(psycopg.errors.ReadOnlySqlTransaction),
    ):
        connection.execute("CREATE TABLE written ()")


def test_days_that_have_gone_to_make_room_are_not_missed() -> None:
    today = date(2026, 11, 30)
    ago = [today - timedelta(days=n) for n in range(31)]
    ahead = [today + timedelta(days=n) for n in (1, 2)]

    def missing(there: Iterable[date]) -> list[date]:
        return schema.Days(ago[30], ahead[-1], frozenset(there)).missing

    assert missing([*ago, *ahead]) == []
    assert missing([*ago[:5], *ahead]) == []
    assert missing([*ago[:2], *ago[3:5], *ahead]) == [ago[2]]
    assert missing([*ago, ahead[1]]) == [ahead[0]]
    assert missing(ahead) == [today]
    assert missing([]) == [*reversed(ago), *ahead]


def test_a_time_zone_that_the_machine_lacks_is_broken_and_an_old_name_is_advice(patient: Patient) -> None:
    patient.run("UPDATE tenants SET time_zone = 'Mars/Olympus' WHERE tenant_id = 'acme'")
    found = patient.examine()
    assert found.having("broken") == {"time_zones"}
    assert "Mars/Olympus is unknown to this machine" in found.text("time_zones")
    patient.run("UPDATE tenants SET time_zone = 'US/Eastern' WHERE tenant_id = 'acme'")
    found = patient.examine()
    assert (found.having("broken"), found.status("time_zones")) == (frozenset(), "advice")
    assert "US/Eastern is called America/New_York now" in found.text("time_zones")
