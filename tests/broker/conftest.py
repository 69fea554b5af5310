"""Fixtures of the broker's tests."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.postgres_server import ground


@pytest.fixture
def folder() -> Iterator[Path]:
    """A short folder that every user can enter."""
    path = Path(tempfile.mkdtemp(prefix="edge-broker-", dir=ground()))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)
