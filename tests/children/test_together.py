"""Both children under one parent: they live as long as it does, and not much longer."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from appliance.children.data_dir import open_data_dir
from appliance.children.leftovers import leftovers
from tests.support import soak
from tests.support.project import ROOT

pytestmark = pytest.mark.real

START_SECONDS = 60.0
GONE_SECONDS = 30.0
KILLS = soak.times(5)
FIRST_KILL, LAST_KILL = 0.3, 0.9
"""Seconds after the parent's start: from before its children start to when they serve."""
RESTART_SECONDS = 1.0
"""In which a child that ended with a thread has gone, or its successor has come."""


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


def command(path: Path) -> list[str]:
    return [sys.executable, "-m", "tests.children.parent", str(path)]


@contextmanager
def serving(path: Path) -> Iterator[tuple[subprocess.Popen[bytes], dict[str, int]]]:
    """The parent and the pids of its children, once both serve; killed in the end, and if that takes too long."""
    with subprocess.Popen(command(path), cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as parent:
        late = threading.Timer(START_SECONDS, parent.kill)
        late.start()
        try:
            assert parent.stdout is not None
            line = parent.stdout.readline()
            late.cancel()
            assert line, "the parent ended, or its children did not come in time"
            yield parent, json.loads(line)
        finally:
            late.cancel()
            parent.kill()


def threads(parent: subprocess.Popen[bytes]) -> int:
    return len(list(Path(f"/proc/{parent.pid}/task").iterdir()))


def test_kills_at_any_moment_leave_one_of_each(data_path: Path) -> None:
    """Also in the middle of a start: the next one finds what is left, stops it, and serves."""
    for number in range(KILLS):
        delay = FIRST_KILL + (LAST_KILL - FIRST_KILL) * number / (KILLS - 1)
        with subprocess.Popen(
            command(data_path), cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as parent:
            time.sleep(delay)  # where in the start it falls does not matter: every place is a case
            parent.kill()
    with serving(data_path) as (parent, pids):
        postmasters = [
            process.pid
            for process in leftovers(data_path / "postgres", frozenset({"postgres"}))
            if "-D" in process.argv
        ]
        assert postmasters == [pids["postgres"]]
        assert set(left_on(data_path)) >= set(pids.values())
        parent.send_signal(signal.SIGINT)
        parent.wait(GONE_SECONDS)
    assert left_on(data_path) == []


def test_children_outlive_idle_threads_and_end_with_a_killed_parent(data_path: Path) -> None:
    """What was forked under PR_SET_PDEATHSIG by a worker thread would end when that thread has rested for a while."""
    with serving(data_path) as (parent, pids):
        deadline = time.monotonic() + GONE_SECONDS
        while threads(parent) > 1:
            assert time.monotonic() < deadline, "worker threads do not end"
            time.sleep(0.05)
        time.sleep(RESTART_SECONDS)
        assert parent.poll() is None
        assert set(pids.values()) <= set(left_on(data_path))
    deadline = time.monotonic() + GONE_SECONDS
    while left_on(data_path):
        assert time.monotonic() < deadline, "children outlive their parent"
        time.sleep(0.05)
