"""The table of transitions: what leads where, and that everything else is refused with the present status."""

import pytest

from appliance.alerts import lifecycle
from appliance.alerts.alert import Status
from appliance.alerts.lifecycle import REFUSALS, TRANSITIONS, AlertStep
from appliance.errors import Conflict

POSSIBLE = {
    ("acknowledge", "OPEN", "ACKNOWLEDGED"),
    ("unacknowledge", "ACKNOWLEDGED", "OPEN"),
    ("close", "OPEN", "CLOSED"),
    ("close", "ACKNOWLEDGED", "CLOSED"),
    ("silence", "OPEN", "OPEN"),
    ("silence", "ACKNOWLEDGED", "ACKNOWLEDGED"),
    ("unsilence", "OPEN", "OPEN"),
    ("unsilence", "ACKNOWLEDGED", "ACKNOWLEDGED"),
    ("delete", "CLOSED", None),
}
"""Step, status before, status after."""


def test_the_steps_are_those_of_the_specification() -> None:
    table = {
        (step.value, before.value, after and after.value)
        for step, row in TRANSITIONS.items()
        for before, after in row.items()
    }
    assert table == POSSIBLE
    assert set(TRANSITIONS) == set(REFUSALS) == set(AlertStep)


@pytest.mark.parametrize("step", AlertStep)
@pytest.mark.parametrize("present", Status)
def test_a_step_that_is_not_in_the_table_is_a_conflict_with_the_present_status(
    step: AlertStep, present: Status
) -> None:
    if any((step, present) == (a, b) for a, b, _ in POSSIBLE):
        lifecycle.check(step, present)
        assert lifecycle.possible(step, present)
        return
    with pytest.raises(Conflict, match=present.value) as refused:
        lifecycle.check(step, present)
    assert refused.value.present_status == present.value


def test_closed_is_the_end() -> None:
    leading_on = {step for step, row in TRANSITIONS.items() if Status.CLOSED in row}
    assert leading_on == {AlertStep.DELETE}


def test_a_step_is_reached_where_it_would_lead() -> None:
    reached = {(step.value, status.value) for step in AlertStep for status in Status if lifecycle.reached(step, status)}
    assert reached == {("acknowledge", "ACKNOWLEDGED"), ("unacknowledge", "OPEN"), ("close", "CLOSED")}
