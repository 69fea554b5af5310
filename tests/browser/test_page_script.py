"""What page.js adds to every page: keys, the bulk bar, questions in place, copying."""

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.support.postgres_server import PostgresServer
from tests.support.web.browser import Dashboard, Watched, admit, opened

ROWS = (
    "INSERT INTO tenants (created_at, updated_at, tenant_id) VALUES (now(), now(), 'acme')",
    """
    INSERT INTO device_registry (created_at, updated_at, tenant_id, device_id, status)
    SELECT now(), now(), 'acme', 'd-' || n, 'PENDING' FROM generate_series(1, 3) AS n
    """,
)


@pytest.fixture(scope="module")
def fleet(postgres_server: PostgresServer, database_template: str) -> Iterator[Dashboard]:
    """Three devices of a tenant, which nothing here changes."""
    with opened(postgres_server, database_template, *ROWS) as served:
        yield served


@pytest.fixture
def devices(fleet: Dashboard, watched: Watched) -> Page:
    """The list of the devices."""
    watched.page.goto(f"{fleet.url}/devices?tenant=acme")
    expect(watched.page.get_by_role("link", name="d-3")).to_be_visible()
    return watched.page


def test_keys_go_places_and_search(devices: Page) -> None:
    devices.keyboard.press("/")
    search = devices.get_by_role("searchbox", name="Search devices").last
    expect(search).to_be_focused()
    search.press("g")
    search.press("s")
    expect(search).to_have_value("gs")
    search.blur()
    devices.keyboard.press("g")
    devices.keyboard.press("s")
    expect(devices).to_have_url(re.compile(r"/sites\?tenant=acme$"))


def test_keys_move_through_rows_pick_them_and_open_them(devices: Page) -> None:
    devices.keyboard.press("j")
    expect(devices.get_by_role("link", name="d-1")).to_be_focused()
    devices.keyboard.press("j")
    devices.keyboard.press("x")
    expect(devices.get_by_role("checkbox", name="Select d-2")).to_be_checked()
    devices.keyboard.press("k")
    expect(devices.get_by_role("link", name="d-1")).to_be_focused()
    devices.keyboard.press("Enter")
    expect(devices).to_have_url(re.compile("/devices/d-1"))


def test_the_help_tells_the_keys_and_gives_the_focus_back(devices: Page) -> None:
    devices.keyboard.press("j")
    devices.keyboard.press("?")
    help_ = devices.get_by_role("dialog", name="Keyboard shortcuts")
    expect(help_).to_contain_text("Go to Quarantine")
    devices.keyboard.press("g")
    devices.keyboard.press("s")
    expect(help_).to_be_visible()
    devices.keyboard.press("Escape")
    expect(help_).to_be_hidden()
    expect(devices.get_by_role("link", name="d-1")).to_be_focused()


def test_the_bulk_bar_comes_with_the_first_row_and_moves_nothing(devices: Page) -> None:
    bar = devices.locator("[data-bulk]")
    expect(bar).to_be_hidden()
    first = devices.get_by_role("row", name=re.compile("d-1"))
    before = first.bounding_box()
    devices.get_by_role("checkbox", name="Select d-1").check()
    expect(bar).to_contain_text("1 selected")
    expect(first).to_have_class(re.compile(r"\bsel\b"))
    assert first.bounding_box() == before
    everything = devices.get_by_role("checkbox", name="Select all devices on this page")
    assert everything.evaluate("box => box.indeterminate")
    everything.check()
    expect(bar).to_contain_text("3 selected")
    everything.uncheck()
    expect(bar).to_be_hidden()


def test_without_script_the_bulk_bar_is_always_there(devices: Page, browser: Browser) -> None:
    context = browser.new_context(java_script_enabled=False)
    admit(context)
    page = context.new_page()
    page.goto(devices.url)
    expect(page.locator("[data-bulk]")).to_be_visible()
    context.close()


def test_a_question_opens_over_its_page_begins_on_cancel_and_gives_the_focus_back(
    devices: Page, watched: Watched
) -> None:
    devices.get_by_role("link", name="d-1").click()
    devices.wait_for_url(re.compile("/devices/d-1"), wait_until="domcontentloaded")  # deferred scripts have run
    asks = devices.locator("main a[data-dialog]").first
    where, words = devices.url, asks.inner_text()
    asks.click()
    question = devices.get_by_role("dialog")
    expect(question).to_be_visible()
    expect(question.get_by_role("link", name="Cancel")).to_be_focused()
    devices.keyboard.press("Enter")
    expect(question).to_have_count(0)
    expect(devices.get_by_role("link", name=words, exact=True).first).to_be_focused()
    assert devices.url == where
    assert watched.complaints == []


def test_what_was_done_is_told_once(devices: Page) -> None:
    devices.goto(re.sub(r"\?.*", "?tenant=acme&done=x", devices.url))
    expect(devices).to_have_url(re.compile(r"/devices\?tenant=acme$"))


def test_a_filter_changes_the_list_in_place_and_keeps_the_focus(devices: Page) -> None:
    devices.evaluate("window.mark = 'the same page'")
    devices.get_by_role("checkbox", name="Select d-1").check()
    search = devices.get_by_role("searchbox", name="Search devices").last
    search.fill("d-3")
    search.press("Enter")
    expect(devices.get_by_role("link", name="d-1")).to_have_count(0)
    expect(devices.get_by_role("link", name="d-3")).to_be_visible()
    expect(devices).to_have_url(re.compile(r"/devices\?(.*&)?q=d-3"))
    expect(search).to_be_focused()
    expect(devices.locator("[data-bulk]")).to_be_hidden()
    assert devices.evaluate("window.mark") == "the same page"
    devices.get_by_role("checkbox", name="Select d-3").check()
    expect(devices.locator("[data-bulk-count]")).to_have_text("1")
    devices.get_by_role("link", name="Clear").click()
    expect(devices.get_by_role("link", name="d-1")).to_be_visible()
    assert devices.evaluate("window.mark") == "the same page"
    devices.go_back()
    expect(devices.get_by_role("link", name="d-1")).to_have_count(0)
    expect(devices).to_have_url(re.compile("q=d-3"))


CLICK_AT_ONCE = """() => document.addEventListener("htmx:before:settle", () => {
  const box = document.querySelector('input[name="device"][value="d-3"]');
  if (!box.checked) box.click(); // also when the list changes twice, for what is typed and for Enter
})"""


def test_a_row_that_is_picked_as_soon_as_it_is_there_stays_picked(devices: Page) -> None:
    devices.evaluate(CLICK_AT_ONCE)
    search = devices.get_by_role("searchbox", name="Search devices").last
    search.fill("d-3")
    search.press("Enter")
    expect(devices.get_by_role("link", name="d-1")).to_have_count(0)
    expect(devices.locator("[data-bulk-count]")).to_have_text("1")
    expect(devices.get_by_role("checkbox", name="Select d-3")).to_be_checked()


def test_a_list_whose_session_has_ended_leads_to_the_sign_in(devices: Page) -> None:
    devices.context.clear_cookies()
    search = devices.get_by_role("searchbox", name="Search devices").last
    search.fill("d-3")
    search.press("Enter")
    expect(devices).to_have_url(re.compile("/sign-in.next=/devices"))
    expect(devices.get_by_role("navigation", name="Main", exact=True)).to_have_count(0)


WITHOUT_CLIPBOARD = "Object.defineProperty(navigator, 'clipboard', { value: undefined })"
"""What a browser offers over plain HTTP, except to localhost."""
WITHOUT_COMMAND = "Document.prototype.execCommand = () => false"


@pytest.mark.parametrize(
    ("scripts", "said"),
    [
        ((WITHOUT_CLIPBOARD,), "Copied"),
        ((WITHOUT_CLIPBOARD, WITHOUT_COMMAND), "Press Ctrl+C"),
    ],
    ids=["by the command", "by hand"],
)
def test_copying_works_over_plain_http_and_says_what_it_did(
    fleet: Dashboard, watched: Watched, scripts: tuple[str, ...], said: str
) -> None:
    page = watched.page
    for script in scripts:
        page.add_init_script(script)
    page.goto(f"{fleet.url}/devices/d-1?tenant=acme")
    button = page.get_by_role("button", name="Copy command over MQTT")
    text = page.get_by_label("Command over MQTT", exact=True).inner_text().strip()
    button.click()
    told = page.get_by_role("button", name=said, exact=True)
    expect(told).to_have_attribute("data-said", said)
    bubble = "(button) => getComputedStyle(button, '::after').content"
    assert told.evaluate(bubble) == f'"{said}"', "everybody sees it, not screen readers alone"
    if said != "Copied":
        page.keyboard.press("Control+c")
    page.keyboard.press("/")
    search = page.get_by_role("searchbox").last
    expect(search).to_be_focused()
    search.press("Control+v")
    expect(search).to_have_value(text)
    expect(button).to_be_visible()
