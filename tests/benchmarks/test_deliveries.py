"""The benchmark of deliveries: what it tells of its rounds."""

from benchmarks.deliveries import Round, Turn, lines
from benchmarks.telling import Report


def test_the_ratio_is_that_of_the_medians_and_waits_are_of_all_turns() -> None:
    told = Report(100, 2.0, [0.1] * 19 + [0.3], 0, 1, 0.05)
    turns = [Turn(Round(rate, 10.0, 5.0), Round(0.8 * rate, 12.0, 9.0), told) for rate in (1000.0, 2000.0, 4000.0)]
    found = {line.name: line for line in lines(turns)}
    assert found["ratio of the medians"].value == "0.80"
    assert found["commit to receiver, 60 notices, ms: p95"].value == "100"
    assert found["events of alerts a second"].value == "50.0"
    assert found["of healthy integrations not told"].value == "3"
