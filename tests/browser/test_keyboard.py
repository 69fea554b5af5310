"""By the keyboard alone: whatever can be pressed is reached by Tab, can be seen there, and lies under nothing.

Here with the frame around; what each page has of its own is walked on a phone, in ``test_pages``.
"""

import pytest
from playwright.sync_api import Browser

from tests.browser.pages import PAGES, PageOf
from tests.browser.walk import wrong_with_tab
from tests.support.web.browser import DemoDashboard

DESKTOP, PHONE = (1440, 900), (390, 844)
WALKS = {
    "sign-in": [DESKTOP],
    "overview": [DESKTOP, PHONE],
    "device-new": [DESKTOP],
    "device": [DESKTOP],
    "device-deactivate": [DESKTOP],
    "quarantined": [DESKTOP],
    "profile": [DESKTOP],
    "tenants": [DESKTOP, PHONE],
    "system": [DESKTOP],
}
"""One page of each kind: a walk takes a while."""


@pytest.mark.parametrize("looked_at", [page for page in PAGES if page.name in WALKS], ids=lambda page: page.name)
def test_tab_reaches_everything_and_shows_where_it_is(demo: DemoDashboard, browser: Browser, looked_at: PageOf) -> None:
    context = demo.context(browser, looked_at.role, reduced_motion="reduce")
    page = context.new_page()
    for width, height in WALKS[looked_at.name]:
        page.set_viewport_size({"width": width, "height": height})
        page.goto(demo.url + looked_at.path)
        assert wrong_with_tab(page) == [], width
    context.close()
