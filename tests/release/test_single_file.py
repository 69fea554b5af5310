"""The single file: its launcher tried with a small program behind it, and what goes into the real one."""

import os
import re
import signal
import subprocess
import tarfile
import time
import tomllib
from collections.abc import Mapping
from importlib.metadata import distribution
from io import BytesIO
from pathlib import Path

import pytest

from appliance.single_file import restore
from release.single_file import pack, with_launcher
from tests.support.project import ROOT

VERSION = "9.8.7"
MACHINE = os.uname().machine
PROGRAM = """#!/bin/sh
echo "runs from $0 with $# arguments: $*"
echo "pid $$, mask $(umask), folder ${APPLIANCE_UNPACK_DIR-unset}"
[ "${1-}" != wait ] || read -r line
exit 3
"""
SPEC = (ROOT / ".ci/release/single_file.spec").read_text()


def _file(folder: Path, *, version: str = VERSION, program: str = PROGRAM, need: int = 1000) -> Path:
    """Write a single file whose program is ``program``."""
    content = folder / f"content-{version}"
    (content / "_internal").mkdir(parents=True)
    (content / "appliance").write_text(program)
    (content / "appliance").chmod(0o755)
    (content / "_internal" / "library").write_bytes(os.urandom(200_000))
    (content / "_internal" / "link").symlink_to("library")
    path = folder / f"single-{version}"
    path.write_bytes(with_launcher(pack(content), need, version, MACHINE))
    path.chmod(0o755)
    return path


@pytest.fixture
def single(tmp_path: Path) -> Path:
    """A single file with a small program."""
    return _file(tmp_path)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """The folder that the file shall unpack into."""
    return tmp_path / "cache" / "place"


def _run(file: Path, place: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environ = {"PATH": os.environ["PATH"], "APPLIANCE_UNPACK_DIR": str(place), **variables}
    return subprocess.run([str(file), *arguments], env=environ, capture_output=True, text=True, check=False, timeout=20)


def test_it_unpacks_once_and_runs_with_arguments_umask_and_exit_code_of_its_own(single: Path, place: Path) -> None:
    done = _run(single, place, "simulate", "two words")

    assert done.returncode == 3, done.stderr
    [folder] = place.iterdir()
    assert folder.name.startswith(f"{VERSION}-")
    assert f"runs from {folder}/appliance with 2 arguments: simulate two words" in done.stdout
    assert f"mask {os.umask(os.umask(0o022)):04o}, folder unset" in done.stdout
    assert place.stat().st_mode & 0o077 == 0
    before = (folder / "appliance").stat().st_mtime_ns, folder.stat().st_ino
    assert _run(single, place).returncode == 3
    assert ((folder / "appliance").stat().st_mtime_ns, folder.stat().st_ino) == before


def test_no_process_stands_before_the_program(single: Path, place: Path) -> None:
    with subprocess.Popen(
        [str(single), "wait"],
        env={"PATH": os.environ["PATH"], "APPLIANCE_UNPACK_DIR": str(place)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        told = process.stdout.readline() + process.stdout.readline()
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == -signal.SIGTERM
    assert f"pid {process.pid}," in told


def test_two_first_starts_at_once_both_run(single: Path, place: Path) -> None:
    environ = {"PATH": os.environ["PATH"], "APPLIANCE_UNPACK_DIR": str(place)}
    started = [subprocess.Popen([str(single)], env=environ, stdout=subprocess.DEVNULL) for _ in range(8)]
    assert [process.wait(20) for process in started] == [3] * 8
    assert len(list(place.iterdir())) == 1


def test_a_start_that_is_killed_leaves_nothing_that_a_later_one_runs(tmp_path: Path, place: Path) -> None:
    single = _file(tmp_path)
    bin_folder = tmp_path / "bin"
    bin_folder.mkdir()
    # tar, stopped in the middle of its work for good
    (bin_folder / "tar").write_text(f"#!/bin/sh\ntouch {tmp_path}/unpacking\nexec sleep 60\n")
    (bin_folder / "tar").chmod(0o755)
    environ = {"PATH": f"{bin_folder}:{os.environ['PATH']}", "APPLIANCE_UNPACK_DIR": str(place)}
    process = subprocess.Popen([str(single)], env=environ, start_new_session=True)
    while not (tmp_path / "unpacking").exists():
        assert process.poll() is None
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait(20)
    assert [entry.name for entry in place.iterdir()] == [f".part-{process.pid}"]

    assert _run(single, place).returncode == 3

    assert [entry.name for entry in place.iterdir() if entry.name.startswith(".")] == []


def test_a_new_version_takes_away_the_old_one_that_nothing_runs(tmp_path: Path, place: Path) -> None:
    old, new = _file(tmp_path, version="1.0.0"), _file(tmp_path, version="1.1.0")
    environ = {"PATH": os.environ["PATH"], "APPLIANCE_UNPACK_DIR": str(place)}
    with subprocess.Popen(
        [str(old), "wait"], env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as running:
        assert running.stdout is not None
        running.stdout.readline()
        assert _run(new, place).returncode == 3
        assert {entry.name.partition("-")[0] for entry in place.iterdir()} == {"1.0.0", "1.1.0"}
        running.communicate("\n", timeout=20)

    assert _run(_file(tmp_path, version="1.2.0"), place).returncode == 3
    assert {entry.name.partition("-")[0] for entry in place.iterdir()} == {"1.2.0"}


@pytest.mark.parametrize("damage", ["cut", "flipped"])
def test_a_damaged_file_is_refused_and_nothing_of_it_stays(single: Path, place: Path, damage: str) -> None:
    content = bytearray(single.read_bytes())
    if damage == "cut":
        del content[-50_000:]
    else:
        content[-50_000] ^= 0xFF
    single.write_bytes(content)

    done = _run(single, place)

    assert done.returncode == 1
    assert f"could not be unpacked: is {single} whole?" in done.stderr
    assert list(place.iterdir()) == []


def test_a_file_for_another_machine_says_so(tmp_path: Path, place: Path) -> None:
    single = _file(tmp_path)
    single.write_bytes(single.read_bytes().replace(f"Linux {MACHINE}".encode(), b"Linux mips64"))
    done = _run(single, place)
    assert done.returncode == 1
    assert f"not Linux on {MACHINE}" in done.stderr
    assert not place.exists()


def test_too_little_room_is_said_before_anything_is_unpacked(tmp_path: Path, place: Path) -> None:
    done = _run(_file(tmp_path, need=2**60), place)
    assert (done.returncode, list(place.iterdir())) == (1, [])
    assert re.search(r"\d+ KiB are needed, \d+ are free", done.stderr)


def test_a_folder_of_somebody_else_is_not_used(single: Path, tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "theirs")
    done = _run(single, tmp_path / "link")
    assert done.returncode == 1
    assert f"{tmp_path / 'link'}: belongs to another user" in done.stderr


NOEXEC = """
mount -t tmpfs -o noexec,mode=1777 none "$MOUNTED" && mount -t tmpfs -o mode=755 none /var/cache && exec "$@"
"""


def _run_beside_noexec(file: Path, mounted: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run ``file`` where ``mounted`` has a file system from which no program starts, and /var/cache is empty."""
    enter = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", NOEXEC, "sh"]
    environ = {"PATH": os.environ["PATH"], "MOUNTED": str(mounted), **variables}
    return subprocess.run([*enter, str(file)], env=environ, capture_output=True, text=True, check=False, timeout=20)


def test_a_place_mounted_noexec_is_passed_over(single: Path, tmp_path: Path) -> None:
    (tmp_path / "noexec").mkdir()
    done = _run_beside_noexec(single, tmp_path / "noexec", CACHE_DIRECTORY=str(tmp_path / "noexec"))
    assert done.returncode == 3, done.stderr
    assert "runs from /var/cache/edge-appliance/" in done.stdout


def test_where_everything_is_mounted_noexec_it_says_what_to_set(single: Path, tmp_path: Path) -> None:
    (tmp_path / "noexec").mkdir()
    done = _run_beside_noexec(single, tmp_path / "noexec", APPLIANCE_UNPACK_DIR=str(tmp_path / "noexec"))
    assert done.returncode == 1
    assert "no program starts from there (mounted noexec?)" in done.stderr
    assert "Set APPLIANCE_UNPACK_DIR to a folder on a disk, not mounted noexec" in done.stderr


def test_the_archive_is_the_same_for_the_same_content(tmp_path: Path) -> None:
    single = _file(tmp_path)
    content = tmp_path / f"content-{VERSION}"
    first = pack(content)
    os.utime(content / "appliance", (0, 0))
    assert pack(content) == first
    assert single.read_bytes().endswith(first)
    with tarfile.open(fileobj=BytesIO(first)) as archive:
        assert {entry.name: (entry.mode, entry.uid) for entry in archive if entry.isfile()} == {
            "_internal/library": (0o644, 0),
            "appliance": (0o755, 0),
        }


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({}, {}),
        ({"LD_LIBRARY_PATH_ORIG": "/theirs"}, {"LD_LIBRARY_PATH": "/theirs"}),
        ({"LD_LIBRARY_PATH_ORIG": ""}, {}),
    ],
)
def test_children_do_not_see_the_libraries_of_the_file(before: Mapping[str, str], after: Mapping[str, str]) -> None:
    environ = {
        "HOME": "/root",
        "LD_LIBRARY_PATH": "/cache/_internal",
        "_PYI_PARENT_PROCESS_LEVEL": "1",
        "_PYI_ARCHIVE_FILE": "/cache/appliance",
        **before,
    }
    restore(environ)
    assert environ == {"HOME": "/root", **after}


def test_what_the_wheel_brings_along_the_single_file_does_too() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    brought = project["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"]
    assert {name: f"appliance/_assets/{name}" for name in brought} == brought
    assert {name for name in brought if f'ROOT / "{name}"' not in SPEC} == set()
    assert 'ASSETS = "appliance/_assets"' in SPEC


def test_what_is_imported_by_name_is_named() -> None:
    for package in ("appliance", "hypercorn", "psycopg", "tzdata"):
        assert f'collect_submodules("{package}")' in SPEC, package
    assert 'collect_data_files("tzdata")' in SPEC
    folder = Path(str(distribution("psycopg-binary").locate_file("psycopg_binary")))
    modules = {path.name.partition(".")[0] for path in folder.iterdir() if path.suffix in {".py", ".so"}} - {"__init__"}
    assert {name for name in modules if f'"psycopg_binary.{name}"' not in SPEC} == set()


def test_nothing_under_the_gpl_goes_into_it() -> None:
    assert '"readline"' in SPEC.partition("excludes=[")[2].partition("]")[0]
