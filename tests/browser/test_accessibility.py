"""No page keeps anything from people who do not see it: axe-core finds nothing, light and dark, on a desk and a phone.

Every page of the role table is looked at, with something in each place of its address. A new kind of place turns this
red until it is in ``shown``.
"""

import re
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, Literal

import pytest
from playwright.sync_api import Browser, Page

from appliance.web.auth import DOOR, OPEN
from appliance.web.cookies import SESSION
from tests.appliance_process import ApplianceProcess
from tests.web.role_table import TABLE

TENANT = "acme"
PLACE = re.compile(r"<(?:\w+(?:\([^)]*\))?:)?(\w+)>")
NO_PAGES = ("/customer/", "/operator/", "/live", "/quarantine/<int:message_id>/payload")
PATIENCE_SECONDS = 15.0

AXE = (files("axe_playwright_python") / "axe.min.js").read_text()


@dataclass(frozen=True, slots=True)
class Look:
    """How a page is looked at; ``rules`` None is every rule."""

    width: int
    scheme: Literal["light", "dark"]
    rules: tuple[str, ...] | None = None

    def violations(self, page: Page) -> Iterator[str]:
        """What axe has to say against the page that is loaded, a line each."""
        page.set_viewport_size({"width": self.width, "height": 900})
        page.emulate_media(color_scheme=self.scheme)
        options: dict[str, Any] = {"resultTypes": ["violations"]}
        if self.rules is not None:
            options["runOnly"] = list(self.rules)
        result = page.evaluate("(options) => axe.run(document, options)", options)
        for violation in result["violations"]:
            for node in violation["nodes"]:
                why = node["failureSummary"].splitlines()[-1].strip()
                yield f"({self.width}, {self.scheme}): {violation['id']}: {node['target'][0]}: {why}"


COLOURS = ("color-contrast", "link-in-text-block")
"""The rules for which it makes a difference whether it is day or night."""
LOOKS = (Look(1440, "light"), Look(1440, "dark", COLOURS), Look(390, "dark", COLOURS), Look(390, "light"))


def paths(places: dict[str, str]) -> list[str]:
    """The address of every page."""
    found = []
    for route, allowed in TABLE.items():
        method, path = route.split(" ", 1)
        if method != "GET" or allowed is OPEN or path.startswith(NO_PAGES):
            continue
        filled = PLACE.sub(lambda place: places[place[1]], path)
        found.append(filled if allowed is DOOR else f"{filled}?tenant={TENANT}")
    return found


@pytest.fixture(scope="module")
def running() -> Iterator[ApplianceProcess]:
    """An appliance with something on every page."""
    process = ApplianceProcess()
    try:
        process.start()
        yield process
    finally:
        process.close()


@pytest.fixture(scope="module")
def shown(running: ApplianceProcess) -> tuple[dict[str, str], dict[str, str]]:
    """What stands in the places of addresses, and the cookies of the operator."""
    made = running.set_up("Acme")
    subprocess.run(made.mosquitto, check=True, timeout=10)
    wrong = [*made.mosquitto[:-1], "no object"]
    subprocess.run(wrong, check=True, timeout=10)
    running.command("user", "add", "kim@acme.example", "--role", "admin", "--tenant", TENANT)
    running.command("device", "add", TENANT, "second", "--site", "hall")
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not (running.query("SELECT 1 FROM telemetry") and running.query("SELECT 1 FROM quarantine_events")):
        assert time.monotonic() < deadline, running.tail()
        time.sleep(0.05)

    def one(query: str) -> str:
        return str(running.query(query)[0][0])

    replay = (
        "INSERT INTO quarantine_replays (tenant_id, selection, status, total, last_id, created_by, ended_at)"
        " VALUES ('acme', '{}', 'DONE', 1, 1, 'kim', now()) RETURNING replay_id"
    )
    places = {
        "device_id": "first",
        "site_id": "hall",
        "name": "temperature",
        "tenant_id": TENANT,
        "message_id": one("SELECT min(id) FROM quarantine_events"),
        "replay_id": one(replay),
        "user_id": one("SELECT user_id FROM users WHERE role = 'admin'"),
        "secret": "over",
    }
    return places, made.cookies


def test_axe_finds_nothing_on_any_page(
    running: ApplianceProcess, shown: tuple[dict[str, str], dict[str, str]], browser: Browser
) -> None:
    places, cookies = shown
    context = browser.new_context(reduced_motion="reduce")  # colours that are on their way would be measured half-way
    url = running.run["web_url"]
    context.add_cookies([{"name": SESSION.name, "value": cookies[SESSION.name], "url": url}])
    page = context.new_page()
    found = []
    try:
        for path in paths(places):
            answer = page.goto(url + path)
            assert answer is not None
            assert answer.status < 500, path
            page.evaluate(AXE)
            found += [f"{path} {wrong}" for look in LOOKS for wrong in look.violations(page)]
    finally:
        context.close()
    assert found == []
