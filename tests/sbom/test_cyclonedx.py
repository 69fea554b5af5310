"""The bill of materials: it is valid CycloneDX, and names each package with version, licence and hash."""

import json
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from jsonschema import Draft7Validator
from referencing import Registry, Resource

from appliance.cli import cli
from appliance.sbom import debian_packages, python_packages
from appliance.sbom.cyclonedx import document
from release.notices import pinned

SCHEMAS = Path(__file__).with_name("schema")
STATUS = """\
Package: libc6
Status: install ok installed
Architecture: amd64
Version: 2.36-9+deb12u14
Description: GNU C Library
 Package: not-a-field

Package: gone
Status: deinstall ok config-files
Architecture: amd64
Version: 1

Package: adduser
Status: install ok installed
Architecture: all
Version: 3.134
"""
PINNED = f"""\
Package: adduser
Version: 3.134
SHA256: {"a" * 64}
Package: libc6
Version: 2.36-9+deb12u99
SHA256: {"b" * 64}
"""


@pytest.fixture
def debian(tmp_path: Path) -> Path:
    """The root of a system with two packages, of which one is newer at the mirror."""
    files = {
        debian_packages.STATUS: STATUS,
        debian_packages.PINNED: PINNED,
        "etc/os-release": 'ID=debian\nVERSION_ID="12"\n# no more\n',
        "usr/share/doc/adduser/copyright": "Format: x\n\nFiles: *\nLicense: GPL-2+\n\nLicense: GPL-2+\n text\n",
        "usr/share/doc/libc6/copyright": "This is free software.\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def _schema() -> Draft7Validator:
    schemas = {path.name: json.loads(path.read_text()) for path in SCHEMAS.glob("*.json")}
    whole = schemas["bom-1.6.SNAPSHOT.schema.json"]
    known: Registry[Any] = Registry().with_resources(
        (f"http://cyclonedx.org/schema/{name}", Resource.from_contents(schema)) for name, schema in schemas.items()
    )
    return Draft7Validator(whole, registry=known)


def test_it_is_valid_and_the_same_every_time(debian: Path) -> None:
    found = document(debian)
    assert [error.message for error in _schema().iter_errors(found)] == []
    assert document(debian) == found
    broken = {**found, "components": [{**found["components"][0], "type": "thing"}]}
    assert list(_schema().iter_errors(broken)), "the schema is in force"


def test_every_pinned_package_is_in_it_with_version_licence_and_hash(tmp_path: Path) -> None:
    parts = {each["name"]: each for each in document(tmp_path)["components"]}
    assert set(pinned()) <= set(parts)
    for name in pinned():
        part = parts[name]
        assert part["version"] == distribution(name).version
        assert part["licenses"][0]["expression"], name
        assert part["purl"] == f"pkg:pypi/{name}@{part['version']}"
        assert len(part["hashes"][0]["content"]) == 64, name
    assert parts["python"]["type"] == "platform"


def test_the_packages_of_the_system_are_in_it_with_what_is_known_of_each(debian: Path) -> None:
    adduser, libc6 = [each for each in document(debian)["components"] if each["purl"].startswith("pkg:deb/")]
    assert adduser == {
        "type": "library",
        "bom-ref": "pkg:deb/debian/adduser@3.134?arch=all&distro=debian-12",
        "name": "adduser",
        "version": "3.134",
        "purl": "pkg:deb/debian/adduser@3.134?arch=all&distro=debian-12",
        "hashes": [{"alg": "SHA-256", "content": "a" * 64}],
        "licenses": [{"license": {"name": "GPL-2+"}}],
    }
    assert libc6["purl"] == "pkg:deb/debian/libc6@2.36-9%2Bdeb12u14?arch=amd64&distro=debian-12"
    assert "hashes" not in libc6, "the hash of another version is not that of this one"
    assert libc6["licenses"] == [{"license": {"name": "see /usr/share/doc/libc6/copyright"}}]


def test_a_wheel_is_known_by_its_tags_and_no_other_hash_is_taken() -> None:
    package = distribution("psycopg-binary")
    wheels = python_packages.wheel_hashes()
    [name] = [name for name, digest in wheels.items() if digest == python_packages.hash_of(package, wheels)]
    assert name.startswith(f"psycopg_binary-{package.version}-")
    assert python_packages.hash_of(package, {name: "0" for name in wheels if "aarch64" in name}) is None


def test_the_command_prints_it(debian: Path) -> None:
    done = CliRunner().invoke(cli, ["sbom", "--root", str(debian)])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout) == document(debian)
