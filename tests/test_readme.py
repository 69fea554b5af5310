"""The README tells the truth: every command it names exists. (What they do is tried in tests/system.)"""

import re
import shlex

import pytest

from appliance.cli import COMMANDS
from appliance.config import FIELDS
from tests.support.project import ROOT

README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^```sh\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
MAKEFILE = (ROOT / "Makefile").read_text()


def _code() -> list[str]:
    """Every command line in it: in blocks and between backquotes."""
    lines = [line for block in BLOCKS for line in block.splitlines()]
    return lines + re.findall(r"(?<!`)`([^`\n]+)`(?!`)", README)


def test_blocks_are_shell_commands() -> None:
    assert len(BLOCKS) >= 4
    for block in BLOCKS:
        for line in block.splitlines():
            assert shlex.split(line)


def test_every_appliance_command_it_names_exists_and_none_is_left_out() -> None:
    mine = [line for line in _code() if not line.startswith("docker ")]
    named = {match[1] for line in mine if (match := re.search(r"(?:^|bin/)appliance ([a-z-]+)", line))}
    assert named == set(COMMANDS)


def test_every_make_target_it_names_exists() -> None:
    named = {match[1] for line in _code() if (match := re.search(r"(?:^| )make ([a-z]+)", line))}
    assert {"run", "demo", "test", "quick", "lint", "bench"} <= named
    assert named <= set(re.findall(r"^([a-z]+):", MAKEFILE, re.MULTILINE))


def test_every_variable_it_names_exists() -> None:
    variables = {field.variable for field in FIELDS.values()} | {"APPLIANCE_CONFIG"}
    assert set(re.findall(r"APPLIANCE_[A-Z_]+", README)) <= variables


@pytest.mark.parametrize("link", re.findall(r"\]\((?!https?:)([^)]+)\)", README))
def test_every_file_it_links_to_exists(link: str) -> None:
    assert (ROOT / link).exists()


def test_make_help_lists_every_target_with_its_words() -> None:
    targets = re.findall(r"^([a-z]+):(?!.*## )", MAKEFILE, re.MULTILINE)
    assert targets == []
