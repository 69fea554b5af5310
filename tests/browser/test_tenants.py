"""An operator's day with tenants in the browser: add, sell seats, limit, suspend, view, and read the audit."""

import subprocess
import sys
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.support.postgres_server import PostgresServer
from tests.support.project import ROOT
from tests.support.web.browser import Dashboard, Watched, admit, opened


def field(page: Page, label: str, value: str) -> None:
    """Fill one field of the form."""
    page.get_by_label(label, exact=True).fill(value)


def step(page: Page, link: str, button: str) -> None:
    """Follow a link to a question, and answer it."""
    page.get_by_role("link", name=link).click()
    page.get_by_role("button", name=button, exact=True).click()


@pytest.fixture(scope="module")
def dashboard(postgres_server: PostgresServer, database_template: str) -> Iterator[Dashboard]:
    """The dashboard of an operator without tenants, or with those that other tests have added."""
    with opened(postgres_server, database_template) as served:
        yield served


@pytest.mark.parametrize(("tenant", "script"), [("with-script", True), ("without-script", False)])
def test_a_tenant_is_added_sold_to_limited_suspended_and_viewed(
    dashboard: Dashboard, browser: Browser, *, tenant: str, script: bool
) -> None:
    name = f"Norrvik {tenant}"
    context = browser.new_context(java_script_enabled=script)
    admit(context)
    watched = Watched(context.new_page())
    page = watched.page
    page.goto(f"{dashboard.url}/tenants")
    page.get_by_role("link", name="Add tenant").first.click()
    field(page, "Id", "not/one")
    field(page, "Name", name)
    page.get_by_role("button", name="Add tenant").click()
    expect(page.get_by_role("alert")).to_contain_text("A tenant id has 1 to 64")
    expect(page.get_by_label("Name", exact=True)).to_have_value(name)
    field(page, "Id", tenant)
    page.get_by_role("button", name="Add tenant").click()
    password = page.locator("#claim-password").text_content()
    assert password
    page.get_by_role("link", name="Done").click()
    expect(page.get_by_role("heading", level=1)).to_have_text(name)
    assert password not in page.content(), "it is shown once"

    page.get_by_role("link", name="Add subscription").first.click()
    field(page, "Seats", "40")
    field(page, "Name", "Cold chain base")
    page.get_by_role("button", name="Add subscription").click()
    expect(page.get_by_role("img", name="0 of 40 seats in use").first).to_be_visible()
    page.get_by_role("link", name="Cold chain base").click()
    field(page, "Hold", "Not paid")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_text("On hold", exact=True)).to_be_visible()

    page.get_by_role("link", name="Edit", exact=True).first.click()
    field(page, "Of a device", "2,5")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_text("2.5 messages/s")).to_be_visible()

    step(page, "Suspend…", "Suspend")
    expect(page.get_by_text("This tenant is suspended.")).to_be_visible()
    step(page, "Resume…", "Resume")
    expect(page.get_by_text("This tenant is suspended.")).to_have_count(0)

    page.get_by_role("link", name="View this tenant").click()
    expect(page.get_by_role("link", name=f"{tenant}. Choose another tenant")).to_be_visible()
    page.get_by_role("navigation", name="Main", exact=True).get_by_role("link", name="Audit").click()
    expect(page).to_have_url(f"{dashboard.url}/audit?tenant={tenant}")
    for label in (
        "Resumed a tenant",
        "Changed a tenant's limits",
        "Put a subscription on hold",
        "Added a subscription",
    ):
        expect(page.get_by_text(label)).to_be_visible()
    expect(page.get_by_text("Rate 2.5")).to_be_visible()
    deleted(dashboard, page, tenant, name)
    assert watched.complaints == [] or all("422" in complaint for complaint in watched.complaints)
    context.close()


def deleted(dashboard: Dashboard, page: Page, tenant: str, name: str) -> None:
    """Delete the tenant, which is asked twice, and see it go: by itself, with and without scripts."""
    page.goto(f"{dashboard.url}/tenants/{tenant}")
    page.get_by_role("link", name="Delete…").click()
    field(page, f"Type {tenant} to confirm", tenant)
    page.get_by_role("button", name="Continue…").click()
    expect(page.get_by_role("heading", name=f"Delete {name} for good?")).to_be_visible()
    page.get_by_role("button", name="Delete for good").click()
    expect(page.get_by_text("Counting what there is")).to_be_visible()
    for _ in range(2):  # rows, then the check that no row came in last
        worker = [sys.executable, "-m", "tests.faults.offboarding_worker", dashboard.conninfo]
        subprocess.run(worker, check=True, timeout=60, cwd=ROOT, stdout=subprocess.DEVNULL)
    expect(page.get_by_text("Deleted: no row is left in any table")).to_be_visible(timeout=20_000)
    page.get_by_role("link", name="Back to the tenants").click()
    expect(page.get_by_role("link", name=name)).to_have_count(0)
