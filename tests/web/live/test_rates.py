"""The ring of counts, one a second."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.web.live.rates import CURRENT, HOUR, RatePoint, RateWindow

START = 10_000.0


def test_nothing_counted_is_a_rate_of_nothing() -> None:
    assert RateWindow(START).current(START) == 0


def test_the_rate_is_the_mean_of_the_last_seconds() -> None:
    window = RateWindow(START)
    for second in range(60):
        window.add(START + second, 30, 10)
    assert window.current(START + 60) == pytest.approx(40, rel=0.1)


def test_the_rate_counts_from_the_start_not_from_before_it() -> None:
    window = RateWindow(START)
    window.add(START, 10, 0)
    assert window.current(START + 2) == 5


def test_the_rate_falls_to_nothing_when_messages_stop() -> None:
    window = RateWindow(START)
    window.add(START, 100, 0)
    assert window.current(START + CURRENT + 1) == 0


def test_a_step_is_the_mean_of_its_seconds() -> None:
    window = RateWindow(START)
    for second in range(20):
        window.add(START + second, second, 1)
    assert window.series(START + 20, step=20, points=1) == [RatePoint(9.5, 1.0)]


def test_a_step_that_is_not_over_is_left_out() -> None:
    window = RateWindow(START)
    window.add(START, 20, 0)
    assert window.series(START + 19, step=20, points=1) == [RatePoint(None, None)]


def test_before_the_start_there_is_a_gap_and_silence_is_zero() -> None:
    window = RateWindow(START)
    assert window.series(START + 40, step=20, points=3) == [RatePoint(None, None), RatePoint(0, 0), RatePoint(0, 0)]


def test_what_is_older_than_an_hour_is_forgotten() -> None:
    window = RateWindow(START)
    window.add(START, 1000, 0)
    series = window.series(START + HOUR + 20, step=20, points=180)
    assert all(point.accepted == 0 for point in series)


def test_a_past_minute_can_be_filled_in_later() -> None:
    window = RateWindow(START)
    window.add(START - 100, 60, 0)
    assert window.series(START, step=20, points=5)[0] == RatePoint(3.0, 0.0)


@given(st.lists(st.tuples(st.floats(0, 3 * HOUR), st.integers(0, 1000)), max_size=50))
def test_every_message_of_the_last_hour_is_in_one_step(batches: list[tuple[float, int]]) -> None:
    window = RateWindow(START)
    for passed, messages in sorted(batches):
        window.add(START + passed, messages, 0)
    now = START + max((passed for passed, _ in batches), default=0)
    end = int(now) // 20 * 20
    series = window.series(now, step=20, points=179)
    counted = sum(
        (point.accepted or 0) * min(20, end - (179 - index - 1) * 20 - max(end - (179 - index) * 20, int(START)))
        for index, point in enumerate(series)
        if point.accepted is not None
    )
    expected = sum(messages for passed, messages in batches if end - 179 * 20 <= int(START + passed) < end)
    assert counted == pytest.approx(expected)
