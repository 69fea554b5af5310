"""Folders that the children's users can reach, and an embedded cluster that is made once."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from appliance.children.data_dir import open_data_dir
from appliance.children.postgres import Postgres
from appliance.clock import SystemClock
from tests.support.postgres_server import ground


def _reachable_folder() -> Path:
    """Not pytest's tmp_path: that is closed to other users, and its name may be too long for a socket."""
    folder = Path(tempfile.mkdtemp(prefix="edge-children-", dir=ground()))
    folder.chmod(0o755)
    return folder


@pytest.fixture
def folder() -> Iterator[Path]:
    """A short folder that every user can enter."""
    path = _reachable_folder()
    yield path
    shutil.rmtree(path)


@pytest.fixture(scope="session")
def _made_cluster() -> Iterator[Path]:
    """A data folder whose Postgres has started once."""
    path = _reachable_folder()

    async def make() -> None:
        with open_data_dir(path / "data") as data_dir:
            async with trio.open_nursery() as nursery:
                await nursery.start(Postgres(data_dir, roles=ROLES, clock=SystemClock()).run)
                nursery.cancel_scope.cancel()

    trio.run(make)
    yield path / "data"
    shutil.rmtree(path)


ROLES = ("appliance_owner", "appliance_ingest")


@pytest.fixture
def data_path(folder: Path, _made_cluster: Path) -> Path:
    """A data folder with a cluster of its own, as a clean stop left it."""
    subprocess.run(["cp", "-a", _made_cluster, folder / "data"], check=True)
    return folder / "data"


@pytest.fixture
def as_root() -> bool:
    """Whether tests run as root, and children therefore as users of their own."""
    return os.geteuid() == 0
