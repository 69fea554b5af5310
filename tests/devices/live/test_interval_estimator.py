"""The interval that a device's messages show, and what presence makes of it."""

import random
from collections.abc import Callable, Iterable, Iterator
from itertools import islice

import pytest

from appliance.devices.live.interval_estimator import SECOND, IntervalEstimator
from appliance.devices.live.presence import OFFLINE_INTERVALS, PresenceThresholds

START = 1_800_000_000
HOUR = 3600.0
DAY = 24 * HOUR


def seen_by(gaps: Iterable[float], interval: float = 0.0) -> IntervalEstimator:
    """Return an estimator that has seen messages with ``gaps`` seconds between them."""
    estimator = IntervalEstimator(interval)
    at = float(START)
    for gap in (0.0, *gaps):
        at += gap
        estimator.observe(round(at * SECOND), 0)
    return estimator


def after(gaps: Iterable[float], interval: float = 0.0) -> float:
    """Return what is learned from messages with ``gaps`` seconds between them."""
    return seen_by(gaps, interval).interval


def test_nothing_is_known_of_the_first_message() -> None:
    assert after([]) == 0


def test_the_first_gap_is_the_first_guess() -> None:
    assert after([600]) == 600


def test_while_no_silence_is_usual_the_gap_in_which_most_time_passed_is_the_guess() -> None:
    assert after([30, 100, 70]) == pytest.approx(85)
    assert after([100, 70, 30]) == pytest.approx(85)


def test_the_gaps_inside_a_burst_do_not_count() -> None:
    assert after([1.2, 1.2, 27.6] * 10) == pytest.approx(27.6)
    assert after([1.2, 1.2, 597.6] * 4) == pytest.approx(597.6)


def test_the_first_burst_is_understood_as_soon_as_the_second_begins() -> None:
    assert after([1.2, 1.2, 597.6]) == pytest.approx(597.6)


def test_a_burst_may_have_many_messages() -> None:
    assert after(([1.2] * 100 + [480.0]) * 4) == pytest.approx(480)
    assert after(([1.2] * 100 + [480.0]) * 4 + [1.2] * 100) == pytest.approx(480)


@pytest.mark.parametrize("before", [0.0, 1.2], ids=["just met", "after a restart in the first silence"])
def test_the_silence_between_bursts_stays_learned_from_its_first_time_on(before: float) -> None:
    chance = random.Random(1)
    estimator = seen_by([1.2, 1.2], before)
    at = START + 2.4
    for _ in range(40):
        for gap in (chance.uniform(2100, 4000), 1.2, 1.2):
            at += gap
            estimator.observe(round(at * SECOND), 0)
            assert estimator.interval > 2100


def test_a_silence_that_did_not_recur_is_usual_for_a_device_just_met_until_it_has_talked_a_while() -> None:
    assert after([60] * 10 + [6 * HOUR]) == pytest.approx(6 * HOUR)
    assert after([60] * 10 + [6 * HOUR] + [60] * 8) == pytest.approx(6 * HOUR, rel=0.01)
    assert after([60] * 10 + [6 * HOUR] + [60] * 9) == pytest.approx(60)


def test_a_period_at_the_border_of_two_classes_recurs_like_any_other() -> None:
    border = 2.0**15
    talked = [600] * 500
    alternating = [1.2, 1.2, border * 0.97, 1.2, 1.2, border * 1.03]
    assert after(talked + alternating) == pytest.approx(600, rel=0.01)
    for more in range(1, 12):
        gaps = (alternating * 6)[: 6 + 3 * more]
        assert after(talked + gaps) == pytest.approx(border, rel=0.05)


def test_a_device_that_was_off_for_days_has_the_interval_that_it_had() -> None:
    estimator = seen_by([*([1.2, 1.2, 3600] * 10), 80 * HOUR])
    at = START + 10 * 3602.4 + 80 * HOUR
    for gap in [1.2, 1.2, 3600] * 3:
        at += gap
        estimator.observe(round(at * SECOND), 0)
        assert estimator.interval == pytest.approx(3600)


def test_days_in_which_nothing_was_taken_leave_the_interval_as_it_was() -> None:
    estimator = seen_by([1.2, 1.2, 3600] * 10)
    back = at = START + 10 * 3602.4 + 5 * DAY
    for gap in [1.0, *[1.2, 1.2, 3600] * 3]:
        at += gap
        estimator.observe(round(at * SECOND), round(back * SECOND))
        assert estimator.interval == pytest.approx(3600)


def test_one_long_silence_is_no_interval_and_neither_are_two() -> None:
    assert after([60] * 20 + [6 * HOUR] + [60] * 20) == pytest.approx(60)
    assert after([60] * 20 + [6 * HOUR] + [60] * 20 + [6 * HOUR] + [60]) == pytest.approx(60)


def test_a_longer_interval_shows_after_three_messages() -> None:
    assert after([10] * 100 + [600] * 2) == pytest.approx(10)
    assert after([10] * 100 + [600] * 3) == pytest.approx(600)


def test_a_shorter_interval_shows_when_a_day_has_passed_without_the_longer() -> None:
    def day_of(gap: float) -> list[float]:
        return [gap] * round(27 * HOUR / gap)

    assert after([600] * 100 + [10] * 100) == pytest.approx(600)
    assert after([600] * 100 + day_of(10)) == pytest.approx(10)


def test_an_interval_of_days_is_learned_too() -> None:
    assert after([3 * DAY] * 5) == pytest.approx(3 * DAY)


def test_what_comes_at_once_is_one_message_and_an_older_time_says_nothing() -> None:
    estimator = IntervalEstimator()
    for at in (0, 0, 60, 60, 50, 120):
        estimator.observe((START + at) * SECOND, 0)
    assert estimator.interval == 60


def test_a_gap_in_which_nothing_was_taken_says_nothing() -> None:
    estimator = seen_by([60] * 10)
    at = START + 600
    for _ in range(10):
        at += 3600
        estimator.observe(at * SECOND, (at - 1) * SECOND)
    assert estimator.interval == pytest.approx(60)


def test_what_was_learned_before_a_restart_counts_like_what_was_seen() -> None:
    assert after([], interval=30) == 30
    assert after([1.2, 1.2, 27.6], interval=30) == pytest.approx(29.4)
    assert after([600] * 2, interval=30) == pytest.approx(30)
    assert after([600] * 3, interval=30) == pytest.approx(600)


def test_a_long_interval_from_before_a_restart_is_doubted_when_a_day_has_passed_without_it() -> None:
    assert after([60] * 25 * 60, interval=3 * DAY) == pytest.approx(3 * DAY)
    assert after([60] * 27 * 60, interval=3 * DAY) == pytest.approx(60)
    assert after(([1.2] * 2 + [3 * DAY]) * 3, interval=3 * DAY) == pytest.approx(3 * DAY)


def test_memory_is_bounded_by_the_classes_of_gaps() -> None:
    gaps = random.Random(1)
    estimator = seen_by(gaps.uniform(1, 10_000) for _ in range(5000))
    assert len(estimator._classes) <= 14


# The model: senders over days, and the silence after which presence calls a device OFFLINE.


def single(chance: random.Random) -> Iterator[float]:
    """One message every ten minutes, more or less."""
    while True:
        yield chance.uniform(570, 630)


def bursty(chance: random.Random) -> Iterator[float]:
    """Bursts of one to twelve messages, 20 minutes apart."""
    while True:
        yield from [1.2] * chance.randrange(12)
        yield chance.uniform(1180, 1220)


def long_bursts(chance: random.Random) -> Iterator[float]:
    """A minute of messages every second, then nothing for half an hour."""
    while True:
        yield from [1.0] * 60
        yield chance.uniform(1750, 1850)


def day_and_night(chance: random.Random) -> Iterator[float]:
    """Every minute by day, every 40 minutes by night."""
    passed = 0.0
    while True:
        gap = chance.uniform(55, 65) if passed % DAY < 14 * HOUR else chance.uniform(2300, 2500)
        passed += gap
        yield gap


def irregular(chance: random.Random) -> Iterator[float]:
    """Messages by chance, every four minutes on average."""
    while True:
        yield 1 + chance.expovariate(1 / 240)


SENDERS = [single, bursty, long_bursts, day_and_night, irregular]


@pytest.mark.parametrize("sender", SENDERS, ids=lambda sender: sender.__name__)
@pytest.mark.parametrize("seed", range(5))
def test_a_sender_that_was_met_a_day_ago_is_never_called_offline(
    sender: Callable[[random.Random], Iterator[float]], seed: int
) -> None:
    estimator = IntervalEstimator()
    at, false_alarms = float(START), []
    for gap in islice(sender(random.Random(seed)), 20_000):
        offline_after = max(OFFLINE_INTERVALS * estimator.interval, PresenceThresholds().offline_after)
        if at > START + DAY and gap >= offline_after:
            false_alarms.append((at - START, gap, offline_after))
        at += gap
        estimator.observe(round(at * SECOND), 0)
        if at > START + 3 * DAY:
            break
    assert false_alarms == []


@pytest.mark.parametrize("sender", SENDERS, ids=lambda sender: sender.__name__)
def test_a_sender_that_stops_is_called_offline_in_time(sender: Callable[[random.Random], Iterator[float]]) -> None:
    estimator = IntervalEstimator()
    at, longest = float(START), 0.0
    for gap in sender(random.Random(7)):
        at += gap
        longest = max(longest, gap)
        estimator.observe(round(at * SECOND), 0)
        if at > START + 2 * DAY:
            break
    assert OFFLINE_INTERVALS * estimator.interval <= 11 * longest
