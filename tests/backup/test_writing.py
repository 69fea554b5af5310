"""A backup is written, verified and only then named; whatever fails leaves nothing."""

import errno
import fcntl
import os
import stat
import subprocess
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path

import pytest
import trio

from appliance.backup import writing
from appliance.backup.age_file import Damaged, WrongPassphrase
from appliance.backup.archive import DumpPart, open_backup, read_archive
from appliance.backup.verifying import verify
from appliance.backup.writing import Task, remove_parts, write_backup
from appliance.children.data_dir import open_data_dir
from appliance.children.programs import PostgresClients, find_postgres_clients
from appliance.clock import SystemClock
from appliance.config import Config
from appliance.errors import ApplianceError, Invalid
from appliance.failpoints import Failpoints
from appliance.new_file import PART
from tests.support.pipeline import arrange
from tests.support.postgres_server import Database, programs
from tests.support.retention import make_days, store
from tests.support.terminal import on_terminal

DAY = date(2026, 3, 1)
PASSPHRASE = "correct horse battery staple"


def silent(*_: object) -> None:
    """Tell nobody."""


@pytest.fixture
def task(database: Database, tmp_path: Path) -> Task:
    """A backup of a database, into an empty folder."""
    data_dir, folder = tmp_path / "data", tmp_path / "backups"
    with open_data_dir(data_dir):
        pass
    folder.mkdir()
    config = Config(data_dir=data_dir)
    return Task(folder / "one.age", PASSPHRASE, config, None, database.endpoint, SystemClock(), Failpoints(), silent)


def left(task: Task) -> list[str]:
    return sorted(path.name for path in task.file.parent.iterdir())


async def test_what_was_written_is_whole_and_ours_alone(task: Task, database: Database) -> None:
    arrange(database, "INSERT INTO ingest_instances (instance) VALUES ('one'), ('two')")
    done = await write_backup(task)
    assert left(task) == ["one.age"]
    assert stat.S_IMODE(task.file.stat().st_mode) == 0o600
    assert done.bytes == task.file.stat().st_size
    assert done.verified.manifest.rows["ingest_instances"] == 2
    pg_restore = programs() / "pg_restore"
    assert verify(task.file, PASSPHRASE, pg_restore, silent) == done.verified
    with pytest.raises(WrongPassphrase):
        verify(task.file, "another passphrase", pg_restore, silent)


async def test_the_command_of_the_sheet_opens_it_without_us(task: Task, database: Database, tmp_path: Path) -> None:
    arrange(database, "INSERT INTO ingest_instances (instance) VALUES ('one'), ('two')")
    await write_backup(task)
    tar = tmp_path / "backup.tar"
    await trio.to_thread.run_sync(on_terminal, ["age", "-d", "-o", str(tar), str(task.file)], [PASSPHRASE])
    line = (
        f"tar -xOf {tar} --wildcards 'database/*' | "
        f"{programs()}/pg_restore -O -x --data-only --table=ingest_instances -f -"
    )
    done = await trio.run_process(["sh", "-c", line], capture_stdout=True)
    assert b"\none\t" in done.stdout
    assert b"\ntwo\t" in done.stdout


async def test_answers_with_one_time_secrets_stay_out(task: Task) -> None:
    done = await write_backup(task)
    names = set(done.verified.manifest.rows)
    assert "api_tokens" in names
    assert "api_requests" not in names
    script = restored(task.file, "--data-only", "--table=api_requests")
    assert b"COPY" not in script
    assert b"CREATE TABLE public.api_requests" in restored(task.file, "--schema-only", "--table=api_requests")


def restored(file: Path, *options: str) -> bytes:
    """Return what pg_restore makes of the dump in a backup."""
    with open_backup(file, PASSPHRASE) as stream:
        dump = b"".join(entry.data for entry in read_archive(stream) if isinstance(entry, DumpPart))
    argv = [str(programs() / "pg_restore"), *options, "-f", "-"]
    return subprocess.run(argv, input=dump, capture_output=True, check=True, timeout=60).stdout


async def test_an_existing_file_is_never_overwritten(task: Task) -> None:
    task.file.write_bytes(b"old")
    with pytest.raises(Invalid, match="exists already") as caught:
        await write_backup(task)
    assert caught.value.field == "file"
    assert task.file.read_bytes() == b"old"
    assert left(task) == ["one.age"]


async def test_a_file_that_appears_meanwhile_is_kept(task: Task) -> None:
    def appear(name: str) -> None:
        if name == "backup_verified":
            task.file.write_bytes(b"theirs")

    with pytest.raises(Invalid, match="exists already"):
        await write_backup(replace(task, failpoint=appear))
    assert task.file.read_bytes() == b"theirs"
    assert left(task) == ["one.age"]


async def test_a_missing_folder_is_named(task: Task) -> None:
    file = task.file.parent / "missing" / "one.age"
    with pytest.raises(ApplianceError, match=f"the folder {file.parent} does not exist"):
        await write_backup(replace(task, file=file))


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (errno.ENOSPC, "the disk of .* is full; nothing was left there"),
        (errno.EDQUOT, "the disk of .* is full"),
        (errno.EROFS, "may not write to .*Read-only file system"),
        (errno.EACCES, "may not write to"),
        (errno.EIO, "Input/output error"),
    ],
)
async def test_what_the_file_system_refuses_is_said_and_nothing_is_left(
    task: Task, monkeypatch: pytest.MonkeyPatch, number: int, said: str
) -> None:
    real, count = os.write, 0

    def write(descriptor: int, data: bytes) -> int:
        nonlocal count
        count += len(data) > 1000
        if count == 3:
            raise OSError(number, os.strerror(number))
        return real(descriptor, data)

    monkeypatch.setattr(os, "write", write)
    with pytest.raises(ApplianceError, match=said):
        await write_backup(task)
    assert left(task) == []


@dataclass
class Broken:
    """A pg_dump that is another program."""

    script: str

    def into(self, folder: Path) -> PostgresClients:
        folder.mkdir()
        (folder / "pg_dump").write_text(f"#!/bin/sh\n{self.script}\n")
        (folder / "pg_dump").chmod(0o755)
        (folder / "pg_restore").symlink_to(programs() / "pg_restore")
        return PostgresClients(folder, 15)


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("echo 'pg_dump: error: no more rows' >&2; exit 1", "pg_dump failed: pg_dump: error: no more rows"),
        ("kill -9 $$", "pg_dump failed: exit code -9"),
        ("echo half; exit 3", "pg_dump failed: exit code 3"),
        ("head -c 3000000 /dev/zero", "cannot be used: pg_restore cannot read its dump"),
        ("true", "cannot be used: pg_restore cannot read its dump"),
    ],
)
async def test_a_dump_that_fails_leaves_nothing(
    task: Task, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, script: str, said: str
) -> None:
    clients = Broken(script).into(tmp_path / "bin")

    async def found(_: int) -> PostgresClients:
        return clients

    monkeypatch.setattr(writing, "find_postgres_clients", found)
    with pytest.raises(ApplianceError, match=said):
        await write_backup(task)
    assert left(task) == []


async def test_what_is_damaged_on_its_way_to_the_disk_is_found_and_not_named(task: Task) -> None:
    def damage(name: str) -> None:
        if name == "backup_written":
            part = task.file.with_name(task.file.name + PART)
            data = bytearray(part.read_bytes())
            data[len(data) // 2] ^= 1
            part.write_bytes(data)

    with pytest.raises(Damaged):
        await write_backup(replace(task, failpoint=damage))
    assert left(task) == []


async def test_an_unreachable_database_is_said_and_leaves_nothing(task: Task) -> None:
    nowhere = type(task.endpoint).local(task.file.parent, 1)
    with pytest.raises(ApplianceError, match="the database cannot be reached"):
        await write_backup(replace(task, endpoint=nowhere))
    assert left(task) == []


@pytest.mark.parametrize("place", ["writing", "verifying"])
async def test_cancelled_it_stops_soon_and_leaves_nothing(task: Task, database: Database, place: str) -> None:
    await make_days(database, DAY, DAY)
    store(database, DAY, 20_000)
    with trio.fail_after(60), trio.CancelScope() as scope:
        token = trio.lowlevel.current_trio_token()
        task = replace(task, progress=lambda what, _: token.run_sync_soon(scope.cancel) if what == place else None)
        await write_backup(task)
        assert False, "it was to be cancelled"  # noqa: B011, PT015 - scope swallows what is raised
    assert left(task) == []


async def test_a_second_backup_to_the_same_file_is_refused_while_the_first_writes(task: Task) -> None:
    async def begin_another() -> None:
        with pytest.raises(ApplianceError, match="is being written already: wait"):
            await write_backup(task)

    with task.file.with_name("one.age" + PART).open("wb") as part:
        fcntl.flock(part, fcntl.LOCK_EX)
        await begin_another()
        assert left(task) == ["one.age.part"]
    await write_backup(task)
    assert left(task) == ["one.age"]


def test_parts_of_killed_backups_are_removed_and_those_in_work_are_not(tmp_path: Path) -> None:
    for name in ("mine-1.age.part", "mine-2.age.part", "other.part", "mine-3.age"):
        (tmp_path / name).write_bytes(b"half")
    (tmp_path / "mine-4.age.part").mkdir()
    (tmp_path / "mine-5.age.part").symlink_to(tmp_path / "mine-3.age")
    with (tmp_path / "mine-2.age.part").open("rb") as in_work:
        fcntl.flock(in_work, fcntl.LOCK_EX)
        removed = remove_parts(tmp_path, lambda name: name.startswith("mine"))
    assert [path.name for path in removed] == ["mine-1.age.part"]
    odd = ["mine-4.age.part", "mine-5.age.part"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine-2.age.part", "mine-3.age", *odd, "other.part"]


async def test_programs_see_neither_the_passphrase_nor_our_environment(
    task: Task, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("APPLIANCE_BACKUP_PASSPHRASE", PASSPHRASE)
    seen = tmp_path / "seen"
    clients = Broken(
        f"tr '\\0' '\\n' < /proc/$$/environ > {seen}; tr '\\0' ' ' < /proc/$$/cmdline >> {seen}; exit 1"
    ).into(tmp_path / "bin")

    async def found(_: int) -> PostgresClients:
        return clients

    monkeypatch.setattr(writing, "find_postgres_clients", found)
    with pytest.raises(ApplianceError):
        await write_backup(task)
    text = seen.read_text()
    assert "PGHOST=" in text
    assert PASSPHRASE not in text
    assert "APPLIANCE" not in text


async def test_what_works_for_a_backup_gives_way_to_all_others(
    task: Task, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    seen = tmp_path / "seen"
    # The priority is set once the program runs: it waits for that.
    clients = Broken(f"while [ $(nice) -lt 10 ]; do sleep 0.01; done; nice > {seen}; exit 1").into(tmp_path / "bin")

    async def found(_: int) -> PostgresClients:
        return clients

    monkeypatch.setattr(writing, "find_postgres_clients", found)
    with trio.fail_after(30), pytest.raises(ApplianceError):
        await write_backup(task)
    assert int(seen.read_text()) >= 10


async def test_a_server_newer_than_our_programs_is_refused_with_what_to_install() -> None:
    assert (await find_postgres_clients(15)).major >= 15
    with pytest.raises(ApplianceError, match="apt-get install postgresql-client-99"):
        await find_postgres_clients(99)
