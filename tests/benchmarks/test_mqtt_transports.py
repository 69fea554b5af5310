"""The table of the benchmark of transports."""

from benchmarks.mqtt_transports import report


def test_the_ratio_is_that_of_each_turn() -> None:
    shown = report(
        {"TCP": [(100.0, 1.0), (200.0, 1.0), (400.0, 1.0)], "TLS": [(90.0, 2.0), (100.0, 2.0), (100.0, 2.0)]}
    )
    [ratio] = [line for line in shown.splitlines() if line.startswith("TLS to TCP")]
    assert ratio.split() == ["TLS", "to", "TCP", "0.50", "0.25", "-", "0.90", ">=", "0.6"]
