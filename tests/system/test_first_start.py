"""The first start shows a line that works, later ones show no secret; what the broker refuses is counted."""

import re
import shlex
import subprocess
import time

from tests.appliance_process import ApplianceProcess

LINE = re.compile(r"mosquitto_pub .*\\\n.*$", re.MULTILINE)
PATIENCE_SECONDS = 10.0


def counted(appliance: ApplianceProcess, cause: str) -> float:
    """The metric of refusals at the door."""
    pattern = rf'^appliance_door_refusals_total{{cause="{cause}"}} (\S+)$'
    found = re.search(pattern, appliance.get("/metrics").decode(), re.MULTILINE)
    return float(found[1]) if found else 0.0


def printed_line(appliance: ApplianceProcess) -> list[str]:
    """The command that the console shows."""
    found = LINE.search(appliance.log.read_text())
    assert found is not None
    return shlex.split(found[0].replace("\\\n", " "))


def test_the_line_of_the_first_start_stores_a_reading(appliance: ApplianceProcess) -> None:
    appliance.start()
    line = printed_line(appliance)
    subprocess.run(line, check=True, timeout=10)
    deadline = time.monotonic() + PATIENCE_SECONDS
    while appliance.query("SELECT tenant_id, device_id FROM telemetry") != [("demo", "first")]:
        assert time.monotonic() < deadline, appliance.tail()
    password = line[line.index("-P") + 1]
    appliance.stop()
    appliance.log.unlink()
    appliance.start()
    later = appliance.log.read_text()
    assert password not in later
    assert LINE.search(later) is None
    assert "appliance device rotate demo first --now" in later
    made = appliance.command("device", "rotate", "demo", "first", "--now")
    line[line.index("-P") + 1] = made["password"]
    subprocess.run(line, check=True, timeout=10)


def test_what_the_broker_refuses_is_counted_by_cause(appliance: ApplianceProcess) -> None:
    appliance.start()
    line = printed_line(appliance)
    wrong_password = [*line]
    wrong_password[line.index("-P") + 1] = "wrong"
    wrong_topic = [*line]
    wrong_topic[line.index("-t") + 1] = "tenants/demo/device/first/telemetry"
    assert subprocess.run(wrong_password, check=False, timeout=10, capture_output=True).returncode != 0
    subprocess.run(wrong_topic, check=True, timeout=10)
    deadline = time.monotonic() + PATIENCE_SECONDS
    while (counted(appliance, "sign_in"), counted(appliance, "topic")) != (1, 1):
        assert time.monotonic() < deadline, appliance.tail()
    assert "tenants/demo" not in appliance.log.read_text().replace(" ".join(line), "")
