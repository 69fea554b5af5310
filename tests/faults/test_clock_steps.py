"""Clocks that become right by a step of the service time: by NTP, or because an operator says so."""

import json
import time

import httpx
import pytest

from tests.faults.wrong_clock_box import Box, open_box, wait_for
from tests.support.appliance_process import CSRF, ApplianceProcess
from tests.support.wrong_clock import DAY, HOUR, YEAR

SHOWN = '<input type="hidden" name="shown" value="'


@pytest.fixture
def box(appliance: ApplianceProcess) -> Box:
    """An appliance that is not started yet, with a right clock."""
    return open_box(appliance)


def reboot(box: Box) -> None:
    """Let the machine have been switched off since the last record: nobody knows for how long."""
    path = box.appliance.data_dir / "clock.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "boot_id": "the boot before"}))


def step_of(box: Box) -> float:
    """Return the seconds of the last step, from the log."""
    lines = [line for line in box.appliance.log.read_text().splitlines() if "the clock is trusted again" in line]
    return float(json.loads(lines[-1])["stepped_seconds"])


def test_a_box_without_a_clock_that_boots_behind_and_is_set_by_ntp(box: Box) -> None:
    box.clock.ahead(-3 * HOUR)  # it was switched off three hours ago
    box.appliance.start()
    box.furnish()
    box.send("d-1", timed=0)
    box.all_stored()
    box.appliance.stop()
    reboot(box)
    box.clock.ahead(-17 * HOUR)
    box.appliance.start()
    assert box.appliance.command("clock")["cause"] == "behind"
    box.send("d-1", timed=0)
    box.send("new-in-doubt", timed=0)
    box.send("d-1", timed=5, plain=0, carried=False)  # right, but three hours ahead of all that is known
    box.all_stored()
    assert box.appliance.query("SELECT count(*) FROM telemetry WHERE late") == [(0,)]
    box.is_well()
    box.clock.synchronise()
    wait_for(box.trusts)
    assert step_of(box) == pytest.approx(3 * HOUR, abs=300)
    box.is_well()
    box.send("d-1")
    box.send("new-in-doubt")
    box.all_stored()
    box.newest_is_not_late("d-1")
    box.is_well()
    box.times_are_past()


def test_what_a_first_start_ten_years_ahead_has_written_heals(box: Box) -> None:
    box.clock.ahead(10 * YEAR)
    box.appliance.start()
    assert box.trusts(), "a new appliance knows nothing better"
    box.furnish()
    box.appliance.query("UPDATE subscriptions SET term_end = term_end + interval '11 years' RETURNING 1")
    box.takes_in_new_ends()
    box.send("d-1", timed=0)
    box.all_stored()
    wait_for(lambda: box.appliance.query("SELECT count(*) FROM device_state") == [(1,)])
    box.clock.synchronise()
    wait_for(lambda: "the clock is trusted again" in box.appliance.log.read_text())
    wait_for(lambda: "times of a wrong clock healed" in box.appliance.log.read_text())
    box.is_well()
    wait_for(box.all_past)
    box.send("d-1")
    box.all_stored()
    box.newest_is_not_late("d-1")
    box.appliance.stop()
    box.appliance.start()
    assert box.trusts()
    box.times_are_past()
    box.send("d-1", timed=0)
    box.all_stored()
    box.newest_is_not_late("d-1")
    box.is_well()


def test_an_operator_confirms_the_clock_by_command_and_page(box: Box) -> None:
    box.appliance.start()
    box.furnish()
    box.send("d-1")
    box.clock.ahead(40 * DAY)
    wait_for(lambda: not box.trusts())
    assert box.appliance.command("clock", "confirm")["applied"] is True
    assert box.trusts()
    assert step_of(box) == pytest.approx(40 * DAY, abs=60)
    box.serves()
    box.clock.ahead(80 * DAY)
    wait_for(lambda: not box.trusts())
    assert box.operator is not None
    with httpx.Client(base_url=box.appliance.run["web_url"], cookies=box.operator.cookies, timeout=20) as browser:
        page = browser.get("/system/clock").text
        token = CSRF.search(page)
        assert token is not None
        shown = page.partition(SHOWN)[2].partition('"')[0]
        done = browser.post("/system/clock", data={"csrf_token": token[1], "shown": shown})
        assert done.status_code == 303, done.text
        before = time.monotonic()
        wait_for(box.trusts)
        assert time.monotonic() - before < 10, "within a second, on a machine that is not busy"
        assert browser.get("/system").status_code == 200, "whoever confirmed it is still signed in"
    audit = "SELECT action, actor_kind FROM audit_log WHERE action = 'clock.confirm' ORDER BY id"
    assert box.appliance.query(audit) == [("clock.confirm", "command"), ("clock.confirm", "user")]


def test_what_is_confirmed_while_nothing_runs_counts_at_the_next_start(box: Box) -> None:
    box.appliance.start()
    box.furnish()
    box.send("d-1")
    box.appliance.stop()
    box.clock.ahead(80 * DAY)
    assert box.appliance.command("clock", "confirm")["applied"] is False
    box.appliance.start()
    assert box.trusts()
    assert step_of(box) == pytest.approx(80 * DAY, abs=60)
    box.serves()
