"""The pages are those of the design: same landmarks, headings, columns and components, in the same order.

What the design shows of alerts, routes and renewals comes with them, and gets its names here then.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import pytest
from playwright.sync_api import Browser

from tests.browser.pages import PAGES
from tests.support.web.browser import DemoDashboard

LOOK = """() => {
  const shown = (names) => [...document.querySelectorAll(names)]
    .filter((one) => one.closest("dialog:not([open])") === null);
  const name = (one) => one.getAttribute("aria-label")
    ?? document.getElementById(one.getAttribute("aria-labelledby"))?.textContent.trim() ?? "";
  return {
    landmarks: shown("header, aside, nav, main, section, [role=search]").map((one) =>
      `${one.getAttribute("role") ?? one.localName} ${name(one)}`.trim()),
    headings: shown("h1, h2, h3").map((one) => `${one.localName} ${one.textContent.trim()}`),
    columns: shown("th").map((one) => one.textContent.trim()),
    classes: shown("[class]").flatMap((one) => [...one.classList]),
  };
}"""


@dataclass(frozen=True, slots=True)
class Reference:
    """What a page of the design has. Each is in this order on ours, which may have more between."""

    page: str
    """By its name in the table of pages."""
    landmarks: Sequence[str]
    headings: Sequence[str]
    columns: Sequence[str]
    """Exactly these."""
    classes: str
    """Components, separated by blanks."""


SHELL = ("header", "aside Sidebar", "search", "nav Main", "main", "header")
PHONE = "nav Main, compact"
FRAME = (
    "skip mobile-top mark app side brand brand-name find nav nav-h n me avatar side-foot sheet page-head actions tabbar"
)

REFERENCES = (
    Reference(
        "overview",
        (
            *SHELL,
            "nav Time range",
            "section Needs attention",
            "section Key figures, last hour",
            "section Messages per second",
            "section Refused by reason",
            "section Last readings",
            "section Sites",
            "section Subscriptions",
            PHONE,
        ),
        (
            "h1 Overview",
            "h2 Needs attention",
            "h2 Messages per second",
            "h2 Refused by reason",
            "h2 Sites",
            "h2 Subscriptions",
        ),
        ("Device", "Values", "Received", "Site", "Devices"),
        "live pulse attn count strip kpi kpi-l kpi-v kpi-g kpi-f bar spark wide tally cols c-2-1 stretch stack card"
        " card-head card-body card-foot legend key chart plot gr ln ar ax meters thin table stack-m title"
        " select seg btn",
    ),
    Reference(
        "device",
        (
            *SHELL,
            "nav Breadcrumb",
            "nav Device",
            "nav Measurement shown in the chart",
            "section Temperature",
            "nav Time range",
            "section Recent messages",
            "section Details",
            "section Credential",
            PHONE,
        ),
        ("h2 Temperature", "h2 Recent messages", "h2 Details", "h2 Credential"),
        ("Received", "Kind", "Payload", "Delay", "Result"),
        "crumbs h1-st st live pulse tabs strip pickable kpi kpi-l kpi-v kpi-g spark cols c-2-1 stack card card-head"
        " card-body card-foot seg chart plot gr ax ln pt stats scroll table json facts badge foot-btns btn danger",
    ),
    Reference(
        "system",
        (
            *SHELL,
            "section Message balance",
            "section Key figures, last hour",
            "section Running tasks",
            "section Embedded services",
            "section Limits in memory",
            "section Receive to commit",
            "section Disk",
            PHONE,
        ),
        (
            "h1 System",
            "h2 Message balance",
            "h2 Running tasks",
            "h2 Embedded services",
            "h2 Limits in memory",
            "h2 Receive to commit",
            "h2 Disk",
        ),
        # The demonstration has several appliances, the reference one: their table comes first.
        (
            "Appliance",
            "Last listened",
            "Devices",
            "Version",
            "Remove",
            # Client ids that devices of two tenants share, which the demonstration has.
            "Client id",
            "Ended",
            "By",
            "Times",
            "Last",
            "Task",
            "Doing now",
            "Rate",
            "Up for",
            "Restarts",
        ),
        "tenant live pulse balance eq op badge ok strip kpi kpi-l kpi-v kpi-g kpi-f spark cols c-3-2 stack card"
        " card-head card-body card-foot count table tree node nursery tally svc svc-sub meters bar thin legend chart"
        " plot facts",
    ),
)


def in_order(wanted: Sequence[str], found: Sequence[str]) -> list[str]:
    """Of what is wanted, in order, what was not found after the one before."""
    rest = iter(found)
    return [one for one in wanted if one not in rest]


@pytest.mark.parametrize("reference", REFERENCES, ids=lambda reference: reference.page)
def test_a_page_has_what_its_reference_has(demo: DemoDashboard, browser: Browser, reference: Reference) -> None:
    looked_at = next(page for page in PAGES if page.name == reference.page)
    context = demo.context(browser, looked_at.role, viewport={"width": 1440, "height": 900})
    try:
        page = context.new_page()
        page.goto(demo.url + looked_at.path)
        page.wait_for_selector(".pulse")  # live from now on
        found = page.evaluate(LOOK)
    finally:
        context.close()
    assert in_order(reference.landmarks, found["landmarks"]) == [], found["landmarks"]
    assert in_order(reference.headings, found["headings"]) == [], found["headings"]
    assert found["columns"] == list(reference.columns)
    assert {*FRAME.split(), *reference.classes.split()} - set(found["classes"]) == set()
