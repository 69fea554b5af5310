"""The archive in a backup: it opens without us, and what is not whole is refused."""

import io
import json
import random
import subprocess
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from appliance.backup.age_file import AgeWriter, Damaged, WrongPassphrase
from appliance.backup.archive import (
    MAX_FILE,
    PART,
    DumpPart,
    File,
    Manifest,
    Summary,
    open_backup,
    read_archive,
    write_archive,
)
from appliance.errors import ApplianceError
from tests.support.soak import LONG, times

PASSPHRASE = "correct horse battery staple"
FILES = {"keys.json": b"keys", "tls/ca.pem": b"certificate", "empty": b""}
MANIFEST = Manifest(
    program="1.2.3",
    schema=37,
    postgres_major=15,
    dump_major=15,
    instance_id="abcdef012345",
    key_ids=("0011223344556677",),
    ca_fingerprint=None,
    created_at=datetime(2026, 3, 1, 3, 30, tzinfo=UTC),
    clock_trusted=True,
    addresses=("192.0.2.1:1883",),
    rows={"devices": 3, "telemetry": 12},
)


def plain(dump: Iterable[bytes] = (b"PGDMP", b"", b"rest"), manifest: Manifest = MANIFEST) -> bytes:
    out = io.BytesIO()
    write_archive(out, manifest, FILES, dump)
    return out.getvalue()


def read(data: bytes) -> list[Manifest | File | DumpPart | Summary]:
    return list(read_archive(io.BytesIO(data)))


def sealed(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        writer = AgeWriter(file, PASSPHRASE, work_factor=1)
        writer.write(data)
        writer.finish()


def test_an_archive_gives_back_what_was_written() -> None:
    dump = random.Random(1).randbytes(2 * PART + 5)
    pieces = [dump[at : at + 70_000] for at in range(0, len(dump), 70_000)]
    manifest, *rest, summary = read(plain(pieces))
    assert manifest == MANIFEST
    assert [(entry.name, entry.data) for entry in rest if isinstance(entry, File)] == list(FILES.items())
    parts = [entry.data for entry in rest if isinstance(entry, DumpPart)]
    assert b"".join(parts) == dump
    assert [len(part) for part in parts] == [PART, PART, 5]
    assert isinstance(summary, Summary)
    assert summary.dump.bytes == len(dump)


def test_tar_opens_it_and_joins_the_dump(tmp_path: Path) -> None:
    dump = random.Random(1).randbytes(2 * PART + 5)
    file = tmp_path / "plain.tar"
    file.write_bytes(plain([dump]))
    joined = subprocess.run(
        ["tar", "-xOf", str(file), "--wildcards", "database/*"], capture_output=True, check=True, timeout=60
    )
    assert joined.stdout == dump
    names = subprocess.run(["tar", "-tf", str(file)], capture_output=True, check=True, text=True, timeout=60).stdout
    assert names.split()[0] == "manifest.json"
    assert names.split()[-1] == "summary.json"
    shown = subprocess.run(["tar", "-xOf", str(file), "manifest.json"], capture_output=True, check=True, timeout=60)
    assert json.loads(shown.stdout)["instance_id"] == MANIFEST.instance_id


def test_a_plain_archive_that_is_cut_or_lengthened_is_refused() -> None:
    data = plain()
    for cut in [*range(0, len(data), 512), *random.Random(1).sample(range(len(data)), times(100))]:
        with pytest.raises(Damaged):
            read(data[:cut])
    for more in (b"\0", bytes(512), bytes(10_240), data):
        with pytest.raises(Damaged, match="follows its end"):
            read(data + more)


def test_a_plain_archive_with_a_changed_byte_is_refused() -> None:
    data = plain()
    for place in range(0, len(data), 1 if LONG else 5):
        changed = bytearray(data)
        changed[place] ^= 1 << (place % 8)
        with pytest.raises(ApplianceError):
            read(bytes(changed))


def members(data: bytes) -> list[bytes]:
    """The members of an archive, each with its header."""
    found, at = [], 0
    while data[at : at + 512].strip(b"\0"):
        size = int(data[at + 124 : at + 135], 8)
        end = at + 512 + -(-size // 512) * 512
        found.append(data[at:end])
        at = end
    return found


def test_members_that_miss_or_have_another_place_are_refused() -> None:
    manifest, *files, one, two, summary = members(plain([bytes(PART), b"2"]))
    end = bytes(1024)
    assert read(b"".join([manifest, *files, one, two, summary]) + end)
    for order in (
        [*files, one, two, summary],
        [manifest, one, two, summary],
        [manifest, *files, *files, one, two, summary],
        [manifest, *files, two, one, summary],
        [manifest, *files, one, summary],
        [manifest, *files, two, summary],
        [manifest, *files, one, one, two, summary],
        [manifest, *files, one, two],
        [manifest, manifest, *files, one, two, summary],
        [manifest, *reversed(files), one, two],
    ):
        with pytest.raises(Damaged):
            read(b"".join(order) + end)


@pytest.mark.parametrize("name", ["../escaped", "/etc/passwd", "a/../b", ".hidden", "a//b", "", "a b"])
def test_a_file_with_a_name_that_leads_elsewhere_is_neither_written_nor_read(name: str) -> None:
    with pytest.raises(ApplianceError, match="cannot be in a backup"):
        write_archive(io.BytesIO(), MANIFEST, {name: b""}, [])


def test_a_file_too_large_to_be_held_in_memory_is_not_written() -> None:
    with pytest.raises(ApplianceError, match="4194304 at most"):
        write_archive(io.BytesIO(), MANIFEST, {"large": bytes(MAX_FILE + 1)}, [])


def test_the_archive_of_a_later_program_is_refused_with_what_to_do() -> None:
    later = msgspec.structs.replace(MANIFEST, format=2)
    with pytest.raises(ApplianceError, match="update this one first"):
        read(plain(manifest=later))


def test_a_backup_is_opened_sealed_or_plain(tmp_path: Path) -> None:
    file, copy = tmp_path / "one.age", tmp_path / "one.tar"
    sealed(file, plain())
    copy.write_bytes(plain())
    for path, passphrase in ((file, PASSPHRASE), (copy, None), (copy, PASSPHRASE)):
        with open_backup(path, passphrase) as stream:
            assert next(read_archive(stream)) == MANIFEST
    with pytest.raises(WrongPassphrase), open_backup(file, "another"):
        pass
    with pytest.raises(ApplianceError, match=r"one\.age is sealed"), open_backup(file, None):
        pass


def test_a_sealed_backup_that_is_cut_says_which_file_it_is(tmp_path: Path) -> None:
    file = tmp_path / "one.age"
    sealed(file, plain())
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(Damaged, match=r"one\.age cannot be used"), open_backup(file, PASSPHRASE) as stream:
        list(read_archive(stream))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b"PGDMP" + bytes(1000), "is no backup"),
        (b"-----BEGIN AGE ENCRYPTED FILE-----\n", "age -d and age -p"),
        (b"age-encryption.org/v1\n", "header is damaged"),
    ],
)
def test_what_is_no_backup_is_refused(tmp_path: Path, content: bytes, said: str) -> None:
    file = tmp_path / "other"
    file.write_bytes(content)
    with pytest.raises(Damaged, match=said), open_backup(file, PASSPHRASE) as stream:
        list(read_archive(stream))


def test_a_file_that_cannot_be_read_is_refused_with_the_reason(tmp_path: Path) -> None:
    for path, said in ((tmp_path / "missing", "No such file"), (tmp_path, "Is a directory")):
        with pytest.raises(ApplianceError, match=said), open_backup(path, PASSPHRASE):
            pass


def test_errors_of_whoever_uses_it_keep_their_name(tmp_path: Path) -> None:
    file = tmp_path / "one.tar"
    file.write_bytes(plain())
    with pytest.raises(OSError, match="no room"), open_backup(file, None):
        raise OSError("no room")
