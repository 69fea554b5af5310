"""How a batch is tried again, step by step."""

from itertools import pairwise

import pytest

from appliance.db.sqlstate import Failure
from appliance.ingest.retry import LEAST_TRIES, NOTHING, Beside, NextTry, Omission, RetryPlan
from appliance.ingest.telemetry.store import StorePath

ERROR = RuntimeError("refused")


def beside(*observers: str, rows: bool = True, suspects: frozenset[str] = frozenset()) -> Beside:
    return Beside(rows, observers, suspects)


def without(*observers: str, rows: bool = False) -> Omission:
    return Omission(rows, frozenset(observers))


def plan_of(*observers: str) -> RetryPlan:
    """Return the plan of a writer with these observers."""
    return RetryPlan(observers)


def refused(stands: Beside) -> list[Omission]:
    """What the tries leave out one after another, once the readings themselves are not at fault."""
    plan, found = plan_of(*stands.observers), []
    assert plan.after(Failure.POISON, stands, ERROR) is NextTry.AT_ONCE
    while plan.after(Failure.POISON, stands, ERROR) is NextTry.AFTER_A_WAIT:
        found.append(plan.omission)
    return found


def test_rows_of_quarantine_go_first_then_observers_one_by_one_and_then_all() -> None:
    everything = without("states", "alerts", rows=True)
    assert refused(beside("states", "alerts")) == [
        NOTHING, NOTHING, NOTHING, without(rows=True), without("alerts"), without("states"),
        without("states", "alerts"), everything,
    ]  # fmt: skip


def test_what_is_not_there_cannot_be_left_out() -> None:
    steps = refused(beside("states", rows=False))
    assert steps[:4] == [NOTHING, NOTHING, NOTHING, without("states")]
    assert len(steps) == LEAST_TRIES
    assert refused(beside(rows=False))[:3] == [NOTHING] * 3


def test_an_observer_that_has_something_to_write_only_later_is_left_out_as_well() -> None:
    plan = plan_of("states", "alerts")
    plan.after(Failure.POISON, beside(), ERROR)
    omissions = []
    while plan.after(Failure.POISON, beside("states"), ERROR) is NextTry.AFTER_A_WAIT:
        omissions.append(plan.omission)
    assert omissions[-1] == without("states", "alerts", rows=True)


def test_whoever_was_left_out_of_the_batch_before_is_the_first_to_be_left_out() -> None:
    steps = refused(beside("states", "alerts", suspects=frozenset({"states", "resting"})))
    assert steps[:5] == [without("states"), NOTHING, NOTHING, NOTHING, without(rows=True)]
    assert steps[5:7] == [without("states"), without("alerts")]


def test_a_lock_that_was_not_had_in_time_sheds_observers_at_once_and_no_rows() -> None:
    plan, stands = plan_of("states", "alerts"), beside("states", "alerts")
    assert plan.after_lock_timeout(beside(), ERROR) is NextTry.AFTER_A_WAIT, "not an observer's: it is waited for"
    found = []
    while plan.after_lock_timeout(stands, ERROR) is NextTry.AT_ONCE:
        found.append(plan.omission)
    assert found == [without("alerts"), without("states"), without("states", "alerts")]
    assert plan.after_lock_timeout(beside(), ERROR) is NextTry.AFTER_A_WAIT, "not an observer's: it is waited for"


def test_a_statement_that_can_never_work_sheds_observers_at_once_and_then_needs_a_person() -> None:
    plan, found = plan_of("states", "alerts"), []
    assert plan_of("states").after(Failure.STOP, beside(), ERROR) is NextTry.NEVER
    while plan.after(Failure.STOP, beside("states", "alerts"), ERROR) is NextTry.AT_ONCE:
        found.append(plan.omission)
    assert found == [without("alerts"), without("states"), without("states", "alerts")]
    assert plan.after(Failure.STOP, beside("states", "alerts"), ERROR) is NextTry.NEVER


def test_a_failing_observer_stays_out_whatever_else_is_left_out() -> None:
    plan = plan_of("states", "alerts")
    plan.without("alerts", ERROR)
    stands = beside("states", rows=False)
    plan.after(Failure.POISON, stands, ERROR)
    while plan.after(Failure.POISON, stands, ERROR) is not NextTry.NEVER:
        assert "alerts" in plan.omission.observers
    assert plan.omission == without("states", "alerts", rows=True)


@pytest.mark.parametrize(
    ("failure", "path"), [(Failure.UNIQUE, StorePath.STAGED), (Failure.POISON, StorePath.BISECTED)]
)
def test_the_readings_are_suspected_first(failure: Failure, path: StorePath) -> None:
    plan = plan_of("states")
    assert plan.path is StorePath.DIRECT
    assert plan.after(failure, beside(), ERROR) is NextTry.AT_ONCE
    assert (plan.path, plan.omission, plan.error) == (path, NOTHING, None)


@pytest.mark.parametrize("failure", [Failure.UNIQUE, Failure.NO_PARTITION])
def test_nothing_is_tried_again_at_once_for_ever(failure: Failure) -> None:
    plan = plan_of("states")
    tries = [plan.after(failure, beside("states"), ERROR) for _ in range(20)]
    assert not any(one is two is NextTry.AT_ONCE for one, two in pairwise(tries))
    assert tries[-1] is NextTry.NEVER


def test_what_passes_is_waited_for_with_nothing_left_out() -> None:
    plan = plan_of("states")
    assert {plan.after(Failure.RETRY, beside("states"), ERROR) for _ in range(50)} == {NextTry.AFTER_A_WAIT}
    assert plan.after(Failure.RESOURCES, beside("states"), ERROR) is NextTry.IN_HALVES
    assert (plan.omission, plan.error) == (NOTHING, None)
