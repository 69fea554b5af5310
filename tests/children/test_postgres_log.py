"""Segments of Postgres's log that are made ahead: named as its next ones, of their size, and never half there."""

import errno
import os
from pathlib import Path

import pytest

from appliance.children import postgres_log
from appliance.children.postgres_files import MIB, LogSizes
from appliance.children.postgres_log import further_segments, make_segments, segment_size

SIZES = LogSizes(most=6, kept=6, segment=1, ahead=True)


def cluster(folder: Path, *names: str) -> Path:
    (folder / "pg_wal").mkdir()
    for name in names:
        (folder / "pg_wal" / name).write_bytes(b"x" * MIB)
    return folder


@pytest.mark.parametrize(
    ("newest", "segment", "expected"),
    [
        ("000000010000000000000001", 16, ["000000010000000000000002", "000000010000000000000003"]),
        ("0000000100000000000000FE", 16, ["0000000100000000000000FF", "000000010000000100000000"]),
        ("0000000100000000000003FF", 4, ["000000010000000100000000", "000000010000000100000001"]),
    ],
)
def test_they_are_named_as_the_next_ones(newest: str, segment: int, expected: list[str]) -> None:
    assert list(further_segments([newest], segment, 3)) == expected


def test_without_a_segment_there_is_no_next_one() -> None:
    assert list(further_segments([], 16, 3)) == []


def test_there_are_as_many_as_are_kept_and_no_more(tmp_path: Path) -> None:
    folder = cluster(tmp_path, "000000010000000000000007", "000000010000000000000008")
    assert make_segments(folder, SIZES, None) == 4
    assert make_segments(folder, SIZES, None) == 0
    files = sorted((folder / "pg_wal").iterdir())
    assert [file.name[-1] for file in files] == ["7", "8", "9", "A", "B", "C"]
    assert {file.stat().st_size for file in files} == {MIB}
    assert segment_size(folder) == 1


def test_without_room_none_is_half_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = cluster(tmp_path, "000000010000000000000001")
    whole = iter((True, True))

    def sync(_descriptor: int) -> None:
        if next(whole, None) is None:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(postgres_log, "sync_folder", lambda _folder: None)
    assert make_segments(folder, SIZES, None) == 2
    names = sorted(file.name for file in (folder / "pg_wal").iterdir())
    assert names == [f"00000001000000000000000{number}" for number in (1, 2, 3)]
