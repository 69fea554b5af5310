"""A subscription that ends soon is renewed in a browser: once, with fewer seats, and without script."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest
from playwright.sync_api import Browser, Page, expect

from appliance.db import roles
from appliance.people.role import Role
from tests.support.pipeline import arrange
from tests.support.postgres_server import Database, PostgresServer, create_database, drop_database
from tests.support.web.accounts import sign_browser_in, signed_in
from tests.support.web.browser import Dashboard, Watched


@pytest.fixture(scope="module")
def served(postgres_server: PostgresServer, database_template: str) -> Iterator[tuple[Dashboard, Database]]:
    """Return a dashboard over a database of its own."""
    database = create_database(postgres_server, template=database_template, owner=roles.OWNER)
    dashboard = Dashboard(database.conninfo(roles.INGEST), database.conninfo(roles.WEB)).start()
    yield dashboard, database
    dashboard.kill()
    drop_database(database)


def sell(database: Database, tenant: str, devices: int = 3) -> None:
    """Give a tenant a subscription of five seats that ends in twelve days, with devices on it."""
    arrange(
        database,
        "INSERT INTO tenants (created_at, updated_at, tenant_id, time_zone)"
        f" VALUES (now(), now(), '{tenant}', 'Europe/Oslo')",
        "INSERT INTO subscriptions (created_at, subscription_id, tenant_id, subscription_type, device_limit,"
        f" term_start, term_end, status, description) VALUES (now(), 'SUB-{tenant}', '{tenant}', 'MAIN', 5,"
        " now() - interval '353 days', now() + interval '12 days', 'ACTIVE', 'Cold chain')",
        "INSERT INTO device_registry (created_at, updated_at, tenant_id, device_id, status, subscription_id)"
        f" SELECT now() - n * interval '1 day', now(), '{tenant}', '{tenant}-' || n, 'ACTIVE', 'SUB-{tenant}'"
        f" FROM generate_series(1, {devices}) AS n",
    )


@contextmanager
def page_of(browser: Browser, served: tuple[Dashboard, Database], tenant: str, **options: Any) -> Iterator[Page]:
    """Open a page of an admin of the tenant."""
    dashboard, database = served
    context = browser.new_context(viewport={"width": 1440, "height": 900}, reduced_motion="reduce", **options)
    sign_browser_in(context, dashboard.url, signed_in(database.conninfo(), Role.ADMIN, tenant))
    watched = Watched(context.new_page())
    yield watched.page
    assert [one for one in watched.complaints if "422" not in one] == []
    context.close()


def terms_of(database: Database, tenant: str) -> list[tuple[Any, ...]]:
    """Return what was renewed: how many terms, how many audit rows, and which devices are left."""
    query = (
        "SELECT (SELECT count(*) FROM subscription_terms WHERE kind = 'RENEWED' AND tenant_id = %(tenant)s),"
        " (SELECT count(*) FROM audit_log WHERE action = 'subscription.renew' AND tenant_id = %(tenant)s),"
        " (SELECT array_agg(device_id::text ORDER BY device_id) FROM device_registry"
        "  WHERE status = 'ACTIVE' AND tenant_id = %(tenant)s)"
    )
    with psycopg.connect(database.conninfo()) as connection:
        return connection.execute(query, {"tenant": tenant}).fetchall()


def test_a_renewal_happens_once_whatever_is_pressed(browser: Browser, served: tuple[Dashboard, Database]) -> None:
    url, database = served[0].url, served[1]
    sell(database, "once")
    with page_of(browser, served, "once") as page:
        page.goto(f"{url}/subscriptions")
        expect(page.get_by_text("Ends soon").nth(1)).to_be_visible()
        page.get_by_role("link", name="Renew Cold chain").click()
        dialog = page.get_by_role("dialog")
        dialog.get_by_text("730", exact=True).click()
        expect(dialog.locator("#renewal-dates")).to_contain_text(re.compile(r"\d{4} to \d+ \w+ 20\d\d"))
        expect(dialog.locator("#renewal-summary")).to_contain_text("paid days kept")
        dialog.get_by_role("button", name="Review renewal").click()
        expect(page.get_by_role("heading", name="Review renewal")).to_be_visible()
        assert terms_of(database, "once")[0][0] == 0
        review = page.url
        page.get_by_role("button", name="Renew 730 days").dblclick()
        expect(page.get_by_text("Cold chain is renewed.")).to_be_visible()
        page.reload()
        expect(page.get_by_text("Cold chain is renewed.")).to_be_visible()
        page.go_back()
        expect(page.get_by_text("This renewal is done.")).to_be_visible()
        page.goto(review)
        page.get_by_role("link", name="View the result").click()
        expect(page.get_by_text("Cold chain is renewed.")).to_be_visible()
        page.goto(f"{url}/subscriptions/SUB-once/renew")
        expect(page.locator("#renewal-dates")).to_contain_text("Renewing opens on")
        go = page.get_by_role("button", name="Review renewal")
        expect(go).to_have_attribute("aria-disabled", "true")
        page.get_by_label("Renew early").check()
        expect(go).not_to_have_attribute("aria-disabled", "true")
    assert terms_of(database, "once") == [(1, 1, ["once-1", "once-2", "once-3"])]


def test_fewer_seats_wait_for_exactly_as_many_devices(browser: Browser, served: tuple[Dashboard, Database]) -> None:
    url, database = served[0].url, served[1]
    sell(database, "fewer", devices=5)
    with page_of(browser, served, "fewer") as page:
        page.goto(f"{url}/subscriptions/SUB-fewer/renew")
        go = page.get_by_role("button", name="Review renewal")
        page.get_by_label("Seats").fill("2")
        expect(page.get_by_text("0 of 3 chosen")).to_be_visible()
        expect(go).to_have_attribute("aria-disabled", "true")
        page.get_by_label("fewer-4").check()
        expect(page.get_by_text("1 of 3 chosen")).to_be_visible()
        page.get_by_label("Find a device").fill("fewer-1")
        expect(page.get_by_label("fewer-4")).to_have_count(0)
        page.get_by_label("fewer-1").check()
        page.get_by_label("Find a device").fill("")
        expect(page.get_by_label("fewer-4")).to_be_checked()
        expect(page.get_by_label("fewer-1")).to_be_checked()
        expect(page.get_by_text("Choose 1 more device to continue.")).to_be_visible()
        go.click(force=True)
        assert page.url.endswith("/renew"), "the button waits"
        page.get_by_role("button", name="Choose 3 longest silent").click()
        expect(page.get_by_text("3 of 3 chosen")).to_be_visible()
        for device, chosen in (("fewer-5", True), ("fewer-3", True), ("fewer-1", False)):
            expect(page.get_by_label(device)).to_be_checked(checked=chosen)
        page.get_by_label("Seats").fill("5")
        expect(page.get_by_text("3 of 3 chosen")).to_have_count(0)
        expect(go).not_to_have_attribute("aria-disabled", "true")
        page.get_by_label("Seats").fill("2")
        expect(page.get_by_text("3 of 3 chosen")).to_be_visible()
        page.get_by_label("fewer-3").uncheck()
        page.get_by_label("fewer-1").check()
        go.click()
        expect(page.get_by_text("3 devices stop.")).to_be_visible()
        page.get_by_role("button", name="Renew 365 days").click()
        expect(page.get_by_text("Cold chain is renewed.")).to_be_visible()
    assert terms_of(database, "fewer") == [(1, 1, ["fewer-2", "fewer-3"])]


def test_it_works_without_script(browser: Browser, served: tuple[Dashboard, Database]) -> None:
    url, database = served[0].url, served[1]
    sell(database, "plain")
    with page_of(browser, served, "plain", java_script_enabled=False) as page:
        page.goto(f"{url}/subscriptions")
        page.get_by_role("link", name="Renew Cold chain").click()
        page.get_by_label("Seats").fill("2")
        page.get_by_role("button", name="Update").click()
        expect(page.get_by_text("0 of 1 chosen")).to_be_visible()
        page.get_by_role("button", name="Review renewal").click()
        expect(page.get_by_text("Choose 1 device to continue.")).to_be_visible()
        page.get_by_role("button", name="Choose 1 longest silent").click()
        expect(page.get_by_label("plain-3")).to_be_checked()
        page.get_by_role("button", name="Review renewal").click()
        page.get_by_role("button", name="Renew 365 days").click()
        expect(page.get_by_text("Cold chain is renewed.")).to_be_visible()
        page.go_back()
        expect(page.get_by_text("This renewal is done.")).to_be_visible()
    assert terms_of(database, "plain") == [(1, 1, ["plain-1", "plain-2"])]
