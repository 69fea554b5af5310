"""P22: what is not there is NotFound, and one place of the code says so."""

import ast

import pytest

from appliance.db.require import require, require_rows
from appliance.errors import NotFound
from tests.support.project import PACKAGE


def test_nothing_and_no_rows_are_not_found() -> None:
    assert require("a row", "device") == "a row"
    assert require_rows(3, "device") == 3
    with pytest.raises(NotFound, match=r"^There is no device d-1\.$"):
        require(None, "device d-1")
    with pytest.raises(NotFound, match=r"^There is no device d-1\.$"):
        require_rows(0, "device d-1")


def test_no_row_is_not_found_in_one_place_of_the_code() -> None:
    made = {
        path.relative_to(PACKAGE).as_posix()
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "NotFound"
    }
    assert made == {"db/require.py"}
