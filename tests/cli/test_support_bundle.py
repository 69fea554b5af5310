"""``appliance support-bundle`` of an appliance that does not run, on an external database full of canaries."""

import json
import stat
import zipfile
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from appliance.cli import cli
from tests.support.doctor import Patient
from tests.support.postgres_server import Database

CANARY = "canary-f00d"
"""In every secret, every name and every value below."""
GROUND = f"""
INSERT INTO tenants (created_at, updated_at, tenant_id, name) VALUES (now(), now(), 'tweety', '{CANARY} Ltd');
INSERT INTO subscriptions
  (created_at, tenant_id, subscription_id, subscription_type, device_limit, term_start, term_end, status)
VALUES (now(), 'tweety', 'main', 'MAIN', 2, now(), now() + interval '90 days', 'ACTIVE');
INSERT INTO device_registry (created_at, updated_at, tenant_id, device_id, status, subscription_id)
VALUES (now(), now(), 'tweety', '{CANARY}-d1', 'ACTIVE', 'main');
INSERT INTO sites (created_at, updated_at, tenant_id, site_id) VALUES (now(), now(), 'tweety', 'released');
INSERT INTO quarantine_events (ingested_at, topic, reason, payload)
VALUES (now(), 't/{CANARY}', 'INVALID_JSON', '{CANARY}');
"""
SECRETS = {
    "APPLIANCE_MAIL_HOST": "mail.example",
    "APPLIANCE_MAIL_SENDER": f"{CANARY}@mail.example",
    # no secret itself, and shown: what a secret says is masked wherever it stands
    "APPLIANCE_MAIL_USERNAME": f"{CANARY}-mail",
    "APPLIANCE_MAIL_PASSWORD": f"{CANARY}-mail",
    "APPLIANCE_DELIVERY_HEARTBEAT_URL": f"https://beat.example/{CANARY}",
    "APPLIANCE_WEB_PUBLIC_URL": "https://appliance.example",
}


@pytest.fixture
def patient(database: Database, tmp_path: Path) -> Patient:
    found = Patient(tmp_path / "data", database)
    address = found.environ["APPLIANCE_DATABASE_URL"]
    found.environ |= {**SECRETS, "APPLIANCE_DATABASE_URL": f"{address}&password={CANARY}-database"}
    for statement in filter(None, map(str.strip, GROUND.split(";"))):
        found.run(statement)
    found.run("SET session_replication_role = replica; UPDATE subscriptions SET active_device_count = 2")
    return found


def _bundle(patient: Patient, file: Path, **environ: str) -> Result:
    return CliRunner().invoke(cli, ["support-bundle", str(file)], env={**patient.environ, **environ})


def _files(path: Path) -> Mapping[str, str]:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name).decode() for name in archive.namelist()}


def test_nothing_secret_and_nobodys_name_is_in_it(patient: Patient, tmp_path: Path) -> None:
    keys = (patient.folder / "keys.json").read_text()
    done = _bundle(patient, tmp_path / "s.zip")
    assert done.exit_code == 0, done.output
    files = _files(tmp_path / "s.zip")
    assert {name: text.count("canary") + text.count("tweety") for name, text in files.items()} == dict.fromkeys(
        files, 0
    )
    secrets = [key["secret"] for key in json.loads(keys)] + [
        json.loads((patient.folder / "instance.json").read_text())["mqtt_client_id"]
    ]
    assert [name for name, text in files.items() for secret in secrets if secret in text] == []
    assert stat.S_IMODE((tmp_path / "s.zip").stat().st_mode) == 0o600


def test_it_has_what_a_fault_is_found_by_and_says_what_is_missing(patient: Patient, tmp_path: Path) -> None:
    done = _bundle(patient, tmp_path / "s.zip")
    files = _files(tmp_path / "s.zip")
    doctor = {check["name"]: check for check in json.loads(files["doctor.json"])["checks"]}
    assert doctor["seats"]["status"] == "broken"
    assert "of tenant tenant-" in doctor["seats"]["findings"][0]["text"]
    assert doctor["alive"]["promise"] == "A running appliance answers."
    assert doctor["migrations"]["promise"] == "The schema is complete and as it was site-1."
    settings = json.loads(files["configuration.json"])["settings"]
    assert settings["mail.password"] == {"value": "********", "from": "$APPLIANCE_MAIL_PASSWORD"}
    assert settings["web.public_url"]["value"] == "https://appliance.example"
    tables = {row["table"] for row in json.loads(files["postgres.json"])["tables"]}
    assert {"telemetry", "device_registry", "audit_log"} <= tables
    assert json.loads(files["clock.json"])["trusted"] is True
    assert "missing, with the reason in CONTENTS.txt: process.json, metrics.txt, mosquitto.txt" in done.output
    assert "process.json: The running process" in files["CONTENTS.txt"]
    assert "does not run" in files["CONTENTS.txt"]


def test_without_its_database_it_has_the_rest_and_says_so(patient: Patient, tmp_path: Path) -> None:
    away = f"postgresql://kim:{CANARY}-password@127.0.0.1:1/edge"
    done = _bundle(patient, tmp_path / "s.zip", APPLIANCE_DATABASE_URL=away)
    assert done.exit_code == 0, done.output
    files = _files(tmp_path / "s.zip")
    assert "postgres.json" not in files
    assert "The database could not be asked which tenants" in files["CONTENTS.txt"]
    assert {"doctor.json", "configuration.json", "versions.json", "disk.json", "machine.json"} <= set(files)
    assert [name for name, text in files.items() if CANARY in text] == []


def test_a_file_that_is_there_stays(patient: Patient, tmp_path: Path) -> None:
    (tmp_path / "s.zip").write_text("mine")
    done = _bundle(patient, tmp_path / "s.zip")
    assert "exists already" in str(done.exception)
    assert (tmp_path / "s.zip").read_text() == "mine"
    (tmp_path / "link.zip").symlink_to(tmp_path / "elsewhere")
    assert _bundle(patient, tmp_path / "link.zip").exit_code != 0
    assert not (tmp_path / "elsewhere").exists()


def test_a_dash_is_the_standard_output(patient: Patient) -> None:
    done = CliRunner().invoke(cli, ["support-bundle", "-"], env=patient.environ)
    with zipfile.ZipFile(BytesIO(done.stdout_bytes)) as archive:
        assert archive.namelist()[0] == "CONTENTS.txt"
