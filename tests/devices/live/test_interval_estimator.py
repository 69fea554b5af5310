"""The interval that a device's messages show."""

from collections.abc import Iterable

from appliance.devices.live.interval_estimator import SECOND, IntervalEstimator

START = 1_800_000_000 * SECOND


def after(gaps: Iterable[float], interval: float = 0.0) -> float:
    """What is learned from messages with ``gaps`` seconds between them."""
    estimator = IntervalEstimator(interval)
    at = START
    estimator.observe(at)
    for gap in gaps:
        at += round(gap * SECOND)
        estimator.observe(at)
    return estimator.interval


def test_nothing_is_known_of_the_first_message() -> None:
    assert after([]) == 0


def test_the_first_gap_is_the_first_guess() -> None:
    assert after([600]) == 600


def test_it_is_the_median_of_what_was_seen() -> None:
    assert after([10, 10, 10, 3600, 10]) == 10
    assert after([10, 20]) == 15


def test_only_the_last_twenty_gaps_count() -> None:
    assert after([10] * 100 + [60] * 20) == 60
    assert after([10] * 100 + [60] * 9) == 10


def test_what_comes_at_once_is_one_message_and_an_older_time_says_nothing() -> None:
    estimator = IntervalEstimator()
    for at in (0, 0, 60, 60, 50, 120):
        estimator.observe(START + at * SECOND)
    assert estimator.interval == 60


def test_what_was_learned_before_a_restart_counts_until_as_many_gaps_say_otherwise() -> None:
    assert after([], interval=30) == 30
    assert after([600] * 9, interval=30) == 30
    assert after([600] * 11, interval=30) == 600
