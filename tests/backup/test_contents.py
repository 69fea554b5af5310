"""What a backup is of: one moment of the database, which nobody changes the shape of, and the files beside it."""

import tomllib
from pathlib import Path
from typing import Any

import pytest
import trio

from appliance.backup import contents
from appliance.backup.contents import addresses, gather, open_snapshot, without_passphrase
from appliance.children.data_dir import open_data_dir
from appliance.clock import SystemClock
from appliance.config import Backup, Broker, Config, Secret
from appliance.db import locks, roles
from appliance.db.migrations import Migration, migrate, shipped
from appliance.db.trio_psycopg import Connection, connect
from appliance.errors import ApplianceError
from tests.support.postgres_server import Database

PASSPHRASE = "canary correct horse"


async def test_rows_are_counted_of_every_table_but_those_left_out(database: Database) -> None:
    async with open_snapshot(database.endpoint) as snapshot, await connect(database.conninfo()) as other:
        await other.execute("INSERT INTO ingest_instances (instance) VALUES ('later')")
        assert snapshot.schema == len(shipped())
        assert snapshot.rows["schema_migrations"] == len(shipped())
        assert snapshot.rows["ingest_instances"] == 0
        query = "SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tablename !~ '^telemetry_[0-9]{8}$'"
        found = {name for (name,) in await (await other.execute(query)).fetchall()}
        assert set(snapshot.rows) == found - {"api_requests"}


async def test_a_migration_waits_for_a_backup_before_it_locks_anything(database: Database) -> None:
    later = [*shipped(), _step(len(shipped()) + 1)]
    migrated = trio.Event()

    async def upgrade() -> None:
        async with await connect(database.conninfo(roles.OWNER)) as owner:
            await migrate(owner, later, clock=SystemClock())
            migrated.set()

    async with trio.open_nursery() as nursery, await connect(database.conninfo()) as observer:
        async with open_snapshot(database.endpoint):
            nursery.start_soon(upgrade)
            with trio.fail_after(30):
                while not (waiting := await _waiting(observer)):
                    await trio.sleep(0.01)
            assert waiting == ["advisory"], "no table waits, so nothing of the stream waits behind it"
            assert not migrated.is_set()
        with trio.fail_after(30):
            await migrated.wait()


def _step(version: int) -> Migration:
    return Migration(version, "later", "checksum", "ALTER TABLE tenants ADD COLUMN later integer")


async def _waiting(observer: Connection[Any]) -> list[str]:
    query = "SELECT locktype FROM pg_locks WHERE NOT granted"
    return [kind for (kind,) in await (await observer.execute(query)).fetchall()]


async def test_a_backup_waits_for_a_migration_and_says_so_when_that_is_long(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contents, "LOCK_SECONDS", 0.1)
    async with await connect(database.conninfo(roles.OWNER)) as owner:
        await owner.execute("SELECT pg_advisory_lock(%s)", [locks.BACKUP_LOCK])
        with pytest.raises(ApplianceError, match="make the backup later"):
            async with open_snapshot(database.endpoint):
                pass


async def test_two_backups_are_made_at_once(database: Database) -> None:
    async with open_snapshot(database.endpoint) as one, open_snapshot(database.endpoint) as other:
        assert one.rows == other.rows


def test_files_of_the_data_folder_and_the_configuration_are_gathered(tmp_path: Path) -> None:
    data_dir, file = tmp_path / "data", tmp_path / "appliance.toml"
    with open_data_dir(data_dir) as data:
        instance = data.instance.instance_id
    (data_dir / "tls").mkdir()
    for name in ("ca.pem", "ca.key", "leaf.pem", "leaf.key", "half.tmp", ".ca.key.x"):
        (data_dir / "tls" / name).write_text(name)
    (data_dir / "tls" / "linked.pem").symlink_to("/etc/passwd")
    (data_dir / "mosquitto").mkdir()
    (data_dir / "mosquitto" / "mosquitto.db").write_text("store")
    file.write_text(f'[backup]\npassphrase = "{PASSPHRASE}"\n[web]\nport = 81\n')
    found = gather(Config(data_dir=data_dir, backup=Backup(passphrase=Secret(PASSPHRASE))), file)
    assert sorted(found) == [
        "appliance.toml", "instance.json", "keys.json", "settings.json",
        "tls/ca.key", "tls/ca.pem", "tls/leaf.key", "tls/leaf.pem",
    ]  # fmt: skip
    assert instance.encode() in found["instance.json"]
    assert tomllib.loads(found["appliance.toml"].decode())["web"] == {"port": 81}
    assert not [name for name, data in found.items() if PASSPHRASE.encode() in data]


@pytest.mark.parametrize(
    "text",
    [
        f'[backup]\npassphrase = "{PASSPHRASE}"\nkeep = 3\n',
        f"[backup]\nkeep = 3\npassphrase = '{PASSPHRASE}'",
        f'backup.passphrase = "{PASSPHRASE}"\n',
        f'[backup]\r\npassphrase = """{PASSPHRASE}"""\r\n',
        f'[backup]\npassphrase = """\\\n   {PASSPHRASE}"""\nkeep = 3\n',
        f'backup = {{ keep = 3, passphrase = "{PASSPHRASE}" }}\n',
        f'[backup]\n"passphrase" = "{PASSPHRASE}"\n',
        f'["backup"]\n"pass\\u0070hrase" = "{PASSPHRASE}"\n',
    ],
)
def test_the_passphrase_is_in_no_backup_however_it_was_written(text: str) -> None:
    shorter = without_passphrase(text.encode())
    assert PASSPHRASE.encode() not in shorter
    assert "passphrase" not in tomllib.loads(shorter.decode()).get("backup", {})


@pytest.mark.parametrize("text", ["", "[backup]\nkeep = 3\n", '[backup]\npassphrase_file = "p"\n', "# passphrase\n"])
def test_a_configuration_without_it_stays_as_it_is(text: str) -> None:
    assert without_passphrase(text.encode()) == text.encode()


def test_a_data_folder_without_an_appliance_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ApplianceError, match=r"instance\.json cannot be read"):
        gather(Config(data_dir=tmp_path), None)


def test_addresses_are_those_that_devices_use(tmp_path: Path) -> None:
    config = Config(data_dir=tmp_path, broker=Broker(host="192.0.2.7", port=1884))
    assert addresses(config) == ["192.0.2.7:1884"]
    external = Config(data_dir=tmp_path, broker=Broker(url="mqtts://broker.example:8884"))
    assert addresses(external) == ["mqtts://broker.example:8884"]
