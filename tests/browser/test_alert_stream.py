"""From a reading to the page: a whole appliance judges a rule, and the open page of alerts shows what it opened."""

import json
import time
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, expect

from appliance.people.role import Role
from appliance.web.access.gate import HEADER
from tests.browser.test_quarantine import publish
from tests.support.appliance_process import ApplianceProcess, started
from tests.support.web.accounts import sign_browser_in, signed_in

PATIENCE = 20_000
"""Milliseconds."""
PAUSE = 200
"""Milliseconds between two readings: a device that sends all the time loses some to its limit, which is an alert."""
TENANT = "stream"


@pytest.fixture
def running() -> Iterator[ApplianceProcess]:
    """A whole appliance, with its own Postgres and broker."""
    with started() as process:
        yield process


def test_a_breach_appears_on_the_open_page_and_the_way_back_closes_it(
    running: ApplianceProcess, browser: Browser
) -> None:
    publish(running, TENANT, "freezer", json.dumps({"ts": time.time(), "temperature": -20}))
    url = running.run["web_url"]
    person = signed_in(running.conninfo(), Role.ADMIN, TENANT)
    context = browser.new_context(viewport={"width": 1440, "height": 900}, base_url=url)
    sign_browser_in(context, url, person)
    rule = {"name": "Too warm", "severity": "high", "kind": "threshold", "metric": "temperature", "operator": "GT"}
    made = context.request.post("/customer/alert-rules", data={**rule, "value": -15}, headers={HEADER: person.csrf})
    assert made.status == 201, made.text()
    page = context.new_page()
    page.goto("/alerts")
    expect(page.locator("#live-state")).to_contain_text("Live")
    deadline = time.monotonic() + PATIENCE / 1000
    while not page.locator("#alert-news a").is_visible():  # a rule is in force within a second
        assert time.monotonic() < deadline, "no breach opened an alert"
        publish(running, TENANT, "freezer", json.dumps({"ts": time.time(), "temperature": -11.8}))
        page.wait_for_timeout(PAUSE)
    expect(page.locator("#alert-news")).to_contain_text("1 new, show", timeout=PATIENCE)
    page.locator("#alert-news a").click()
    row = page.locator("tbody tr")
    expect(row).to_have_count(1)
    expect(row).to_contain_text("freezer")
    publish(running, TENANT, "freezer", json.dumps({"ts": time.time(), "temperature": -20}))
    expect(row).to_contain_text("Closed", timeout=PATIENCE)
    context.close()
