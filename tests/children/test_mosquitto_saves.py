"""A save that fails is known by the line after it, said once, and leaves nothing on the full disk."""

from pathlib import Path

import pytest
from structlog.testing import capture_logs

from appliance.children.mosquitto_saves import Saves

BEGINS = "Saving in-memory database to /var/lib/appliance/mosquitto/mosquitto.db."
FULL = "Error: No space left on device."


def saves_of(folder: Path, *, complete: bool = True) -> Saves:
    return Saves(folder / "mosquitto.db", lambda: complete)


def test_the_error_behind_a_save_is_the_saves_and_any_other_is_not(tmp_path: Path) -> None:
    saves = saves_of(tmp_path)
    assert not saves.heard(FULL)
    assert saves.trouble is None
    assert saves.heard(BEGINS)
    assert not saves.heard("New connection from 192.0.2.7:41002 on port 1883.")
    assert not saves.heard(FULL)
    assert saves.trouble is None
    assert saves.heard(BEGINS)
    assert saves.heard(FULL)
    assert not saves.heard("Error: Success."), "the second line of the same save"
    assert saves.trouble == "No space left on device"


@pytest.mark.parametrize(
    ("line", "cause"),
    [
        ("Error saving in-memory database, unable to open /x/mosquitto.db.new for writing.", "unable to open"),
        ("Error saving in-memory database, out of memory.", "out of memory"),
    ],
)
def test_other_reasons_are_told_as_they_are(tmp_path: Path, line: str, cause: str) -> None:
    saves = saves_of(tmp_path)
    saves.heard(BEGINS)
    saves.heard(line)
    assert cause in str(saves.trouble)


def test_it_is_over_when_a_save_was_followed_by_another_without_an_error(tmp_path: Path) -> None:
    saves = saves_of(tmp_path)
    troubles = []
    with capture_logs() as logs:
        for line in (BEGINS, FULL, BEGINS, FULL, BEGINS, BEGINS):
            saves.heard(line)
            troubles.append(saves.trouble is not None)
    assert troubles == [False, True, True, True, True, False], "whether a save succeeds is known at the next one"
    assert [entry["event"] for entry in logs] == [
        "the broker cannot save its queue",
        "the broker saves its queue again",
    ]


@pytest.mark.parametrize(("size", "complete", "trouble"), [(0, False, True), (8192, False, True), (8192, True, False)])
def test_a_store_that_was_cut_off_without_a_word_is_found(
    tmp_path: Path, size: int, complete: bool, trouble: bool
) -> None:
    (tmp_path / "mosquitto.db").write_bytes(b"x" * size)
    saves = saves_of(tmp_path, complete=complete)
    saves.heard(BEGINS)
    saves.heard(BEGINS)
    assert (saves.trouble is not None) is trouble


def test_a_store_that_does_not_end_at_a_buffer_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "mosquitto.db").write_bytes(b"x" * 5000)
    saves = saves_of(tmp_path, complete=False)
    saves.heard(BEGINS)
    saves.heard(BEGINS)
    assert saves.trouble is None


def test_what_a_failed_save_has_written_is_removed_and_the_store_is_kept(tmp_path: Path) -> None:
    store, unfinished = tmp_path / "mosquitto.db", tmp_path / "mosquitto.db.new"
    store.write_bytes(b"saved before")
    unfinished.write_bytes(b"x" * 1000)
    saves = saves_of(tmp_path)
    saves.heard(BEGINS)
    assert unfinished.exists(), "it is being written"
    saves.heard(FULL)
    assert not unfinished.exists()
    assert store.read_bytes() == b"saved before"


def test_a_new_process_has_not_failed_yet(tmp_path: Path) -> None:
    saves = saves_of(tmp_path)
    saves.heard(BEGINS)
    saves.heard(FULL)
    saves.started()
    assert saves.trouble is None
    assert not saves.heard(FULL)
