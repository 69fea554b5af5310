"""A browser, and a dashboard for it to look at."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, expect

from appliance.db import roles
from tests.support.postgres_server import Database, PostgresServer
from tests.support.web.browser import Dashboard, DemoDashboard, Watched, admit, chromium, open_demo, opened

PATIENCE = 30_000
"""Milliseconds that an expectation waits, as every click does: some counts on pages are those of seconds ago, and on a
busy machine everything takes longer."""


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """One browser for all tests; each has contexts of its own."""
    expect.set_options(timeout=PATIENCE)
    with chromium() as started:
        yield started


@pytest.fixture(scope="session")
def demo(postgres_server: PostgresServer, database_template: str) -> Iterator[DemoDashboard]:
    """The demo dashboard, shared by the tests that only look."""
    with open_demo(postgres_server, database_template) as made:
        yield made


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
