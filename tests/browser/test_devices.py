"""A device's life as a person leads it through the browser, against a whole appliance with its own broker."""

import csv
import re
import shlex
import subprocess
import time
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from appliance.people.role import Role
from tests.support.appliance_process import ApplianceProcess, started
from tests.support.web.accounts import sign_browser_in, signed_in
from tests.support.web.browser import Watched

SECONDS = 1000
"""Playwright counts milliseconds."""
PROMPT = 20
"""Seconds for mosquitto_pub."""
PATIENCE = 30
"""Seconds for what the appliance does by itself."""


@pytest.fixture(scope="module")
def running() -> Iterator[ApplianceProcess]:
    """An appliance with a tenant of ten seats."""
    with started() as process:
        process.tenant("acme", seats=10)
        yield process


def publish(line: str) -> int:
    """Type the line that the page shows, as a person does in a shell; its exit code."""
    return subprocess.run(shlex.split(line), capture_output=True, check=False, timeout=PROMPT).returncode


def add(page: Page, url: str, device: str) -> str:
    """Add a device by its form; the line that sends a first message."""
    page.goto(f"{url}/devices")
    page.get_by_role("link", name=re.compile("Add (a )?device")).first.click()
    page.get_by_label("Id", exact=True).fill(device)
    page.get_by_label("Name", exact=True).fill(f"Freezer {device}")
    page.get_by_role("button", name="Add device").click()
    expect(page.get_by_role("heading", level=1)).to_have_text(f"Freezer {device} is added")
    line = page.locator("#line-mqtt").text_content()
    assert line is not None
    return line


def reload_until(page: Page, selector: str, text: str) -> None:
    """As a person without script does: states are written once a second."""
    deadline = time.monotonic() + PATIENCE
    while page.locator(selector).text_content() != text:
        assert time.monotonic() < deadline, f"{selector} never says {text}"
        page.wait_for_timeout(SECONDS / 4)
        page.reload()


@pytest.mark.parametrize("script", [True, False], ids=["with-script", "without-script"])
def test_a_device_is_added_sends_is_seen_and_is_revoked(
    running: ApplianceProcess, browser: Browser, *, script: bool
) -> None:
    device, url = f"frz-{int(script)}", running.run["web_url"]
    context = browser.new_context(java_script_enabled=script)
    sign_browser_in(context, url, signed_in(running.conninfo(), Role.ADMIN, "acme"))
    watched = Watched(context.new_page())
    page = watched.page
    line = add(page, url, device)
    page.get_by_role("link", name="Go to the device").click()
    expect(page.locator("#device-state")).to_have_text("Never heard")
    assert publish(line) == 0
    if not script:
        reload_until(page, "#device-state", "Online")
    expect(page.locator("#device-state")).to_have_text("Online", timeout=PATIENCE * SECONDS)
    expect(page.locator("#device-messages")).to_contain_text('{"temperature":21.5}', timeout=PATIENCE * SECONDS)
    page.reload()
    expect(page.locator("#value-0")).to_have_text("21.5°C")
    if script:
        assert publish(line.replace("21.5", "-3.5")) == 0
        expect(page.locator("#value-0")).to_have_text("−3.5°C", timeout=PATIENCE * SECONDS)  # noqa: RUF001 - a minus sign
    page.get_by_role("link", name="Edit").click()
    page.get_by_label("Place").fill("Back wall")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_text("The device is saved.")).to_be_visible()
    expect(page.get_by_text("Back wall")).to_be_visible()
    page.get_by_role("link", name="Revoke…").press("Enter")  # a mouse waits until what was said has gone from above it
    page.get_by_label(f"Type {device} to confirm").fill(device)
    page.get_by_role("button", name="Revoke", exact=True).click()
    expect(page.get_by_text("This device is revoked.")).to_be_visible()
    assert publish(line) != 0
    assert watched.complaints == []
    context.close()


def test_a_rotated_password_takes_effect_when_it_is_switched_to(running: ApplianceProcess, browser: Browser) -> None:
    url = running.run["web_url"]
    context = browser.new_context()
    sign_browser_in(context, url, signed_in(running.conninfo(), Role.ADMIN, "acme"))
    page = context.new_page()
    old = add(page, url, "rot-1")
    page.get_by_role("link", name="Go to the device").click()
    page.get_by_role("link", name="Rotate…").click()
    page.get_by_role("button", name="Create password").click()
    new = page.locator("#line-mqtt").text_content()
    assert new is not None
    assert (publish(old), publish(new) != 0) == (0, True)
    page.get_by_role("link", name="Go to the device").click()
    page.get_by_role("link", name="Switch now…").click()
    page.get_by_role("button", name="Switch now").click()
    expect(page.get_by_text("The new password is in use.")).to_be_visible()
    assert (publish(old) != 0, publish(new)) == (True, 0)
    context.close()


def test_devices_are_imported_and_their_credentials_downloaded_as_one_file(
    running: ApplianceProcess, browser: Browser
) -> None:
    url = running.run["web_url"]
    context = browser.new_context()
    sign_browser_in(context, url, signed_in(running.conninfo(), Role.ADMIN, "acme"))
    page = context.new_page()
    page.clock.install()
    page.goto(f"{url}/devices/+import")
    lines = b"sep=;\r\nDevice ID;Name\r\nimp-1;One\r\nimp-2;Two\r\n;;\r\n"
    page.get_by_label("CSV file").set_input_files({"name": "d.csv", "mimeType": "text/csv", "buffer": lines})
    page.get_by_role("button", name="Preview").click()
    page.get_by_label("Give new devices a credential").check()
    page.get_by_role("button", name="Import 2 rows").click()
    button = page.get_by_role("button", name="Download as CSV")
    with page.expect_download() as download:
        button.click()
    page.clock.run_for(SECONDS)
    expect(button).not_to_have_attribute("aria-busy", "true")
    rows = list(csv.DictReader(download.value.path().read_text("utf-8-sig").splitlines()))
    assert [row["device_id"] for row in rows] == ["imp-1", "imp-2"]
    page.goto(f"{url}/devices/imp-2")
    line = page.locator("#line-mqtt").text_content()
    assert line is not None
    assert publish(line.replace("'...'", rows[1]["mqtt_password"])) == 0
    context.close()
