"""What others have made and we serve, or test with, is what the list beside it says, whole and unchanged."""

import hashlib
import tomllib
from pathlib import Path
from typing import Any

import pytest

from appliance.assets import asset
from tests.support.project import TESTS

FOLDERS = [asset("static", "vendor"), TESTS / "browser" / "vendor"]


def libraries(folder: Path) -> list[dict[str, Any]]:
    """The list of a folder."""
    found: list[dict[str, Any]] = tomllib.loads((folder / "vendored.toml").read_text())["library"]
    return found


@pytest.mark.parametrize("folder", FOLDERS, ids=["served", "tested with"])
def test_every_file_is_listed_and_as_published(folder: Path) -> None:
    listed = {name: digest for library in libraries(folder) for name, digest in library["sha256"].items()}
    there = {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.iterdir()
        if path.name != "vendored.toml"
    }
    assert there == listed


@pytest.mark.parametrize("folder", FOLDERS, ids=["served", "tested with"])
def test_every_library_says_its_version_its_licence_and_why_it_is_here(folder: Path) -> None:
    for library in libraries(folder):
        assert {"name", "version", "licence", "from", "why"} <= library.keys()
        texts = [(folder / name).read_text() for name in library["sha256"]]
        assert any(library["version"] in text for text in texts), library["name"]
        assert any("LICENSE" in name for name in library["sha256"]), library["name"]
