"""The list of subscriptions, the page of each, and the history: for every role, and over all tenants for operators."""

import csv
import io
import re
from html import unescape

import psycopg
import pytest

from appliance.people.role import Role
from appliance.people.sessions import Visit
from tests.support.postgres_server import Database
from tests.support.web.accounts import client, signed_in
from tests.support.web.api_caller import dashboard
from tests.support.web.serving import over

SOLD = """
INSERT INTO tenants (created_at, updated_at, tenant_id, name, time_zone) VALUES
  (now(), now(), 'acme', 'Acme Cold Chain', 'Europe/Oslo'), (now(), now(), 'globex', 'Globex', 'UTC');
INSERT INTO subscriptions (created_at, subscription_id, tenant_id, subscription_type, device_limit, term_start,
  term_end, status, description, parent_subscription_id) VALUES
  (now(), 'SUB-20260101-00001', 'acme', 'MAIN', 2, now() - interval '300 days', now() + interval '12 days', 'ACTIVE',
    'Base', NULL),
  (now(), 'SUB-20260101-00002', 'acme', 'TEMPORARY', 5, now() - interval '9 days', now() + interval '100 days',
    'ACTIVE', 'Harvest', NULL),
  (now(), 'SUB-20260101-00004', 'globex', 'MAIN', 5, now() - interval '500 days', now() - interval '5 days', 'ACTIVE',
    'Elsewhere', NULL);
INSERT INTO subscriptions (created_at, subscription_id, tenant_id, subscription_type, device_limit, term_start,
  term_end, status, description, parent_subscription_id)
SELECT now(), 'SUB-20260101-00003', tenant_id, 'ADDON', 50, term_start, term_end, 'ACTIVE', 'Extension', subscription_id
FROM subscriptions WHERE subscription_id = 'SUB-20260101-00001';
INSERT INTO device_registry (created_at, updated_at, tenant_id, device_id, status, subscription_id) VALUES
  (now(), now(), 'acme', 'a-1', 'ACTIVE', 'SUB-20260101-00001'),
  (now(), now(), 'acme', 'a-2', 'ACTIVE', 'SUB-20260101-00001');
INSERT INTO subscription_terms (tenant_id, subscription_id, kind, term_start, term_end, device_limit, actor, bought_at)
SELECT tenant_id, subscription_id, 'SOLD', term_start, term_end, device_limit, 'kim@example.org', term_start
FROM subscriptions;
INSERT INTO subscription_audit (tenant_id, subscription_id, event_type, actor, previous_state, new_state, at)
SELECT tenant_id, subscription_id, 'add', 'kim@example.org', NULL,
  jsonb_build_object('subscription_type', subscription_type, 'device_limit', device_limit), term_start
FROM subscriptions;
"""


@pytest.fixture
def sold(database: Database) -> Database:
    """Return a database in which acme has a main subscription that ends soon, and globex one in its grace."""
    with psycopg.connect(database.conninfo()) as connection:
        connection.execute(SOLD)
    return database


def rows(page: str) -> list[bool]:
    """Return which of the three that are no add-ons the list shows."""
    _, _, listed = page.partition('id="subscription-list"')
    return [name in listed.partition("</table>")[0] for name in ("Base", "Harvest", "Elsewhere")]


@pytest.mark.parametrize("role", [Role.VIEWER, Role.RESPONDER, Role.ADMIN])
async def test_everybody_looks_and_only_admins_find_the_buttons(sold: Database, role: Role) -> None:
    who = signed_in(sold.conninfo(), role, "acme")
    async with dashboard(sold) as served, client(served.url, who) as browser:
        page = (await browser.get("/subscriptions")).text
        one = (await browser.get("/subscriptions/SUB-20260101-00001")).text
        addon = (await browser.get("/subscriptions/SUB-20260101-00003")).text
        history = await browser.get("/subscriptions/+history")
        assert (await browser.get("/subscriptions/SUB-20260101-00004")).status_code == 404
        assert (await browser.get("/subscriptions/none")).status_code == 404
    assert page.index("Base") < page.index("Extension") < page.index("Harvest"), "an add-on is below its main one"
    assert "2 of 57 seats in use" in page
    assert "Base, 2 of 2" in page, "nearly full"
    assert "Elsewhere" not in page + history.text
    assert "Sold" in one
    assert 'It renews with <a href="/subscriptions/SUB-20260101-00001">Base</a>' in addon
    may = role is Role.ADMIN
    assert history.status_code == (200 if may else 403)
    assert ["Main subscription began" in text for text in (page, one, history.text)] == [may] * 3, "as the audit"
    renew = 'href="/subscriptions/SUB-20260101-00001/renew"'
    assert [renew in text for text in (page, one, addon)] == [may] * 3
    assert "SUB-20260101-00003/renew" not in page + addon, "an add-on renews with its main one"


async def test_operators_see_all_tenants_or_one_and_what_ends_soon(sold: Database) -> None:
    async with dashboard(sold) as served, client(served.url, signed_in(sold.conninfo())) as browser:
        every = (await browser.get("/subscriptions")).text
        soon = (await browser.get("/subscriptions?state=soon")).text
        ended = (await browser.get("/subscriptions?state=ended")).text
        acme = (await browser.get("/subscriptions?tenant=acme")).text
        one = (await browser.get("/subscriptions/SUB-20260101-00004")).text
        wrong = await browser.get("/subscriptions?state=late")
        stale = await browser.get("/subscriptions?cursor=x")
        assert (await browser.get("/subscriptions/SUB-20260101-00004?tenant=acme")).status_code == 404
        file = (await browser.get("/subscriptions?state=ended&format=csv")).text
    assert rows(every) == [True, True, True]
    assert "Globex" in every
    assert rows(soon) == [True, False, True], "what is in its grace is to be renewed as well"
    assert rows(ended) == [False, False, True]
    assert rows(acme) == [True, True, False]
    assert 'href="/subscriptions/SUB-20260101-00004/renew?tenant=globex"' in one
    assert 'href="/tenants/globex/subscriptions/SUB-20260101-00004"' in one
    assert (wrong.status_code, stale.status_code) == (400, 400)
    assert "The filter cannot be used" in wrong.text
    assert "Base" in wrong.text
    found = list(csv.DictReader(io.StringIO(file.removeprefix("\ufeff"))))
    assert [(row["tenant_id"], row["status"]) for row in found] == [("globex", "GRACE")]


async def test_held_messages_lead_to_quarantine(sold: Database) -> None:
    with psycopg.connect(sold.conninfo()) as connection:
        connection.execute(
            "INSERT INTO quarantine_events (tenant_id, device_id, topic, kind, reason, payload, ingested_at)"
            " SELECT 'acme', 'a-1', 't', 'telemetry', reason, '', now()"
            " FROM unnest(ARRAY['SUBSCRIPTION_EXPIRED', 'SUBSCRIPTION_SUSPENDED', 'INVALID_JSON']) AS reason"
        )
    async with dashboard(sold) as served, client(served.url, signed_in(sold.conninfo(), Role.ADMIN, "acme")) as browser:
        page = (await browser.get("/subscriptions")).text
        assert ">2<small>messages" in page
        there = "/quarantine?reason=SUBSCRIPTION_SUSPENDED&amp;reason=SUBSCRIPTION_EXPIRED"
        assert f'href="{there}"' in page
        assert (await browser.get(there.replace("&amp;", "&"))).status_code == 200


async def test_a_long_list_and_a_long_history_have_pages(sold: Database) -> None:
    with psycopg.connect(sold.conninfo()) as connection:
        connection.execute(
            "INSERT INTO subscriptions (created_at, subscription_id, tenant_id, subscription_type, device_limit,"
            " term_start, term_end, status)"
            " SELECT now(), 'SUB-20270101-' || lpad(n::text, 5, '0'), 'acme', 'TEMPORARY', 5, now(),"
            " now() + n * interval '40 days', 'ACTIVE' FROM generate_series(1, 60) AS n"
        )
        connection.execute(
            "INSERT INTO subscription_audit (tenant_id, subscription_id, event_type, actor, new_state, at)"
            " SELECT 'acme', 'SUB-20260101-00001', 'change', 'n-' || n, '{}', now() FROM generate_series(1, 60) AS n"
        )
    who = signed_in(sold.conninfo(), Role.ADMIN, "acme")
    async with dashboard(sold) as served, client(served.url, who) as browser:
        seen: list[str] = []
        for start, pattern in (("/subscriptions", 'id="s-acme-'), ("/subscriptions/+history", "n-")):
            address, pages = start, 0
            while address:
                text = (await browser.get(address)).text
                seen += [part[:18] for part in text.split(pattern)[1:]]
                _, _, link = text.partition('rel="next" href="')
                address = link.partition('"')[0].replace("&amp;", "&")
                pages += 1
            assert pages == 2, start
    ids = [one for one in seen if one.startswith("SUB-")]
    assert len(ids) == len(set(ids)) == 63


@pytest.mark.parametrize("role", [Role.VIEWER, Role.ADMIN, Role.OPERATOR])
async def test_the_list_is_alive(sold: Database, role: Role) -> None:
    person = signed_in(sold.conninfo(), role, "acme")
    async with over(sold) as served, client(served.url, person) as browser:
        page = (await browser.get("/subscriptions?state=soon")).text
        name = re.search(r'data-page="([^"]+)"', page)
        assert name is not None
        watching = await served.platform.identity.by_session(person.secret, Visit(), touch=False)
        assert watching is not None
        with psycopg.connect(sold.conninfo()) as connection:
            connection.execute("UPDATE subscriptions SET device_limit = 77 WHERE subscription_type = 'MAIN'")
        parts = {
            part.element_id: part.html for part in await served.app.live_pages.fragments(unescape(name[1]), watching)
        }
        assert all(f'id="{element}"' in page for element in parts if element.startswith("subscription-"))
        assert "of 77" in parts["subscription-list"]
        assert "Harvest" not in parts["subscription-list"]
        assert ("subscription-events" in parts) == (role is not Role.VIEWER)
        assert ("Elsewhere" in parts["subscription-list"]) == (role is Role.OPERATOR)
        for odd in ("subscriptions/state=late", "subscriptions/cursor=x"):
            assert await served.app.live_pages.fragments(odd, watching) == [], odd


async def test_terms_and_history_are_files_as_well(sold: Database) -> None:
    async with over(sold) as served, client(served.url, signed_in(sold.conninfo())) as browser:
        for page, head, number in (
            ("/subscriptions/SUB-20260101-00001", "kind", 1),
            ("/subscriptions/+history?tenant=acme", "event_type", 3),
        ):
            link = re.search(r'href="(/customer/subscription/[^"]+format=csv[^"]*)"', (await browser.get(page)).text)
            assert link is not None, page
            file = await browser.get(unescape(link[1]))
            found = list(csv.DictReader(io.StringIO(file.text.removeprefix("\ufeff"))))
            assert (len(found), head in found[0]) == (number, True), page
