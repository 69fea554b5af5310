"""Debian's Chromium, pages that record what they complain about, and dashboards in processes of their own."""

import json
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self, TextIO

from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, sync_playwright

from appliance.db import roles
from appliance.people.role import Role
from appliance.web.http.cookies import SESSION
from tests.support import fork_server
from tests.support.fork_server import Forked
from tests.support.pipeline import arrange
from tests.support.postgres_server import PostgresServer, create_database, drop_database
from tests.support.web.accounts import Person, sign_browser_in
from tests.support.web.demo_fixture import fill_database

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
    """A dashboard in a process of its own."""

    conninfo: str
    customers: str | None = None
    """With it, people are who they are; without, everybody is an operator."""
    tls: Path | None = None
    """The folder in which it puts its CA, ``ca.crt``; with it, it speaks TLS."""
    port: int = 0
    _process: Forked | None = None
    _orders: TextIO | None = None
    _output: TextIO | None = None
    """Open as long as the process, which logs there too."""

    @property
    def url(self) -> str:
        """Return its address."""
        return f"{'http' if self.tls is None else 'https'}://localhost:{self.port}"

    def start(self) -> Self:
        """Start it; again on the same port after ``kill``."""
        theirs, orders = os.pipe()
        output, written = os.pipe()
        self._orders, self._output = os.fdopen(orders, "w"), os.fdopen(output)
        self._process = fork_server.dashboards().start(
            "tests.support.web.dashboard_process",
            [str(self.port), self.conninfo, self.customers or "", str(self.tls or "")],
            env={**os.environ, "TZ": "Europe/Oslo"},
            stdin=theirs,
            stdout=written,
            stderr=sys.stderr.fileno(),
        )
        os.close(theirs)
        os.close(written)
        for line in self._output:
            if line.strip().isdigit():
                self.port = int(line)
                return self
        raise AssertionError("the dashboard did not start")

    def publish(self, device: str, **metrics: float) -> None:
        """Have a batch with one reading committed."""
        self._order({"device": device, "metrics": metrics})

    def renew(self) -> None:
        """Have the certificate exchanged."""
        self._order({"renew": True})

    def _order(self, order: dict[str, Any]) -> None:
        assert self._orders is not None
        self._orders.write(json.dumps(order) + "\n")
        self._orders.flush()

    def kill(self) -> None:
        """Kill it."""
        if self._process is not None:
            assert self._orders is not None
            assert self._output is not None
            self._process.kill()
            self._process.wait()
            self._orders.close()
            self._output.close()
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
        """Forget what was recorded so far."""
        self.complaints.clear()
        self.requested.clear()

    def _console(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            self.complaints.append(message.text)


def admit(context: BrowserContext) -> None:
    """Sign a context in at a dashboard whose process takes every session for an operator's."""
    context.add_cookies([{"name": SESSION.name, "value": "x", "domain": "localhost", "path": "/"}])


def _program() -> str:
    """Debian's Chromium: the one without windows where it is installed, which takes half the processor time."""
    path = shutil.which("chromium-headless-shell") or shutil.which("chromium")
    assert path is not None, "no Chromium found: apt-get install chromium-headless-shell"
    return path


@contextmanager
def chromium() -> Iterator[Browser]:
    """Start Chromium."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=_program(), args=CHROMIUM_ARGUMENTS)
        yield browser
        browser.close()


@contextmanager
def chromium_at(home: Path, beside: Browser) -> Iterator[Browser]:
    """Start another Chromium, which finds what its user trusts in a home folder; ``beside`` runs already."""
    started = beside.browser_type.launch(
        executable_path=_program(), args=CHROMIUM_ARGUMENTS, env={**os.environ, "HOME": str(home)}
    )
    yield started
    started.close()


@dataclass(frozen=True, slots=True)
class DemoDashboard:
    """The dashboard of a tenant that looks like a customer's, with people of each role."""

    dashboard: Dashboard
    people: dict[Role, Person]

    @property
    def url(self) -> str:
        """Return its address."""
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
