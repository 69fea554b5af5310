"""A browser over TLS that trusts the CA as its page says, while the certificate is exchanged."""

import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Error, Page, expect

from appliance.db import roles
from tests.support.pipeline import arrange
from tests.support.postgres_server import Database
from tests.support.web.accounts import PASSWORD, sign_browser_in, signed_in
from tests.support.web.browser import Dashboard, chromium_at

AWAY_MS = 5000
"""The page for an unreachable database asks every five seconds."""
DIALOG = """() => document.getElementById("main").insertAdjacentHTML(
    "beforeend", '<a data-dialog href="/tenants/acme/suspend">Suspend</a>'
)"""
"""A question over a page with a form."""


@pytest.fixture
def secured(database: Database, tmp_path: Path) -> Iterator[Dashboard]:
    """A dashboard under TLS."""
    folder = tmp_path / "tls"
    folder.mkdir()
    served = Dashboard(database.conninfo(roles.INGEST), database.conninfo(roles.WEB), tls=folder).start()
    yield served
    served.kill()


def home_that_trusts(ca: Path, folder: Path) -> Path:
    """A home folder whose user has followed the steps for Chromium on Linux."""
    store = folder / ".pki/nssdb"
    store.mkdir(parents=True)
    for words in (["-N", "--empty-password"], ["-A", "-t", "C,,", "-n", "Edge Appliance", "-i", str(ca)]):
        subprocess.run(["certutil", "-d", f"sql:{store}", *words], check=True, timeout=60)
    return folder


def sign_in(page: Page, url: str, email: str) -> None:
    """Sign in by the form."""
    page.goto(f"{url}/sign-in")
    page.get_by_label("E-mail").fill(email)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url(f"{url}/")


def test_who_trusts_the_ca_signs_in_and_stays_so_and_live_when_the_certificate_is_exchanged(
    secured: Dashboard, database: Database, tmp_path: Path, browser: Browser
) -> None:
    operator = signed_in(database.conninfo())
    assert secured.tls is not None
    home = home_that_trusts(secured.tls / "ca.crt", tmp_path / "home")
    with chromium_at(home, browser) as trusting:
        page = trusting.new_page()
        sockets: list[str] = []
        page.on("websocket", lambda opened: sockets.append(opened.url))
        sign_in(page, secured.url, operator.email)
        names = {cookie["name"]: cookie for cookie in page.context.cookies()}
        assert names.keys() == {"__Host-appliance-session", "__Host-appliance-browser"}
        assert all(cookie["secure"] and cookie["httpOnly"] for cookie in names.values())
        secured.publish("unit-one", temperature=1.5)
        expect(page.get_by_text("unit-one").first).to_be_visible()
        shown = ssl.get_server_certificate(("localhost", secured.port))
        secured.renew()
        secured.publish("unit-two", temperature=2.5)
        expect(page.get_by_text("unit-two").first).to_be_visible()
        assert sockets == [f"wss://localhost:{secured.port}/live?page=overview"], "the same one all the time"
        page.reload()
        expect(page.get_by_role("heading", name="Overview")).to_be_visible()
        assert ssl.get_server_certificate(("localhost", secured.port)) != shown
        plain = secured.url.replace("https:", "http:")
        page.goto(f"{plain}/devices")
        assert page.url == f"{secured.url}/devices", "whoever types http is sent on, and is signed in there"


def test_who_does_not_trust_it_yet_gets_the_page_that_helps_over_plain_http(
    secured: Dashboard, tmp_path: Path, browser: Browser
) -> None:
    (tmp_path / "home").mkdir()
    with chromium_at(tmp_path / "home", browser) as fresh:
        with pytest.raises(Error, match="ERR_CERT_AUTHORITY_INVALID"):
            fresh.new_page().goto(secured.url)
        page = fresh.new_page()  # the first still goes to the browser's own page about the error
        failed: list[str] = []
        page.on("requestfailed", lambda request: failed.append(request.url))
        page.goto(f"{secured.url.replace('https:', 'http:')}/trust")
        page.get_by_text("Windows", exact=True).click()
        expect(page.get_by_text("Trusted Root Certification Authorities")).to_be_visible()
        assert failed == []


def test_pages_that_were_open_over_plain_http_follow_the_appliance_to_tls(
    database: Database, tmp_path: Path, browser: Browser
) -> None:
    arrange(database, "INSERT INTO tenants (created_at, updated_at, tenant_id) VALUES (now(), now(), 'acme')")
    served = Dashboard(database.conninfo(roles.INGEST), database.conninfo(roles.WEB)).start()
    context = browser.new_context(ignore_https_errors=True)
    try:
        sign_browser_in(context, served.url, signed_in(database.conninfo()))
        live, away, form, dialog, refused = (context.new_page() for _ in range(5))
        live.goto(served.url)
        away.clock.install()
        away.goto(f"{served.url}/+fails/503")
        for page in (form, dialog, refused):
            page.goto(f"{served.url}/maintenance/+new?tenant=acme#main")
        refused.get_by_role("button", name="Save window").click()
        expect(refused.get_by_label("Name")).to_have_attribute("aria-invalid", "true")
        dialog.get_by_label("Name").fill("Night shift")
        dialog.evaluate(DIALOG)
        dialog.get_by_role("link", name="Suspend").click()
        expect(dialog.get_by_role("dialog")).to_be_visible()
        served.kill()
        served.tls = tmp_path
        served.start()
        form.get_by_label("Name").fill("Night shift")
        form.get_by_label("Name").blur()
        away.clock.fast_forward(AWAY_MS)
        expect(live).to_have_url(f"{served.url}/sign-in")
        expect(away).to_have_url(f"{served.url}/+fails/503")
        expect(form.get_by_text("is under TLS now")).to_be_visible()
        expect(form.get_by_label("Name")).to_have_value("Night shift")
        for page in (dialog, refused):
            page.evaluate("document.dispatchEvent(new Event('appliance:unanswered'))")
        expect(dialog.get_by_role("dialog").get_by_text("is under TLS now")).to_be_visible()
        expect(refused.get_by_text("is under TLS now")).to_be_visible()
        form.get_by_role("link", name="load this page again").click()
        expect(form).to_have_url(f"{served.url}/sign-in?next=/maintenance/%2Bnew%3Ftenant%3Dacme")
    finally:
        context.close()
        served.kill()
