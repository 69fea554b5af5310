"""An embedded database is copied before it is migrated; what fails, or must not be, leaves it as it was."""

import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psycopg
import pytest
import trio
from structlog.testing import capture_logs

from appliance.backup.verifying import verify
from appliance.children.data_dir import open_data_dir
from appliance.children.leftovers import processes
from appliance.children.programs import find_postgres_clients
from appliance.config import Config, load
from appliance.db import migrations
from appliance.db.endpoint import Endpoint
from appliance.db.migrations import shipped
from appliance.disk.levels import Room
from appliance.errors import ApplianceError
from appliance.peers import attendance
from appliance.peers.attendance import Attendant
from appliance.service_clock.clock import ServiceClock
from appliance.service_clock.machine import this_machine
from appliance.supervisor import room
from appliance.upgrade import copying
from appliance.upgrade.copies import FOLDER, find, prune_old
from appliance.upgrade.migration import MigrationOptions, Upgrade
from tests.support.newer_program import newer_program
from tests.support.postgres_server import Database

NOW = len(shipped())
GOOD, BAD = "CREATE TABLE newer_{} (n int)", "SELECT nonsense"


@dataclass(frozen=True)
class Patient:
    """A database with its data folder, and the program that is to migrate it."""

    database: Database
    folder: Path
    config: Config
    monkeypatch: pytest.MonkeyPatch

    def program(self, *steps: str) -> None:
        """Have the program know these steps behind those of this one."""
        folder = self.folder.parent / f"program-{len(list(self.folder.parent.iterdir()))}"
        known = shipped(newer_program(folder, *steps) / "sql" / "migrations")
        self.monkeypatch.setattr(migrations, "shipped", lambda: known)

    def start(
        self, *, external: bool = False, failpoint: Callable[[str], None] = lambda _place: None, **options: bool
    ) -> Upgrade:
        """Return the upgrade that a start makes."""
        return Upgrade(
            Endpoint.external(self.database.url) if external else self.database.endpoint,
            self.config,
            self.folder,
            clock=ServiceClock(self.folder, this_machine({})),
            options=MigrationOptions(**options),
            failpoint=failpoint,
        )

    def run(self, statement: str, *parameters: Any) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.database.conninfo(), autocommit=True) as connection:
            cursor = connection.execute(statement.encode(), parameters)
            return cursor.fetchall() if cursor.description else []

    def schema(self) -> int:
        [(version,)] = self.run("SELECT max(version) FROM schema_migrations")
        return int(version)

    def names(self) -> set[str]:
        folder = self.folder / FOLDER
        return {path.name for path in folder.iterdir()} if folder.exists() else set()


@pytest.fixture
def patient(database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Patient]:
    folder = tmp_path / "data"
    with open_data_dir(folder):
        config = load(None, {"APPLIANCE_DATA_DIR": str(folder)}).config
        yield Patient(database, folder, config, monkeypatch)


async def test_a_whole_copy_is_made_before_the_first_step_and_nothing_without_one(patient: Patient) -> None:
    await patient.start().run()
    assert patient.names() == set(), "nothing is to be done"
    patient.run("INSERT INTO tenants (created_at, updated_at, tenant_id) VALUES (now(), now(), 'acme')")
    patient.program(GOOD.format(1), GOOD.format(2))
    assert [step.version for step in await patient.start().run()] == [NOW + 1, NOW + 2]
    [copy] = find(patient.folder)
    assert (copy.schema, copy.target) == (NOW, NOW + 2)
    assert abs(copy.at - datetime.now(UTC)) < timedelta(minutes=5)
    assert stat.S_IMODE(copy.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(copy.path.parent.stat().st_mode) == 0o700
    clients = await find_postgres_clients(15)
    whole = verify(copy.path, None, clients.folder / "pg_restore", lambda _count: None)
    assert whole.manifest.schema == NOW
    assert whole.manifest.rows["tenants"] == 2, "one of them is the appliance's own"
    await patient.start().run()
    assert len(find(patient.folder)) == 1, "the upgrade is done"


async def test_a_step_that_fails_names_the_copy_which_serves_the_next_start_too(patient: Patient) -> None:
    patient.program(BAD)
    failing = patient.start()
    for _ in range(2):
        with pytest.raises(ApplianceError, match=rf"^migration {NOW + 1:04}_newer.sql.*nonsense") as told:
            await failing.run()
    [copy] = find(patient.folder)
    assert str(told.value).endswith(f"A copy of the database as it was before the upgrade is {copy.path}")
    with pytest.raises(ApplianceError, match=str(copy.path)):
        await patient.start().run()
    assert patient.schema() == NOW
    assert find(patient.folder) == [copy], "nobody has written since"

    later = copy.at + timedelta(seconds=1)
    patient.run("INSERT INTO listening VALUES ('here', %s, %s)", copy.at, later)  # by the program of before
    with pytest.raises(ApplianceError, match=r"schema-\d+-before"):
        await patient.start().run()
    [newer] = find(patient.folder)
    assert newer.at > copy.at, "the new one takes the place of the old"


async def test_an_upgrade_that_was_interrupted_goes_on_with_the_copy_from_before_it(patient: Patient) -> None:
    patient.program(GOOD.format(1), BAD, GOOD.format(3))
    with pytest.raises(ApplianceError, match="nonsense"):
        await patient.start().run()
    assert patient.schema() == NOW + 1
    [before] = find(patient.folder)
    now = datetime.now(UTC)
    before.keep_from(now - timedelta(days=31))
    patient.program(GOOD.format(1), GOOD.format(2), GOOD.format(3))
    assert [step.version for step in await patient.start().run()] == [NOW + 2, NOW + 3]
    assert find(patient.folder) == [before]
    assert prune_old(patient.folder, now + timedelta(days=30)) == [], "it leads back from an upgrade that was now"


async def test_a_copy_that_was_damaged_since_serves_no_more(patient: Patient) -> None:
    patient.program(BAD)
    with pytest.raises(ApplianceError, match="nonsense"):
        await patient.start().run()
    [damaged] = find(patient.folder)
    os.truncate(damaged.path, 2000)
    with pytest.raises(ApplianceError, match="nonsense"):
        await patient.start().run()
    [whole] = find(patient.folder)
    assert (whole.at > damaged.at, whole.path.stat().st_size > 2000) == (True, True)

    patient.program(GOOD.format(1), BAD)
    with pytest.raises(ApplianceError, match="nonsense"):
        await patient.start().run()
    [whole] = find(patient.folder)
    os.truncate(whole.path, 2000)
    assert patient.schema() == NOW + 1
    patient.program(GOOD.format(1), GOOD.format(2))
    told = rf"interrupted, and the copy made before it cannot be used: .*{whole.path.name}.*; `appliance migrate --with"
    with pytest.raises(ApplianceError, match=told):
        await patient.start().run()
    assert patient.schema() == NOW + 1
    await patient.start(without_copy=True).run()
    assert patient.schema() == NOW + 2


async def test_the_folder_of_copies_may_be_on_another_disk_but_must_be_one(patient: Patient) -> None:
    patient.program(GOOD.format(1))
    folder = patient.folder / FOLDER
    folder.touch()
    with pytest.raises(ApplianceError, match=f"is not migrated, since it was not copied before: .*{folder}"):
        await patient.start().run()
    folder.unlink()
    elsewhere = patient.folder.parent / "elsewhere"
    folder.symlink_to(elsewhere)
    with pytest.raises(ApplianceError, match=f"is not migrated, since it was not copied before: .*{folder}"):
        await patient.start().run()
    assert patient.schema() == NOW
    elsewhere.mkdir()
    await patient.start().run()
    assert [path.suffix for path in elsewhere.iterdir()] == [".tar"]


async def test_without_room_for_the_copy_nothing_is_migrated_but_on_request(patient: Patient) -> None:
    patient.program(GOOD.format(1))
    patient.monkeypatch.setattr(copying, "measure", lambda _path: Room(10 << 30, 100 << 20, 0, 0))
    told = r"copied before: a copy needs up to \d+ MB, and the disk of .* has 100 MB free, of which 128 MB must stay:"
    with pytest.raises(ApplianceError, match=rf"{told} make \d+ MB of room there; `appliance migrate --without-copy`"):
        await patient.start().run()
    assert patient.schema() == NOW
    await patient.start(without_copy=True).run()
    assert patient.schema() == NOW + 1
    assert patient.names() == set()


async def test_an_external_database_is_migrated_without_a_copy(patient: Patient) -> None:
    patient.program(GOOD.format(1))
    with capture_logs() as lines:
        await patient.start(external=True).run()
    assert (patient.schema(), patient.names()) == (NOW + 1, set())
    assert ["without a copy" in line["event"] for line in lines if line["log_level"] == "warning"] == [True]


async def test_on_a_schema_whose_programs_hold_no_lock_their_listening_counts(patient: Patient) -> None:
    async def listeners(_connection: object) -> list[Attendant]:
        return [Attendant("there", "attic", "0.0.9")]

    patient.program(GOOD.format(1))
    patient.monkeypatch.setattr(attendance, "listeners", listeners)
    patient.monkeypatch.setattr(attendance, "SINCE_SCHEMA", NOW + 1)
    with pytest.raises(ApplianceError, match=r"another program runs on it: attic \(version 0.0.9, instance there\)"):
        await patient.start().run()
    assert (patient.schema(), patient.names()) == (NOW, set())
    patient.monkeypatch.setattr(attendance, "SINCE_SCHEMA", NOW)
    await patient.start().run()


def children() -> set[int]:
    """Return the pids of what this process has started: other tests may make backups at the same time."""
    return {int(pid) for path in Path("/proc/self/task").glob("*/children") for pid in path.read_text().split()}


async def test_asked_to_stop_while_it_copies_it_leaves_nothing_and_migrates_nothing(patient: Patient) -> None:
    patient.program(GOOD.format(1))
    with trio.CancelScope() as scope:

        def ask(place: str) -> None:
            if place == "backup_half":  # in the thread that writes
                trio.from_thread.run_sync(scope.cancel)

        await patient.start(failpoint=ask).run()
    assert scope.cancelled_caught
    assert (patient.schema(), patient.names()) == (NOW, set())
    assert not [one for one in processes() if one.pid in children() and "pg_dump" in one.argv[0]], "nobody reads it"


async def test_a_disk_that_is_full_inside_a_step_is_waited_out_with_one_copy(
    patient: Patient, monkeypatch: pytest.MonkeyPatch
) -> None:
    patient.run("CREATE SEQUENCE tries")
    full = "RAISE EXCEPTION 'no space left on device' USING ERRCODE = 'disk_full'"
    patient.run("GRANT ALL ON tries TO appliance_owner, appliance_backup")
    patient.program(f"DO $$ BEGIN IF nextval('tries') < 3 THEN {full}; END IF; END $$; {GOOD.format(1)}")
    monkeypatch.setattr(room, "AGAIN_SECONDS", 0.0)
    copied = []
    upgrade = patient.start(failpoint=lambda place: copied.append(place) if place == "upgrade_copied" else None)
    await room.persist(SimpleNamespace(look=lambda: None), upgrade.run, what="schema")  # type: ignore[arg-type]
    assert patient.run("SELECT last_value FROM tries") == [(3,)], "a sequence is not rolled back"
    assert (patient.schema(), copied) == (NOW + 1, ["upgrade_copied"])


async def test_going_back_has_its_price_in_readings(patient: Patient) -> None:
    before = shipped()
    patient.program(GOOD.format(1))
    await patient.start().run()
    [copy] = find(patient.folder)
    patient.monkeypatch.setattr(migrations, "shipped", lambda: before)
    patient.run("SELECT telemetry_ensure_partitions(%s, %s)", copy.at.date(), copy.at.date() + timedelta(days=1))
    insert = "INSERT INTO telemetry VALUES ('t', 'd', 'm', %s, 1, %s, false, false, NULL, NULL, NULL, NULL, '{}')"
    for seconds in (-60, 60, 61, 62):
        at = copy.at + timedelta(seconds=seconds)
        patient.run(insert, at, at)
    way = rf"`appliance restore {copy.path} --replace`, the copy made before the upgrade"
    with pytest.raises(ApplianceError, match=rf"{way}.* with schema {NOW:04}; 3 readings received since would be lost"):
        await patient.start().run()
    patient.run("ALTER TABLE telemetry RENAME COLUMN received_at TO came_at")  # as a newer program may
    patient.run(
        "INSERT INTO ingest_ledger (minute, instance, received, stored) VALUES (%s, 'here', 70, 70)",
        copy.at + timedelta(minutes=2),
    )
    with pytest.raises(ApplianceError, match="about 70 readings received since would be lost"):
        await patient.start().run()
    copy.path.write_bytes(b"damaged")
    none = r"restore a backup made by it.*\(no copy made before the upgrade is left"
    with pytest.raises(ApplianceError, match=none):
        await patient.start().run()
    copy.path.unlink()
    copy.path.parent.rmdir()
    copy.path.parent.touch()
    with pytest.raises(ApplianceError, match=none):
        await patient.start().run()
