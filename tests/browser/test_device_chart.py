"""The chart of a device as a person uses it: drawn without script, zoomed and moved with it."""

import re
from collections.abc import Iterator
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Browser, Page, Route, expect

from tests.support.postgres_server import PostgresServer
from tests.support.web.browser import Watched, admit, opened

ADDRESS = "/devices/frz-1?tenant=acme"
ROWS = (
    "INSERT INTO tenants (created_at, updated_at, tenant_id) VALUES (now(), now(), 'acme')",
    (
        "INSERT INTO device_registry (created_at, updated_at, tenant_id, device_id, status)"
        " VALUES (now(), now(), 'acme', 'frz-1', 'PENDING')"
    ),
    """
    INSERT INTO device_state (tenant_id, device_id, last_ts, last_seen_at, last_heard_at, latest)
    VALUES ('acme', 'frz-1', now(), now(), now(), '{"temperature": -18.5}')
    """,
    "SELECT telemetry_ensure_partitions((now() - interval '2 days')::date, (now() + interval '1 day')::date)",
    """
    INSERT INTO telemetry (tenant_id, device_id, kind, ts, digest, received_at, ts_adjusted, late, metrics)
    SELECT 'acme', 'frz-1', 'telemetry', now() - n * interval '20 s', n, now(), false, false,
      jsonb_build_object('temperature', -18 + sin(n / 300.0))
    FROM generate_series(1, 4000) AS n WHERE n NOT BETWEEN 1000 AND 1400
    """,
)


@pytest.fixture(scope="module")
def freezer(postgres_server: PostgresServer, database_template: str) -> Iterator[str]:
    """The address of a device with a day of readings and a gap in them."""
    with opened(postgres_server, database_template, *ROWS) as served:
        yield served.url + ADDRESS


def span(page: Page) -> float:
    """Seconds that the address names."""
    asked = parse_qs(urlsplit(page.url).query)
    first, last = (page.evaluate(f"Date.parse({asked[name][0]!r}) / 1000") for name in ("from", "to"))
    return float(last - first)


def test_without_script_there_are_line_gap_ranges_and_dates(freezer: str, browser: Browser) -> None:
    context = browser.new_context(java_script_enabled=False)
    admit(context)
    page = context.new_page()
    page.goto(freezer)
    expect(page.locator("#chart path.ln.thick")).to_have_count(1)
    expect(page.locator("#chart rect.band.idle")).to_have_count(1)
    expect(page.locator("#chart svg.plot")).to_have_attribute("aria-label", re.compile(r"Gaps: 1, together 2\.\d+ h"))
    expect(page.get_by_role("group", name="Zoom and pan")).to_be_hidden()
    page.get_by_role("navigation", name="Time range").get_by_role("link", name="7 d").click()
    expect(page.get_by_role("link", name="7 d")).to_have_attribute("aria-current", "true")
    page.get_by_label("Choose dates").click()
    page.get_by_label("From", exact=True).fill("2020-01-01T00:00")
    page.get_by_label("To", exact=True).fill("2020-01-02T00:00")
    page.get_by_role("button", name="Show").click()
    expect(page.locator("#chart")).to_contain_text("No readings of Temperature in this time.")
    assert "tenant=acme" in page.url
    context.close()


def test_dragging_zooms_in_and_the_address_remembers(freezer: str, watched: Watched) -> None:
    page = watched.page
    page.goto(freezer)
    box = page.locator("#chart figure").bounding_box()
    assert box is not None
    before = page.locator("#chart").bounding_box()
    page.mouse.move(box["x"] + 300, box["y"] + 90)
    expect(page.locator("#chart .zoomed canvas")).to_be_visible()
    assert page.locator("#chart").bounding_box() == before, "nothing jumps"
    assert "from=" not in page.url, "a look alone changes no address"
    page.mouse.down()
    page.mouse.move(box["x"] + 400, box["y"] + 95, steps=4)
    page.mouse.up()
    page.wait_for_url(re.compile("from="))
    assert 0.05 * 86_400 < span(page) < 0.4 * 86_400
    expect(page.locator("#chart .sub")).not_to_have_text(re.compile("mean of 5 min"))
    expect(page.locator("#chart .seg [aria-current]")).to_have_count(0)
    shown = page.locator("#chart dd[data-fact=Readings]").inner_text()
    page.reload()
    expect(page.locator("#chart dd[data-fact=Readings]")).to_have_text(shown)
    assert watched.complaints == []
    assert {urlsplit(url).netloc for url in watched.requested} == {urlsplit(freezer).netloc}


def test_in_a_browser_that_does_not_know_the_zone_the_picture_stays_as_it_was_drawn(
    freezer: str, watched: Watched
) -> None:
    def elsewhere(route: Route) -> None:
        answer = route.fetch()
        route.fulfill(response=answer, body=re.sub('data-zone="[^"]*"', 'data-zone="Europe/Atlantis"', answer.text()))

    page = watched.page
    page.route(freezer, elsewhere)
    page.goto(freezer)
    figure = page.locator("#chart figure")
    expect(figure).to_have_attribute("data-zone", "Europe/Atlantis")
    figure.hover()
    expect(page.locator("#chart path.ln.thick")).to_be_visible()
    expect(page.locator("#chart canvas")).to_have_count(0)
    expect(page.get_by_role("group", name="Zoom and pan")).to_be_hidden()
    assert [one for one in watched.complaints if "/live" not in one] == [], "a page made here may not open a WebSocket"


def test_buttons_zoom_and_move_and_lead_back(freezer: str, watched: Watched) -> None:
    page = watched.page
    page.goto(freezer)
    begun = page.url
    page.get_by_role("button", name="Zoom in").press("Enter")
    page.wait_for_url(re.compile("from="))
    assert span(page) == pytest.approx(43_200, abs=2)
    was = page.url
    page.get_by_role("button", name="Earlier").click()
    page.wait_for_url(lambda url: url not in (was, begun))
    assert span(page) == pytest.approx(43_200, abs=2)
    expect(page.locator("#chart .zoomed")).to_have_attribute("aria-label", re.compile(r"^Temperature, from .* between"))
    page.get_by_role("button", name="Reset zoom").click()
    page.wait_for_url(begun)
    assert watched.complaints == []


def test_an_answer_that_does_not_come_leaves_the_picture_and_says_so(freezer: str, watched: Watched) -> None:
    page = watched.page
    page.goto(freezer)
    page.route("**/telemetry?*", lambda route: route.abort())
    page.get_by_role("button", name="Zoom in").click()
    expect(page.locator("#chart .chart-problem")).to_be_visible()
    expect(page.locator("#chart svg.plot")).to_be_visible()
