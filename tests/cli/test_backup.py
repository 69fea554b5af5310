"""``appliance backup`` on whole appliances: running, stopped, on an external database, killed, and on a full disk."""

import json
import os
import secrets
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest

from appliance.backup.archive import DumpPart, File, open_backup, read_archive
from appliance.children.data_dir import open_data_dir
from appliance.failpoints import NAMES, VARIABLE
from appliance.service_clock import machine, record
from appliance.service_clock.service_time import Cause, Doubt, Instant, Recorded
from tests.support import fork_server
from tests.support.appliance_process import ApplianceProcess, started
from tests.support.postgres_server import Database
from tests.support.project import ROOT
from tests.support.small_volume import small_volume
from tests.support.soak import times

PASSPHRASE = "canary-horse-battery-staple"
MEMORY = 100_000_000
"""Bytes that a backup may take."""


@pytest.fixture(scope="module")
def running() -> Iterator[ApplianceProcess]:
    """An appliance that runs, with a tenant and a device."""
    with started() as process:
        process.tenant("fleet")
        process.command("device", "add", "fleet", "d")
        yield process


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An empty folder for backups."""
    made = tmp_path / "backups"
    made.mkdir()
    return made


def run(appliance: ApplianceProcess, *words: str, given: str = "", **environ: str) -> subprocess.CompletedProcess[str]:
    env = appliance.environment(APPLIANCE_BACKUP_PASSPHRASE=PASSPHRASE, **environ)
    return fork_server.programs().run("appliance", ["backup", *words], env=env, seconds=120, given=given)


def into(folder: Path) -> dict[str, str]:
    return {"APPLIANCE_BACKUP_FOLDER": str(folder)}


def instance_of(appliance: ApplianceProcess) -> str:
    return str(json.loads((appliance.data_dir / "instance.json").read_text())["instance_id"])


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_of_a_running_appliance_everything_is_in_it(running: ApplianceProcess, folder: Path) -> None:
    file = folder / "one.age"
    done = run(running, str(file), "--json")
    assert done.returncode == 0, done.stderr
    made = json.loads(done.stdout)
    assert made["instance_id"] == instance_of(running)
    assert made["rows"]["device_registry"] == 1
    assert made["addresses"] == [f"127.0.0.1:{running.mqtt_port}"]
    with open_backup(file, PASSPHRASE) as stream:
        files = {entry.name: entry.data for entry in read_archive(stream) if isinstance(entry, File)}
    for name in ("instance.json", "keys.json"):
        assert files[name] == (running.data_dir / name).read_bytes()
    checked = run(running, "--verify", str(file))
    assert checked.returncode == 0, checked.stderr
    assert f"{file} is whole: appliance {instance_of(running)}" in checked.stdout
    opened = folder / "opened.tar"
    with open_backup(file, PASSPHRASE) as stream:
        opened.write_bytes(stream.read(1_000_000_000))
    words = ["backup", "--verify", str(opened)]
    plain = fork_server.programs().run("appliance", words, env=running.environment(), seconds=60)
    assert (plain.returncode, plain.stderr) == (0, ""), "what is not sealed takes no passphrase"
    missing = run(running, "--verify", str(folder / "missing"))
    assert (missing.returncode, "cannot be read" in missing.stderr) == (1, True)
    rows = running.query("SELECT actor_kind, object_id FROM audit_log WHERE action = 'backup.make'")
    assert ("command", str(file)) in rows


def test_of_a_stopped_appliance_the_same(folder: Path, appliance: ApplianceProcess) -> None:
    appliance.start()
    appliance.tenant("fleet")
    appliance.stop()
    done = run(appliance, str(folder), "--json")
    assert done.returncode == 0, done.stderr
    made = json.loads(done.stdout)
    assert made["rows"]["tenants"] == 2
    assert names(folder) == [Path(made["file"]).name]
    assert not (appliance.data_dir / "run.json").exists()


def test_of_an_external_database_with_a_login_that_is_a_member_of_the_roles(
    database: Database, folder: Path, tmp_path: Path
) -> None:
    data_dir, login, password = tmp_path / "data", f"login_{secrets.token_hex(4)}", secrets.token_hex(8)
    with open_data_dir(data_dir):
        pass
    with psycopg.connect(database.conninfo(), autocommit=True) as superuser:
        superuser.execute(f"CREATE ROLE {login} LOGIN PASSWORD '{password}'".encode())
        members = "appliance_owner, appliance_ingest, appliance_web, appliance_backup"
        superuser.execute(f"GRANT {members} TO {login}".encode())
        superuser.execute(f'GRANT CONNECT ON DATABASE "{database.name}" TO {login}'.encode())
        try:
            url = f"postgresql://{login}:{password}@/{database.name}?host={database.server.socket_dir}"
            env = {**os.environ, "APPLIANCE_DATA_DIR": str(data_dir), "APPLIANCE_DATABASE_URL": url}
            words = ["backup", str(folder / "one.age"), "--passphrase-stdin", "--json"]
            done = fork_server.programs().run("appliance", words, env=env, seconds=120, given=f"{PASSPHRASE}\n")
        finally:
            superuser.execute(f"DROP OWNED BY {login}".encode())
            superuser.execute(f"DROP ROLE {login}".encode())
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["rows"]["schema_migrations"] > 30
    assert password not in done.stdout + done.stderr


def test_in_the_folder_the_newest_of_this_appliance_are_kept(running: ApplianceProcess, folder: Path) -> None:
    instance = instance_of(running)
    mine = [f"appliance-{instance}-2025010{day}T023000Z.age" for day in (1, 2, 3)]
    others = ["appliance-0123456789ab-20250101T023000Z.age", "notes.txt", f"appliance-{instance}-x.age"]
    future = f"appliance-{instance}-21000101T023000Z.age"
    for name in (*mine, *others, future):
        (folder / name).write_bytes(b"kept")
    (folder / f"{mine[0]}.part").write_bytes(b"half")
    (folder / "notes.txt.part").write_bytes(b"somebody else's")
    folders = [f"appliance-{instance}-2024010{day}T023000Z.age" for day in (1, 2)]
    (folder / folders[0]).mkdir()
    (folder / f"{folders[1]}.part").mkdir()
    done = run(running, "--json", **into(folder), APPLIANCE_BACKUP_KEEP="3")
    assert done.returncode == 0, done.stderr
    made = json.loads(done.stdout)
    assert made["removed"] == [mine[0]]
    assert f"warning: {folder / folders[0]} cannot be removed: Is a directory" in done.stderr
    there = [*mine[1:], *others, future, "notes.txt.part", folders[0], f"{folders[1]}.part", Path(made["file"]).name]
    assert names(folder) == sorted(there)
    record = json.loads((running.data_dir / "backups.json").read_text())
    assert record["good"]["file"] == made["file"]
    assert record["last"]["error"] is None


def test_in_doubt_of_the_clock_none_is_removed(database: Database, folder: Path, tmp_path: Path) -> None:
    with open_data_dir(tmp_path / "data") as data:
        instance = data.instance.instance_id
    at = time.time() + 3600
    now = Instant(at, time.clock_gettime(time.CLOCK_BOOTTIME), machine.boot_id())
    record.write(tmp_path / "data", Recorded(now, Doubt(Cause.OFF, at - 60)))
    old = f"appliance-{instance}-20250101T023000Z.age"
    (folder / old).write_bytes(b"kept")
    env = {
        **os.environ,
        "APPLIANCE_DATA_DIR": str(tmp_path / "data"),
        "APPLIANCE_DATABASE_URL": database.url,
        **into(folder),
    }
    env |= {"APPLIANCE_BACKUP_PASSPHRASE": PASSPHRASE, "APPLIANCE_BACKUP_KEEP": "1"}
    done = fork_server.programs().run("appliance", ["backup", "--json"], env=env, seconds=120)
    assert done.returncode == 0, done.stderr
    made = json.loads(done.stdout)
    assert (made["removed"], made["clock_trusted"]) == ([], False)
    assert names(folder) == sorted([old, Path(made["file"]).name])


def test_a_folder_that_is_not_there_is_not_made(running: ApplianceProcess, tmp_path: Path) -> None:
    missing = tmp_path / "unmounted"
    done = run(running, **into(missing))
    assert done.returncode == 1
    assert f"backup.folder {missing} is not there: mount the disk, or make the folder" in done.stderr
    assert not missing.exists()
    record = json.loads((running.data_dir / "backups.json").read_text())
    assert "is not there" in record["last"]["error"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_ended_by_a_signal_it_leaves_nothing(running: ApplianceProcess, folder: Path, number: int) -> None:
    env = running.environment(APPLIANCE_BACKUP_PASSPHRASE=PASSPHRASE)
    words = [sys.executable, "-m", "appliance", "backup", str(folder / "one.age")]
    with psycopg.connect(running.run["database"], user="postgres") as connection:
        connection.execute("LOCK TABLE sites")  # upon which it waits
        process = subprocess.Popen(words, cwd=ROOT, env=env, stderr=subprocess.PIPE)
        try:
            deadline = time.monotonic() + 60
            waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'sites'::regclass"
            while connection.execute(waiting).fetchone() == (0,) or names(folder) != ["one.age.part"]:
                assert process.poll() is None, "it has ended"
                assert time.monotonic() < deadline, "it does not wait"
                time.sleep(0.02)
            process.send_signal(number)
            assert process.wait(60) == 130
        finally:
            process.kill()
            process.communicate()
    assert names(folder) == []


STEPS = sorted(name for name in NAMES if name.startswith("backup_"))


def test_killed_at_any_step_the_old_files_are_there_and_the_next_run_removes_the_rest(
    running: ApplianceProcess, folder: Path
) -> None:
    instance = instance_of(running)
    old = [f"appliance-{instance}-2025010{day}T023000Z.age" for day in (1, 2)]
    for name in old:
        (folder / name).write_bytes(b"good")
    for step in STEPS:
        before = set(names(folder))
        kept = "2" if step == "backup_removing" else "100"
        done = run(running, **into(folder), APPLIANCE_BACKUP_KEEP=kept, **{VARIABLE: step})
        assert done.returncode == -9, (step, done.stdout, done.stderr)
        new = set(names(folder)) - before
        lost = before - set(names(folder))
        assert len([name for name in new if name.endswith(".part")]) <= 1, step
        whole = [name for name in new if not name.endswith(".part")]
        assert len(whole) == (step in {"backup_named", "backup_removing"}), step
        for name in whole:
            assert run(running, "--verify", str(folder / name)).returncode == 0, step
        gone = {name for name in lost if not name.endswith(".part")}
        assert gone == ({old[0]} if step == "backup_removing" else set()), step
    done = run(running, **into(folder), APPLIANCE_BACKUP_KEEP="100")
    assert done.returncode == 0, done.stderr
    assert [name for name in names(folder) if name.endswith(".part")] == []


def test_on_a_full_disk_nothing_is_left_and_the_reason_is_said(running: ApplianceProcess, tmp_path: Path) -> None:
    with small_volume(tmp_path / "volume", 1_000_000) as volume:
        volume.fill(200_000)
        done = subprocess.run(
            [*volume.enter, sys.executable, "-m", "appliance", "backup", str(tmp_path / "volume" / "one.age")],
            cwd=ROOT,
            env=running.environment(APPLIANCE_BACKUP_PASSPHRASE=PASSPHRASE),
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        left = names(volume.path)
    assert done.returncode == 1
    assert "the disk of" in done.stderr
    assert "is full; nothing was left there" in done.stderr
    assert not [name for name in left if "one.age" in name]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("", "the passphrase must be one line"),
        ("short\n", "the passphrase is too short; at least 12 characters are needed"),
        ("password1234\n", "is a sample that everybody knows"),
        ("with\tcontrol characters\n", "without control characters"),
    ],
)
def test_passphrases_that_nobody_should_rely_on_are_refused(
    running: ApplianceProcess, folder: Path, given: str, said: str
) -> None:
    done = run(running, str(folder / "one.age"), "--passphrase-stdin", given=given)
    assert done.returncode == 1
    assert said in done.stderr
    assert names(folder) == []


def test_without_a_passphrase_nothing_is_written(running: ApplianceProcess, folder: Path) -> None:
    done = fork_server.programs().run(
        "appliance", ["backup", str(folder / "one.age")], env=running.environment(), seconds=60
    )
    assert done.returncode == 1
    assert "the passphrase is missing: set backup.passphrase_file" in done.stderr
    assert names(folder) == []


def test_a_passphrase_is_made_with_its_sheet_before_anything_is_configured(folder: Path, tmp_path: Path) -> None:
    file = folder / "passphrase"
    env = {**os.environ, "APPLIANCE_DATA_DIR": str(tmp_path / "none"), "APPLIANCE_BACKUP_FOLDER": str(folder)}
    programs = fork_server.programs()
    done = programs.run("appliance", ["backup", "--make-passphrase", str(file)], env=env, seconds=60)
    assert done.returncode == 0, done.stderr
    passphrase = file.read_text().strip()
    assert len(passphrase) == 35
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert f"  Passphrase   {passphrase}\n" in done.stdout
    assert passphrase not in done.stderr
    again = programs.run("appliance", ["backup", "--make-passphrase", str(file)], env=env, seconds=60)
    assert again.returncode == 1
    assert "exists already" in again.stderr
    assert file.read_text().strip() == passphrase
    env["APPLIANCE_BACKUP_PASSPHRASE_FILE"] = str(file)
    sheet = programs.run("appliance", ["backup", "--sheet"], env=env, seconds=60)
    assert f"  Passphrase   {passphrase}\n" in sheet.stdout, sheet.stderr


def test_the_passphrase_is_nowhere(running: ApplianceProcess, folder: Path) -> None:
    file = folder / "one.age"
    for words in ([str(file), "--json"], [str(file)], ["--verify", str(file)], []):
        done = run(running, *words, **into(folder))
        assert PASSPHRASE not in done.stdout + done.stderr, words
    with open_backup(file, PASSPHRASE) as stream:
        inside = b"".join(entry.data for entry in read_archive(stream) if isinstance(entry, File | DumpPart))
    assert PASSPHRASE.encode() not in inside
    for path in (running.data_dir / "backups.json", running.log, file):
        assert PASSPHRASE.encode() not in path.read_bytes(), path


MEASURED = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, check=True)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""
"""Measures from a small process: of a child, the kernel counts the memory of what it was forked from as well."""


def test_a_large_database_takes_no_more_memory(running: ApplianceProcess, folder: Path) -> None:
    rows = times(16)
    with psycopg.connect(running.conninfo()) as connection, connection.cursor() as cursor:
        columns = "(ingested_at, topic, kind, reason, payload)"
        with cursor.copy(f"COPY quarantine_events {columns} FROM STDIN".encode()) as copy:
            for _ in range(rows):
                copy.write_row((datetime.now(UTC), "t", "telemetry", "INVALID_JSON", os.urandom(1_000_000)))
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, sys.executable, "-m", "appliance", "backup", str(folder / "one.age")],
        cwd=ROOT,
        env=running.environment(APPLIANCE_BACKUP_PASSPHRASE=PASSPHRASE),
        stdout=subprocess.PIPE,
        check=True,
    )
    assert (folder / "one.age").stat().st_size > rows * 1_000_000
    assert int(done.stdout) * 1024 < MEMORY
    running.query("DELETE FROM quarantine_events RETURNING 1")
