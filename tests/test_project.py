"""The project's own files agree with one another."""

import re
import subprocess
import tomllib

import pytest

import appliance
from tests.support.project import ROOT, TESTS

PROJECT_FILE = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT = PROJECT_FILE["project"]
LISTS = ("requirements.txt", "requirements-dev.txt", "requirements-build.txt", "requirements-reference.txt")
TOOLS = ("requirements-binary.txt", "requirements-audit.txt")
"""What is installed on demand, in a folder of its own."""
SETUP = (ROOT / ".ci" / "setup").read_text()


def _pins(name: str) -> dict[str, str]:
    """Every pinned package of a list, with its version."""
    return dict(re.findall(r"^([A-Za-z0-9_.-]+)==([^ ]+)", (ROOT / name).read_text(), re.MULTILINE))


def test_version_stands_the_same_in_program_and_package() -> None:
    assert PROJECT["version"] == appliance.__version__


def test_the_package_needs_what_the_list_pins() -> None:
    declared = {re.split(r"[<>=]", requirement)[0] for requirement in PROJECT["dependencies"]}
    wanted = (ROOT / "requirements.in").read_text()
    listed = {line for line in wanted.splitlines() if line and not line.startswith("#")}
    assert declared == listed
    assert {name.partition("[")[0] for name in listed} <= set(_pins("requirements.txt"))


def test_tests_run_on_the_versions_that_are_shipped() -> None:
    assert _pins("requirements.txt").items() <= _pins("requirements-dev.txt").items()


def test_what_only_builds_is_neither_shipped_nor_tested_with() -> None:
    build = PROJECT_FILE["build-system"]["requires"]
    assert set(build) <= set(_pins("requirements-build.txt"))
    for name in ("requirements.txt", "requirements-dev.txt"):
        assert not {*build, "editables", "trove-classifiers"} & set(_pins(name)), name


def test_a_package_has_one_version_in_all_lists() -> None:
    tested = _pins("requirements-dev.txt")
    for name in ("requirements-build.txt", *TOOLS):
        pins = _pins(name)
        assert {package: tested.get(package, pin) for package, pin in pins.items()} == pins, name


@pytest.mark.parametrize("name", TOOLS)
def test_a_tool_that_is_installed_on_demand_stays_out_of_the_environment(name: str) -> None:
    purpose = name.removeprefix("requirements-").removesuffix(".txt")
    assert f"{purpose} | " in SETUP or f"| {purpose})" in SETUP
    assert "tools=.venv/$purpose-tools" in SETUP
    assert '--target "$tools" --requirement "$list"' in SETUP
    only = set(_pins(name)) - set(_pins("requirements-dev.txt")) - set(_pins("requirements-build.txt"))
    [tool] = [line for line in (ROOT / name).with_suffix(".in").read_text().splitlines() if line[0] not in "#-"]
    assert tool in only


def test_the_library_that_is_only_compared_with_is_installed_alone_and_only_for_tests() -> None:
    [(name, version)] = _pins("requirements-reference.txt").items()
    assert f"{name}=={version}" in (ROOT / "requirements-reference.in").read_text().splitlines()
    assert not any(name in _pins(other) for other in LISTS[:3])
    assert '[ "$purpose" != test ] || $pip --require-hashes --no-deps --requirement requirements-reference.txt' in SETUP


@pytest.mark.parametrize("name", LISTS)
def test_setup_runs_again_when_a_list_changes(name: str) -> None:
    fingerprint = SETUP.partition("fingerprint() {")[2].partition("}")[0]
    assert name in fingerprint.split()


@pytest.mark.parametrize("name", [*LISTS, *TOOLS])
def test_every_pin_has_hashes_and_no_address(name: str) -> None:
    text = (ROOT / name).read_text()
    entries = [entry for entry in re.split(r"\n(?=\S)", text.strip()) if not entry.startswith("#")]
    assert len(entries) == len(_pins(name))
    assert all("--hash=sha256:" in entry for entry in entries)
    assert "://" not in text
    assert "--index" not in text


def test_every_test_runs_for_every_user() -> None:
    skips = re.compile(r"mark\.skip|mark\.xfail|pytest\.skip|pytest\.xfail|importorskip")
    files = [path for path in TESTS.rglob("*.py") if path.name != "test_project.py"]
    assert [str(path) for path in files if skips.search(path.read_text())] == []


def test_the_image_installs_from_the_pinned_list() -> None:
    dockerfile = (ROOT / "Dockerfile").read_text()
    assert "--require-hashes --requirement requirements.txt" in dockerfile
    assert "--require-hashes --target /build-tools --requirement requirements-build.txt" in dockerfile
    assert dockerfile.count("/build-tools") == 2, "the last stage takes nothing from it"
    assert set(re.findall(r"^FROM (\S+)", dockerfile, re.MULTILINE)) == {"debian:bookworm-slim"}
    assert re.search(r"^USER (?!root|0$)", dockerfile, re.MULTILINE)
    assert "ca-certificates" in dockerfile, "receivers are verified by the CAs of the system"


def test_the_licence_is_the_one_declared() -> None:
    assert PROJECT["license"] == "Apache-2.0"
    assert "Apache License" in (ROOT / "LICENSE").read_text()


def test_an_unreleased_part_opens_the_changelog() -> None:
    headings = re.findall(r"^## (.*)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert headings[0] == "[Unreleased]"


def test_no_entry_of_the_changelog_is_torn_or_stands_twice() -> None:
    text = (ROOT / "CHANGELOG.md").read_text()
    entries = [" ".join(found.split()) for found in re.findall(r"^- (.+(?:\n  .+)*)$", text, re.MULTILINE)]
    assert sum(line.startswith(("- ", "  ")) for line in text.splitlines()) == sum(
        found.count("\n") + 1 for found in re.findall(r"^- .+(?:\n  .+)*$", text, re.MULTILINE)
    )
    assert [entry for entry in set(entries) if entries.count(entry) > 1] == []
    assert [entry for entry in entries if not entry.endswith((".", ".)"))] == []


def test_no_file_names_a_registry() -> None:
    """What is installed comes from wherever the machine's own settings say: no file of ours names a place."""
    names = (
        "pypi" + ".org",
        "pythonhosted" + ".org",
        "deb.debian" + ".org",
        "npmjs" + ".org",
        "docker" + ".io",
        "ghcr" + ".io",
    )
    command = ["git", "grep", "-lIiF", *(word for name in names for word in ("-e", name))]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (found.stdout, found.returncode) == ("", 1)
