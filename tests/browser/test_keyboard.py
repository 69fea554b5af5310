"""By the keyboard alone: whatever can be pressed is reached by Tab, can be seen there, and lies under nothing."""

from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from tests.browser.conftest import Stage
from tests.browser.pages import PAGES, PageOf

WALKED = [
    page
    for page in PAGES
    if page.name
    in {
        "sign-in",
        "overview",
        "device-new",
        "device",
        "device-deactivate",
        "quarantined",
        "profile",
        "tenants",
        "system",
    }
]
"""One page of each kind: a walk takes a while."""

MARK = """() => {
  const names = "a[href], button, input:not([type=hidden]), select, textarea, summary, [tabindex='0']";
  const seen = [...document.querySelectorAll(names)].filter((one) =>
    !one.disabled && one.checkVisibility({ visibilityProperty: true }));
  const radios = new Set(); // of radios with one name, Tab stops at one
  window.stops = seen.filter((one) => one.type !== "radio" || (!radios.has(one.name) && radios.add(one.name)));
  window.reached = new Set();
  return window.stops.length;
}"""

MISSED = """() => window.stops // a live update may have taken some away
  .filter((one) => one.isConnected && one.checkVisibility() && !window.reached.has(one))
  .map((one) => one.outerHTML.slice(0, 120))"""

WHERE = """() => {
  const here = document.activeElement;
  if (here === null || here === document.body) return null;
  const again = window.reached.has(here);
  window.reached.add(here);
  const ring = (one) => {
    const style = getComputedStyle(one);
    return (style.outlineStyle !== "none" && parseFloat(style.outlineWidth) > 0) || style.boxShadow !== "none";
  };
  let around = here;
  let ringed = ring(here);
  for (let up = 0; up < 2 && !ringed; up += 1) { // a field may have its ring around its frame
    around = around.parentElement;
    ringed = around.matches(":focus-within") && ring(around) && around.matches("label, form, span, div, li");
  }
  const box = here.getBoundingClientRect();
  const x = Math.min(Math.max(box.left + box.width / 2, 0), innerWidth - 1);
  const y = Math.min(Math.max(box.top + Math.min(box.height, 200) / 2, 0), innerHeight - 1);
  const top = document.elementFromPoint(x, y);
  const own = top !== null && (here.contains(top) || top.contains(here) || here.labels?.[0]?.contains(top));
  return { again, ringed, covered: own ? null : top?.outerHTML.slice(0, 120) ?? "nothing",
    html: here.outerHTML.slice(0, 120) };
}"""


@pytest.fixture
def walked(stage: Stage, browser: Browser, looked_at: PageOf) -> Iterator[Page]:
    """A page, with its stops marked."""
    context = stage.context(browser, looked_at.role, reduced_motion="reduce", viewport={"width": 1440, "height": 900})
    page = context.new_page()
    page.goto(stage.url + looked_at.path)
    yield page
    context.close()


def stops(page: Page, most: int) -> Iterator[Mapping[str, Any]]:
    """Where Tab leads, until it has come around."""
    for _ in range(most):
        page.keyboard.press("Tab")
        where = page.evaluate(WHERE)
        if where is None:  # out of the page, and in again
            continue
        if where["again"]:
            return
        yield where


@pytest.mark.parametrize("looked_at", WALKED, ids=lambda page: page.name)
def test_tab_reaches_everything_and_shows_where_it_is(walked: Page) -> None:
    walked.evaluate("document.activeElement.blur()")  # a form may have put the focus into its first field
    seen = list(stops(walked, walked.evaluate(MARK) + 10))
    assert walked.evaluate(MISSED) == []
    assert [where["html"] for where in seen if not where["ringed"]] == [], "the focus is not to be seen there"
    assert [(where["html"], where["covered"]) for where in seen if where["covered"]] == [], "something lies over it"
