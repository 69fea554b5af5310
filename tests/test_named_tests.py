"""The pages that say what is tested name tests that exist, and leave nothing without one."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from tests.support.project import ROOT

DOCS = ROOT / "docs"
PAGES = ("promises.md", "security-checks.md", "faults.md")
TEST = re.compile(r"`(tests/[\w/]+\.py)::(test_\w+)`")
PROMISES = {*range(1, 26)}
FAULTS = {*range(1, 43)} - {9, 16, 24, 27, 32, 37, 38}
"""R37 is refused by design; the other numbers were never given."""


@cache
def names_in(path: Path) -> frozenset[str]:
    """Return the names of the tests in a file; none where there is no such file."""
    if not path.exists():
        return frozenset()
    body = ast.parse(path.read_text()).body
    return frozenset(node.name for node in body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def sections(page: str) -> dict[str, list[tuple[str, str]]]:
    """Return the tests below each heading of the third level: file and name."""
    _, *parts = re.split(r"^### (.+)$", (DOCS / page).read_text(), flags=re.MULTILINE)
    return {heading: TEST.findall(text) for heading, text in zip(parts[::2], parts[1::2], strict=True)}


@pytest.mark.parametrize("page", PAGES)
def test_every_test_that_a_page_names_exists(page: str) -> None:
    text = (DOCS / page).read_text()
    named = TEST.findall(text)
    assert [(file, name) for file, name in named if name not in names_in(ROOT / file)] == []
    assert text.count("::") == len(named), "a line that is no test"


def test_every_promise_that_is_built_has_tests() -> None:
    found = sections("promises.md")
    assert {int(heading.split()[0].removeprefix("P")) for heading in found} == PROMISES
    assert [heading for heading, tests in found.items() if not tests] == []


def test_every_requirement_of_security_has_tests() -> None:
    assert [heading for heading, tests in sections("security-checks.md").items() if not tests] == []


def test_every_fault_has_tests() -> None:
    rows = re.findall(r"^\| R(\d+) [^|]+\|[^|]+\|([^|]+)\|$", (DOCS / "faults.md").read_text(), re.MULTILINE)
    assert {int(number) for number, _ in rows} == FAULTS
    assert [number for number, tests in rows if not TEST.search(tests)] == []
