"""Editors that the server redraws: what is typed while a slow answer is under way stays."""

from collections.abc import Callable, Iterator
from functools import partial

import pytest
from playwright.sync_api import Browser, Page, Route, expect

from appliance.people.role import Role
from tests.support.web.browser import DemoDashboard, Watched

STEP = 20
"""Milliseconds."""
PATIENCE = 500
"""Steps."""


@pytest.fixture
def admin(demo: DemoDashboard, browser: Browser) -> Iterator[Watched]:
    """An administrator's window."""
    context = demo.context(browser, Role.ADMIN, viewport={"width": 1440, "height": 900}, reduced_motion="reduce")
    yield Watched(context.new_page())
    context.close()


def hold_redraws(page: Page) -> list[Route]:
    """Hold back every redraw of a form until it is let go on."""
    held: list[Route] = []

    def hold(route: Route) -> None:
        redraws = route.request.method == "POST" and any(
            f"do={step}" in (route.request.post_data or "") for step in ("redraw", "all")
        )
        held.append(route) if redraws else route.continue_()

    page.route("**/*", hold)
    return held


def _hold(held: list[Route], route: Route) -> None:
    """Hold back a request; Playwright takes no method of a list."""
    held.append(route)


def wait_for(page: Page, held: list[Route], number: int) -> None:
    """Wait until so many redraws are held."""
    for _ in range(PATIENCE):
        if len(held) >= number:
            return
        page.wait_for_timeout(STEP)
    raise AssertionError(f"only {len(held)} redraws were asked for")


def change_metric(page: Page) -> None:
    """What redraws the editor of a rule."""
    page.get_by_role("combobox", name="Metric", exact=True).select_option("temperature")


def choose_all(page: Page) -> None:
    """What redraws the editor of a route."""
    page.get_by_role("button", name="Choose all").click()


def choose_type(page: Page) -> None:
    """What redraws the form of an integration."""
    page.locator("label.tile", has_text="Slack").click()


EDITORS = [
    ("/rules/new", change_metric, "#rule-form .unit-r"),
    ("/routes/+new", choose_all, "#f-severities input:checked >> nth=4"),
    ("/integrations/+new", choose_type, "input[name=type][value=slack]:checked"),
]


@pytest.mark.parametrize(("path", "redraw", "redrawn"), EDITORS, ids=["rule", "route", "integration"])
def test_what_is_typed_during_a_slow_redraw_stays_with_focus_and_caret(
    demo: DemoDashboard, admin: Watched, path: str, redraw: Callable[[Page], None], redrawn: str
) -> None:
    page = admin.page
    page.goto(demo.url + path)
    name = page.get_by_label("Name", exact=True)
    name.fill("Much colder")
    held = hold_redraws(page)
    redraw(page)
    wait_for(page, held, 1)
    name.focus()
    page.keyboard.press("Home")
    for _ in "Much ":
        page.keyboard.press("ArrowRight")
    page.keyboard.type("too ")
    old = name.element_handle()
    held[0].continue_()
    page.wait_for_function("old => !old.isConnected", arg=old)
    page.keyboard.type("and far ")
    expect(page.locator(redrawn).first).to_be_attached()
    expect(name).to_have_value("Much too and far colder")
    assert admin.complaints == []


def test_what_redraws_again_during_a_redraw_wins(demo: DemoDashboard, admin: Watched) -> None:
    page = admin.page
    page.goto(f"{demo.url}/rules/new")
    held = hold_redraws(page)
    change_metric(page)
    wait_for(page, held, 1)
    page.get_by_role("radiogroup", name="Kind").get_by_text("Change").click()
    page.get_by_label("Description").fill("Look after it.")
    wait_for(page, held, 2)
    held[0].continue_()
    wait_for(page, held, 3)
    for route in held[1:]:
        route.continue_()
    expect(page.get_by_label("New value")).to_be_visible()
    expect(page.get_by_role("combobox", name="Metric", exact=True)).to_have_value("temperature")
    expect(page.get_by_label("Description")).to_have_value("Look after it.")


def test_what_is_chosen_before_the_scripts_have_come_redraws_the_form(demo: DemoDashboard, admin: Watched) -> None:
    page, held = admin.page, list[Route]()
    page.route("**/htmx.min*", partial(_hold, held))
    page.goto(f"{demo.url}/rules/new", wait_until="commit")
    page.get_by_label("Description").fill("Look after it.")
    change_metric(page)
    wait_for(page, held, 1)
    expect(page.locator("#rule-form .unit-r").first).not_to_have_text("°C")
    held[0].continue_()
    expect(page.locator("#rule-form .unit-r").first).to_have_text("°C")
    expect(page.get_by_label("Description")).to_have_value("Look after it.")


def test_what_the_browser_puts_back_redraws_the_form(demo: DemoDashboard, admin: Watched) -> None:
    page = admin.page
    page.goto(f"{demo.url}/rules/new")
    page.evaluate("window.addEventListener('unload', () => {})")  # so that the page is built anew on the way back
    change_metric(page)
    expect(page.locator("#rule-form .unit-r").first).to_have_text("°C")
    page.goto(f"{demo.url}/rules")
    page.go_back()
    expect(page.get_by_role("combobox", name="Metric", exact=True)).to_have_value("temperature")
    expect(page.locator("#rule-form .unit-r").first).to_have_text("°C")


def test_an_answer_without_the_form_replaces_nothing(demo: DemoDashboard, admin: Watched) -> None:
    page = admin.page
    page.goto(f"{demo.url}/rules/new")
    page.get_by_label("Name", exact=True).fill("Much too warm")
    page.route("**/rules/new", lambda route: route.fulfill(status=200, body="<main>Sign in</main>"))
    change_metric(page)
    expect(page.get_by_role("alert")).to_contain_text("What you typed is kept here")
    expect(page.get_by_label("Name", exact=True)).to_have_value("Much too warm")
    page.unroute("**/rules/new")
    page.get_by_role("radiogroup", name="Kind").get_by_text("Change").click()
    expect(page.get_by_label("New value")).to_be_visible()
    expect(page.get_by_role("alert")).to_have_count(0)


def test_who_is_signed_out_meanwhile_keeps_what_is_typed_and_goes_on(demo: DemoDashboard, admin: Watched) -> None:
    page = admin.page
    page.goto(f"{demo.url}/rules/new")
    page.get_by_label("Name", exact=True).fill("Much too warm")
    cookies = page.context.cookies()
    page.context.clear_cookies()
    change_metric(page)
    expect(page.get_by_role("alert").get_by_role("link", name="Sign in in another tab")).to_be_visible()
    token = page.locator("#rule-form input[name=csrf_token]")
    fresh = token.get_attribute("value")
    token.evaluate("field => { field.value = 'of the session before' }")
    page.evaluate("dispatchEvent(new Event('focus'))")
    page.context.add_cookies([{**one} for one in cookies])  # type: ignore[typeddict-item] # as they were
    page.evaluate("dispatchEvent(new Event('focus'))")
    expect(page.get_by_role("alert")).to_have_count(0)
    assert token.input_value() == fresh
    page.get_by_role("radiogroup", name="Kind").get_by_text("Change").click()
    expect(page.get_by_label("New value")).to_be_visible()
    expect(page.get_by_label("Name", exact=True)).to_have_value("Much too warm")


def test_a_refusal_of_the_session_before_says_nothing_once_the_person_is_signed_in_again(
    demo: DemoDashboard, admin: Watched
) -> None:
    page = admin.page
    page.goto(f"{demo.url}/rules/new")
    page.evaluate(
        """() => {
          document.querySelector("#rule-form input[name=csrf_token]").value = "of the session before";
          document.querySelector("meta[name=csrf-token]").content = "of the session before";
        }"""
    )
    held: list[Route] = []
    page.route("**/rules/new/preview", partial(_hold, held))
    page.get_by_label("Description").fill("Look after it.")
    wait_for(page, held, 1)
    page.route("**/rules/new", lambda route: route.fulfill(status=401, headers={"HX-Redirect": "/sign-in"}))
    change_metric(page)
    expect(page.get_by_role("alert")).to_be_visible()
    page.unroute("**/rules/new")
    page.evaluate("dispatchEvent(new Event('focus'))")
    expect(page.get_by_role("alert")).to_have_count(0)
    page.evaluate(
        "document.addEventListener('htmx:before:response', () => setTimeout(() => { window.answered = true }))"
    )
    held[0].fulfill(status=401, headers={"HX-Redirect": "/sign-in"})
    page.wait_for_function("window.answered")
    expect(page.get_by_role("alert")).to_have_count(0)
