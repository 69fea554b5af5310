"""CSV: what a spreadsheet opens shows what is there and runs nothing."""

from datetime import UTC, datetime

import pytest

from appliance.web.page import csv


@pytest.mark.parametrize("text", ["=cmd()", "+1", "-1", "@SUM(A1)", "\tx", "\rx", "'=cmd()", "''-1"])
def test_a_text_that_would_be_a_formula_stands_behind_an_apostrophe(text: str) -> None:
    assert csv.cell(text) == f"'{text}"


def test_numbers_stay_numbers_and_nothing_is_empty() -> None:
    assert [csv.cell(value) for value in (-1.5, 2**53 + 1, None, True, "a-b", ["x", "y"])] == [
        "-1.5", "9007199254740993", "", "true", "a-b", "x, y",
    ]  # fmt: skip
    assert csv.cell(datetime(2026, 11, 26, 1, 2, 3, tzinfo=UTC)) == "2026-11-26T01:02:03+00:00"


def test_a_cell_with_separators_is_quoted() -> None:
    assert csv.lines([["a,b", 'c"d', "e\nf"]]) == '"a,b","c""d","e\nf"\r\n'
