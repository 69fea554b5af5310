"""Rules in a browser: made with a preview, corrected, switched off and on, deleted; and the same without script."""

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from appliance.people.role import Role
from tests.support.postgres_server import PostgresServer
from tests.support.web.browser import DemoDashboard, Watched, open_demo
from tests.support.web.demo_fixture import DEVICE, RULE

DESKTOP = {"width": 1440, "height": 900}


@pytest.fixture(scope="module")
def plant(postgres_server: PostgresServer, database_template: str) -> Iterator[DemoDashboard]:
    """A demo dashboard of this module's own, since its tests change rules."""
    with open_demo(postgres_server, database_template) as made:
        yield made


@pytest.fixture
def admin(plant: DemoDashboard, browser: Browser) -> Iterator[Watched]:
    """An administrator's window."""
    context = plant.context(browser, Role.ADMIN, viewport=DESKTOP, reduced_motion="reduce")
    yield Watched(context.new_page())
    context.close()


@pytest.fixture
def plain(plant: DemoDashboard, browser: Browser) -> Iterator[Page]:
    """The same without script."""
    context = plant.context(browser, Role.ADMIN, viewport=DESKTOP, java_script_enabled=False)
    yield context.new_page()
    context.close()


def heading(page: Page) -> str:
    """Return the count of the preview."""
    return page.locator("#preview h2").text_content() or ""


def test_a_rule_is_made_while_the_preview_follows_what_is_typed(plant: DemoDashboard, admin: Watched) -> None:
    page = admin.page
    page.goto(f"{plant.url}/rules")
    page.get_by_role("link", name="New rule").click()
    expect(page.locator("#preview")).to_contain_text("Finish the sentence")
    page.get_by_label("Name").fill("Much too warm")
    page.get_by_role("combobox", name="Metric", exact=True).select_option("temperature")
    expect(page.locator("#rule-form .unit-r").first).to_have_text("°C")
    expect(page.get_by_label("Name")).to_have_value("Much too warm")
    page.get_by_label("Limit").fill("-14,5")
    expect(page.locator("#preview h2")).to_have_text(re.compile(r"^\d+ alerts in the last 7 days$"))
    expect(page.locator("#preview tbody tr").first).to_contain_text("BGO-FRZ")
    many = heading(page)
    expect(page.locator("#preview .limit:not(.key .limit)").first).to_be_attached()
    expect(page.locator("#preview svg.plot")).to_have_attribute("aria-label", re.compile("would have opened"))
    page.locator("label.tile", has_text="Critical").click()
    page.get_by_role("textbox", name="For at least", exact=True).fill("200")
    expect(page.locator("#preview h2")).not_to_have_text(many)

    page.get_by_role("combobox", name="Device in the chart").select_option(DEVICE)
    expect(page.locator("#preview svg.plot")).to_have_attribute("aria-label", re.compile(f"Temperature of {DEVICE}"))
    expect(page.get_by_label("Limit")).to_have_value("-14,5")
    expect(page.get_by_role("radio", name="Critical")).to_be_checked()
    page.get_by_role("button", name="Save rule").click()
    expect(page).to_have_url(re.compile("/rules$"))
    expect(page.locator(".toast")).to_contain_text("The rule is saved")
    row = page.locator("tbody tr", has_text="Much too warm")
    expect(row).to_contain_text("Critical")
    expect(row).to_contain_text("Temperature above \N{MINUS SIGN}14.5 °C for 3 h 20 min")
    assert admin.complaints == []


def test_an_error_stands_below_its_sentence_and_the_preview_keeps_the_last_valid_value(
    plant: DemoDashboard, admin: Watched
) -> None:
    page = admin.page
    page.goto(f"{plant.url}/rules/{RULE}")
    expect(page.locator("#preview h2")).to_have_text(re.compile("in the last 7 days"))
    page.get_by_label("Clears at").fill("-3")
    expect(page.locator("#preview")).to_contain_text("The field clear value has an error")
    expect(page.locator("#preview")).to_contain_text("\N{MINUS SIGN}16.0")
    page.get_by_role("button", name="Save rule").click()
    expect(page.locator("#fault")).to_contain_text("Not saved. Close it when: Write -15 or less")
    expect(page.get_by_label("Clears at")).to_have_attribute("aria-invalid", "true")
    expect(page.locator("#f-clear_value-e")).to_contain_text("Write -15 or less")
    page.locator("#fault a").click()
    expect(page.get_by_label("Clears at")).to_be_focused()
    page.get_by_label("Clears at").fill("-17")
    page.get_by_role("button", name="Save rule").click()
    expect(page.locator("tbody tr", has_text="Freezer high temperature")).to_contain_text("\N{MINUS SIGN}17.0 °C")


def test_kinds_and_further_conditions_redraw_the_form_and_keep_what_was_typed(
    plant: DemoDashboard, admin: Watched
) -> None:
    page = admin.page
    page.goto(f"{plant.url}/rules/new?metric=temperature&device={DEVICE}")
    expect(page.get_by_label("Single devices")).to_have_value(DEVICE)
    page.get_by_label("Name").fill("Mixed")
    page.get_by_label("Limit").fill("-15")
    page.get_by_role("button", name="Add condition").click()
    page.get_by_role("combobox", name="Metric of condition 1").select_option("door")
    page.get_by_role("combobox", name="Value of condition 1").select_option("false")
    expect(page.get_by_label("Limit")).to_have_value("-15")
    expect(page.locator("#preview h2")).to_have_text(re.compile(r"\d+ alerts? in the last 7 days"))
    page.get_by_role("button", name="Remove condition 1").click()
    expect(page.get_by_role("combobox", name="Metric of condition 1")).to_have_count(0)
    page.locator("#f-kind label", has_text="Window").click()
    expect(page.get_by_role("combobox", name="Of the window")).to_be_visible()
    expect(page.get_by_label("Name")).to_have_value("Mixed")
    page.locator("#f-kind label", has_text="No data").click()
    page.get_by_role("textbox", name="Silence").fill("20")
    expect(page.locator("#preview")).to_contain_text("did not listen are left out")
    page.locator("#f-kind label", has_text="Change").click()
    expect(page.locator("#rule-form")).to_contain_text("changes to")
    page.get_by_role("combobox", name="Metric", exact=True).select_option("door")
    page.get_by_role("combobox", name="New value").select_option("true")
    expect(page.locator("#preview .chart.lane rect.f-s4").first).to_be_attached()
    assert admin.complaints == []


def test_a_rule_is_switched_off_and_on_and_deleted(plant: DemoDashboard, admin: Watched) -> None:
    page = admin.page
    page.goto(f"{plant.url}/rules")
    switch = page.get_by_role("switch", name="Humidity over an hour")
    expect(switch).to_be_checked()
    switch.click()
    expect(page.locator(".toast")).to_contain_text("The rule is off.")
    expect(switch).not_to_be_checked()
    switch.click()
    expect(switch).to_be_checked()
    page.get_by_role("link", name="Humidity over an hour").click()
    page.get_by_role("link", name="Delete…").click()
    expect(page.get_by_role("dialog")).to_contain_text("No alert of it is open.")
    page.get_by_label("Type Humidity over an hour to confirm").fill("Humidity over an hour")
    page.get_by_role("button", name="Delete rule").click()
    expect(page.locator(".toast")).to_contain_text("The rule is deleted.")
    expect(page.get_by_role("link", name="Humidity over an hour")).to_have_count(0)
    assert admin.complaints == []


def test_all_of_it_works_without_script(plant: DemoDashboard, plain: Page) -> None:
    page = plain
    page.goto(f"{plant.url}/rules/new?metric=temperature")
    page.get_by_label("Name").fill("Plain")
    page.get_by_label("Limit").fill("warm")
    page.get_by_role("button", name="Save rule").click()
    expect(page.locator("#fault")).to_contain_text("Enter a number, such as 6.5.")
    page.get_by_label("Limit").fill("-15")
    page.get_by_role("button", name="Add condition").click()
    page.get_by_role("combobox", name="Metric of condition 1").select_option("door")
    page.get_by_role("button", name="Update the form").click()
    page.get_by_role("combobox", name="Value of condition 1").select_option("false")
    page.get_by_role("button", name="Preview", exact=True).click()
    expect(page.locator("#preview h2")).to_have_text(re.compile(r"^\d+ alerts in the last 7 days$"))
    expect(page.locator("#preview svg.plot")).to_be_visible()
    page.get_by_role("combobox", name="Device in the chart").select_option(DEVICE)
    page.get_by_role("button", name="Show").click()
    expect(page.locator("#preview svg.plot")).to_have_attribute("aria-label", re.compile(f"Temperature of {DEVICE}"))
    page.get_by_label("Name").press("Enter")
    expect(page).to_have_url(re.compile("/rules\\?done=created"))
    switch = page.get_by_role("switch", name="Plain")
    switch.click()
    expect(switch).not_to_be_checked()
    page.get_by_role("link", name="Plain").click()
    page.wait_for_load_state()  # a form of which a part is still on its way is sent without it
    page.locator("#f-kind label", has_text="Change").click()
    page.get_by_role("button", name="Update the form").click()
    page.wait_for_load_state()
    page.get_by_label("New value").fill("-15")
    page.get_by_role("button", name="Save rule").click()
    expect(page.locator("tbody tr", has_text="Plain")).to_contain_text("Temperature changes to \N{MINUS SIGN}15.0 °C")
    page.get_by_role("link", name="Plain").click()
    page.get_by_role("link", name="Delete…").click()
    page.get_by_label("Type Plain to confirm").fill("Plain")
    page.get_by_role("button", name="Delete rule").click()
    expect(page.get_by_role("link", name="Plain")).to_have_count(0)


def test_a_device_leads_to_a_rule_about_what_its_chart_shows(plant: DemoDashboard, admin: Watched) -> None:
    page = admin.page
    page.goto(f"{plant.url}/devices/{DEVICE}?m=humidity")
    page.get_by_role("link", name="New rule for Humidity").click()
    expect(page.get_by_role("combobox", name="Metric", exact=True)).to_have_value("humidity")
    expect(page.get_by_label("Single devices")).to_have_value(DEVICE)
