"""The arithmetic behind the benchmark's table."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.measurements import Line, Spread, latencies, line, percentile, table
from benchmarks.result import Latency, Pair, Result, lines


@given(st.lists(st.floats(0, 1e6), min_size=1), st.floats(0, 1))
def test_a_percentile_is_a_value_that_this_share_does_not_exceed(values: list[float], share: float) -> None:
    found = percentile(values, share)
    assert found in values
    assert sum(value <= found for value in values) >= share * len(values)
    assert sum(value < found for value in values) <= max(share * len(values), 0)


def test_percentiles_of_a_hundred() -> None:
    values = [float(number) for number in range(100, 0, -1)]
    assert [percentile(values, share) for share in (0, 0.5, 0.95, 0.99, 1)] == [1, 50, 95, 99, 100]


def test_a_message_is_dated_by_the_first_look_that_finds_it() -> None:
    published = [1.0, 1.1, 1.2, 1.3]
    seen = [(1.05, 0), (1.25, 2), (1.27, 2), (1.5, 4)]
    assert latencies(published, seen) == pytest.approx([0.25, 0.15, 0.3, 0.2])


def test_what_was_never_found_has_no_latency() -> None:
    assert latencies([1.0, 2.0], [(1.5, 1)]) == [0.5]
    assert latencies([], [(1.5, 1)]) == []


def test_a_spread_holds_its_values() -> None:
    assert Spread.of([3, 1, 2]) == Spread(2, 1, 3)
    assert line("x", [1000, 3000, 2000], aim="<= 9") == Line("x", "2,000", "1,000 - 3,000", "<= 9")


def test_a_table_aligns_its_columns() -> None:
    shown = table([Line("one", "1", "0 - 2", ">= 1"), Line("three hundred", "300")]).splitlines()
    assert shown == [
        "               median  range  aim",
        "one                 1  0 - 2  >= 1",
        "three hundred     300",
    ]


def test_ratios_are_taken_pair_by_pair() -> None:
    pairs = [
        Pair(50, 100, 100, 50, 9, 8, 1, 20, 45, 9),
        Pair(90, 100, 300, 100, 9, 9, 1, 20, 81, 10),
        Pair(30, 20, 60, 40, 9, 10, 1, 20, 27, 11),
    ]
    latency = Latency(2000, 10, 5, 9, 20, 30)
    result = Result("d", "m", "c", ["v"], 10, 10, 3, pairs, latency, 1, 1, 1, 10**8, 10_000, 10**8, 10**8, 60)
    by_name = {one.name: one for one in lines(result)}
    assert by_name["appliance / mosquitto_sub"] == Line("appliance / mosquitto_sub", "0.90", "0.50 - 1.50", ">= 0.8")
    assert by_name["appliance / bare COPY, largest"].value == "0.50"
    assert by_name["appliance / bare COPY, its own"].value == "0.90"
    assert by_name["CPU of the appliance, us a message"].value == "9.0"
