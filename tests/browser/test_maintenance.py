"""A maintenance window from the form to its end: with script, and without."""

import re

import pytest
from playwright.sync_api import Browser, Page, expect

from appliance.people.role import Role
from tests.support.web.browser import DemoDashboard, Watched


def admin_page(browser: Browser, demo: DemoDashboard, *, script: bool) -> Page:
    context = demo.context(
        browser, Role.ADMIN, base_url=demo.url, viewport={"width": 1440, "height": 1000}, java_script_enabled=script
    )
    return context.new_page()


@pytest.mark.parametrize("script", [True, False], ids=["with script", "without"])
def test_a_window_is_planned_previewed_and_deleted(demo: DemoDashboard, browser: Browser, script: bool) -> None:
    page = admin_page(browser, demo, script=script)
    watched = Watched(page)
    page.goto("/maintenance")
    page.get_by_role("link", name="New window").click()
    expect(page.get_by_label("Start", exact=True)).to_be_visible()
    expect(page.get_by_label("From", exact=True)).to_be_hidden()
    name = f"Cold room cleaning {script}"
    page.get_by_label("Name").fill(name)
    page.get_by_text("Every week").click()
    expect(page.get_by_label("Start", exact=True)).to_be_hidden()
    for day in ("Sat", "Sun"):
        page.get_by_text(day, exact=True).click()
    page.get_by_label("From", exact=True).fill("23:00")
    page.get_by_label("To", exact=True).fill("03:30")
    preview = page.locator("#preview")
    if not script:
        page.get_by_role("button", name="Preview").click()
        expect(page.get_by_role("alert")).to_contain_text("Choose a site")
    page.get_by_label("Bergen Quay").check()
    if not script:
        page.get_by_role("button", name="Preview").click()
    expect(preview).to_contain_text("Every Sat and Sun, 23:00 to 03:30, Europe/Oslo")
    expect(preview).to_contain_text(re.compile(r"Sat \d+ \w+( \d{4})? 23:00 to Sun \d+ \w+( \d{4})? 03:30 CES?T"))
    expect(preview).to_contain_text("4 h 30 min, twice a week")
    expect(preview).to_contain_text(re.compile(r"clocks go (forward|back) and the window lasts"))
    expect(preview).to_contain_text("Hygiene wash")
    expect(page.get_by_label("Sat", exact=True)).to_be_checked()
    page.get_by_role("button", name="Save window").click()
    row = page.get_by_role("row", name=re.compile(name))
    expect(row).to_contain_text("Every Sat and Sun, 23:00 to 03:30")
    expect(row).to_contain_text("Bergen Quay")
    row.get_by_role("link", name=name, exact=True).click()
    expect(preview).to_contain_text("twice a week")
    page.get_by_role("link", name="Delete…").click()
    page.get_by_label(f"Type {name} to confirm").fill(name)
    page.get_by_role("button", name="Delete window").click()
    expect(page.get_by_role("row", name=re.compile(name))).to_have_count(0)
    assert [line for line in watched.complaints if "422" not in line] == []
    page.context.close()


def test_what_is_typed_stays_while_the_preview_follows(demo: DemoDashboard, browser: Browser) -> None:
    page = admin_page(browser, demo, script=True)
    page.goto("/maintenance/+new")
    page.get_by_text("Every week").click()
    page.get_by_text("The whole tenant").click()
    expect(page.get_by_label("Tags")).to_be_hidden()
    page.get_by_text("Wed", exact=True).click()
    page.get_by_label("From", exact=True).fill("10:00")
    page.get_by_label("To", exact=True).fill("11:00")
    preview = page.locator("#preview")
    expect(preview).to_contain_text("Give the window a name.")
    page.get_by_label("Name").fill("Wash")
    expect(preview).to_contain_text("Every Wed, 10:00 to 11:00")
    expect(page.get_by_label("Name")).to_have_value("Wash")
    expect(page.get_by_label("Name")).to_be_focused()
    page.get_by_label("To", exact=True).fill("12:30")
    expect(preview).to_contain_text("Every Wed, 10:00 to 12:30")
    expect(page).to_have_url(re.compile(r"/maintenance/\+new$"))
    page.context.close()
