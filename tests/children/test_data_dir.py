"""One appliance a data folder, an identity that stays, and nothing left behind."""

import errno
import fcntl
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from appliance.children import account, replacement
from appliance.children.data_dir import (
    RunFile,
    lock_holder,
    locked_data_dir,
    open_data_dir,
    read_run_file,
    refuse_unusable,
)
from appliance.errors import ApplianceError
from tests.support.project import ROOT

HOLD = """
import sys
from pathlib import Path
from appliance.children.data_dir import open_data_dir
with open_data_dir(Path(sys.argv[1])) as data_dir:
    print("held", data_dir.sockets, flush=True)
    sys.stdin.read()
"""


def holder(path: Path) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", HOLD, path], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def sockets_of(process: "subprocess.Popen[str]") -> Path:
    """Wait until it holds the folder; where its sockets are."""
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("held "):
            return Path(line.removeprefix("held ").strip())
    pytest.fail("it did not start")


def test_a_second_appliance_is_refused_with_the_pid_of_the_first(folder: Path) -> None:
    with holder(folder / "data") as first:
        try:
            sockets_of(first)
            with (
                pytest.raises(ApplianceError, match=rf"another appliance \(pid {first.pid}\) runs on {folder}/data"),
                open_data_dir(folder / "data"),
            ):
                pytest.fail("two appliances on one folder")
        finally:
            first.communicate()  # the end of its input ends it


def test_two_installations_have_no_secret_in_common(folder: Path) -> None:
    """Of a data folder; users and their passwords are made by the set-up, and there is none before it."""
    found = []
    for name in ("one", "two"):
        with open_data_dir(folder / name) as data_dir:
            keys = (data_dir.path / "keys.json").read_bytes()
            found.append({data_dir.instance.instance_id, data_dir.instance.mqtt_client_id, keys})
            sealed = data_dir.keyring.seal(b"x", "what for")
    assert found[0] & found[1] == set()
    with open_data_dir(folder / "one") as data_dir, pytest.raises(ApplianceError, match="sealed"):
        data_dir.keyring.open(sealed, "what for")


def test_what_a_killed_appliance_left_is_cleared(folder: Path) -> None:
    with holder(folder / "data") as first:
        sockets = sockets_of(first)
        (sockets / "postgres").mkdir()
        (folder / "data" / "run.json").write_text("{}")
        first.send_signal(signal.SIGKILL)
    assert sockets.exists()
    with open_data_dir(folder / "data") as data_dir:
        assert not sockets.exists()
        assert data_dir.sockets != sockets
        assert not (folder / "data" / "run.json").exists()


def test_a_link_in_the_place_of_the_sockets_leads_nowhere_else(folder: Path) -> None:
    precious = folder / "precious"
    precious.mkdir()
    (folder / "data").mkdir()
    (folder / "data" / "sockets").symlink_to(precious)
    with open_data_dir(folder / "data"):
        assert precious.exists()


def test_the_identity_stays_and_its_secret_is_closed(folder: Path) -> None:
    with open_data_dir(folder / "data") as data_dir:
        first = data_dir.instance
    with open_data_dir(folder / "data") as data_dir:
        assert data_dir.instance == first
    assert len(first.instance_id) == 12
    assert len(first.mqtt_client_id) == len("edge-") + 32
    assert (folder / "data" / "instance.json").stat().st_mode & 0o777 == 0o600
    assert first.mqtt_client_id not in repr(first)


def test_sockets_fit_and_are_closed_to_others(folder: Path) -> None:
    with open_data_dir(folder / "data") as data_dir:
        inner = data_dir.socket_folder("postgres", None)
        assert len(bytes(inner / ".s.PGSQL.5432")) <= 107
        assert inner.stat().st_mode & 0o777 == 0o700
        assert data_dir.sockets.stat().st_mode & 0o066 == 0
        assert (folder / "data" / "sockets").readlink() == data_dir.sockets
    assert not data_dir.sockets.exists()


def test_the_run_file_is_there_while_it_runs(folder: Path) -> None:
    run = RunFile(os.getpid(), "http://127.0.0.1:8080", "192.0.2.1", 1883, "embedded", "/run/x")
    assert read_run_file(folder / "data") is None
    with open_data_dir(folder / "data") as data_dir:
        data_dir.write_run_file(run)
        assert read_run_file(folder / "data") == run
    assert read_run_file(folder / "data") is None


def test_the_run_file_of_a_killed_one_counts_for_nothing_whoever_has_its_pid_now(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = RunFile(os.getpid(), "http://127.0.0.1:8080", "192.0.2.1", 1883, "embedded", "/run/x")
    with open_data_dir(folder / "data") as data_dir:
        data_dir.write_run_file(run)
        left = (folder / "data" / "run.json").read_bytes()
    (folder / "data" / "run.json").write_bytes(left)
    assert read_run_file(folder / "data") is None
    settle = replacement.settle

    def settle_and_look(path: Path) -> None:
        assert lock_holder(path) == str(run.pid), "process 1 of a container, again"
        assert read_run_file(path) is None
        settle(path)

    monkeypatch.setattr(replacement, "settle", settle_and_look)
    with locked_data_dir(folder / "data"):  # by a restore, or at the beginning of a start
        assert read_run_file(folder / "data") is None


def test_a_look_at_the_lock_keeps_no_appliance_from_starting(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_data_dir(folder / "data"):
        pass
    looking = os.open(folder / "data" / "appliance.lock", os.O_RDONLY)
    fcntl.flock(looking, fcntl.LOCK_SH)
    monkeypatch.setattr(time, "sleep", lambda _: os.close(looking))  # which ends the look
    with open_data_dir(folder / "data") as data_dir:
        assert lock_holder(data_dir.path) == str(os.getpid())


def _spoil(path: Path, how: str) -> None:
    match how:
        case "open to all":
            path.mkdir(mode=0o700)
            path.chmod(0o777)
        case "a file":
            path.write_text("mine")
        case "below a file":
            path.parent.rmdir()
            path.parent.write_text("mine")
        case "a link that leads nowhere":
            path.symlink_to("nowhere")


@pytest.mark.parametrize("how", ["open to all", "a file", "below a file", "a link that leads nowhere"])
def test_it_is_said_beforehand_why_a_folder_would_be_refused(folder: Path, how: str) -> None:
    path = folder / "above" / "data"
    path.parent.mkdir()
    refuse_unusable(path)
    assert not path.exists()
    _spoil(path, how)
    with pytest.raises(ApplianceError) as real, open_data_dir(path):
        pytest.fail("opened")
    with pytest.raises(ApplianceError) as told:
        refuse_unusable(path)
    assert str(told.value) == str(real.value)


def test_a_damaged_identity_is_not_replaced_in_silence(folder: Path) -> None:
    (folder / "data").mkdir()
    (folder / "data" / "instance.json").write_text('{"instance_id": "a')
    with pytest.raises(ApplianceError, match=r"instance\.json is damaged"), open_data_dir(folder / "data"):
        pytest.fail("opened")
    assert (folder / "data" / "instance.json").read_text() == '{"instance_id": "a'


def test_a_folder_open_to_everybody_is_refused_and_left_as_it_is(folder: Path) -> None:
    folder.chmod(0o777)
    with pytest.raises(ApplianceError, match=r"chmod o-w"), open_data_dir(folder):
        pytest.fail("opened")
    assert folder.stat().st_mode & 0o777 == 0o777


def test_a_file_is_not_a_folder(folder: Path) -> None:
    (folder / "data").write_text("")
    for path in (folder / "data", folder / "data" / "below"):
        with pytest.raises(ApplianceError, match="is not a folder"), open_data_dir(path):
            pytest.fail("opened")


def test_a_read_only_folder_is_refused_with_the_mend_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def read_only(**_: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(tempfile, "TemporaryFile", read_only)
    with pytest.raises(ApplianceError, match=r"\(Read-only file system\): mount it to be written to, or choose"):
        open_data_dir(tmp_path / "data").__enter__()


def test_root_is_refused_in_the_folder_of_another_user_and_leaves_no_trace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_data_dir(tmp_path / "data") as data:
        identity = data.path / "instance.json"
    if os.geteuid() == 0:
        os.chown(identity, 12_345, 12_345)
        user = "12345"
    else:
        user = str(account.user_name(os.geteuid()))
        monkeypatch.setattr(os, "geteuid", lambda: 0)
    before = {path.name: path.stat().st_mtime_ns for path in data.path.iterdir()}
    told = f"is that of user {user}, and root would close it .* `sudo -u #?{user}`"
    with pytest.raises(ApplianceError, match=told), open_data_dir(data.path):
        pytest.fail("it was opened")
    assert {path.name: path.stat().st_mtime_ns for path in data.path.iterdir()} == before
