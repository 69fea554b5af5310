"""The geometry of server-made charts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.web.page.axes import nice_top, value_ticks
from appliance.web.page.charts import Column, columns, end, highest, paths, spark


@pytest.mark.parametrize(
    ("value", "top"), [(0, 1), (0.3, 0.4), (1, 1), (38, 40), (61.2, 80), (100, 100), (101, 200), (72_000, 80_000)]
)
def test_the_top_is_round_and_holds_the_highest(value: float, top: float) -> None:
    assert nice_top(value) == pytest.approx(top)


@given(st.floats(1e-6, 1e12))
def test_no_value_stands_above_the_top_nor_in_its_lowest_third(value: float) -> None:
    assert value <= nice_top(value) * (1 + 1e-9)
    assert nice_top(value) <= 3 * value


def test_labels_go_from_the_top_down_to_nothing() -> None:
    assert [(tick.at, tick.text) for tick in value_ticks(80)] == [
        (0, "80"),
        (25, "60"),
        (50, "40"),
        (75, "20"),
        (100, "0"),
    ]


def test_a_line_runs_over_the_whole_width() -> None:
    assert paths([0, 5, 10], 10, 100, 100).line == "M0 100L50 50L100 0"
    assert paths([0, 5, 10], 10, 100, 100).area == "M0 100L50 50L100 0L100 100L0 100Z"


def test_a_gap_is_left_open() -> None:
    assert paths([1, 1, None, None, 1, 1], 1, 100, 10).line == "M0 0L20 0M80 0L100 0"


def test_a_single_value_is_still_seen() -> None:
    assert paths([None, 5, None], 10, 100, 100).line == "M50 50h.1"


def test_nothing_at_all_is_an_empty_picture() -> None:
    assert paths([None, None], 1, 100, 100).line == ""
    assert paths([], 1, 100, 100).line == ""
    assert highest([None], []) == 0
    assert end([], 1) is None
    assert end([1, None], 1) is None
    assert columns([None, 0, 0], 1) == []


def test_the_newest_value_is_marked() -> None:
    newest = end([1, 5], 10)
    assert newest is not None
    assert (newest.x, newest.y) == (100, 50)


def test_a_small_column_is_still_seen() -> None:
    assert columns([0, 1, 1000], 1000)[0] == Column(x=33.33, y=96, width=22.67, height=4)


def test_a_spark_runs_from_its_lowest_to_its_highest_value() -> None:
    assert spark([1.0, 2.0, 3.0]) == "M0 22.3L50 12L100 1.7"
    assert spark([5.0, 5.0]) == "M0 12L100 12"
    assert spark([1.0, 2.0, None, 1.0, 2.0]).count("M") == 2


def test_a_spark_needs_two_values_and_bears_any() -> None:
    assert spark([]) == spark([None, 1.0]) == ""
    assert "nan" not in spark([-1.7e308, 1.7e308, 0.0])
    assert "inf" not in spark([-1.7e308, 1.7e308, 0.0])
