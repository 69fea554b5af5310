"""By the keyboard alone through a page: where Tab leads, whether it can be seen there, and what it never reaches."""

from collections.abc import Iterator, Mapping
from typing import Any

from playwright.sync_api import Page

MARK = """(root) => {
  const names = "a[href], button, input:not([type=hidden]), select, textarea, summary, [tabindex='0']";
  const within = document.querySelector(root);
  const seen = [...within.querySelectorAll(names)].filter((one) =>
    !one.disabled && one.checkVisibility({ visibilityProperty: true }));
  const stop = new Map(); // of radios with one name, Tab stops at one: at the chosen one if there is one
  for (const one of seen.filter((one) => one.type === "radio")) {
    if (one.checked || !stop.has(one.name)) stop.set(one.name, one);
  }
  window.root = within;
  window.stops = seen.filter((one) => one.type !== "radio" || stop.get(one.name) === one);
  window.reached = new Set();
  window.last = null;
  const parts = (one) => one.type?.startsWith("date") ? 8 : 1; // day, month, year and so on
  return window.stops.reduce((sum, one) => sum + parts(one), 0);
}"""

MISSED = """() => window.stops // a live update may have taken some away
  .filter((one) => one.isConnected && one.checkVisibility() && !window.reached.has(one))
  .map((one) => one.outerHTML.slice(0, 120))"""

WHERE = """() => {
  const here = document.activeElement;
  if (here === null || here === document.body) return null;
  const still = window.last === here;
  const again = window.reached.has(here) && !still;
  window.last = here;
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
  const clipped = box.width < 2 || box.height < 2 || here.closest("thead")?.getBoundingClientRect().width < 2;
  const own = !clipped && top !== null && (here.contains(top) || top.contains(here) || here.labels?.[0]?.contains(top));
  return { again, still, ringed, inside: window.root.contains(here), html: here.outerHTML.slice(0, 120),
    covered: own ? null : top?.outerHTML.slice(0, 120) ?? "nothing" };
}"""

ALIKE = "() => document.querySelectorAll('tbody tr:nth-child(n + 3)').forEach((row) => row.remove())"
"""Of the rows of a table two are enough."""


def wrong_with_tab(page: Page) -> list[str]:
    """What a person who has no mouse would miss, on the whole page; empty when all is well."""
    page.evaluate("document.activeElement.blur()")  # a form may have put the focus into its first field
    return _wrong(page, "body")


def wrong_with_tab_in_sheet(page: Page) -> list[str]:
    """The same for what is the page's own, within the frame that all have."""
    page.evaluate(ALIKE)
    page.evaluate("document.activeElement.blur(), document.querySelector('main').focus()")
    return _wrong(page, "main")


def _wrong(page: Page, root: str) -> list[str]:
    seen = list(_stops(page, page.evaluate(MARK, root)))
    missed = [f"Tab never comes to {html}" for html in page.evaluate(MISSED)]
    unseen = [f"the focus is not to be seen on {where['html']}" for where in seen if not where["ringed"]]
    covered = [f"{where['covered']} lies over {where['html']}" for where in seen if where["covered"]]
    return missed + unseen + covered


def _stops(page: Page, most: int) -> Iterator[Mapping[str, Any]]:
    """Where Tab leads, until it has come around or out of the root."""
    been_inside = False
    for _ in range(most + 10):
        page.keyboard.press("Tab")
        where = page.evaluate(WHERE)
        if where is None:  # out of the page, and in again
            continue
        if where["again"] or (been_inside and not where["inside"]):
            return
        been_inside = where["inside"]
        if been_inside and not where["still"]:
            yield where
