"""Copies by their names: which leads back, which serves again, and which stay."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from appliance.upgrade.copies import FOLDER, KEPT_FOR, Copy, find, interrupted, name_of, newest_usable, prune, prune_old

AT = datetime(2026, 5, 1, 3, 15, 2, tzinfo=UTC)


def lay(folder: Path, schema: int, target: int, day: int = 1) -> Path:
    path = folder / FOLDER / name_of(schema, target, AT.replace(day=day))
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"")
    return path


def test_a_name_says_from_which_schema_before_which_and_when(tmp_path: Path) -> None:
    path = lay(tmp_path, 37, 40)
    assert path.name == "schema-0037-before-0040-20260501T031502Z.tar"
    assert find(tmp_path) == [Copy(path, 37, 40, AT)]
    for name in ("notes.txt", "schema-0037-before-0040-20261301T031502Z.tar"):
        (path.parent / name).write_text("somebody's")
    assert find(tmp_path) == [Copy(path, 37, 40, AT)]
    assert find(tmp_path / "elsewhere") == []


def test_the_newest_that_a_program_can_use_leads_back(tmp_path: Path) -> None:
    old, newer = lay(tmp_path, 37, 40), lay(tmp_path, 40, 44, day=9)
    copies = find(tmp_path)
    found = [newest_usable(copies, known) for known in (37, 39, 40, 44)]
    assert [None if copy is None else copy.path for copy in found] == [old, old, newer, newer]
    assert newest_usable(copies, 36) is None


def test_that_of_an_interrupted_upgrade_serves_until_the_upgrade_is_done(tmp_path: Path) -> None:
    path = lay(tmp_path, 37, 40)
    copies = find(tmp_path)
    assert interrupted(copies, 38, 40) == interrupted(copies, 39, 41) == Copy(path, 37, 40, AT)
    assert interrupted(copies, 37, 40) is None, "nothing of it was applied: whoever ran since then may have written"
    assert interrupted(copies, 40, 41) is None, "it was done"
    assert interrupted(copies, 38, 39) is None, "this program knows less than the one that began"


def test_of_each_schema_the_newest_stays_of_the_last_two(tmp_path: Path) -> None:
    before_last = lay(tmp_path, 30, 37)
    failed, last = lay(tmp_path, 37, 40, day=8), lay(tmp_path, 37, 40, day=9)
    oldest = lay(tmp_path, 20, 30)
    part = last.with_name(f"{last.name}.part")
    part.write_bytes(b"half")
    foreign = last.with_name("notes.txt")
    foreign.write_text("somebody's")
    assert set(prune(tmp_path)) == {failed, oldest, part}
    assert set((tmp_path / FOLDER).iterdir()) == {last, before_last, foreign}
    assert prune(tmp_path) == []


def test_one_that_was_just_made_stays_whatever_a_wrong_clock_or_a_restore_has_left(tmp_path: Path) -> None:
    lay(tmp_path, 37, 40, day=9)
    made = lay(tmp_path, 37, 40, day=1)
    prune(tmp_path, Copy.of(made))
    assert [copy.path for copy in find(tmp_path)] == [made], "the other was made while the clock was ahead"
    kept, other = lay(tmp_path, 44, 48), lay(tmp_path, 40, 44)
    assert prune(tmp_path, Copy.of(made)) == [other], "a backup of schema 37 was restored"
    assert [copy.path for copy in find(tmp_path)] == [kept, made]


def test_one_that_is_too_old_to_go_back_to_goes(tmp_path: Path) -> None:
    old, last = lay(tmp_path, 30, 37), lay(tmp_path, 37, 40, day=2)
    for copy in find(tmp_path):
        copy.keep_from(copy.at)
    foreign = old.with_name("notes.txt")
    foreign.write_text("somebody's")
    assert prune_old(tmp_path, AT + KEPT_FOR) == []
    assert prune_old(tmp_path, AT + KEPT_FOR + timedelta(seconds=1)) == [old]
    assert set((tmp_path / FOLDER).iterdir()) == {last, foreign}
    assert prune_old(tmp_path / "elsewhere", AT) == []


def test_one_of_a_doubtful_clock_is_kept_from_when_a_sure_one_sees_it(tmp_path: Path) -> None:
    """The service time stands still while a machine is switched off, and steps on when its clock is sure again."""
    path, sure = lay(tmp_path, 37, 40), AT + 10 * KEPT_FOR
    [copy] = find(tmp_path)
    copy.keep_from(None)
    assert copy.kept_since(sure) is None
    assert prune_old(tmp_path, sure) == []
    assert copy.kept_since(sure + KEPT_FOR) == sure
    assert prune_old(tmp_path, sure + KEPT_FOR) == []
    assert prune_old(tmp_path, sure + KEPT_FOR + timedelta(seconds=1)) == [path]


def test_one_of_a_clock_that_was_ahead_is_not_kept_for_ever(tmp_path: Path) -> None:
    path, now = lay(tmp_path, 37, 40), AT - timedelta(days=3000)
    [copy] = find(tmp_path)
    copy.keep_from(copy.at)
    assert prune_old(tmp_path, now) == []
    assert prune_old(tmp_path, now + KEPT_FOR + timedelta(seconds=1)) == [path]


def test_copies_on_a_disk_that_is_away_are_not_none(tmp_path: Path) -> None:
    assert find(tmp_path) == []
    (tmp_path / FOLDER).symlink_to(tmp_path / "unmounted")
    with pytest.raises(FileNotFoundError):
        find(tmp_path)
