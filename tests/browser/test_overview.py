"""The Overview as a person sees it."""

import re
from collections.abc import Iterator, Mapping
from typing import Literal
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, expect

from tests.support.pipeline import arrange
from tests.support.postgres_server import Database, PostgresServer
from tests.support.web.browser import Dashboard, Watched, admit, opened

SECONDS = 1000
"""Playwright counts milliseconds."""
PANELS: Mapping[Literal["light", "dark"], str] = {"light": "rgb(255, 255, 255)", "dark": "rgb(18, 25, 27)"}
"""The ground of a page in each theme."""


@pytest.fixture(scope="module")
def pumps(postgres_server: PostgresServer, database_template: str) -> Iterator[Dashboard]:
    """A dashboard on which each test has a pump of its own, or several."""
    with opened(postgres_server, database_template) as served:
        yield served


def test_the_page_loads_under_its_policy_without_a_complaint(busy: Dashboard, watched: Watched) -> None:
    watched.page.goto(busy.url)
    expect(watched.page.get_by_role("heading", level=1)).to_have_text("Overview")
    expect(watched.page.locator("#live-state")).to_contain_text("Live, updated")
    assert watched.complaints == []


def test_no_request_leaves_the_machine(pumps: Dashboard, watched: Watched) -> None:
    watched.page.goto(pumps.url)
    pumps.publish("pump-4", temperature=1.5)
    expect(watched.page.locator("#readings")).to_contain_text("pump-4")
    hosts = {urlsplit(url).netloc for url in watched.requested if not url.startswith("data:")}
    assert hosts == {urlsplit(pumps.url).netloc}
    assert len(watched.requested) >= 5, "style sheets, script, fonts and icons are among them"


def test_icons_and_fonts_are_really_drawn(busy: Dashboard, watched: Watched) -> None:
    watched.page.goto(busy.url)
    box = watched.page.evaluate("document.querySelector('.nav .i use').getBBox().width")
    assert box > 10, "the sprite file was loaded"
    assert watched.page.evaluate("document.fonts.ready.then(() => document.fonts.check('13px Inter'))")
    loaded = "[...document.fonts].filter(font => font.status === 'loaded').map(font => font.family)"
    assert any("Inter" in family for family in watched.page.evaluate(loaded))


def test_the_first_reading_takes_the_place_of_the_ready_line(
    database: Database, dashboard: Dashboard, watched: Watched
) -> None:
    page = watched.page
    page.goto(dashboard.url)
    expect(page.get_by_role("link", name="Devices", exact=True)).to_be_visible()
    expect(page.locator("#readings .code")).to_contain_text("mosquitto_pub -h localhost -p 8883 --cafile ca.crt ")
    dashboard.publish("pump-1", temperature=-11.8)
    row = page.get_by_role("row", name=re.compile("pump-1"))
    expect(row).to_contain_text("−11.8", timeout=20 * SECONDS)  # noqa: RUF001 - a true minus sign
    expect(row).to_contain_text("acme")
    expect(page.locator("#kpi-messages .kpi-v")).not_to_have_text("0per second")
    arrange(
        database,
        "INSERT INTO tenants (created_at, updated_at, tenant_id) VALUES (now(), now(), 'acme')",
        "INSERT INTO device_registry (created_at, updated_at, tenant_id, device_id, status)"
        " VALUES (now(), now(), 'acme', 'pump-1', 'PENDING')",
    )
    expect(page.get_by_role("link", name="Devices 1 waiting", exact=True)).to_be_visible(timeout=20 * SECONDS)
    assert watched.complaints == []


def test_times_stand_in_the_appliances_zone(busy: Dashboard, watched: Watched) -> None:
    watched.page.goto(busy.url)
    expect(watched.page.locator("#live-state")).to_have_text(re.compile(r"Live, updated \d\d:\d\d:\d\d CES?T"))


def test_updates_leave_focus_and_selection_alone(pumps: Dashboard, watched: Watched) -> None:
    page = watched.page
    pumps.publish("pump-1", temperature=1)
    page.goto(pumps.url)
    table = page.locator("#readings .scroll")
    table.focus()
    pumps.publish("pump-2", temperature=2)
    expect(table).to_contain_text("pump-2")
    expect(table).to_be_focused()
    page.get_by_role("row", name=re.compile("pump-2")).get_by_text("temperature").dblclick()
    pumps.publish("pump-3", temperature=3)
    before = page.locator("#live-state").text_content()
    page.wait_for_function("before => document.querySelector('#live-state').textContent !== before", arg=before)
    assert page.evaluate("document.getSelection().toString()").startswith("temperature")
    expect(table).not_to_contain_text("pump-3")
    page.evaluate("document.getSelection().removeAllRanges()")
    expect(table).to_contain_text("pump-3")


def test_silence_is_told_with_its_age_and_ends_by_itself(dashboard: Dashboard, watched: Watched) -> None:
    page = watched.page
    page.clock.install()
    page.goto(dashboard.url)
    expect(page.locator("#live-state")).to_contain_text("Live")
    expect(page.locator("#live-lost")).to_be_hidden()
    dashboard.kill()
    page.clock.fast_forward(4 * SECONDS)
    page.clock.fast_forward(4 * SECONDS)
    expect(page.locator("#live-lost")).to_be_visible(timeout=30 * SECONDS)
    expect(page.locator("html[data-silent]")).to_have_count(1)  # and the dot beside "Live" is green no more
    expect(page.locator("#live-lost")).to_have_text(
        re.compile(r"The connection to the appliance is lost\. The numbers are \d+ s old\.\s*Refresh")
    )
    dashboard.start()
    page.clock.fast_forward(20 * SECONDS)  # it has tried in vain meanwhile, and waits longer from time to time
    expect(page.locator("#live-lost")).to_be_hidden(timeout=60 * SECONDS)
    expect(page.locator("html[data-silent]")).to_have_count(0)
    dashboard.publish("pump-9", temperature=9)
    expect(page.locator("#readings")).to_contain_text("pump-9")


def test_what_was_asked_for_comes_by_itself_once_postgres_is_back(busy: Dashboard, watched: Watched) -> None:
    page = watched.page
    page.clock.install()
    page.goto(f"{busy.url}/+fails/503/2?wanted")
    expect(page.get_by_role("heading", level=1)).to_have_text("The database is not reachable")
    again = page.get_by_role("link", name="Try now")
    again.focus()
    with page.expect_response(lambda answer: answer.status == 503, timeout=20 * SECONDS):
        page.clock.run_for(6 * SECONDS)
    expect(again).to_be_focused()
    for _ in range(100):  # it sets its timer once it has read the answer
        if page.get_by_role("heading", level=1).count() == 0:
            break
        page.clock.run_for(6 * SECONDS)
        page.wait_for_timeout(100)
    expect(page.locator("body")).to_have_text("It is back.")
    expect(page).to_have_url(f"{busy.url}/+fails/503/2?wanted")


def test_without_script_there_is_the_time_and_a_refresh(pumps: Dashboard, browser: Browser) -> None:
    context = browser.new_context(java_script_enabled=False)
    admit(context)
    page = context.new_page()
    page.goto(pumps.url)
    expect(page.locator("#live-state")).to_contain_text("As of ")
    pumps.publish("pump-5", temperature=1)
    page.get_by_role("link", name="Refresh").first.click()
    expect(page.locator("#readings")).to_contain_text("pump-5")
    context.close()


def test_the_keyboard_reaches_the_content_first_by_the_skip_link(busy: Dashboard, watched: Watched) -> None:
    page = watched.page
    page.goto(busy.url)
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to content")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#main")).to_be_focused()


def test_each_theme_and_width_shows_all_without_sideways_scrolling(busy: Dashboard, watched: Watched) -> None:
    page = watched.page
    page.goto(busy.url)
    expect(page.locator("#readings")).to_contain_text("a-device-with")
    expect(page.locator("#live-state")).to_contain_text("Live")
    for width in (1440, 390, 320):
        page.set_viewport_size({"width": width, "height": 844})
        for scheme, colour in PANELS.items():
            page.emulate_media(color_scheme=scheme)
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            panel = page.evaluate("getComputedStyle(document.querySelector('.sheet')).backgroundColor")
            assert panel == colour, f"{width} pixels, {scheme}"
    assert watched.complaints == []
