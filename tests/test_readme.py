"""The README names every command and the main targets of make; what holds for all documents: test_documents.py."""

import re

from appliance.cli import COMMANDS
from tests.support.documents import code
from tests.support.project import ROOT

MAKEFILE = (ROOT / "Makefile").read_text()


def test_every_appliance_command_it_names_exists_and_none_is_left_out() -> None:
    mine = [line for line in code("README.md") if not line.startswith("docker ")]
    named = {match[1] for line in mine if (match := re.search(r"(?:^|bin/)appliance ([a-z-]+)", line))}
    assert named == set(COMMANDS)


def test_every_make_target_it_names_exists() -> None:
    named = {match[1] for line in code("README.md") if (match := re.search(r"(?:^| )make ([a-z]+)", line))}
    assert {"run", "demo", "test", "quick", "lint", "bench"} <= named
    assert named <= set(re.findall(r"^([a-z]+):", MAKEFILE, re.MULTILINE))


def test_make_help_lists_every_target_with_its_words() -> None:
    targets = re.findall(r"^([a-z]+):(?!.*## )", MAKEFILE, re.MULTILINE)
    assert targets == []
