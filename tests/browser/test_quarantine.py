"""A message is held, its cause is fixed, and a person replays it on the page: with script, and without."""

import json
import re
import subprocess
import time
from collections.abc import Iterator

import psycopg
import pytest
from playwright.sync_api import Browser, Page, expect

from appliance.people.role import Role
from tests.support.appliance_process import ApplianceProcess, started
from tests.support.web.accounts import sign_browser_in, signed_in

SECONDS = 1000
"""Playwright counts milliseconds."""
PATIENCE = 20.0


@pytest.fixture(scope="module")
def running() -> Iterator[ApplianceProcess]:
    """A whole appliance, with its own Postgres and broker."""
    with started() as process:
        yield process


def publish(running: ApplianceProcess, tenant: str, device: str, payload: str) -> None:
    """Send one message with the tenant's claim user; returns once the broker has it."""
    claim = running.tenant(tenant, seats=1)
    address = ["-h", "127.0.0.1", "-p", str(running.mqtt_port), "-u", claim["username"], "-P", claim["password"]]
    topic = f"tenant/{tenant}/device/{device}/telemetry"
    subprocess.run(["mosquitto_pub", *address, "-q", "1", "-t", topic, "-m", payload], check=True)


def hold(running: ApplianceProcess, tenant: str) -> None:
    """Have messages of a device without a seat held."""
    for device, value in (("seated", 1), ("waiting", 2), ("waiting", 3)):
        publish(running, tenant, device, json.dumps({"ts": time.time(), "temperature": value}))
    until(running, "SELECT count(*) = 2 FROM quarantine_events WHERE tenant_id = %s AND status = 'HELD'", tenant)


def raise_limit(running: ApplianceProcess, tenant: str) -> None:
    """Sell a second seat."""
    with psycopg.connect(running.conninfo()) as connection:
        connection.execute("UPDATE subscriptions SET device_limit = 2 WHERE tenant_id = %s", [tenant])


def until(running: ApplianceProcess, question: str, *parameters: str) -> None:
    """Return once Postgres says yes."""
    deadline = time.monotonic() + PATIENCE
    while running.query(question, *parameters) != [(True,)]:
        assert time.monotonic() < deadline, question
        time.sleep(0.05)


def admin_page(browser: Browser, running: ApplianceProcess, tenant: str, *, script: bool) -> Page:
    """A page of the tenant's administrator."""
    context = browser.new_context(
        viewport={"width": 1440, "height": 900}, base_url=running.run["web_url"], java_script_enabled=script
    )
    sign_browser_in(context, running.run["web_url"], signed_in(running.conninfo(), Role.ADMIN, tenant))
    return context.new_page()


@pytest.mark.parametrize(("tenant", "script"), [("with-script", True), ("without-script", False)])
def test_held_messages_are_replayed_on_the_page(
    running: ApplianceProcess, browser: Browser, tenant: str, script: bool
) -> None:
    hold(running, tenant)
    page = admin_page(browser, running, tenant, script=script)
    page.goto("/quarantine")
    expect(page.get_by_role("row", name=re.compile("waiting.*No free seat"))).to_have_count(2)
    expect(page.locator(".offer")).to_have_count(0)
    lines = page.get_by_role("navigation", name="Main", exact=True)
    expect(lines.get_by_role("link", name="Quarantine 2 held", exact=True)).to_be_visible()
    expect(lines.get_by_role("link", name="Devices 1 in all", exact=True)).to_be_visible()

    raise_limit(running, tenant)
    deadline = time.monotonic() + PATIENCE  # what was found before holds for a moment
    while page.locator(".offer").count() == 0:
        assert time.monotonic() < deadline, "nothing was offered"
        page.reload()
    page.get_by_role("link", name="Replay 2 held messages…").click()
    expect(page.locator(".dialog-title")).to_have_text("Replay 2 messages")
    expect(page.locator("form.dialog-form")).to_contain_text("All of them would be stored.")
    expect(page.locator("form.dialog-form")).to_contain_text("1 new device would be registered")
    page.get_by_role("button", name="Replay 2 messages").click()

    expect(page).to_have_url(re.compile(r"/quarantine/replays/\d+$"))
    expect(page.locator(".replay")).to_contain_text("2 stored", timeout=PATIENCE * SECONDS)
    page.goto("/quarantine")
    expect(page.locator("table.pickrow")).to_have_count(0)
    expect(lines.get_by_role("link", name="Quarantine", exact=True)).to_be_visible()
    stored = running.query("SELECT count(*) FROM telemetry WHERE tenant_id = %s AND device_id = 'waiting'", tenant)
    assert stored == [(2,)]
    page.context.close()


def test_a_renewal_offers_what_was_held_and_all_of_it_is_stored(running: ApplianceProcess, browser: Browser) -> None:
    publish(running, "lapsed", "seated", json.dumps({"ts": time.time(), "temperature": 1}))
    until(running, "SELECT count(*) = 1 FROM telemetry WHERE tenant_id = %s", "lapsed")
    with psycopg.connect(running.conninfo()) as connection:
        connection.execute(
            "UPDATE subscriptions SET term_start = term_start - interval '300 days',"
            " term_end = now() - interval '200 days' WHERE tenant_id = 'lapsed'"
        )
    published = 1
    held = "SELECT count(*) FROM quarantine_events WHERE tenant_id = %s AND status = 'HELD'"
    stored = "SELECT count(*) FROM telemetry WHERE tenant_id = %s AND device_id = 'seated'"
    deadline = time.monotonic() + PATIENCE
    while running.query(held, "lapsed") == [(0,)]:
        assert time.monotonic() < deadline, "ingest has not heard of the end"
        publish(running, "lapsed", "seated", json.dumps({"ts": time.time(), "temperature": 2}))
        published += 1
    # Those sent before ingest heard of the end are stored, and the last ones may be on their way yet.
    until(running, f"SELECT ({held}) + ({stored}) = {published}", "lapsed", "lapsed")
    page = admin_page(browser, running, "lapsed", script=True)
    page.goto("/subscriptions")
    page.get_by_role("link", name=re.compile("^Renew SUB")).click()
    page.get_by_role("button", name="Review renewal").click()
    page.get_by_role("button", name="Renew 365 days").click()
    page.get_by_role("link", name=re.compile(r"^Replay \d+ held messages?…")).click()
    page.get_by_role("button", name=re.compile(r"^Replay \d+ messages?")).click()
    expect(page).to_have_url(re.compile(r"/quarantine/replays/\d+$"))
    until(running, f"SELECT ({held}) = 0", "lapsed")
    assert running.query(stored, "lapsed") == [(published,)]
    page.context.close()


def test_messages_are_selected_and_dismissed_by_keyboard_alone_while_others_come_in(
    running: ApplianceProcess, browser: Browser
) -> None:
    hold(running, "keys")
    page = admin_page(browser, running, "keys", script=True)
    page.goto("/quarantine")
    news = page.locator("#news a")
    expect(page.locator("#live-state")).to_contain_text("Live")
    expect(news).to_be_hidden()
    page.get_by_role("checkbox", name=re.compile(r"Select message \d+")).first.press("Space")
    page.get_by_placeholder("Device id").press_sequentially("wait")
    publish(running, "keys", "waiting", "[]")
    expect(news).to_have_text(re.compile(r"^1.new, show$"), timeout=PATIENCE * SECONDS)
    expect(page.get_by_role("status").filter(has_text="New messages have arrived.")).to_have_count(1)
    expect(page.get_by_role("table", name="Refused messages by cause")).to_contain_text("Wrong payload shape")
    expect(page.locator("[data-bulk-count]")).to_have_text("1")
    expect(page.get_by_placeholder("Device id")).to_have_value("wait")
    expect(page.get_by_placeholder("Device id")).to_be_focused()
    page.get_by_placeholder("Device id").fill("")
    news.press("Enter")
    expect(page.get_by_role("row", name=re.compile("waiting.*Wrong payload shape"))).to_have_count(1)
    expect(news).to_be_hidden()
    page.get_by_role("checkbox", name=re.compile(r"Select message \d+")).nth(1).press("Space")
    page.get_by_role("button", name="Dismiss…").press("Enter")
    expect(page.locator(".dialog-title")).to_have_text("Dismiss 1 message")
    page.get_by_role("button", name="Dismiss 1 message").press("Enter")
    expect(page.get_by_role("status").filter(has_text="Dismissed.")).to_be_visible()
    expect(page.get_by_role("row", name=re.compile("waiting"))).to_have_count(2)
    page.context.close()


def test_the_place_that_was_refused_is_marked_and_the_page_keeps_its_policy(
    running: ApplianceProcess, browser: Browser
) -> None:
    complaints: list[str] = []
    publish(running, "marked", "d", '{"temperature": 21.5, "humidity": [1, 2]}')
    until(running, "SELECT count(*) = 1 FROM quarantine_events WHERE tenant_id = %s", "marked")
    page = admin_page(browser, running, "marked", script=True)
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    page.goto("/quarantine")
    page.locator("a.title[href^='/quarantine/']").first.click()
    expect(page.locator("pre mark")).to_have_text("[1, 2]")
    expect(page.locator(".hex td mark").first).to_have_text("5b 31 2c 20 32 5d")
    assert complaints == []
    page.context.close()
