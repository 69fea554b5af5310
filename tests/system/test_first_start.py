"""The first start: a set-up link, the page behind it, a first message by its lines; no secret comes twice."""

import html
import re
import subprocess
import time
from urllib.parse import urlsplit

import httpx

from tests.support.appliance_process import CSRF, PASSWORD, SET_UP_LINK, ApplianceProcess

PATIENCE_SECONDS = 30.0


def counted(appliance: ApplianceProcess, cause: str) -> float:
    """Return the metric of refusals by the broker."""
    pattern = rf'^appliance_door_refusals_total{{cause="{cause}"}} (\S+)$'
    found = re.search(pattern, appliance.get("/metrics").decode(), re.MULTILINE)
    return float(found[1]) if found else 0.0


def wait_for_readings(appliance: ApplianceProcess, count: int) -> None:
    """Return once the first device has so many readings."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while appliance.query("SELECT tenant_id, device_id FROM telemetry") != [("acme-farms", "first")] * count:
        assert time.monotonic() < deadline, appliance.tail()
        time.sleep(0.05)


def test_the_set_up_link_leads_to_a_first_message_and_then_to_nothing(appliance: ApplianceProcess) -> None:
    appliance.from_scratch = True
    appliance.start()
    link = appliance.set_up_link()
    made = appliance.set_up("Acme Farms")
    assert "Waiting for the first message" in made.page
    assert made.mosquitto[-1] == '{"temperature": 21.5}', "it is escaped in the page's source, once"
    assert re.fullmatch(r"http://[\d.]+:\d+/ingest/tenant/acme-farms/device/first/telemetry", made.curl[-1])
    assert html.unescape(made.page) != made.page
    subprocess.run(made.mosquitto, check=True, timeout=60)
    wait_for_readings(appliance, 1)
    subprocess.run([*made.curl, "--fail", "--silent"], check=True, timeout=60, capture_output=True)
    wait_for_readings(appliance, 2)
    reloaded = httpx.get(f"{appliance.run['web_url']}/welcome", cookies=made.cookies)
    assert "The first message of first is stored" in reloaded.text
    assert httpx.get(link).status_code == 404, "it works once"
    rows = appliance.query("SELECT email, role, tenant_id FROM users")
    assert rows == [("ops@acme.example", "operator", None)]
    rows = appliance.query("SELECT subscription_type, device_limit, term_end - term_start FROM subscriptions")
    assert [(kind, seats, length.days) for kind, seats, length in rows] == [("TRIAL", 10, 30)]
    password, token = made.mosquitto[made.mosquitto.index("-P") + 1], made.curl[2].rpartition(" ")[2]
    for secret in (password, token, PASSWORD):
        assert secret not in appliance.log.read_text()
    appliance.stop()
    appliance.log.unlink()
    appliance.start()
    assert SET_UP_LINK.search(appliance.log.read_text()) is None, "somebody is there"
    assert "are no longer shown" in httpx.get(f"{appliance.run['web_url']}/welcome", cookies=made.cookies).text


def test_each_start_without_a_user_makes_a_new_link_and_so_does_the_command(appliance: ApplianceProcess) -> None:
    appliance.start()
    first = appliance.set_up_link()
    assert httpx.get(first).status_code == 200
    appliance.stop()
    appliance.start()
    second = appliance.set_up_link()
    third = appliance.command("setup-link")["url"]
    earlier = appliance.run["web_url"] + urlsplit(first).path
    assert [httpx.get(earlier).status_code, httpx.get(second).status_code] == [404, 404]
    page = httpx.get(third)
    assert page.status_code == 200
    assert CSRF.search(page.text) is not None


def test_what_the_broker_refuses_is_counted_by_cause(appliance: ApplianceProcess) -> None:
    appliance.start()
    line = appliance.set_up("Acme Farms").mosquitto
    wrong_password = [*line]
    wrong_password[line.index("-P") + 1] = "wrong"
    wrong_topic = [*line]
    wrong_topic[line.index("-t") + 1] = "tenants/acme-farms/device/first/telemetry"
    assert subprocess.run(wrong_password, check=False, timeout=60, capture_output=True).returncode != 0
    subprocess.run(wrong_topic, check=True, timeout=60)
    deadline = time.monotonic() + PATIENCE_SECONDS
    while (counted(appliance, "sign_in"), counted(appliance, "topic")) != (1, 1):
        assert time.monotonic() < deadline, appliance.tail()
        time.sleep(0.05)
    assert "tenants/acme-farms" not in appliance.log.read_text()
    assert counted(appliance, "protocol") == 0  # the calls by which it asks whether its broker works are none
