"""An integration and a route, made, tried and switched in a browser: with script, and without."""

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from appliance.people.role import Role
from tests.support.http_sink import HttpSink, answers, sink_in_thread
from tests.support.postgres_server import PostgresServer
from tests.support.web.browser import DemoDashboard, Watched, open_demo
from tests.support.web.demo_deliveries import MAIN_ROUTE


@pytest.fixture(scope="module")
def plant(postgres_server: PostgresServer, database_template: str) -> Iterator[DemoDashboard]:
    """A demo dashboard of this module's own, since its tests change integrations and routes."""
    with open_demo(postgres_server, database_template) as made:
        yield made


@pytest.fixture
def sink() -> Iterator[HttpSink]:
    """A receiver on loopback, in a thread of its own."""
    with sink_in_thread(answers(200, body=b"thank you")) as one:
        yield one


def admin_page(browser: Browser, plant: DemoDashboard, *, script: bool) -> Page:
    context = plant.context(
        browser, Role.ADMIN, base_url=plant.url, viewport={"width": 1440, "height": 1000}, java_script_enabled=script
    )
    return context.new_page()


@pytest.mark.parametrize("script", [True, False], ids=["with script", "without"])
def test_an_integration_is_made_tried_and_given_a_route(
    plant: DemoDashboard, browser: Browser, sink: HttpSink, script: bool
) -> None:
    page = admin_page(browser, plant, script=script)
    watched = Watched(page)
    name = f"Line server {script}"
    page.goto("/integrations/+new")
    page.get_by_label("Name", exact=True).fill(name)
    page.get_by_text("ntfy", exact=True).last.click()
    if not script:
        page.get_by_role("button", name="Show the fields of this type").click()
    expect(page.get_by_label("Topic")).to_be_visible()
    page.get_by_text("Webhook", exact=True).last.click()
    if not script:
        page.get_by_role("button", name="Show the fields of this type").click()
    expect(page.get_by_label("Name", exact=True)).to_have_value(name)
    page.get_by_label("Address").fill("http://10.20.0.31:8088/alerts")
    page.get_by_role("button", name="Save and test").click()
    expect(page.get_by_role("alert")).to_contain_text("10.20.0.31 is a private address.")
    expect(page.locator("#f-lines")).to_have_text('[delivery]\nallow_networks = ["10.20.0.31/32"]')
    page.get_by_label("Address").fill(sink.url())
    page.get_by_label("Authorization header").fill("Bearer typed")
    page.get_by_role("button", name="Test only").click()
    expect(page.locator("#trial")).to_contain_text("Nothing was saved.")
    expect(page.locator("#trial")).to_contain_text("Delivered, 200 OK")
    expect(page.get_by_label("Authorization header")).to_have_value("Bearer typed" if script else "")
    assert sink.requests[-1].header("authorization") == "Bearer typed"
    page.get_by_role("button", name="Save and test").click()
    expect(page.locator("#sample")).to_contain_text("Delivered, 200 OK")
    expect(page.locator("#sample")).to_contain_text("thank you")
    expect(page.locator("#t-request")).to_contain_text("webhook-signature")
    expect(page.locator(".secret")).to_contain_text("whsec_")
    assert sink.requests[-1].json["data"]["alert"]["summary"].startswith("Test of this integration")

    page.goto("/routes/+new")
    page.get_by_label("Name", exact=True).fill(f"Everything {script}")
    page.get_by_label("Integration", exact=True).select_option(label=f"{name} (Webhook)")
    page.get_by_role("button", name="Choose all").click()
    expect(page.locator("#preview")).to_contain_text("Would have taken 12 of the last 12 alerts")
    expect(page.get_by_label("Name", exact=True)).to_have_value(f"Everything {script}")
    page.get_by_label("Bergen Quay").check()
    if not script:
        page.get_by_role("button", name="Count the alerts again").click()
    expect(page.locator("#preview")).to_contain_text(re.compile(r"Would have taken \d of the last 12 alerts"))
    page.get_by_text("See which").click()
    expect(page.locator(".judged li").first).to_be_visible()
    expect(page.locator(".judged")).to_contain_text("another site")
    page.get_by_role("button", name="Save route").click()
    row = page.get_by_role("row", name=re.compile(f"Everything {script}"))
    expect(row).to_contain_text("opened, closed, Bergen Quay")
    switch = row.get_by_role("switch")
    expect(switch).to_have_attribute("aria-checked", "true")
    switch.click()
    expect(row.get_by_role("switch")).to_have_attribute("aria-checked", "false")
    expect(row).to_contain_text("Off")
    assert [line for line in watched.complaints if "422" not in line] == []
    page.context.close()


def test_on_a_phone_the_editor_is_a_page_of_its_own(plant: DemoDashboard, browser: Browser) -> None:
    page = admin_page(browser, plant, script=True)
    page.set_viewport_size({"width": 390, "height": 844})
    page.goto(f"/routes/{MAIN_ROUTE}")
    expect(page.locator("#route-form")).to_be_visible()
    expect(page.get_by_role("table", name="Routes in order of priority")).to_be_hidden()
    page.goto("/routes")
    expect(page.get_by_role("table", name="Routes in order of priority")).to_be_visible()
    page.context.close()
