"""A backup of a whole appliance on another machine: what is the same there, what starts anew, what is refused."""

import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import msgspec
import psycopg
import pytest
import trio

from appliance.backup.archive import DumpPart, File, Manifest, open_backup, read_archive, write_archive
from appliance.children.data_dir import locked_data_dir, open_data_dir, read_instance
from appliance.cli.database import opened
from appliance.config import load
from appliance.db.audit import Actor, ActorKind
from appliance.db.change_context import ChangeContext
from appliance.db.endpoint import Endpoint
from appliance.errors import ApplianceError
from appliance.restore.loading import Source
from appliance.restore.restoring import Task, plan
from tests.support import fork_server, soak
from tests.support.appliance_process import ApplianceProcess, empty_cluster
from tests.support.couriers import SetClock
from tests.support.http_sink import HttpSink, answers, sink_in_thread
from tests.support.newer_program import newer_program
from tests.support.postgres_server import Database
from tests.support.publisher import TENANT
from tests.system.test_alert_rules import token_of

PASSPHRASE = "seven tired herons wade past a lock"
PATIENCE = 40.0
RULE = {"name": "Warm", "severity": "high", "kind": "threshold", "metric": "temperature", "operator": "GT", "value": 8}
ANEW = {
    "api_requests", "audit_log", "broker_copies", "clock_confirmations", "delivery_jobs", "links", "restores",
    "sessions", "watchdog_probes",
}  # fmt: skip
"""Tables whose rows a restore changes."""
FILES_WRITTEN, SWAPPING = 2, 10
"""Steps of a restore: before the database is built, and while folders are renamed."""
READINGS = soak.times(5_000)
MORE = """
    INSERT INTO telemetry (tenant_id, device_id, kind, ts, digest, received_at, ts_adjusted, late, metrics)
    SELECT tenant_id, device_id, kind, ts + i * interval '1 microsecond', digest + i, received_at, false, false,
      jsonb_build_object('temperature', random())
    FROM (SELECT * FROM telemetry LIMIT 1) AS one, generate_series(1, %s) AS i"""
CUTS = soak.times(2)
AT = datetime(2026, 12, 1, tzinfo=UTC)
CONTEXT = ChangeContext(Actor("kim", ActorKind.COMMAND), AT, AT, user_id=None)


@dataclass
class Old:
    """The machine of the backup, which goes on for a while after it."""

    process: ApplianceProcess
    sink: HttpSink
    device: dict[str, str]
    backup: Path
    tables: Mapping[str, str] = field(default_factory=dict)
    """Table -> count and checksum when the backup was made."""


def machine() -> ApplianceProcess:
    """Return a machine on which nothing was started yet."""
    return ApplianceProcess(
        {"APPLIANCE_BACKUP_PASSPHRASE": PASSPHRASE, "APPLIANCE_DELIVERY_ALLOW_NETWORKS": "127.0.0.0/8"}
    )


def run(process: ApplianceProcess, *words: str, **extra: str) -> subprocess.CompletedProcess[str]:
    return fork_server.programs().run("appliance", words, env=process.environment(**extra), seconds=120)


def publish(process: ApplianceProcess, device: Mapping[str, str], temperature: float) -> None:
    subprocess.run(
        ["mosquitto_pub", "-h", "127.0.0.1", "-p", str(process.mqtt_port), "-u", device["username"],
         "-P", device["password"], "-q", "1", "-t", f"tenant/{TENANT}/device/{device['device_id']}/telemetry",
         "-m", json.dumps({"temperature": temperature})],
        check=True, timeout=30,
    )  # fmt: skip


def wait_for(what: Callable[[], Any]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not what():
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.05)


def checksums(process: ApplianceProcess) -> Mapping[str, str]:
    """Return count and checksum of every table of an appliance that does not run."""
    found: dict[str, str] = {}

    def read(endpoint: Endpoint) -> None:
        with psycopg.connect(endpoint.conninfo("appliance_backup")) as connection:
            tables = connection.execute(
                "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p')"
            )
            for (name,) in tables.fetchall():
                rows = "coalesce(md5(string_agg(t::text, '' ORDER BY t::text)), '')"
                statement = f"SELECT count(*) || ' ' || {rows} FROM {name} AS t"
                [(found[name],)] = connection.execute(statement.encode()).fetchall()

    async def look() -> None:
        async with opened(load(None, process.environment()).config) as endpoint:
            await trio.to_thread.run_sync(read, endpoint)

    trio.run(look)
    return found


def set_up(process: ApplianceProcess, sink: HttpSink) -> dict[str, str]:
    """Make a rule, two routes of which one waits for an hour, and a device; return its credentials."""
    process.tenant()
    headers = {"Authorization": f"Bearer {token_of(process)}"}
    with httpx.Client(base_url=process.run["web_url"], headers=headers, timeout=20) as http:

        def made(path: str, **body: Any) -> Any:
            answer = http.post(f"/customer/{path}", json=body)
            assert answer.status_code == 201, answer.text
            return answer.json()

        made("alert-rules", **RULE)
        hook = made("integrations", name="Ops", type="webhook", config={"url": sink.url()})["integration_id"]
        common = {"integration_id": hook, "severities": ["high"], "deliver_on": ["OPEN", "CLOSED"]}
        made("integration-routes", name="Now", **common)
        made("integration-routes", name="Later", delay_seconds=3600, **common)
    device: dict[str, str] = process.command("device", "add", TENANT, "d-1")
    return device


@pytest.fixture(scope="module")
def old() -> Iterator[Old]:
    """A machine, backed up after one of two notices of an alert was sent; it sends the other afterwards."""
    process = machine()
    with sink_in_thread(answers(204)) as sink:
        try:
            process.start()
            device = set_up(process, sink)

            def told() -> bool:
                publish(process, device, 9)
                return len(sink.requests) == 1

            wait_for(told)
            with psycopg.connect(process.conninfo("postgres"), autocommit=True) as connection:
                connection.execute(MORE.encode(), [READINGS])
            process.stop()
            backup = process.folder / "one.age"
            done = run(process, "backup", str(backup))
            assert done.returncode == 0, done.stderr
            machine_before = Old(process, sink, device, backup, checksums(process))
            process.start()
            with psycopg.connect(process.conninfo("postgres"), autocommit=True) as connection:
                connection.execute("UPDATE integration_routes SET delay_seconds = 0")
                connection.execute("UPDATE delivery_jobs SET next_run_at = created_at WHERE status = 'PENDING'")
            wait_for(lambda: len(sink.requests) == 2)
            process.stop()
            yield machine_before
        finally:
            process.close()


@pytest.fixture
def new() -> Iterator[ApplianceProcess]:
    """A machine on which nothing was started yet."""
    process = machine()
    yield process
    process.close()


def ids(sink: HttpSink) -> list[str | None]:
    return [request.header("webhook-id") for request in sink.requests]


def test_a_new_machine_goes_on_as_the_same_appliance_and_sends_nothing_twice(old: Old, new: ApplianceProcess) -> None:
    told = len(old.sink.requests)
    done = run(new, "restore", str(old.backup), "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["skipped_notices"] == 1
    assert report["addresses_expected"] == [f"127.0.0.1:{old.process.mqtt_port}"]
    for name in ("instance.json", "keys.json"):
        assert (new.data_dir / name).read_bytes() == (old.process.data_dir / name).read_bytes()
    after = checksums(new)
    assert {name for name in old.tables if old.tables[name] != after[name]} <= ANEW
    assert after.keys() == old.tables.keys()

    new.start()
    assert new.process is not None
    done = run(new, "restore", str(old.backup), "--replace")
    assert (done.returncode, f"pid {new.process.pid}" in done.stderr) == (1, True), done.stderr
    assert new.query("SELECT presence_of(s, d.interval_seconds, w) FROM device_registry AS d"
                     " JOIN device_state AS s USING (tenant_id, device_id)"
                     " JOIN presence_watch AS w ON w.instance = s.heard_by") != [("OFFLINE",)]  # fmt: skip
    assert "broker state lost" not in new.log.read_text()
    assert new.query("SELECT count(*) FROM delivery_jobs WHERE status = 'SKIPPED' AND reason = 'restored'") == [(1,)]
    assert new.query("SELECT count(*) FROM sessions") == [(0,)]
    publish(new, old.device, 5)  # ends the alert; then another one opens
    wait_for(lambda: new.query("SELECT count(*) FROM fleet_alert WHERE status = 'CLOSED'") == [(1,)])
    publish(new, old.device, 9)
    held = "SELECT count(*) FROM delivery_jobs WHERE status = 'PENDING' AND reason = 'unconfirmed'"
    wait_for(lambda: new.query(held)[0][0] >= 3)
    assert len(old.sink.requests) == told, "nothing is sent before somebody says that the old machine is off"
    assert new.command("confirm-restore")["confirmed"]
    wait_for(lambda: len(old.sink.requests) >= told + 3)
    new.stop()
    assert len(set(ids(old.sink))) == len(old.sink.requests), "no delivery is sent twice"
    types = sorted(request.json["type"] for request in old.sink.requests[told:])
    assert types.count("alert.closed") == 2, "each route ends what it told, or may have told, from the old machine"


def test_a_file_that_is_not_whole_is_refused_and_nothing_is_touched(old: Old, new: ApplianceProcess) -> None:
    data, length = old.backup.read_bytes(), old.backup.stat().st_size
    shutil.copytree(old.process.data_dir, new.data_dir, symlinks=True, ignore=shutil.ignore_patterns("postgres"))
    before = snapshot(new.data_dir)
    broken = new.folder / "broken.age"
    positions = [round(n * (length - 1) / CUTS) for n in range(CUTS + 1)]
    config = load(None, new.environment()).config
    task = Task(Source(broken, PASSPHRASE), config, SetClock(), CONTEXT, True, ignore, lambda _name: None)
    for position in positions:
        for changed in (data[:position], data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :]):
            broken.write_bytes(changed)
            with pytest.raises(ApplianceError):
                trio.run(partial(plan, task, dry_run=True))
    for changes, way in (
        ({"schema": 9999, "program": "9.0"}, "install version 9.0 or newer"),
        ({"dump_major": 99}, "apt-get install postgresql-99"),
        ({"database_bytes": 10**18}, "make room"),
    ):
        rewritten(old.backup, broken, **changes)
        with pytest.raises(ApplianceError, match=way):
            trio.run(partial(plan, task, dry_run=True))
    broken.write_bytes(data[: length // 2])
    done = run(new, "restore", str(broken), "--replace")
    assert (done.returncode, done.stderr.startswith(f"error: {broken} cannot be used: ")) == (1, True), done.stderr
    wrong = run(new, "restore", str(old.backup), "--replace", APPLIANCE_BACKUP_PASSPHRASE=f"{PASSPHRASE} or not")
    assert (wrong.returncode, "passphrase" in wrong.stderr) == (1, True)
    bare = run(new, "restore", str(old.backup))
    assert (bare.returncode, "--replace" in bare.stderr) == (1, True)
    assert snapshot(new.data_dir) == before
    with locked_data_dir(new.data_dir):  # as an appliance does that runs
        asked = run(new, "restore", str(old.backup), "--replace", "--dry-run")
        refused = run(new, "restore", str(old.backup), "--replace")
    assert asked.returncode == 0, asked.stderr
    assert f"An appliance (pid {os.getpid()}) runs on {new.data_dir}: stop it before you restore." in asked.stdout
    assert "Older than retention.days" not in asked.stdout
    assert (refused.returncode, f"(pid {os.getpid()}) runs on" in refused.stderr) == (1, True)
    new.data_dir.chmod(0o757)
    asked = run(new, "restore", str(old.backup), "--replace", "--dry-run")
    assert (asked.returncode, "can be written by everybody: `chmod o-w" in asked.stderr) == (1, True)


def test_killed_anywhere_the_old_state_or_the_new_one_is_there_and_the_next_start_goes_on(
    old: Old, new: ApplianceProcess
) -> None:
    new.data_dir.mkdir()
    subprocess.run(["cp", "-a", empty_cluster(), new.data_dir / "postgres"], check=True)
    found: list[str] = []
    for die_at in range(1, 40) if soak.LONG else (FILES_WRITTEN, SWAPPING):
        done = run(new, "restore", str(old.backup), "--replace", EDGE_FAILPOINT=f"restore_step:{die_at}")
        if done.returncode == 0:
            break
        assert done.returncode == -9, done.stderr
        with open_data_dir(new.data_dir) as data:
            same = data.instance == read_instance(old.process.data_dir)
            assert not (data.path / "restoring").exists()
        tenants = {row["tenant_id"] for row in new.command("tenant", "list")}
        assert (TENANT in tenants) is same, f"step {die_at}: {tenants}"
        found.append("restored" if same else "before")
    assert set(found) == {"before", "restored"}
    assert found == sorted(found), "from some step on it is the new one"


@pytest.fixture
def elsewhere(database: Database) -> Iterator[str]:
    """The address of an empty database on a server that is not ours."""
    name = f"{database.name}_new"
    with psycopg.connect(database.conninfo(), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE template0".encode())
        yield f"postgresql://postgres@/{name}?host={database.server.socket_dir}"
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


def test_an_external_database_takes_one_when_it_is_empty_and_a_killed_restore_goes_on(
    old: Old, new: ApplianceProcess, elsewhere: str, tmp_path: Path
) -> None:
    new.settings["APPLIANCE_DATABASE_URL"] = elsewhere
    plain = tmp_path / "plain.tar"
    with open_backup(old.backup, PASSPHRASE) as stream, plain.open("wb") as out:
        while part := stream.read(1_000_000):
            out.write(part)
    died = run(new, "restore", str(plain), EDGE_FAILPOINT="restore_step:3")  # loaded, and the folder as before
    assert died.returncode == -9, died.stderr
    with psycopg.connect(elsewhere) as connection:
        assert connection.execute("SELECT count(*) FROM delivery_jobs WHERE status = 'PENDING'").fetchall() == [(0,)]
        assert connection.execute("SELECT count(*) FROM restores WHERE confirmed_at IS NULL").fetchall() == [(1,)]
    new.program = newer_program(tmp_path / "newer", "CREATE TABLE newer (n integer);")
    done = new.invoke("restore", str(plain), "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert (report["rows"]["device_registry"], report["migrations"]) == (1, 1), "an older backup is migrated"
    assert (new.data_dir / "instance.json").read_bytes() == (old.process.data_dir / "instance.json").read_bytes()
    again = new.invoke("restore", str(plain), "--replace", "--json")
    assert again.returncode == 0, "until somebody confirms it, the same backup may be restored again"
    assert new.command("confirm-restore")["confirmed"]
    refused = new.invoke("restore", str(plain), "--replace")
    assert (refused.returncode, "is not empty" in refused.stderr) == (1, True), refused.stderr


def rewritten(backup: Path, target: Path, **changes: Any) -> None:
    """Write a backup once more, plain, with another manifest."""
    with open_backup(backup, PASSPHRASE) as stream:
        manifest, *entries = read_archive(stream)
    assert isinstance(manifest, Manifest)
    files = {entry.name: entry.data for entry in entries if isinstance(entry, File)}
    dump = [entry.data for entry in entries if isinstance(entry, DumpPart)]
    with target.open("wb") as out:
        write_archive(out, msgspec.structs.replace(manifest, **changes), files, dump)


def ignore(_what: str, _count: int) -> None:
    """Tell nobody."""


def snapshot(folder: Path) -> Mapping[str, tuple[int, bytes]]:
    """Return what is in a folder, byte by byte."""
    return {
        str(path.relative_to(folder)): (path.lstat().st_mode, b"" if path.is_dir() else path.read_bytes())
        for path in sorted(folder.rglob("*"))
        if not path.is_symlink()
    }
