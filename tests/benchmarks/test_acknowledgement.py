"""The benchmark of the device's acknowledgement: what counts as lost, and since when."""

from benchmarks.acknowledgement import Case, Round, lines, lost


def test_only_what_was_acknowledged_before_the_kill_can_be_lost() -> None:
    acknowledged = {1: 10.0, 2: 11.0, 3: 12.5, 4: 13.1}
    assert lost(acknowledged, stored={1}, killed=13.0) == Round(acknowledged=3, lost=2, window=2.0)
    assert lost(acknowledged, stored={1, 2, 3}, killed=13.0) == Round(acknowledged=3, lost=0, window=0.0)


def test_each_case_has_its_two_lines() -> None:
    found = lines({Case.BROKER: [Round(10, 1, 0.002), Round(10, 3, 0.004)]})
    assert [(line.name, line.value) for line in found] == [
        ("broker killed: messages lost", "2"),
        ("broker killed: window, ms", "3"),
    ]
