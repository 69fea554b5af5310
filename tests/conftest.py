"""What all tests share: the servers, and the mark of tests that need one (``make quick`` leaves those out)."""

import os
import signal
import sys
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# How long one example takes says how busy the machine is, and nothing about the claim.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")

# Containers often switch byte code files off. Tests start our program hundreds of times: without them, each start
# compiles all of it anew, half a second long.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# A shell that starts us in the background makes us ignore SIGINT, and what we start inherits that: tests send it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

pytest_plugins = ["tests.support.postgres_server", "tests.support.mosquitto_server", "tests.support.appliance_process"]

REAL_FIXTURES = {"postgres_server", "database", "mosquitto", "appliance"}
REAL_FOLDERS = {"system", "browser", "faults"}
REAL_FILES = {
    # they serve on real sockets
    "test_live_socket.py", "test_hardening.py", "test_server.py", "test_probes.py", "test_files.py",
    # it takes a quarter of an hour apart, which takes seconds
    "test_long_outage.py",
    # they start real processes
    "test_main.py", "test_keeper.py", "test_process.py", "test_leftovers.py", "test_data_dir.py", "test_locks.py",
}  # fmt: skip


LONGEST = ("system", "faults", "browser")
"""Folders whose files take minutes: first, so that at the end no worker is left alone with one of them."""


HOUR, CLEAR_SECONDS = 3600, 10.0


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """Begin no test in the last seconds of an hour of UTC: what it stored "today" would be of yesterday."""
    left = HOUR - time.time() % HOUR
    if left < CLEAR_SECONDS:
        time.sleep(left)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what needs a real server, from the fixtures and folders it uses, so that nobody can forget it."""
    items.sort(key=lambda item: _rank(Path(item.path).parent.name))
    for item in items:
        fixtures = set(getattr(item, "fixturenames", ()))
        folder = Path(item.path).parent.name
        if fixtures & REAL_FIXTURES or folder in REAL_FOLDERS or Path(item.path).name in REAL_FILES:
            item.add_marker(pytest.mark.real)


def _rank(folder: str) -> int:
    return LONGEST.index(folder) if folder in LONGEST else len(LONGEST)
