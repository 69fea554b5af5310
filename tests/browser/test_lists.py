"""Lists change in place: the filter, the order and the page are in the address, and the page is not loaded anew."""

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from appliance.people.role import Role
from tests.support.web.browser import DemoDashboard, Watched

STAYED = "window.stayed = true"


@pytest.fixture
def devices(demo: DemoDashboard, browser: Browser) -> Iterator[Watched]:
    """The list of devices, with a mark on its window that a load would take away."""
    context = demo.context(browser, Role.ADMIN, viewport={"width": 1440, "height": 900})
    watched = Watched(context.new_page())
    watched.page.goto(f"{demo.url}/devices")
    watched.page.evaluate(STAYED)
    yield watched
    context.close()


def loaded_anew(page: Page) -> bool:
    """Whether the window is another one than in the beginning."""
    return not page.evaluate("window.stayed === true")


def test_a_filter_acts_at_once_stands_in_the_address_and_goes_back(devices: Watched) -> None:
    page = devices.page
    page.get_by_role("checkbox", name="Offline").check()
    expect(page).to_have_url(re.compile(r"presence=OFFLINE"))
    expect(page.locator("tbody tr")).to_have_count(7)
    assert not loaded_anew(page)
    expect(page.get_by_role("checkbox", name="Offline")).to_be_focused()
    page.go_back()
    expect(page.locator("tbody tr")).to_have_count(50)
    expect(page.get_by_role("checkbox", name="Offline")).not_to_be_checked()
    assert devices.complaints == []


def test_what_is_cleared_is_not_asked_for_again(devices: Watched) -> None:
    page = devices.page
    page.get_by_role("checkbox", name="Offline").check()
    page.get_by_role("link", name="Clear").click()
    expect(page.locator("tbody tr")).to_have_count(50)
    expect(page.get_by_role("checkbox", name="Offline")).not_to_be_checked()
    page.get_by_role("checkbox", name="Stale").check()
    expect(page.locator("tbody tr")).to_have_count(2)


def test_a_choice_is_cleared_too(demo: DemoDashboard, devices: Watched) -> None:
    page = devices.page
    page.goto(f"{demo.url}/quarantine")
    reason = page.locator("main select[name=reason]")
    reason.select_option("INVALID_JSON")
    expect(page).to_have_url(re.compile("reason=INVALID_JSON"))
    page.get_by_role("link", name="Clear").click()
    expect(page).to_have_url(re.compile("/quarantine$"))
    expect(reason).to_have_value("")


def test_order_and_pages_come_in_place(devices: Watched) -> None:
    page = devices.page
    page.get_by_role("link", name="Last seen").click()
    expect(page).to_have_url(re.compile("sort="))
    expect(page.get_by_role("columnheader", name="Last seen")).to_have_attribute("aria-sort", re.compile("ending"))
    page.get_by_role("link", name="Next page").click()
    expect(page).to_have_url(re.compile("cursor="))
    expect(page.locator("tbody tr")).to_have_count(16)
    assert not loaded_anew(page)
    assert devices.complaints == []


def test_what_was_picked_is_not_picked_in_another_row_afterwards(devices: Watched) -> None:
    page = devices.page
    box = page.locator("tbody input[type=checkbox]").nth(3)
    box.check()
    expect(page.locator("[data-bulk]")).to_be_visible()
    page.get_by_role("checkbox", name="Offline").check()
    expect(page.locator("tbody tr")).to_have_count(7)
    expect(page.locator("tbody input:checked")).to_have_count(0)
    expect(page.locator("[data-bulk]")).to_be_hidden()
    page.locator("tbody input[type=checkbox]").first.check()
    expect(page.locator("[data-bulk-count]")).to_have_text("1")


def test_an_open_menu_stays_open_while_it_filters(devices: Watched) -> None:
    page = devices.page
    page.locator("details.menu summary", has_text="Site").click()
    page.locator("details[open] input[type=checkbox]").first.check()
    expect(page).to_have_url(re.compile("site="))
    expect(page.locator("details.menu[open]")).to_have_count(1)
    assert not loaded_anew(page)


def test_a_live_page_follows_what_is_chosen_on_it(demo: DemoDashboard, devices: Watched) -> None:
    page = devices.page
    page.goto(demo.url)
    page.evaluate(STAYED)
    page.get_by_role("navigation", name="Time range").get_by_role("link", name="24 h").click()
    expect(page.locator("#books")).to_contain_text("Last 24 hours:")
    page.get_by_role("combobox", name="Site").select_option("moss-terminal")
    expect(page).to_have_url(re.compile(r"/\?range=24h&site=moss-terminal$"))
    expect(page.locator("#kpi-devices .kpi-v")).to_have_text("21")
    expect(page.locator("#live-state")).to_contain_text("Live")
    shown = page.locator("#live-state").text_content()
    page.wait_for_function("shown => document.querySelector('#live-state').textContent !== shown", arg=shown)
    expect(page.locator("#kpi-devices .kpi-v")).to_have_text("21")
    expect(page.locator("#books")).to_contain_text("Last 24 hours, all sites")
    assert not loaded_anew(page)
    page.go_back()
    expect(page.locator("#kpi-devices .kpi-v")).to_have_text("66")
    assert devices.complaints == []


def test_without_script_the_same_forms_and_links_load_the_page(demo: DemoDashboard, browser: Browser) -> None:
    context = demo.context(browser, Role.ADMIN, java_script_enabled=False)
    page = context.new_page()
    page.goto(f"{demo.url}/devices")
    page.get_by_role("checkbox", name="Offline").check()
    page.get_by_role("button", name="Apply").first.click()
    expect(page.locator("tbody tr")).to_have_count(7)
    page.get_by_role("link", name="Clear").click()
    page.get_by_role("link", name="Next page").click()
    expect(page.locator("tbody tr")).to_have_count(16)
    page.goto(f"{demo.url}/?range=24h")
    page.get_by_role("combobox", name="Site").select_option("moss-terminal")
    page.get_by_role("button", name="Apply").click()
    expect(page).to_have_url(re.compile(r"/\?range=24h&site=moss-terminal$"))
    expect(page.locator("#kpi-devices .kpi-v")).to_have_text("21")
    context.close()
