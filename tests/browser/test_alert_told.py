"""An alert from its rule to its receiver, as an administrator sees it in a browser, over the whole appliance."""

import re
import time
from collections.abc import Iterator

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect

from appliance.people.role import Role
from tests.support.appliance_process import ApplianceProcess, started
from tests.support.http_sink import HttpSink, answers, in_turn, sink_in_thread
from tests.support.publisher import TENANT
from tests.support.web.accounts import sign_browser_in, signed_in
from tests.support.web.browser import Watched

PATIENCE = 30_000
"""Milliseconds for what the appliance does by itself."""
LATER = "Retry-After: 600"


@pytest.fixture
def running() -> Iterator[ApplianceProcess]:
    """An appliance that may send to this machine."""
    with started({"APPLIANCE_DELIVERY_ALLOW_NETWORKS": "127.0.0.0/8"}) as process:
        process.tenant(TENANT)
        yield process


@pytest.fixture
def sink() -> Iterator[HttpSink]:
    """A receiver that takes the sample, is broken for the first notice, and takes the second try of it."""
    with sink_in_thread(in_turn(answers(200), answers(503, LATER, body=b"broken"), answers(204, body=b""))) as one:
        yield one


def say(appliance: ApplianceProcess, token: str, temperature: float) -> None:
    url = f"{appliance.run['web_url']}/ingest/tenant/{TENANT}/device/oven-1/telemetry"
    headers = {"Authorization": f"Bearer {token}"}
    answer = httpx.post(url, json={"temperature": temperature}, headers=headers, timeout=20)
    assert answer.is_success, answer.text


def metric_is_known(appliance: ApplianceProcess, page: Page) -> None:
    """Wait until the appliance has learned the metric, which it looks for every ten seconds: the editor offers it."""
    deadline = time.monotonic() + PATIENCE / 1000
    while not appliance.query("SELECT FROM metrics WHERE tenant_id = %s AND name = 'temperature'", TENANT):
        assert time.monotonic() < deadline
        page.wait_for_timeout(100)


def add_route(page: Page, name: str, integration: str, *switched: str) -> None:
    """Fill in the form of a route, which has the tiles Critical and High ticked."""
    page.goto("/routes/+new")
    page.get_by_label("Name", exact=True).fill(name)
    page.get_by_label("Integration", exact=True).select_option(label=integration)
    for severity in switched:
        page.locator("label.tile", has_text=severity).click()
    page.get_by_role("button", name="Save route").click()
    expect(page.get_by_role("row", name=re.compile(name))).to_be_visible()


def test_an_alert_is_told_after_a_retry_and_its_page_says_why_another_route_was_silent(
    running: ApplianceProcess, sink: HttpSink, browser: Browser
) -> None:
    token = str(running.command("device", "add", TENANT, "oven-1")["token"])
    say(running, token, 5)  # so that the editor of rules knows the metric
    context = browser.new_context(base_url=running.run["web_url"], viewport={"width": 1440, "height": 1000})
    sign_browser_in(context, running.run["web_url"], signed_in(running.conninfo(), Role.ADMIN, TENANT))
    page = context.new_page()
    watched = Watched(page)

    page.goto("/integrations/+new")
    page.get_by_label("Name", exact=True).fill("Line server")
    page.get_by_text("Webhook", exact=True).last.click()
    page.get_by_label("Address").fill(sink.url())
    page.get_by_role("button", name="Save and test").click()
    expect(page.locator("#sample")).to_contain_text("Delivered, 200")
    add_route(page, "Serious", "Line server (Webhook)")
    add_route(page, "Harmless", "Line server (Webhook)", "Critical", "High", "Low")

    metric_is_known(running, page)
    page.goto("/rules")
    page.get_by_role("link", name="New rule").first.click()
    page.get_by_label("Name").fill("Much too warm")
    page.get_by_role("combobox", name="Metric", exact=True).select_option("temperature")
    expect(page.locator("#rule-form .unit-r").first).to_have_text("°C", timeout=PATIENCE)  # the form has followed
    page.locator("label.tile", has_text="High").click()
    page.get_by_label("Limit").fill("8")
    expect(page.locator("#preview h2")).to_have_text(re.compile("in the last 7 days"), timeout=PATIENCE)
    page.get_by_role("button", name="Save rule").click()
    expect(page.locator(".toast")).to_contain_text("The rule is saved")

    page.goto("/alerts")
    for temperature in range(9, 69):  # the stream knows the rule within a second
        if len(sink.requests) > 1:
            break
        say(running, token, temperature)
        page.wait_for_timeout(250)
    page.goto("/deliveries")
    row = page.get_by_role("row", name=re.compile("Serious"))
    expect(row).to_contain_text("last 503", timeout=PATIENCE)
    row.get_by_role("button", name=re.compile("Try now")).click()
    expect(row).to_contain_text("Delivered", timeout=PATIENCE)
    row.locator("a.title").click()
    tries = page.locator("#delivery-tries tbody tr")
    expect(tries).to_have_count(2)
    expect(tries.first).to_contain_text("204")
    expect(tries.last).to_contain_text("503")
    expect(tries.last).to_contain_text("broken")

    page.get_by_role("link", name="Open alert").click()
    routing = page.locator("#alert-routing")
    expect(routing.get_by_role("row", name=re.compile("Serious"))).to_contain_text("Delivered")
    expect(routing.get_by_role("row", name=re.compile("Harmless"))).to_contain_text("Does not match: Low only")
    sample, first, second = sink.requests
    assert sample.json["data"]["alert"]["summary"].startswith("Test of this integration")
    assert first.header("webhook-id") == second.header("webhook-id")
    assert second.json["type"] == "alert.opened"
    assert watched.complaints == []
    context.close()
