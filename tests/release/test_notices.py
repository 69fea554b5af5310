"""The third-party notices are those of what is installed."""

import re
from importlib.metadata import distribution
from pathlib import Path

import pytest
from click.testing import CliRunner

from appliance.cli import cli
from appliance.sbom.python_packages import licence_of
from release.notices import FILE, INSIDE, pinned, render, texts
from tests.support.project import ROOT

TEXT = FILE.read_text()
NO_TEXT = {"standardwebhooks"}
"""Packages that name their licence and bring no text of it."""


def test_they_are_up_to_date() -> None:
    assert render() == TEXT, "run PYTHONPATH=.ci python -m release.notices"


def test_every_pinned_package_is_named_with_its_licence_and_brings_the_text() -> None:
    rows = dict(re.findall(r"^\| ([\w.-]+) \| ([^|]+?) \| [^|]*\|$", TEXT, re.MULTILINE))
    assert {name: rows.get(name) for name in pinned()} == {name: licence_of(distribution(name)) for name in pinned()}
    assert all(rows.values())
    assert {name for name in pinned() if not list(texts(distribution(name)))} == NO_TEXT


def test_every_library_inside_of_a_wheel_is_named() -> None:
    folder = Path(str(distribution("psycopg-binary").locate_file("psycopg_binary.libs")))
    libraries = {re.split(r"-[0-9a-f]{8}", path.name)[0] for path in folder.iterdir()}
    assert libraries == set(INSIDE["psycopg-binary"])


def test_everything_that_is_served_to_browsers_is_named() -> None:
    licences = list((ROOT / "static").rglob("*.txt"))
    assert len(licences) >= 5
    plain = " ".join(TEXT.split())
    assert [path.name for path in licences if " ".join(path.read_text().split()) not in plain] == []


@pytest.mark.parametrize("name", ["GPL-3.0", "LGPL-2.1", "Python"])
def test_texts_that_others_refer_to_are_there(name: str) -> None:
    assert f"\n## {name}\n" in TEXT


def test_the_program_prints_them_wherever_it_is_installed() -> None:
    assert CliRunner().invoke(cli, ["version", "--notices"]).stdout == TEXT
