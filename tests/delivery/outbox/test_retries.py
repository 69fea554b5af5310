"""When a try is repeated."""

import pytest

from appliance.delivery.outbox.retries import STEPS, after_answer, after_unreached


def test_each_answer_uses_a_step_and_after_the_last_there_is_none() -> None:
    steps = [after_answer(tries, None, random=0.0) for tries in range(1, 10)]
    assert steps == [5, 30, 120, 600, 1800, 7200, 21_600, 43_200, None]
    assert len(STEPS) == 8


def test_jitter_only_lengthens_a_step() -> None:
    assert after_answer(4, None, random=1.0) == 720
    assert after_answer(4, None, random=0.5) == 660


@pytest.mark.parametrize(
    ("asked", "waited"),
    [
        pytest.param(90.0, 90.0, id="longer than the step"),
        pytest.param(1.0, 5.0, id="never earlier than the step, or nine tries were over in nine seconds"),
        pytest.param(86_400.0, 3600.0, id="an hour at most"),
    ],
)
def test_a_receiver_may_ask_for_more_time(asked: float, waited: float) -> None:
    assert after_answer(1, asked, random=0.0) == waited


def test_nor_is_an_hour_made_longer_so_that_tries_do_not_come_at_once() -> None:
    assert after_answer(1, 3600.0, random=1.0) == 3600
    assert after_answer(1, 90.0, random=1.0) == 108


def test_tries_that_reach_nobody_grow_to_a_minute() -> None:
    assert [after_unreached(row, random=0.0) for row in (1, 2, 3, 4, 5, 1000)] == [5, 10, 20, 40, 60, 60]
    assert after_unreached(1000, random=1.0) == 48
