"""``appliance clock`` without a server: from the record in data_dir."""

import json
import time
from pathlib import Path

import pytest
from click.testing import Result

from appliance.service_clock import machine, record
from appliance.service_clock.service_time import Cause, Doubt, Instant, Recorded
from tests.support.program import invoke

HOUR = 3600.0


def run(folder: Path, *arguments: str, fails: bool = False) -> Result:
    """Run a command on the record in ``folder``."""
    result = invoke({"APPLIANCE_DATA_DIR": str(folder)}, *arguments)
    assert (result.exit_code != 0) is fails, result.output
    return result


def write(folder: Path, ahead: float, doubt: Doubt | None = None) -> None:
    elapsed = time.clock_gettime(time.CLOCK_BOOTTIME)
    record.write(folder, Recorded(Instant(time.time() + ahead, elapsed, machine.boot_id()), doubt))


def test_a_clock_that_agrees_with_the_record_is_trusted(tmp_path: Path) -> None:
    write(tmp_path, 0)
    shown = json.loads(run(tmp_path, "clock", "--json").stdout)
    assert (shown["trusted"], shown["cause"], shown["doubted_since"]) == (True, None, None)
    assert "trusted" in run(tmp_path, "clock").stdout


@pytest.mark.parametrize("ahead", [-14 * HOUR, 14 * HOUR])
def test_a_doubt_is_shown_with_its_cause_and_the_way_out(tmp_path: Path, ahead: float) -> None:
    write(tmp_path, ahead, Doubt(Cause.OFF, time.time() + ahead - 60))
    shown = json.loads(run(tmp_path, "clock", "--json").stdout)
    assert (shown["trusted"], shown["cause"]) == (False, "off")
    assert shown["machine_time"] != shown["service_time"]
    text = run(tmp_path, "clock").stdout
    assert all(words in text for words in ("in doubt since", "timedatectl", "appliance clock confirm"))


def test_a_folder_without_an_appliance_has_no_clock_to_confirm(tmp_path: Path) -> None:
    result = run(tmp_path, "clock", "confirm", fails=True)
    assert "no appliance was ever started" in str(result.exception)
