"""Every check of the machine and of files: its promise is broken for real, and named; and what --mend then does."""

import http.server
import json
import os
import re
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest

from appliance.backup.record import Attempt, GoodBackup, Record, write_record
from appliance.children.data_dir import locked_data_dir
from appliance.cli.administration import operating_system_user
from appliance.doctor import machine as checks
from appliance.service_clock import machine, record
from appliance.service_clock.service_time import Cause, Doubt, Instant, Recorded
from appliance.tls.dates import Moment
from appliance.tls.names import names_of
from appliance.tls.own import OwnCertificate
from tests.support.certificates import Authority
from tests.support.doctor import Patient
from tests.support.pki import Issued, write_files
from tests.support.postgres_server import Database
from tests.support.project import ROOT
from tests.support.small_volume import MB, small_volume


@pytest.fixture
def patient(database: Database, tmp_path: Path) -> Patient:
    return Patient(tmp_path / "data", database)


def test_a_key_file_that_others_may_read_is_broken_until_it_is_mended(patient: Patient) -> None:
    keys = patient.folder / "keys.json"
    keys.chmod(0o644)
    found = patient.examine()
    assert found.having("broken") == {"permissions"}
    assert f"chmod 600 {keys}" in found.text("permissions")
    assert keys.stat().st_mode & 0o777 == 0o644, "nobody asked for a mend"
    mended = patient.examine("--mend")
    assert mended.having("broken") == frozenset()
    assert mended.printed["mended"] == {"permissions": {"closed": ["keys.json"]}}
    assert keys.stat().st_mode & 0o777 == 0o600


def test_missing_days_are_advice_until_they_are_mended_with_an_audit_row(patient: Patient) -> None:
    tomorrow = datetime.now(UTC).date() + timedelta(1)
    patient.run(f"DROP TABLE telemetry_{tomorrow:%Y%m%d}")
    found = patient.examine()
    assert (found.having("broken"), found.having("advice")) == (frozenset(), frozenset({"partitions"}))
    assert str(tomorrow) in found.text("partitions")
    asked = patient.command("--mend")
    assert "partitions: make the missing partitions of telemetry" in asked.output
    assert patient.examine().status("partitions") == "advice", "nobody agreed"
    mended = patient.examine("--mend", "--yes")
    assert mended.status("partitions") == "ok"
    assert mended.printed["mended"] == {"partitions": {"made": 1}}
    with psycopg.connect(patient.database.conninfo()) as connection:
        rows = connection.execute("SELECT actor, actor_kind, action, object_id, after FROM audit_log").fetchall()
    assert rows == [(operating_system_user(), "command", "peer.mend", "partitions", {"made": 1})]
    assert patient.examine("--mend", "--yes").printed["mended"] == {}
    assert "There is nothing that can be mended." in patient.command("--mend").stdout


def test_without_a_database_nothing_is_mended(patient: Patient, tmp_path: Path) -> None:
    (patient.folder / "keys.json").chmod(0o644)
    away = f"postgresql://me@/x?host={tmp_path}"
    done = patient.command("--mend", "--yes", APPLIANCE_DATABASE_URL=away)
    assert "the database cannot be reached" in str(done.exception)
    assert (patient.folder / "keys.json").stat().st_mode & 0o777 == 0o644


def test_keys_that_are_lost_or_damaged_are_broken(patient: Patient) -> None:
    keys = patient.folder / "keys.json"
    content = keys.read_bytes()
    keys.write_bytes(content[: len(content) // 2])
    assert patient.examine().having("broken") == {"identity"}
    keys.unlink()
    found = patient.examine()
    assert found.having("broken") == {"identity"}
    assert "keys.json is missing" in found.text("identity")


def test_backups_are_broken_without_their_folder_after_a_failure_and_when_they_are_old(
    patient: Patient, tmp_path: Path
) -> None:
    folder, now = tmp_path / "backups", datetime.now(UTC)
    given = {"APPLIANCE_BACKUP_FOLDER": str(folder), "APPLIANCE_BACKUP_PASSPHRASE": "correct horse battery"}
    assert patient.examine().status("backups") == "unseen"
    found = patient.examine(**given)
    assert (found.status("backups"), f"{folder} is not there" in found.text("backups")) == ("broken", True)
    folder.mkdir()
    found = patient.examine(**given)
    assert (found.status("backups"), "on the disk of the data" in found.text("backups")) == ("advice", True)
    good = GoodBackup("f", now, 1, 1.0)
    write_record(patient.folder, Record(since=now, last=Attempt(now, now, "the disk is full"), good=good))
    assert "the last backup failed: the disk is full" in patient.examine(**given).text("backups")
    old = now - timedelta(days=3)
    write_record(patient.folder, Record(since=old, last=Attempt(old, old), good=GoodBackup("f", old, 1, 1.0)))
    assert "older than two days" in patient.examine(**given).text("backups")


def test_certificates_are_broken_past_their_end_and_advice_before_it(patient: Patient, tmp_path: Path) -> None:
    authority = Authority()
    path = tmp_path / "ca.pem"
    external = {"APPLIANCE_BROKER_URL": "mqtts://127.0.0.1:1", "APPLIANCE_BROKER_CA_FILE": str(path)}
    path.write_text(authority.certificate("broker.example", expired=True).pem)
    found = patient.examine(**external)
    assert found.having("broken") == {"broker", "certificates"}
    assert "which has passed" in found.text("certificates")
    path.write_text(authority.certificate("broker.example").pem)
    found = patient.examine(**external)
    assert (found.having("broken"), found.status("certificates")) == (frozenset({"broker"}), "advice")
    mail = {"APPLIANCE_MAIL_HOST": "mail.example", "APPLIANCE_MAIL_SENDER": "a@mail.example"}
    found = patient.examine(**mail, APPLIANCE_MAIL_CA=str(tmp_path / "absent.pem"))
    assert found.having("broken") == {"certificates"}
    assert "mail.ca: " in found.text("certificates")


def test_certificates_of_listeners_are_judged_by_file_and_by_what_the_appliance_has_issued(
    patient: Patient, tmp_path: Path
) -> None:
    given = Issued("gw.example", days=40)
    certificate, key = write_files(tmp_path, given.pem, given.key_pem())
    by_file = {"APPLIANCE_WEB_TLS": "true", "APPLIANCE_WEB_CERTIFICATE_FILE": str(certificate)}
    by_file["APPLIANCE_WEB_KEY_FILE"] = str(key)
    assert patient.examine(**by_file).status("certificates") == "ok"
    write_files(tmp_path, given.pem, Issued("other").key_pem())
    found = patient.examine(**by_file)
    assert found.having("broken") == {"certificates"}
    assert f"web.key_file: {key} is not the key of the certificate" in found.text("certificates")
    short = Issued("gw.example", days=20)
    write_files(tmp_path, short.pem, short.key_pem())
    assert "ends on" in patient.examine(**by_file).text("certificates")

    own = {"APPLIANCE_BROKER_TLS_PORT": "0", "APPLIANCE_WEB_TLS_NAMES": "gw.lan,appliance.example"}
    assert patient.examine(**own).status("certificates") == "unseen", "it was never started"
    folder = patient.folder / "tls"
    names = names_of(["gw.lan", "127.0.0.1"])
    now = datetime.now(UTC)
    leaf = OwnCertificate(folder).refresh(names, Moment(now, trusted=True))
    found = patient.examine(**own)
    assert (found.status("certificates"), found.having("broken")) == ("advice", frozenset())
    assert "is not for appliance.example, which its authority may not sign" in found.text("certificates")
    (folder / "leaf.pem").write_bytes(leaf.pem[:200])
    damaged = patient.examine(**own).text("certificates")
    assert "certificate of this appliance cannot be used" in damaged
    assert "start the appliance, which" in damaged
    (folder / "ca.key").unlink()
    assert f"remove {folder / 'ca.pem'} for a new authority" in patient.examine(**own).text("certificates")
    folder.chmod(0o755)
    assert f"{folder} has the mode 755" in patient.examine(**own).text("permissions")


def test_an_external_broker_that_cannot_be_reached_is_broken(patient: Patient) -> None:
    with socket.create_server(("127.0.0.1", 0)) as broker:
        url = f"mqtt://127.0.0.1:{broker.getsockname()[1]}"
        assert patient.examine(APPLIANCE_BROKER_URL=url).status("broker") == "ok"
        connection, _ = broker.accept()
        with connection:
            assert connection.recv(1) == b"", "nothing was said"
    found = patient.examine(APPLIANCE_BROKER_URL=url)
    assert found.having("broken") == {"broker"}
    assert f"{url.removeprefix('mqtt://')} cannot be reached" in found.text("broker")


def test_a_clock_in_doubt_is_advice_and_what_depends_on_it_is_unseen(patient: Patient) -> None:
    ahead = 14 * 3600.0
    elapsed = time.clock_gettime(time.CLOCK_BOOTTIME)
    doubt = Doubt(Cause.OFF, time.time() + ahead - 60)
    record.write(patient.folder, Recorded(Instant(time.time() + ahead, elapsed, machine.boot_id()), doubt))
    found = patient.examine()
    assert (found.having("broken"), found.having("advice")) == (frozenset(), frozenset({"clock"}))
    assert "s behind service time" in found.text("clock")
    assert "appliance clock confirm" in found.text("clock")
    assert {"partitions", "peers"} <= found.having("unseen")


def test_a_disk_without_room_is_broken_and_with_little_advice(patient: Patient, tmp_path: Path) -> None:
    with small_volume(tmp_path / "volume", 400 * MB) as volume:
        if volume.enter:
            pytest.fail("mounted where only a child sees it")
        small = Patient(volume.path / "data", patient.database)
        volume.fill(60 * MB)
        assert small.examine().status("disk") == "advice"
        volume.fill(10 * MB)
        found = small.examine()
        assert found.having("broken") == {"disk"}
        assert "the disk is full" in found.text("disk")
        volume.clear()
        assert small.examine().status("disk") == "ok"
        volume.fill_files(20)
        assert "no room for files" in small.examine().text("disk")


def test_a_reserve_that_is_not_held_while_it_runs_is_advice(patient: Patient) -> None:
    with patient.pretending_to_run():
        assert "of the reserve for a full disk are not held" in patient.examine().text("disk")


def test_a_port_that_somebody_else_has_is_named_with_its_owner(patient: Patient) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        found = patient.examine(APPLIANCE_BROKER_PORT=str(port))
        assert found.having("advice") == {"ports"}
        assert f"broker.port {port} is taken by " in found.text("ports")
        assert f"(pid {os.getpid()})" in found.text("ports")
        with patient.pretending_to_run():  # this process: then it is its own port
            assert patient.examine(APPLIANCE_BROKER_PORT=str(port)).status("ports") == "ok"
        with locked_data_dir(patient.folder):  # and as well while it waits for its broker, without a run file
            assert patient.examine(APPLIANCE_BROKER_PORT=str(port)).status("ports") == "ok"
    with patient.pretending_to_run():
        found = patient.examine(APPLIANCE_BROKER_PORT=str(port))
    assert found.status("ports") == "broken"
    assert f"nobody listens on broker.port {port}" in found.text("ports")
    under_tls = {"APPLIANCE_BROKER_PORT": str(port), "APPLIANCE_BROKER_PLAIN": "false"}
    with socket.create_server(("127.0.0.1", 0)) as other:
        tls_port = other.getsockname()[1]
        with patient.pretending_to_run():
            assert patient.examine(APPLIANCE_BROKER_TLS_PORT=str(tls_port), **under_tls).status("ports") == "ok"
    with patient.pretending_to_run():
        found = patient.examine(APPLIANCE_BROKER_TLS_PORT=str(tls_port), **under_tls)
    assert f"nobody listens on broker.tls_port {tls_port}" in found.text("ports")
    assert "broker.port" not in found.text("ports"), "it is not to be open"


def test_data_of_a_postgres_that_is_not_there_are_named(patient: Patient) -> None:
    cluster = patient.folder / "postgres"
    cluster.mkdir(mode=0o700)
    (cluster / "PG_VERSION").write_text("9\n")
    del patient.environ["APPLIANCE_DATABASE_URL"]
    found = patient.examine()
    assert found.having("broken") == {"postgres_program"}
    assert "apt-get install postgresql-9" in found.text("postgres_program")


def test_a_machine_without_mosquitto_is_named(patient: Patient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("appliance.children.programs.SYSTEM_PLACES", ())
    monkeypatch.setenv("PATH", str(patient.folder))
    found = patient.examine()
    assert found.having("broken") == {"mosquitto_program"}
    assert "apt-get install mosquitto" in found.text("mosquitto_program")
    assert patient.examine(APPLIANCE_BROKER_URL="mqtt://127.0.0.1:1").status("mosquitto_program") == "unseen"


def test_what_a_killed_appliance_left_is_named(patient: Patient) -> None:
    folder = patient.folder.resolve() / "mosquitto" / "mosquitto.conf"
    left = subprocess.Popen(["mosquitto", "-c", "read ended", str(folder)], executable="/bin/sh", stdin=subprocess.PIPE)
    try:
        found = patient.examine()
    finally:
        left.kill()
        left.communicate()
    assert found.having("advice") == {"leftovers"}
    assert f"(pid {left.pid})" in found.text("leftovers")
    assert patient.examine().status("leftovers") == "ok"


def test_an_appliance_that_hangs_is_broken(patient: Patient) -> None:
    with patient.pretending_to_run():
        found = patient.examine()
    assert "alive" in found.having("broken")
    assert "the appliance does not answer: none runs there" in found.text("alive")
    assert found.status("ready") == "unseen"


def test_a_killed_appliance_does_not_run_although_another_process_has_its_pid(patient: Patient) -> None:
    del patient.environ["APPLIANCE_DATABASE_URL"]
    patient.write_run_file()
    found = patient.examine()
    assert found.having("broken") == frozenset()
    assert {"alive", "database"} <= found.having("unseen")


@contextmanager
def answering(status: int, body: object) -> Iterator[str]:
    """Answer every request so, and yield the address."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(json.dumps(body).encode())

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_what_the_appliance_says_of_itself_is_told(patient: Patient) -> None:
    session = {"broker_session": "it keeps our session for 3600 s"}
    with answering(503, {"status": "degraded", "failing": {"storing": "nothing for 9 s"}, "warnings": session}) as url:
        with patient.pretending_to_run(url):
            found = patient.examine()
        assert found.status("ready") == "broken"
        assert "storing: nothing for 9 s" in found.text("ready")
    with answering(200, {"status": "ready", "warnings": session}) as url:
        with patient.pretending_to_run(url):
            found = patient.examine()
        assert found.status("ready") == "advice"
        assert "broker_session: it keeps our session" in found.text("ready")


def test_what_may_not_be_meant_in_the_configuration_is_advice(patient: Patient) -> None:
    del patient.environ["APPLIANCE_WEB_PUBLIC_URL"]
    found = patient.examine()
    assert found.having("advice") == {"configuration"}
    assert "web.public_url is not set" in found.text("configuration")


def test_stopped_with_its_own_postgres_it_says_what_was_not_looked_at_and_starts_nothing(patient: Patient) -> None:
    del patient.environ["APPLIANCE_DATABASE_URL"]
    before = sorted(patient.folder.iterdir())
    found = patient.examine()
    assert found.exit_code == 0
    assert found.having("broken") == frozenset()
    assert {"database", "ledger", "seats", "alive"} <= found.having("unseen")
    assert "the appliance does not run" in found.text("database")
    assert sorted(patient.folder.iterdir()) == before


def test_advice_alone_is_exit_code_0_and_a_broken_promise_1(patient: Patient) -> None:
    del patient.environ["APPLIANCE_DATABASE_URL"]
    del patient.environ["APPLIANCE_WEB_PUBLIC_URL"]
    done = patient.command()
    assert (done.exit_code, "with advice" in done.stdout) == (0, True)
    (patient.folder / "instance.json").chmod(0o640)
    done = patient.command()
    assert done.exit_code == 1
    assert "do: `chmod 600 " in done.stdout


def test_the_keys_of_the_json_are_those_of_the_page(patient: Patient) -> None:
    (patient.folder / "keys.json").chmod(0o644)
    printed = patient.examine().printed
    page = (ROOT / "docs" / "doctor.md").read_text()
    keys = page[page.index("## JSON") :]
    assert re.findall(r"^\| `(\w+)` \|", keys, re.MULTILINE) == list(printed)
    assert set(printed["counts"]) == set(re.findall(r"^\| `(\w+)` \|", page[: page.index("## What")], re.MULTILINE))
    (check,) = (each for each in printed["checks"] if each["name"] == "permissions")
    (line,) = (line for line in keys.splitlines() if line.startswith("| `checks` |"))
    assert {*check, *check["findings"][0]} <= set(re.findall(r"`(\w+)`", line))


def test_the_judgement_of_ports_asks_who_listens_and_whether_we_run() -> None:
    def judged(owner: str | None, *, ours: bool | None, running: bool) -> list[str]:
        listener = checks.Listener("web.port", 80, owner, ours, running)
        return [str(found.status) for found in checks.judge_ports([listener])]

    assert judged(None, ours=None, running=False) == []
    assert judged(None, ours=None, running=True) == ["broken"]
    assert judged("nginx", ours=False, running=True) == ["advice"]
    assert judged("nginx", ours=False, running=False) == ["advice"]
    assert judged("a process of the user x", ours=None, running=True) == [], "the kernel does not tell us whose it is"
    assert judged("we", ours=True, running=True) == []
