"""The macros that pages are made of, rendered by themselves: with everything, and with as little as they take."""

import re
from uuid import UUID

import pytest

from appliance.assets import asset
from appliance.people.role import Role, Theme
from appliance.web.access.auth import Viewer
from appliance.web.http.files import StaticFiles
from appliance.web.page.address import Address
from appliance.web.page.frame import Frame, navigation
from appliance.web.page.templating import Templates

VIEWER = Viewer(UUID(int=1), "ida@acme.example", "Ida Solheim", Role.ADMIN, "acme", None, Theme.DARK, None, "token-1")
FRAME = Frame(VIEWER, 1_800_000_000.0, "/devices/x")
LIST = Address("/devices", (("sort", "-name"), ("status", "ACTIVE"), ("site", "hall"), ("cursor", "c")))


@pytest.fixture(scope="module")
def templates() -> Templates:
    return Templates(StaticFiles(asset("static")), "edge-1", lambda: False)


def rendered(templates: Templates, source: str) -> str:
    """A template's text, given here, as a page would render it; white space folded."""
    html = templates._environment.from_string(source).render(frame=FRAME, address=LIST)
    return re.sub(r"\s+", " ", html)


def test_a_field_that_came_back_keeps_its_value_and_points_to_its_error(templates: Templates) -> None:
    html = rendered(
        templates,
        '{% from "_macros/forms.html" import field, summary %}'
        '{{ summary(("rate", "Write a number such as 10."), {"rate": "Limit"}) }}'
        '{{ field("rate", "Limit", "<1", hint="A second", fault=("rate", "Write a number such as 10.")) }}',
    )
    assert '<a href="#f-rate">Limit</a>' in html
    assert 'value="&lt;1"' in html
    assert 'aria-invalid="true" aria-describedby="f-rate-h f-rate-e"' in html
    assert 'id="f-rate-e"' in html


def test_a_password_never_comes_back(templates: Templates) -> None:
    html = rendered(
        templates,
        '{% from "_macros/forms.html" import field %}{{ field("p", "Password", "secret-1", type="password") }}',
    )
    assert "secret-1" not in html


def test_every_form_that_changes_something_carries_the_token(templates: Templates) -> None:
    html = rendered(
        templates,
        '{% from "_macros/forms.html" import press %}{% from "_macros/dialog.html" import dialog %}'
        '{{ press(frame, "/x", "Approve") }}'
        '{{ dialog(frame, "Revoke x", "It stops.", "/x/revoke", "Revoke", "/x", typed="x") }}',
    )
    assert html.count('name="csrf_token" value="token-1"') == html.count('method="post"') == 2
    assert html.index("Cancel") < html.index(">Revoke</button>")


def test_a_sorted_column_says_so_and_is_turned_by_its_link(templates: Templates) -> None:
    html = rendered(
        templates,
        '{% from "_macros/table.html" import table %}'
        '{% call table("Devices", [("Name", "", "name"), ("Seen", "end", "seen"), ("", '
        '"", none)], address) %}{% endcall %}',
    )
    assert 'aria-sort="descending"><a href="/devices?status=ACTIVE&amp;site=hall&amp;sort=name" hx-get=' in html
    assert 'class="end"><a href="/devices?status=ACTIVE&amp;site=hall&amp;sort=seen" hx-get=' in html
    assert '<span class="vh">Actions</span>' in html


def test_a_filter_bar_carries_along_what_it_does_not_ask_for(templates: Templates) -> None:
    html = rendered(
        templates,
        '{% from "_macros/filters.html" import filters, chips %}'
        '{% call filters(address, ["status"]) %}'
        '{{ chips(address, "status", "Status", [("ACTIVE", "Active", 3, none)]) }}'
        "{% endcall %}",
    )
    assert '<input type="hidden" name="site" value="hall">' in html
    assert 'name="cursor"' not in html
    assert 'value="ACTIVE" checked' in html


def test_the_pager_goes_on_and_back_to_the_start(templates: Templates) -> None:
    html = rendered(
        templates, '{% from "_macros/pager.html" import pager %}{{ pager(address, "next-1", 50, 1234, "devices") }}'
    )
    assert "50 of 1,234 devices" in html
    assert 'rel="next" href="/devices?sort=-name&amp;status=ACTIVE&amp;site=hall&amp;cursor=next-1"' in html
    assert 'href="/devices?sort=-name&amp;status=ACTIVE&amp;site=hall" hx-get=' in html


def test_heads_need_neither_actions_nor_crumbs(templates: Templates) -> None:
    html = rendered(
        templates,
        '{% from "_macros/page.html" import page_head, note %}{{ page_head("More") }}{{ note("ok", "Done.") }}',
    )
    assert "<h1>More</h1>" in html
    assert "actions" not in html


def test_the_navigation_leaves_out_what_a_role_may_not_use() -> None:
    def labels(role: Role) -> set[str]:
        who = Viewer(UUID(int=1), "x@y", "", role, None, None, Theme.SYSTEM, None, "")
        return {entry.label for group in navigation(who) for entry in group.entries}

    assert {"System", "Tenants"} <= labels(Role.OPERATOR)
    assert {"System", "Tenants"}.isdisjoint(labels(Role.ADMIN))
    assert {"Users and tokens", "Audit"} <= labels(Role.ADMIN)
    assert {"Users and tokens", "Audit"}.isdisjoint(labels(Role.VIEWER))


def test_the_navigation_leads_out_of_the_appliances_own_tenant_where_that_has_no_page() -> None:
    who = Viewer(UUID(int=1), "x@y", "", Role.OPERATOR, None, None, Theme.SYSTEM, None, "")
    frame = Frame(who, 0.0, "/alerts", tenant="appliance")
    entries = [entry for group in frame.groups for entry in group.entries]
    there = {entry.path for entry in entries if frame.address(entry).endswith("?tenant=appliance")}
    assert there == {"/alerts", "/routes", "/audit"}
    assert {entry.path for entry in entries if "?" not in frame.address(entry)} >= {"/", "/devices", "/subscriptions"}


def test_the_phones_bar_marks_more_for_what_has_no_place_in_it() -> None:
    who = Viewer(UUID(int=1), "x@y", "", Role.ADMIN, None, None, Theme.SYSTEM, None, "")
    marked = {path: Frame(who, 0.0, path).below_more for path in ("/audit", "/profile/password", "/", "/more", "/gone")}
    assert marked == {"/audit": True, "/profile/password": True, "/": False, "/more": False, "/gone": False}
