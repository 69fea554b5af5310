"""Both children under one parent: they live as long as it does, and not much longer."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from appliance.children.data_dir import open_data_dir
from appliance.children.leftovers import leftovers

pytestmark = pytest.mark.real

ROOT = Path(__file__).parents[2]
# Worker threads of Trio end after 10 s idle, and with them what they forked under PR_SET_PDEATHSIG.
THREADS_ARE_GONE = 15.0
GONE_SECONDS = 30.0


def left_on(path: Path) -> list[int]:
    postgres = leftovers(path / "postgres", frozenset({"postgres"}))
    mosquitto = leftovers(path / "mosquitto" / "mosquitto.conf", frozenset({"mosquitto"}))
    return [process.pid for process in (*postgres, *mosquitto)]


@pytest.fixture(autouse=True)
def _leave_nothing(data_path: Path) -> Iterator[None]:
    """A failed test must not leave servers running."""
    yield
    for pid in left_on(data_path):
        os.kill(pid, signal.SIGKILL)
    with open_data_dir(data_path):  # clears what the last killed parent left elsewhere
        pass


def test_kills_at_any_moment_leave_one_of_each(data_path: Path) -> None:
    """Also in the middle of a start: the next one finds what is left, stops it, and serves."""
    argv = [sys.executable, "-m", "tests.children.parent", str(data_path)]
    for delay in (0.3, 0.45, 0.6, 0.75, 0.9):
        with subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as parent:
            time.sleep(delay)  # where in the start it falls does not matter: every place is a case
            parent.kill()
    with subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as parent:
        try:
            assert parent.stdout is not None
            pids = json.loads(parent.stdout.readline())
            postmasters = [
                process.pid
                for process in leftovers(data_path / "postgres", frozenset({"postgres"}))
                if "-D" in process.argv
            ]
            assert postmasters == [pids["postgres"]]
            assert set(left_on(data_path)) >= set(pids.values())
        finally:
            parent.send_signal(signal.SIGINT)
            parent.wait(10)
    assert left_on(data_path) == []


def test_children_outlive_idle_threads_and_end_with_a_killed_parent(data_path: Path) -> None:
    argv = [sys.executable, "-m", "tests.children.parent", str(data_path)]
    with subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as parent:
        try:
            assert parent.stdout is not None
            pids = set(json.loads(parent.stdout.readline()).values())
            time.sleep(THREADS_ARE_GONE)  # the claim is about this very time
            assert parent.poll() is None
            assert pids <= set(left_on(data_path))
        finally:
            parent.kill()
    deadline = time.monotonic() + GONE_SECONDS
    while left_on(data_path):
        assert time.monotonic() < deadline, "children outlive their parent"
        time.sleep(0.05)
