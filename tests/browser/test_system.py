"""The System page in a browser: live under its policy, complete without script."""

import re

from playwright.sync_api import Browser, expect

from appliance.people.role import Role
from tests.support.web.browser import Dashboard, DemoDashboard, Watched, admit


def test_it_is_live_under_its_policy_without_a_complaint(busy: Dashboard, watched: Watched) -> None:
    page = watched.page
    page.goto(f"{busy.url}/system")
    expect(page.get_by_role("heading", level=1)).to_have_text("System")
    expect(page.locator("#live-state")).to_contain_text("Live, updated")
    before = page.locator("#live-state").inner_text()
    expect(page.locator("#live-state")).not_to_have_text(before)
    expect(page.locator("#sys-balance")).to_contain_text("Balanced")
    assert watched.complaints == []


def test_only_problems_is_an_address_of_its_own_and_stays_live(busy: Dashboard, watched: Watched) -> None:
    page = watched.page
    page.goto(f"{busy.url}/system")
    page.get_by_role("link", name=re.compile("Only problems")).click()
    expect(page).to_have_url(f"{busy.url}/system/problems")
    expect(page.locator("#live-state")).to_contain_text("Live, updated")
    expect(page.get_by_role("link", name=re.compile("Only problems"))).to_have_attribute("aria-current", "true")


def test_without_script_it_is_all_there_with_its_time(busy: Dashboard, browser: Browser) -> None:
    context = browser.new_context(java_script_enabled=False)
    admit(context)
    page = context.new_page()
    page.goto(f"{busy.url}/system")
    expect(page.locator("#live-state")).to_contain_text("As of")
    for heading in (
        "Running tasks",
        "Embedded services",
        "What an acknowledgement guarantees",
        "Limits in memory",
        "Disk",
    ):
        expect(page.get_by_role("heading", name=heading)).to_be_visible()
    context.close()


def test_the_demo_fixture_has_the_schema_that_the_program_needs(demo: DemoDashboard, browser: Browser) -> None:
    context = demo.context(browser, Role.OPERATOR)
    page = context.new_page()
    page.goto(f"{demo.url}/system")
    expect(page.get_by_text("matches this version")).to_be_visible()
    expect(page.get_by_text("this version needs")).to_have_count(0)
    context.close()
