"""What all tests share: the servers, and the mark of tests that need one (``make quick`` leaves those out)."""

import gc
import os
import signal
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.support import soak
from tests.support.project import TESTS

soak.load_profile()

# Containers often switch byte code files off. Tests start our program hundreds of times: without them, each start
# compiles all of it anew, half a second long.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# A shell that starts us in the background makes us ignore SIGINT, and what we start inherits that: tests send it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

pytest_plugins = ["tests.support.postgres_server", "tests.support.mosquitto_server", "tests.support.appliance_process"]

REAL_FIXTURES = {"postgres_server", "database", "mosquitto", "ejabberd", "appliance"}
REAL_FOLDERS = {"system", "browser", "faults"}
REAL_FILES = {
    # they serve on real sockets
    "delivery/outgoing/test_smtp.py",
    "delivery/senders/test_email.py",
    "delivery/senders/test_mqtt.py",
    "web/http/test_body.py",
    "web/http/test_files.py",
    "web/http/test_forwarding.py",
    "web/http/test_hardening.py",
    "web/http/test_nginx.py",
    "web/http/test_probes.py",
    "web/http/test_server.py",
    "web/live/test_socket.py",
    # it takes a quarter of an hour apart, which takes seconds
    "ingest/test_long_outage.py",
    # it has a Postgres of its own, and stops it
    "delivery/outbox/test_courier_faults.py",
    # it has a broker of its own, with TLS
    "mqtt/aiomqtt/test_tls.py",
    # they start real processes
    "children/test_data_dir.py",
    "children/test_keeper.py",
    "children/test_leftovers.py",
    "children/test_process.py",
    "db/test_locks.py",
    "test_main.py",
}
"""Below ``tests/``. Each must exist: a file that moves takes its line with it."""

LONGEST = (("system", "faults", "broker", "children"), ("browser", "web"))
"""Folders with the longest files: first, so that at the end no worker is left alone with one of them.

The files of both rows alternate: those of the first wait for other processes half of their time, those of the second
keep a core busy.
"""


HOUR, CLEAR_SECONDS = 3600, 10.0


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """Begin no test in the last seconds of an hour of UTC: what it stored "today" would be of yesterday."""
    left = HOUR - time.time() % HOUR
    if left < CLEAR_SECONDS:
        time.sleep(left)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what needs a real server, from the fixtures and folders it uses, so that nobody can forget it."""
    missing = [name for name in REAL_FILES if not (TESTS / name).exists()]
    assert not missing, f"REAL_FILES names files that do not exist: {missing}"
    places = _places({item.path: _folder(item) for item in items})
    items.sort(key=lambda item: places[item.path])
    for item in items:
        fixtures = set(getattr(item, "fixturenames", ()))
        if fixtures & REAL_FIXTURES or _folder(item) in REAL_FOLDERS or _path(item).as_posix() in REAL_FILES:
            item.add_marker(pytest.mark.real)


def pytest_collection_finish() -> None:
    """Take what was imported and collected out of the sight of the collector: it walked through it at every round."""
    gc.collect()
    gc.freeze()


def _path(item: pytest.Item) -> Path:
    """Return the path of a test's file below ``tests/``."""
    return item.path.relative_to(TESTS)


def _folder(item: pytest.Item) -> str:
    """Return the folder directly below ``tests/`` that holds a test, or the file's name for a test in none."""
    return _path(item).parts[0]


def _places(folders: Mapping[Path, str]) -> dict[Path, float]:
    """Return where in the run each file stands: evenly from 0 to 1 those of a row of ``LONGEST``, then all others."""
    places = dict.fromkeys(folders, 1.0)
    for row in LONGEST:
        files = [path for folder in row for path, its in folders.items() if its == folder]
        places |= {path: number / len(files) for number, path in enumerate(files)}
    return places
