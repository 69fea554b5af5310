"""The first minutes with the real appliance in a real browser: set-up to first message, sign-in, invitation."""

import shlex
import subprocess
import time
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from appliance.people.role import Role
from tests.support.appliance_process import EMAIL, PASSWORD, ApplianceProcess, started
from tests.support.web.accounts import sign_browser_in, signed_in
from tests.support.web.browser import Watched

SECONDS = 1000
"""Playwright counts milliseconds."""
PATIENCE = 30
"""Seconds for what the appliance does by itself."""
HERON = "a heron in a wet field"


@pytest.fixture
def running() -> Iterator[ApplianceProcess]:
    """An appliance that nobody has set up."""
    with started() as process:
        yield process


@pytest.fixture(scope="module")
def working() -> Iterator[ApplianceProcess]:
    """An appliance that somebody has set up."""
    with started() as process:
        process.set_up("Acme Farms")
        yield process


@pytest.fixture(params=[True, False], ids=["with script", "without script"])
def context(browser: Browser, request: pytest.FixtureRequest) -> Iterator[BrowserContext]:
    """A new browser without cookies."""
    made = browser.new_context(
        java_script_enabled=request.param, viewport={"width": 1440, "height": 900}, timezone_id="Asia/Kolkata"
    )
    yield made
    made.close()


def fill(page: Page, *, button: str, **fields: str) -> None:
    """Fill in fields by their labels and press the button."""
    for label, value in fields.items():
        page.get_by_label(label.replace("_", " "), exact=True).fill(value)
    page.get_by_role("button", name=button, exact=True).click()


def set_up(page: Page, appliance: ApplianceProcess, guessed_zone: str) -> list[str]:
    """Set the appliance up, whose page has chosen a zone already, and return the words of the first command shown."""
    page.goto(appliance.set_up_link())
    expect(page.get_by_role("heading", name="Set up this appliance")).to_be_visible()
    expect(page.get_by_label("Time zone")).to_have_value(guessed_zone)
    page.get_by_label("Time zone").select_option("Europe/Oslo")
    fill(page, button="Set up", **{"E-mail": EMAIL, "Password": PASSWORD, "Organisation": "Acme Farms"})
    expect(page.get_by_role("heading", name="Send a first message")).to_be_visible()
    return shlex.split(page.locator("pre").first.inner_text())


def sign_in(page: Page, email: str, password: str) -> None:
    """Fill in the sign-in that is shown."""
    fill(page, button="Sign in", **{"E-mail": email, "Password": password})


def test_from_the_link_to_the_first_message(
    running: ApplianceProcess, context: BrowserContext, request: pytest.FixtureRequest
) -> None:
    watched = Watched(context.new_page())
    page = watched.page
    scripted = "with script" in request.node.name  # Chromium says Asia/Calcutta
    line = set_up(page, running, "Asia/Kolkata" if scripted else "UTC")
    expect(page.get_by_role("heading", name="Waiting for the first message")).to_be_visible()
    subprocess.run(line, check=True, timeout=60)
    if "without" in request.node.name:
        expect(page.locator("#first-message")).to_contain_text("Waiting for the first message")
        deadline = time.monotonic() + PATIENCE
        while not page.get_by_role("heading", name="First message received").is_visible():
            assert time.monotonic() < deadline, "the first message never appears"
            with page.expect_navigation():  # the next page must be whole before it is looked at
                page.get_by_role("link", name="Reload").click()
    expect(page.get_by_role("heading", name="First message received")).to_be_visible(timeout=PATIENCE * SECONDS)
    expect(page.locator("#first-message")).to_contain_text("temperature 21.5")
    page.locator("#first-message").get_by_role("link", name="Go to the overview").click()
    expect(page.get_by_role("heading", name="Overview", level=1)).to_be_visible()
    assert watched.complaints == []
    assert [url for url in watched.requested if not url.startswith((running.run["web_url"], "data:"))] == []


def test_sign_out_and_in_and_an_invitation(
    working: ApplianceProcess, context: BrowserContext, browser: Browser, request: pytest.FixtureRequest
) -> None:
    url, page = working.run["web_url"], context.new_page()
    sign_browser_in(context, url, signed_in(working.conninfo(), Role.OPERATOR))
    page.goto(f"{url}/tenants")
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_text("You are signed out.")).to_be_visible()
    page.goto(f"{url}/tenants")
    sign_in(page, EMAIL, "not the password")
    expect(page.get_by_role("alert")).to_have_text("The e-mail address or the password is not right.")
    expect(page.get_by_label("E-mail")).to_have_value(EMAIL)
    sign_in(page, EMAIL, PASSWORD)
    expect(page.get_by_role("heading", name="Tenants", level=1)).to_be_visible()
    page.goto(f"{url}/users/new?tenant=acme-farms")
    page.get_by_label("Admin").check()
    email = "kim@acme.example" if "without" in request.node.name else "alex@acme.example"
    fill(page, button="Create invitation", **{"E-mail": email, "Your password": PASSWORD})
    link = page.locator("#link").inner_text()
    guest = browser.new_context()
    try:
        theirs = guest.new_page()
        theirs.goto(link)
        fill(theirs, button="Set password", **{"New password": HERON})
        sign_in(theirs, email, HERON)
        expect(theirs.get_by_role("heading", name="Overview", level=1)).to_be_visible()
        navigation = theirs.get_by_role("navigation", name="Main", exact=True)
        expect(navigation.get_by_role("link", name="Users and tokens")).to_be_visible()
        expect(navigation.get_by_role("link", name="Tenants")).to_have_count(0)
        answer = theirs.goto(f"{url}/tenants")
        assert answer is not None
        assert answer.status == 403
    finally:
        guest.close()


def test_a_page_that_is_open_goes_to_the_sign_in_when_its_session_ends(
    working: ApplianceProcess, browser: Browser
) -> None:
    url, person = working.run["web_url"], signed_in(working.conninfo(), Role.OPERATOR)
    context = browser.new_context()
    sign_browser_in(context, url, person)
    try:
        page = context.new_page()
        page.goto(url)
        expect(page.get_by_role("heading", name="Overview", level=1)).to_be_visible()
        expect(page.locator("#live-state")).to_contain_text("Live")
        working.command("user", "disable", person.email)
        expect(page.get_by_role("heading", name="Sign in")).to_be_visible(timeout=PATIENCE * SECONDS)
    finally:
        context.close()
