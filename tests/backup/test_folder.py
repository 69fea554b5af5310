"""Which backups are kept: the newest of this appliance, whatever else lies there, whatever a clock said."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.backup.folder import made_at, name_of, on_one_disk, require, surplus
from appliance.errors import ApplianceError

MINE, OTHER = "0123456789ab", "ba9876543210"
NOW = datetime(2026, 3, 10, 2, 30, tzinfo=UTC)


def test_a_name_says_of_whom_and_when() -> None:
    name = name_of(MINE, NOW)
    assert name == "appliance-0123456789ab-20260310T023000Z.age"
    assert made_at(name, MINE) == NOW
    assert made_at(name, OTHER) is None
    for other in ("x.age", f"{name}.part", name.replace("0310", "1310"), f"x{name}"):
        assert made_at(other, MINE) is None


@given(
    st.lists(st.integers(-5000, 5000), unique=True),
    st.lists(st.integers(-5000, 5000)),
    st.integers(1, 10),
)
def test_only_older_ones_of_this_appliance_go_and_never_the_newest(
    hours: list[int], others: list[int], keep: int
) -> None:
    newest = name_of(MINE, NOW)
    mine = [name_of(MINE, NOW + timedelta(hours=hour)) for hour in hours]
    names = [newest, *mine, *(name_of(OTHER, NOW + timedelta(hours=hour)) for hour in others), "notes.txt"]
    gone = surplus(names, MINE, keep=keep, now=NOW, newest=newest)
    counted = [name for name in mine if name != newest and (made_at(name, MINE) or NOW) <= NOW + timedelta(days=1)]
    assert newest not in gone
    assert set(gone) <= set(counted)
    assert len(counted) - len(gone) == min(len(counted), keep - 1)
    assert gone == sorted(counted)[: len(gone)], "the oldest first"


def test_a_folder_is_never_made(tmp_path: Path) -> None:
    assert require(tmp_path) == tmp_path
    with pytest.raises(ApplianceError, match="mount the disk"):
        require(tmp_path / "missing")
    assert not (tmp_path / "missing").exists()


def test_the_disk_of_the_data_is_known(tmp_path: Path) -> None:
    assert on_one_disk(tmp_path, tmp_path.parent)
    assert not on_one_disk(Path("/proc"), tmp_path)
    assert not on_one_disk(tmp_path / "missing", tmp_path)
