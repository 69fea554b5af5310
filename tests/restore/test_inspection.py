"""A backup is compared with this program and with the place before anything is touched, and each difference is told."""

import os
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path

import msgspec
import pytest

from appliance import keyring
from appliance.backup.archive import Manifest
from appliance.children.data_dir import open_data_dir
from appliance.children.replacement import BUILT, JOURNAL
from appliance.config import Retention
from appliance.db.migrations import shipped
from appliance.disk.levels import Room
from appliance.errors import ApplianceError, Conflict
from appliance.restore import inspection
from appliance.restore.inspection import MIB, Place

KNOWN = shipped()[-1].version
BACKUP = Manifest(
    program="1.2.0",
    schema=KNOWN,
    postgres_major=15,
    dump_major=15,
    instance_id="aa",
    key_ids=("01",),
    ca_fingerprint="AA:BB",
    created_at=datetime(2026, 11, 30, tzinfo=UTC),
    clock_trusted=True,
    addresses=("192.0.2.7:1883",),
    rows={"tenants": 1},
)
EMPTY = Place(Path("/data"), (), 0, Room(100_000 * MIB, 1000 * MIB, 0, 0), None, (), None, None)
USED = replace(EMPTY, names=("instance.json", "postgres"), bytes=5_000_000, instance_id="aa", key_ids=("01",))


def remarks(manifest: Manifest, place: Place) -> str:
    return " ".join(inspection.compared(manifest, place))


def test_a_backup_of_a_newer_program_names_the_version_to_install() -> None:
    newer = msgspec.structs.replace(BACKUP, schema=KNOWN + 1)
    with pytest.raises(ApplianceError, match=r"install version 1\.2\.0 or newer"):
        inspection.refuse(newer, EMPTY, replace=False)
    inspection.refuse(BACKUP, EMPTY, replace=False)
    older = msgspec.structs.replace(BACKUP, schema=KNOWN - 1)
    inspection.refuse(older, EMPTY, replace=False)
    assert f"migrated to {KNOWN}" in remarks(older, EMPTY)


def test_a_folder_that_is_not_empty_is_replaced_only_when_asked() -> None:
    with pytest.raises(Conflict, match=r"/data is not empty \(5 MB, of appliance aa\): give --replace"):
        inspection.refuse(BACKUP, USED, replace=False)
    inspection.refuse(BACKUP, USED, replace=True)
    assert remarks(BACKUP, USED) == ""


def test_what_differs_is_told() -> None:
    assert "holds another appliance, bb" in remarks(BACKUP, replace(USED, instance_id="bb"))
    assert "secrets sealed since are lost" in remarks(BACKUP, replace(USED, key_ids=("02", "01")))
    assert "certificate authority is another one" in remarks(BACKUP, replace(USED, ca_fingerprint="CC"))
    assert "clock of its machine was in doubt" in remarks(msgspec.structs.replace(BACKUP, clock_trusted=False), EMPTY)


def test_the_room_is_that_of_the_database_and_its_log_and_a_disk_without_it_is_refused() -> None:
    told = msgspec.structs.replace(BACKUP, database_bytes=300 * MIB)
    needed = inspection.needed_bytes(told, 10 * MIB, 1024 * MIB)
    assert needed == (128 + 300 + 300) * MIB
    assert inspection.needed_bytes(told, 10 * MIB, 32 * MIB) == (128 + 300 + 32) * MIB
    assert inspection.needed_bytes(BACKUP, 10 * MIB, 32 * MIB) > 10 * 10 * MIB, "an old backup does not tell it"
    assert inspection.needed_bytes(told, 10 * MIB, 0) == MIB, "an external database has a disk of its own"
    inspection.refuse_small_disk(EMPTY, needed)
    with pytest.raises(
        ApplianceError, match=r"needs 1,049 MB on the disk of /data, which has 1,049 MB free: make room"
    ):
        inspection.refuse_small_disk(EMPTY, 1000 * MIB + 1)


def test_a_place_is_looked_at_without_a_trace(tmp_path: Path) -> None:
    path = tmp_path / "none" / "data"
    assert inspection.look(path, ()).names == []
    assert not path.parent.exists()
    with open_data_dir(path) as data:
        keys = [key.id for key in keyring.decode((path / "keys.json").read_bytes())]
        instance = data.instance.instance_id
        used = inspection.look(path, ())
    with pytest.raises(ApplianceError, match=rf"an appliance \(pid {os.getpid()}\) runs on .*: stop it, then restore"):
        inspection.refuse_used(used)
    assert f"(pid {os.getpid()}) runs on {path}: stop it before you restore." in " ".join(inspection.in_the_way(used))
    (path / BUILT).mkdir()
    with pytest.raises(ApplianceError, match=rf"another restore \(pid {os.getpid()}\) works on .*: wait for its end"):
        inspection.refuse_used(used)
    assert list(inspection.in_the_way(used)) == [
        f"Another restore (pid {os.getpid()}) works on {path}: wait for its end."
    ]
    (path / BUILT).rmdir()
    found = inspection.look(path, ())
    assert (found.names, found.instance_id, found.key_ids) == (["instance.json", "keys.json"], instance, keys)


def test_an_interrupted_restore_is_in_the_way_of_the_next_one(tmp_path: Path) -> None:
    place = replace(EMPTY, path=tmp_path)
    assert list(inspection.in_the_way(place)) == []
    (tmp_path / JOURNAL).write_text("{}")
    assert "was interrupted, and is finished first" in " ".join(inspection.in_the_way(place))


def test_days_that_go_soon_are_told_with_the_setting_that_keeps_them() -> None:
    now = datetime(2026, 11, 30, 12, tzinfo=UTC)
    days = [date(2026, 11, day) for day in (1, 2, 3, 30)]
    told = inspection.expiring_days(days, now, Retention(days=28))
    assert "Older than retention.days = 28, and dropped soon after the start: 1 day of readings (2026-11-01)" in str(
        told
    )
    told = inspection.expiring_days(days, now, Retention(days=20), 1234)
    assert "1,234 readings of 3 days (2026-11-01 to 2026-11-03)" in str(told)
    assert "raise retention.days before you start the appliance" in str(told)
    assert inspection.expiring_days(days, now, Retention(days=29)) is None
    assert inspection.expiring_days(days, now, Retention(days=20), 0) is None, "partitions without readings"


def test_root_restores_nothing_into_the_empty_folder_of_a_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert inspection.look(tmp_path, ()).names == []
    if os.geteuid() == 0:
        os.chown(tmp_path, 12_345, 12_345)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    with pytest.raises(ApplianceError, match=r"is that of user .*: run this command as"):
        inspection.look(tmp_path, ())


def test_the_backup_itself_and_the_folder_of_backups_stay(tmp_path: Path) -> None:
    inside, outside = tmp_path / "backups" / "one.age", Path("/elsewhere/one.age")
    assert inspection.staying(tmp_path, inside, None) == {"backups"}
    assert inspection.staying(tmp_path, outside, tmp_path / "nightly" / "here") == {"nightly"}
    assert inspection.staying(tmp_path, outside, tmp_path) == set()


def test_no_other_file_of_an_archive_is_ever_written() -> None:
    for name in ("instance.json", "keys.json", "tls/ca.key", "appliance.toml", "settings.json"):
        assert inspection.accepts(name), name
    for name in ("appliance.lock", "tls/../x.pem", "tls/a/b.pem", "postgres/PG_VERSION", "run.json"):
        assert not inspection.accepts(name), name
