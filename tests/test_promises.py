"""The table of promises names tests that exist, and leaves no promise that is built without one."""

import ast
import re
from pathlib import Path

from tests.support.project import ROOT

PAGE = (ROOT / "docs" / "promises.md").read_text()
HEADING = re.compile(r"^### P(\d+) ", re.MULTILINE)
TEST = re.compile(r"^- `(tests/[\w/]+\.py)::(test_\w+)`$", re.MULTILINE)
BUILT = {*range(1, 26)}


def sections() -> dict[int, list[tuple[str, str]]]:
    """The tests of each promise: file and name."""
    _, *parts = HEADING.split(PAGE)
    return {int(number): TEST.findall(text) for number, text in zip(parts[::2], parts[1::2], strict=True)}


def names_in(path: Path) -> set[str]:
    """The names of the tests in a file."""
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    return {node.name for node in ast.parse(path.read_text()).body if isinstance(node, functions)}


def test_every_promise_that_is_built_has_tests() -> None:
    found = sections()
    assert found.keys() == BUILT
    assert [number for number, tests in found.items() if not tests] == []


def test_every_test_that_a_promise_names_exists() -> None:
    named = [test for tests in sections().values() for test in tests]
    missing = [(file, name) for file, name in named if not (ROOT / file).exists() or name not in names_in(ROOT / file)]
    assert missing == []
    assert PAGE.count("::") == len(named), "a line that is no test"
