"""Every page of the table: it loads without a complaint, from this machine alone, and everybody can use it."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page, ViewportSize

from appliance.people.role import Role
from tests.browser.pages import PAGES, PageOf
from tests.browser.walk import wrong_with_tab_in_sheet
from tests.support.project import TESTS
from tests.support.web.browser import DemoDashboard, Watched
from tests.web.access.role_table import TABLE

AXE = (TESTS / "browser" / "vendor" / "axe.min.js").read_text()
DESKTOP = ViewportSize(width=1440, height=900)
PHONE = ViewportSize(width=390, height=844)
NARROW = ViewportSize(width=320, height=700)
COLOURS = ("color-contrast", "link-in-text-block")
"""The rules for which it makes a difference whether it is day or night."""
MACHINES = ("/customer", "/operator", "/ingest", "/static", "/healthz", "/readyz", "/metrics", "/openapi", "/live")
NO_PAGES = {"/ca.crt", "/quarantine/<int:message_id>/payload"}
"""What lies among the pages and is a file or a part."""


@pytest.fixture(scope="module")
def tabs(browser: Browser, demo: DemoDashboard) -> Iterator[Mapping[Role | None, Watched]]:
    """One tab for each role, and one without a session; axe is in whatever they open, compiled once."""
    contexts = {role: demo.context(browser, role, reduced_motion="reduce") for role in (None, *Role)}
    for context in contexts.values():
        context.add_init_script(AXE)
    yield {role: Watched(context.new_page()) for role, context in contexts.items()}
    for context in contexts.values():
        context.close()


@pytest.fixture
def watched(tabs: Mapping[Role | None, Watched], looked_at: PageOf) -> Watched:
    """The tab of whoever looks."""
    tab = tabs[looked_at.role]
    tab.forget()
    return tab


def problems(page: Page, rules: Sequence[str] = ()) -> list[str]:
    """What axe finds by these rules, by all without: the rule, and where."""
    options: dict[str, Any] = {"resultTypes": ["violations"]}
    if rules:
        options["runOnly"] = list(rules)
    found = page.evaluate(f"axe.run(document, {json.dumps(options)}).then(result => result.violations)")
    return [f"{rule['id']}: {node['target']} {node['html'][:160]}" for rule in found for node in rule["nodes"]]


def test_every_page_of_the_application_is_in_the_table() -> None:
    declared = {line.removeprefix("GET ") for line in TABLE if line.startswith("GET ")}
    pages = {rule for rule in declared if not rule.startswith(MACHINES) or rule.startswith("/metric-names")}
    assert pages - {page.route for page in PAGES} == NO_PAGES


def test_each_line_has_a_name_of_its_own() -> None:
    assert len({page.name for page in PAGES}) == len(PAGES)


@pytest.mark.parametrize("looked_at", PAGES, ids=lambda page: page.name)
def test_a_page_is_for_everybody(demo: DemoDashboard, watched: Watched, looked_at: PageOf) -> None:
    page = watched.page
    page.set_viewport_size(DESKTOP)
    page.emulate_media(color_scheme="light")
    answer = page.goto(demo.url + looked_at.path)
    assert answer is not None
    assert answer.status == looked_at.status
    wrong = [f"desktop, light: {found}" for found in problems(page)]
    page.emulate_media(color_scheme="dark")
    wrong += [f"desktop, dark: {found}" for found in problems(page, COLOURS)]
    page.set_viewport_size(PHONE)
    wrong += [f"phone, dark: {found}" for found in problems(page)]
    page.emulate_media(color_scheme="light")
    wrong += [f"phone, light: {found}" for found in problems(page, COLOURS)]
    wrong += [f"phone: {found}" for found in wrong_with_tab_in_sheet(page)]
    page.set_viewport_size(NARROW)
    if page.evaluate("document.documentElement.scrollWidth") > NARROW["width"]:
        wrong.append("320 pixels: it scrolls sideways")
    ours = urlsplit(demo.url).netloc
    wrong += [f"asked elsewhere: {url}" for url in watched.requested if urlsplit(url).netloc not in {ours, ""}]
    expected = f"status of {looked_at.status}" if looked_at.status != 200 else "\0"
    wrong += [f"complained: {complaint}" for complaint in watched.complaints if expected not in complaint]
    assert not wrong, "\n".join(wrong)
