"""What others have made and we serve is what the list beside it says, whole and unchanged."""

import hashlib
import tomllib

from appliance.assets import asset

FOLDER = asset("static", "vendor")
LIBRARIES = tomllib.loads((FOLDER / "vendored.toml").read_text())["library"]


def test_every_file_is_listed_and_as_published() -> None:
    listed = {name: digest for library in LIBRARIES for name, digest in library["sha256"].items()}
    there = {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in FOLDER.iterdir()
        if path.name != "vendored.toml"
    }
    assert there == listed


def test_every_library_says_its_version_its_licence_and_why_it_is_here() -> None:
    for library in LIBRARIES:
        assert {"name", "version", "licence", "from", "why"} <= library.keys()
        texts = [(FOLDER / name).read_text() for name in library["sha256"]]
        assert any(f"v{library['version']}" in text for text in texts), library["name"]
        assert any("LICENSE" in name for name in library["sha256"]), library["name"]
