"""A file that is asked for is there as a whole, or not at all."""

import errno
import fcntl
import os
import stat
from pathlib import Path

import pytest

from appliance.errors import ApplianceError, Invalid
from appliance.new_file import new_file


def test_it_has_its_name_only_once_it_is_whole_and_is_its_owners_alone(tmp_path: Path) -> None:
    file = tmp_path / "one.zip"
    with new_file(file) as new:
        new.write(b"one, ")
        new.write(b"two")
        assert [path.name for path in tmp_path.iterdir()] == ["one.zip.part"]
    assert [path.name for path in tmp_path.iterdir()] == ["one.zip"]
    assert (file.read_bytes(), file.stat().st_mode & 0o777) == (b"one, two", 0o600)


def _half(file: Path, error: BaseException) -> None:
    with new_file(file) as new:
        new.write(b"half")
        raise error


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError("no room")], ids=["interrupted", "no room"])
def test_left_early_nothing_is_there(tmp_path: Path, error: BaseException) -> None:
    (tmp_path / "one.zip.part").write_bytes(b"of a process that was killed")
    with pytest.raises((KeyboardInterrupt, ApplianceError)):
        _half(tmp_path / "one.zip", error)
    assert list(tmp_path.iterdir()) == []


def test_a_name_that_is_taken_meanwhile_keeps_what_it_has(tmp_path: Path) -> None:
    file = tmp_path / "one.zip"
    with pytest.raises(Invalid, match="exists already"), new_file(file):
        file.write_bytes(b"theirs")
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"theirs"]


def test_a_link_in_its_way_is_not_followed(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_bytes(b"theirs")
    (tmp_path / "one.zip.part").symlink_to(elsewhere)
    with pytest.raises(ApplianceError, match=r"one\.zip cannot be written"), new_file(tmp_path / "one.zip"):
        pass
    assert elsewhere.read_bytes() == b"theirs"


def test_a_file_that_gets_its_name_while_another_begins_keeps_what_it_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    part, file = tmp_path / "one.zip.part", tmp_path / "one.zip"
    part.write_bytes(b"whole")
    lock = fcntl.flock

    def end_first(descriptor: int, how: int) -> None:  # whoever wrote it has just let go of it
        part.rename(file)
        lock(descriptor, how)

    monkeypatch.setattr(fcntl, "flock", end_first)
    with pytest.raises(ApplianceError, match="is being written already"), new_file(file):
        pass
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"whole"]


def test_a_part_that_somebody_else_removes_before_it_is_locked_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fcntl, "flock", lambda *_: (tmp_path / "one.zip.part").unlink())
    with pytest.raises(ApplianceError, match="is being written already"), new_file(tmp_path / "one.zip"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_written_into_what_was_there(tmp_path: Path) -> None:
    """Whoever made that, or has it open, could read it."""
    part = tmp_path / "one.zip.part"
    part.write_bytes(b"")
    part.chmod(0o666)
    with part.open("rb") as theirs, new_file(tmp_path / "one.zip") as new:
        new.write(b"a secret")
        assert theirs.read() == b""
    assert (tmp_path / "one.zip").stat().st_mode & 0o777 == 0o600


def test_a_disk_without_a_sync_of_names_takes_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sync = os.fsync

    def without_names(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", without_names)
    with new_file(tmp_path / "one.zip") as new:
        new.write(b"whole")
    assert [path.name for path in tmp_path.iterdir()] == ["one.zip"]


def test_a_folder_that_may_be_written_to_and_not_read_takes_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = os.open

    def closed(path: Path, flags: int, mode: int = 0o777) -> int:
        if path == tmp_path:  # root may read it
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return opened(path, flags, mode)

    monkeypatch.setattr(os, "open", closed)
    with new_file(tmp_path / "one.zip") as new:
        new.write(b"whole")
    monkeypatch.undo()
    assert [path.name for path in tmp_path.iterdir()] == ["one.zip"]
