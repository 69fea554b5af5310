"""Periodic work: when rounds are made, and what becomes of those that fail."""

from collections.abc import Awaitable, Callable
from itertools import pairwise

import psycopg
import pytest
import trio
from trio.testing import MockClock

from appliance.runtime.activity import Activity, enter
from appliance.runtime.periodic import First, every


class Rounds:
    """Counts rounds by the time at which they were made; each does what ``outcomes`` says, then succeeds."""

    def __init__(self, *outcomes: Exception | float | None) -> None:
        self.made: list[float] = []
        self._outcomes = list(outcomes)

    async def __call__(self) -> float | None:
        self.made.append(trio.current_time())
        outcome = self._outcomes.pop(0) if self._outcomes else None
        if isinstance(outcome, Exception):
            raise outcome
        return outcome


async def made_within(seconds: float, rounds: Rounds, interval: float, first: First = First.AT_ONCE) -> list[float]:
    """Run for ``seconds`` of a clock that jumps; the times of the rounds since the start."""
    began = trio.current_time()
    with trio.move_on_after(seconds):
        await every(interval, rounds, chore="count", first=first)
    return [round(at - began, 3) for at in rounds.made]


async def test_a_round_comes_earlier_when_it_is_woken_and_not_after_one_that_failed(
    autojump_clock: MockClock,  # noqa: ARG001 - jumps
) -> None:
    async def woken() -> None:
        await trio.sleep(0.25)

    rounds = Rounds(None, psycopg.OperationalError("away"))
    with trio.move_on_after(2):
        await every(4, rounds, chore="count", woken=woken)
    before, failed, *after = [round(later - earlier, 3) for earlier, later in pairwise(rounds.made)]
    assert failed > 0.25, "it is tried again after a while"
    assert {before, *after} == {0.25}


async def test_a_round_is_made_every_interval(autojump_clock: MockClock) -> None:  # noqa: ARG001 - jumps
    assert await made_within(9, Rounds(), 4) == [0, 4, 8]


async def test_the_first_may_wait_for_an_interval(autojump_clock: MockClock) -> None:  # noqa: ARG001 - jumps
    assert await made_within(9, Rounds(), 4, First.AFTER_INTERVAL) == [4, 8]


async def test_a_round_says_when_the_next_is_due(autojump_clock: MockClock) -> None:  # noqa: ARG001 - jumps
    assert await made_within(9, Rounds(0.5, None), 4) == [0, 0.5, 4.5, 8.5]


@pytest.mark.parametrize("away", [psycopg.OperationalError("gone"), OSError("full")])
async def test_what_is_away_is_tried_again_soon_and_then_less_often(autojump_clock: MockClock, away: Exception) -> None:  # noqa: ARG001 - jumps
    made = await made_within(60, Rounds(*[away] * 6), 10)
    waits = [later - earlier for earlier, later in pairwise(made)]
    for wait, longest in zip(waits, [1, 2, 4, 8, 10, 10], strict=False):
        assert 0.8 * longest <= wait <= longest


async def test_failures_stand_in_the_activity_until_a_round_succeeds(autojump_clock: MockClock) -> None:  # noqa: ARG001 - jumps
    seen: list[tuple[bool, str | None]] = []
    record = Activity()
    enter(record)
    rounds = Rounds(OSError("full"), OSError("still full"))

    async def look() -> float | None:
        seen.append((record.failing, record.last_error))
        return await rounds()

    with trio.move_on_after(5):
        await every(2, look, chore="look")
    assert seen[:4] == [(False, None), (True, "full"), (True, "still full"), (False, "still full")]


def test_a_rest_shorter_than_a_second_is_not_shown_as_none() -> None:
    record = Activity()
    record.rests(0.4)
    assert record.words() == "next round in 1 s"


async def test_a_round_under_way_is_not_said_to_be_due(autojump_clock: MockClock) -> None:  # noqa: ARG001 - jumps
    said: list[str | None] = []
    record = Activity()
    enter(record)

    async def look() -> None:
        said.append(record.words())

    with trio.move_on_after(3):
        await every(2, look, chore="look")
    assert said == [None, None]
    assert record.words() == "next round in 2 s"


@pytest.mark.parametrize("first", First)
async def test_a_bug_ends_the_service(autojump_clock: MockClock, first: First) -> None:  # noqa: ARG001 - jumps
    with pytest.raises(ZeroDivisionError):
        await made_within(9, Rounds(ZeroDivisionError()), 4, first)


async def test_a_first_round_before_the_start_that_fails_fails_the_start() -> None:
    async with trio.open_nursery() as nursery:
        with pytest.raises(OSError, match="full"):
            await nursery.start(starting(Rounds(OSError("full"))))


async def test_the_service_starts_after_its_first_round_where_that_is_asked_for() -> None:
    rounds = Rounds()
    async with trio.open_nursery() as nursery:
        await nursery.start(starting(rounds))
        assert len(rounds.made) == 1
        nursery.cancel_scope.cancel()


def starting(rounds: Rounds) -> Callable[..., Awaitable[object]]:
    """A service that starts after its first round."""

    async def run(*, task_status: trio.TaskStatus[None]) -> None:
        await every(60, rounds, chore="start", first=First.BEFORE_START, task_status=task_status)

    return run
