"""A browser, and a dashboard for it to look at."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Self

import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, sync_playwright

from appliance.db import roles
from appliance.people.role import Role
from appliance.web.http.cookies import SESSION
from tests.browser.demo_fixture import fill_database
from tests.support.pipeline import arrange
from tests.support.postgres_server import Database, PostgresServer, create_database, drop_database
from tests.support.project import ROOT
from tests.support.web.accounts import Person, sign_browser_in

CHROMIUM_ARGUMENTS = (
    "--no-sandbox",  # the tests may run as root
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@dataclass(slots=True)
class Dashboard:
    """A dashboard in its own process."""

    conninfo: str
    customers: str | None = None
    """With it, people are who they are; without, everybody is an operator."""
    port: int = 0
    _process: subprocess.Popen[str] | None = None

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://localhost:{self.port}"

    def start(self) -> Self:
        """Start it; again on the same port after ``kill``."""
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.browser.dashboard", str(self.port), self.conninfo, *self._own_people()],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "TZ": "Europe/Oslo"},
        )
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.strip().isdigit():
                self.port = int(line)
                return self
        raise AssertionError("the dashboard did not start")

    def _own_people(self) -> list[str]:
        return [] if self.customers is None else [self.customers]

    def publish(self, device: str, **metrics: float) -> None:
        """Have a batch with one reading committed."""
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"device": device, "metrics": metrics}) + "\n")
        self._process.stdin.flush()

    def kill(self) -> None:
        """End it at once."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None


@dataclass  # without slots: Playwright keeps something of its own on an object whose method it is given
class Watched:
    """A page, with everything that it complained about and asked for."""

    page: Page
    complaints: list[str] = field(default_factory=list)
    requested: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.on("console", self._console)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda request: self.requested.append(request.url))

    def forget(self) -> None:
        """Begin anew with the next address."""
        self.complaints.clear()
        self.requested.clear()

    def _console(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            self.complaints.append(message.text)


def admit(context: BrowserContext) -> None:
    """Sign a context in at a dashboard whose process takes every session for an operator's."""
    context.add_cookies([{"name": SESSION.name, "value": "x", "domain": "localhost", "path": "/"}])


@contextmanager
def chromium() -> Iterator[Browser]:
    """Debian's Chromium."""
    path = shutil.which("chromium")
    assert path is not None, "no Chromium found: apt-get install chromium"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=CHROMIUM_ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """One browser for all tests; each has contexts of its own."""
    with chromium() as started:
        yield started


@dataclass(frozen=True, slots=True)
class DemoDashboard:
    """The dashboard of a tenant that looks like a customer's, with people of each role."""

    dashboard: Dashboard
    people: dict[Role, Person]

    @property
    def url(self) -> str:
        """Its address."""
        return self.dashboard.url

    def context(self, browser: Browser, role: Role | None, **options: Any) -> BrowserContext:
        """Return a context signed in with a role; with None nobody is signed in."""
        context = browser.new_context(**options)
        if role is not None:
            sign_browser_in(context, self.url, self.people[role])
        return context


@contextmanager
def open_demo(server: PostgresServer, template: str) -> Iterator[DemoDashboard]:
    """Fill a database of its own and serve it."""
    database = create_database(server, template=template, owner=roles.OWNER)
    people = fill_database(database.conninfo())
    served = Dashboard(database.conninfo(roles.INGEST), database.conninfo(roles.WEB)).start()
    try:
        yield DemoDashboard(served, people)
    finally:
        served.kill()
        drop_database(database)


@pytest.fixture(scope="session")
def demo(postgres_server: PostgresServer, database_template: str) -> Iterator[DemoDashboard]:
    """The demo dashboard, shared by the tests that only look."""
    with open_demo(postgres_server, database_template) as made:
        yield made


@contextmanager
def opened(server: PostgresServer, template: str, *statements: str) -> Iterator[Dashboard]:
    """A dashboard over a database of its own with what these statements put in, for the tests of a module to share."""
    database = create_database(server, template=template, owner=roles.OWNER)
    arrange(database, *statements)
    served = Dashboard(database.conninfo(roles.INGEST)).start()
    try:
        yield served
    finally:
        served.kill()
        drop_database(database)


@pytest.fixture(scope="session")
def busy(postgres_server: PostgresServer, database_template: str) -> Iterator[Dashboard]:
    """A dashboard with a reading on it, shared by the tests that only look."""
    with opened(postgres_server, database_template) as served:
        served.publish("a-device-with-a-very-long-name-" + "x" * 33, **{"a_rather_long_metric_name" * 2: 0.1 + 0.2})
        yield served


@pytest.fixture
def dashboard(database: Database) -> Iterator[Dashboard]:
    """A dashboard over an empty database."""
    served = Dashboard(database.conninfo(roles.INGEST)).start()
    yield served
    served.kill()


@pytest.fixture
def watched(browser: Browser) -> Iterator[Watched]:
    """A page of desktop size, in the light theme."""
    context = browser.new_context(viewport={"width": 1440, "height": 900}, color_scheme="light")
    admit(context)
    yield Watched(context.new_page())
    context.close()
