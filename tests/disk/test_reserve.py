"""The reserve takes real room, comes back at once, and is found again by the next process."""

import errno
import os
from pathlib import Path

import pytest

from appliance.disk import reserve as reserves
from appliance.disk.levels import MIB, RESERVE_FILES, Room, levels_of_bytes
from appliance.disk.reserve import Reserve, give_back_if_short, measure

TOTAL = 260 * MIB
SIZE = levels_of_bytes(TOTAL).reserve


def taken(folder: Path) -> int:
    return sum(file.stat().st_blocks * 512 for file in folder.rglob("*") if file.is_file())


def test_it_takes_bytes_and_inodes_and_gives_all_of_them_back(tmp_path: Path) -> None:
    reserve = Reserve(tmp_path, TOTAL)
    assert (reserve.held_bytes, reserve.owed_bytes, reserve.owed_files) == (0, SIZE, RESERVE_FILES)
    reserve.take()
    assert (reserve.held_bytes, reserve.owed_bytes, reserve.owed_files) == (SIZE, 0, 0)
    assert taken(tmp_path) >= SIZE, "no holes"
    assert reserve.give_back() == SIZE
    assert taken(tmp_path) == 0
    assert not list(tmp_path.rglob("[0-9]*"))


def test_the_next_process_finds_what_is_held_and_what_was_given_back(tmp_path: Path) -> None:
    assert not Reserve(tmp_path, TOTAL).was_given_back, "there was none yet"
    Reserve(tmp_path, TOTAL).take()
    assert Reserve(tmp_path, TOTAL).owed_bytes == 0
    assert not Reserve(tmp_path, TOTAL).was_given_back
    Reserve(tmp_path, TOTAL).give_back()
    assert Reserve(tmp_path, TOTAL).was_given_back


def test_one_that_could_not_be_taken_whole_is_taken_up_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    had = iter(range(5))

    def reluctant(descriptor: int, start: int, size: int) -> None:
        if next(had, None) is None:
            raise OSError(errno.ENOSPC, "No space left on device")
        os.ftruncate(descriptor, start + size)
        os.pwrite(descriptor, b"x" * size, start)

    monkeypatch.setattr(os, "posix_fallocate", reluctant)
    reserve = Reserve(tmp_path, TOTAL)
    with pytest.raises(OSError, match="No space"):
        reserve.take()
    assert reserve.held_bytes == 5 * SIZE // RESERVE_FILES
    monkeypatch.undo()
    reserve.take()
    assert reserve.owed_bytes == 0


@pytest.mark.parametrize(
    ("room", "expected"),
    [
        (Room(TOTAL, 100 * MIB, 1000, 900), 0),
        (Room(TOTAL, 1 * MIB, 1000, 900), SIZE),
        (Room(TOTAL, 100 * MIB, 1000, 3), SIZE),
        (Room(TOTAL, 100 * MIB, 0, 0), 0),
    ],
)
def test_a_start_on_a_full_disk_gives_it_back_before_anything_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, room: Room, expected: int
) -> None:
    Reserve(tmp_path, TOTAL).take()
    monkeypatch.setattr(reserves, "measure", lambda _path: room)
    assert give_back_if_short(tmp_path) == expected


def test_what_is_measured_is_what_the_file_system_says(tmp_path: Path) -> None:
    found = measure(tmp_path)
    assert 0 < found.free <= found.total
    assert found.total == os.statvfs(tmp_path).f_blocks * os.statvfs(tmp_path).f_frsize
