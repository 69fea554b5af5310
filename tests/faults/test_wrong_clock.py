"""A machine whose clock is wrong: the appliance, its Postgres and its Mosquitto go by it, and nothing comes to harm.

Each case is tried before a start and during a run. Afterwards the clock is right again, and everything is as before.
"""

import time
from collections.abc import Callable
from contextlib import closing

import psycopg
import pytest

from tests.faults.wrong_clock_box import Box, open_box, wait_for
from tests.support.appliance_process import ApplianceProcess
from tests.support.soak import times
from tests.support.wrong_clock import HOUR, YEAR

CASES: dict[str, Callable[[float], float]] = {
    "ten years ahead": lambda now: now + 10 * YEAR,
    "1970": lambda _now: 3600.0,
    "an hour back": lambda now: now - HOUR,
    "2036": lambda _now: 2_096_000_000.0,
}
AT_START = ["1970", *(case for case in CASES if case != "1970")][: times(1)]
DURING = list(CASES)[: times(1)]
"""The others are tried by ``make soak``."""


@pytest.fixture
def box(appliance: ApplianceProcess) -> Box:
    """An appliance that is not started yet, with a right clock."""
    return open_box(appliance)


def an_end_comes_near_in_doubt(box: Box) -> None:
    """Move the end of a term so near that people would be warned: while in doubt nobody is."""
    box.end_in(13)
    assert box.warnings() == [(30, "OPEN", None)]


def becomes_right_again(box: Box) -> None:
    """Set the clock right, and check that everything is as before."""
    assert box.warnings() == [(30, "OPEN", None)]
    box.clock.ahead(0)
    wait_for(box.trusts)
    box.send("d-1")
    box.send("after")
    box.all_stored()
    box.newest_is_not_late("d-1")
    box.is_well()
    assert len(set(box.certificates)) == 1, "none was issued in doubt, and afterwards none is due"
    box.times_are_past()
    box.end_in(13)  # the same end: a term that changed is looked at at once, and not in the next round
    wait_for(lambda: box.warnings() == [(30, "CLOSED", "superseded"), (14, "OPEN", None)])


@pytest.mark.parametrize("case", AT_START)
def test_a_start_with_a_wrong_clock_harms_nothing(box: Box, case: str) -> None:
    box.appliance.start()
    box.furnish()
    box.sell_ending(20)
    box.send("d-1")
    box.all_stored()
    wait_for(lambda: box.warnings() == [(30, "OPEN", None)])
    with closing(psycopg.connect(box.appliance.conninfo("appliance_owner"))) as in_the_way:
        in_the_way.execute("LOCK TABLE telemetry")
        box.send("d-1", timed=50, plain=0)  # the broker has them, and has told the device so
        box.appliance.stop()
    box.clock.at(CASES[case](time.time()))
    box.appliance.start()
    assert not box.trusts()
    an_end_comes_near_in_doubt(box)
    box.all_stored()
    box.send("d-1")
    box.send("new-in-doubt")
    box.all_stored()
    box.newest_is_not_late("d-1")
    box.is_well()
    assert box.appliance.command("clock")["trusted"] is False
    wait_for(lambda: operators_are_told(box) == ["OPEN"])
    becomes_right_again(box)


def operators_are_told(box: Box) -> list[str]:
    """Return the status of each alert about the clock."""
    alerts = box.appliance.query("SELECT status FROM fleet_alert WHERE fingerprint LIKE 'system:clock:%%' ORDER BY id")
    return [status for (status,) in alerts]


@pytest.mark.parametrize("case", DURING)
def test_a_clock_that_becomes_wrong_during_the_run_harms_nothing(box: Box, case: str) -> None:
    box.appliance.start()
    box.furnish()
    box.sell_ending(20)
    box.send("d-1")
    box.all_stored()
    wait_for(lambda: box.warnings() == [(30, "OPEN", None)])
    box.clock.at(CASES[case](time.time()))
    box.send("d-1")
    assert not box.trusts()
    an_end_comes_near_in_doubt(box)
    box.send("new-in-doubt")
    box.all_stored()
    box.newest_is_not_late("d-1")
    box.is_well()
    becomes_right_again(box)
