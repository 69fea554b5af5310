"""The content of a data folder is replaced as a whole: killed anywhere, the old one or the new one is there."""

import errno
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from appliance.children import replacement
from appliance.children.data_dir import lock_holder, locked_data_dir, open_data_dir
from appliance.errors import ApplianceError

OLD, NEW = {"instance.json": "old", "keys.json": "old", "postgres/PG_VERSION": "15"}, {"instance.json": "new"}
NEW |= {"keys.json": "new", "postgres/PG_VERSION": "16", "tls/ca.pem": "new"}
PLACE = {"clock.json": "of the machine", "upgrades/37.tar": "copy", "backups/one.age": "backup"}
STAYS = ("backups",)


def write(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def read(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): path.read_text()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "appliance.lock" and not path.is_symlink()
    }


def prepare(folder: Path, *, empty: bool = False) -> None:
    write(folder, PLACE if empty else OLD | PLACE)
    (folder / "sockets").symlink_to("/nonexistent")
    write(folder / replacement.BUILT, NEW | {"appliance.lock": ""})


def replace_all(folder: Path, die_at: int | None = None) -> bool:
    """Replace in a process of its own that dies at the n-th step; return whether it came to the end."""
    pid = os.fork()
    if pid:
        return os.waitpid(pid, 0)[1] == 0
    left = die_at

    def step() -> None:
        nonlocal left
        left = None if left is None else left - 1
        if left == 0:
            os._exit(9)

    try:
        replacement.begin(folder, sorted({name.split("/")[0] for name in NEW}), "replaced-now", STAYS, step)
    except BaseException:  # noqa: BLE001 - the test must not go on twice
        os._exit(1)
    os._exit(0)


@pytest.mark.parametrize("empty", [False, True])
def test_killed_at_any_step_the_next_start_has_the_whole_new_content_and_the_old_one_aside(
    tmp_path: Path, empty: bool
) -> None:
    aside = {} if empty else {f"replaced-now/{name}": text for name, text in OLD.items()}
    for die_at in range(1, 40):
        folder = tmp_path / str(die_at)
        prepare(folder, empty=empty)
        ended = replace_all(folder, die_at)
        with locked_data_dir(folder):
            assert read(folder) == NEW | PLACE | aside, f"killed at step {die_at}"
        if ended:
            break
    assert ended
    assert die_at > len(NEW)


def test_killed_before_the_journal_the_old_content_is_there_and_nothing_of_the_new(tmp_path: Path) -> None:
    prepare(tmp_path)
    with locked_data_dir(tmp_path):
        assert read(tmp_path) == OLD | PLACE


def test_of_a_running_appliance_the_pid_is_told_and_nothing_is_written(tmp_path: Path) -> None:
    assert lock_holder(tmp_path) is None
    with open_data_dir(tmp_path):
        assert lock_holder(tmp_path) == str(os.getpid())
    before = {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    assert lock_holder(tmp_path) is None
    assert {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == before


def test_a_damaged_journal_is_refused_with_what_to_do(tmp_path: Path) -> None:
    prepare(tmp_path)
    (tmp_path / replacement.JOURNAL).write_text("{")
    with (
        pytest.raises(ApplianceError, match=r"restore\.json is damaged .*restore the backup again"),
        locked_data_dir(tmp_path),
    ):
        pass
    assert (tmp_path / replacement.BUILT / "instance.json").exists()


def test_a_server_that_a_killed_restore_left_is_ended_before_its_folder_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replacement, "ASK_SECONDS", 0.2)
    prepare(tmp_path)
    place = tmp_path / replacement.BUILT / "postgres"
    deaf = "trap '' INT; exec -a postgres /bin/sleep 60"
    with subprocess.Popen(["/bin/bash", "-c", deaf], cwd=place) as server:
        while b"postgres" not in Path(f"/proc/{server.pid}/cmdline").read_bytes()[:8]:
            time.sleep(0.01)
        with locked_data_dir(tmp_path):
            assert server.wait(10) == -signal.SIGKILL
    assert read(tmp_path) == OLD | PLACE


def test_what_is_a_mount_of_its_own_is_named_before_anything_is_moved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare(tmp_path)
    before = read(tmp_path)
    monkeypatch.setattr(os.path, "ismount", lambda path: Path(path) == tmp_path / "postgres")
    with pytest.raises(ApplianceError, match=r"postgres is a mount of its own .*: unmount it first"):
        replacement.begin(tmp_path, ["instance.json"], "replaced-now", STAYS, lambda: None)
    assert read(tmp_path) == before


def test_the_size_of_a_link_is_not_that_of_what_it_leads_to(tmp_path: Path) -> None:
    write(tmp_path / "elsewhere", {"file": "x" * 100_000})
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    assert replacement.size(tmp_path / "elsewhere") >= replacement.size(tmp_path / "elsewhere/file") >= 100_000
    assert replacement.size(tmp_path / "link") < 10_000


@pytest.mark.parametrize("first", [replacement.JOURNAL, "replaced-now", "postgres"])
def test_a_disk_that_fails_is_told_with_what_became_of_the_restore(
    tmp_path: Path, first: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare(tmp_path)
    begun = first != replacement.JOURNAL
    with monkeypatch.context() as failing:
        full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        for name in ("make_folder", "write_atomically"):
            failing.setattr(replacement, name, failing_at(first, full, getattr(replacement, name)))
        failing.setattr(Path, "rename", failing_at(first, full, Path.rename))
        end = "needs no backup" if begun else f"Nothing was moved: what was in {tmp_path} is as it was"
        with pytest.raises(ApplianceError, match=f"No space left on device. .*{end}"):
            replacement.begin(
                tmp_path, ["instance.json", "keys.json", "postgres", "tls"], "replaced-now", STAYS, lambda: None
            )
        if begun:
            with pytest.raises(ApplianceError, match="needs no backup"), locked_data_dir(tmp_path):
                pass
    with locked_data_dir(tmp_path):
        found = read(tmp_path)
    aside = {f"replaced-now/{name}": text for name, text in OLD.items()}
    assert found == PLACE | (NEW | aside if begun else OLD)


def failing_at(name: str, error: OSError, work: Callable[..., Any]) -> Callable[..., Any]:
    """Return ``work``, which fails where its path ends with ``name``."""

    def done(path: Path, *arguments: Any, **more: Any) -> Any:
        if path.name == name:
            raise error
        return work(path, *arguments, **more)

    return done
