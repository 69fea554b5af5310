"""What every page says once a term has ended: in words, to those who can help, and only where it matters."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from appliance.people.role import Role
from appliance.subscriptions.lifecycle import LAPSE, Subscription, SubscriptionStatus, SubscriptionType
from appliance.web.page.banners import Banner, State, banners_of
from appliance.web.page.nav_counts import NavCounts
from appliance.web.page.subscription_notice import SubscriptionNotice, concerning, notice_of
from tests.support.pipeline import TENANT, arrange
from tests.support.postgres_server import Database
from tests.support.tenants import GRACE
from tests.support.web.accounts import client, signed_in
from tests.support.web.api_caller import dashboard
from tests.support.web.stand_ins import OPERATOR

OSLO = ZoneInfo("Europe/Oslo")
END = datetime(2026, 11, 28, 23, tzinfo=UTC)
"""Midnight in Oslo: the last full day is the 28th."""
DAY = timedelta(days=1)
MAIN = Subscription(
    "SUB-1", "acme", SubscriptionType.MAIN, None, 9, 3, END - 365 * DAY, END, SubscriptionStatus.ACTIVE,
    description="Hall 3",
)  # fmt: skip
TRIAL = replace(MAIN, subscription_id="SUB-0", subscription_type=SubscriptionType.TRIAL, description=None)
ADDON = replace(MAIN, subscription_id="SUB-2", subscription_type=SubscriptionType.ADDON, parent_subscription_id="SUB-1")
RUNNING = replace(MAIN, term_end=END + 365 * DAY)
ADMIN = replace(OPERATOR, role=Role.ADMIN, tenant_id="acme")


def said(at: datetime, *rows: Subscription) -> SubscriptionNotice | None:
    row = concerning(rows, at, GRACE)
    return None if row is None else notice_of(row, at, OSLO, GRACE)


def words(at: datetime, *rows: Subscription) -> str:
    notice = said(at, *rows)
    return "" if notice is None else f"{notice.title} {notice.text}"


def test_each_stage_after_the_end_is_said_in_words() -> None:
    held = "Messages of its devices are held for replay, and their alerts do not work"
    assert words(END - DAY, MAIN) == ""
    assert words(END + 4 * DAY, MAIN) == (
        "The last full day of subscription Hall 3 was 28 Nov 2026."
        " Its devices work for 10 more days, until 12 Dec 2026."
    )
    assert words(END + 13 * DAY, MAIN).endswith("Its devices work for 1 more day, until 12 Dec 2026.")
    assert words(END + GRACE - DAY / 2, MAIN).endswith("Its devices work for less than a day, until 12 Dec 2026.")
    last = "its last full day was 28 Nov 2026."
    assert words(END + GRACE, MAIN) == f"Subscription Hall 3 is suspended: {last} {held}, until it is renewed."
    assert words(END + GRACE + LAPSE, MAIN) == f"Subscription Hall 3 has expired: {last} {held}, until it is renewed."
    assert words(END, TRIAL) == f"Subscription SUB-0 has expired: {last} {held}, until it is renewed."
    assert words(END - DAY, replace(MAIN, hold_reason="Unpaid.")) == f"Subscription Hall 3 is on hold: Unpaid. {held}."


def test_what_does_not_serve_comes_first_and_an_addon_only_if_it_is_held_by_itself() -> None:
    second = replace(MAIN, subscription_id="SUB-3", subscription_type=SubscriptionType.TEMPORARY, active_device_count=1)
    notice = said(END + DAY, MAIN, second)
    assert notice is not None
    assert (notice.subscription_id, notice.stopped) == ("SUB-3", True)
    both = said(END + GRACE, MAIN, ADDON)
    assert both is not None
    assert both.subscription_id == "SUB-1"
    assert said(END - DAY, MAIN, ADDON) is None
    held = said(END - DAY, MAIN, replace(ADDON, hold_reason="unpaid"))
    assert held is not None
    assert (held.subscription_id, held.held) == ("SUB-2", True)


def test_one_that_ended_without_devices_matters_only_where_no_other_serves() -> None:
    unused = replace(TRIAL, active_device_count=0)
    assert said(END + DAY, RUNNING, unused) is None
    assert said(END + DAY, unused) is not None
    assert said(END + DAY, RUNNING, TRIAL) is not None, "its devices are not served"


def shown(role: Role, at: datetime, row: Subscription) -> Banner:
    who = OPERATOR if role is Role.OPERATOR else replace(ADMIN, role=role)
    counts = NavCounts(1, 0, 0, failing=1, subscription=said(at, row))
    state = State(who, "acme", counts, None, clock_in_doubt=False, now=at.timestamp(), notices_wait=7 * DAY)
    first, failing = banners_of(state)
    assert failing.title.startswith("An integration")
    return first


def test_who_may_renew_gets_the_button_and_others_learn_who_can_help() -> None:
    for at in (END, END + GRACE):
        assert (shown(Role.ADMIN, at, MAIN).label, shown(Role.ADMIN, at, MAIN).href) == (
            "Renew",
            "/subscriptions/SUB-1/renew",
        )
        assert shown(Role.OPERATOR, at, MAIN).href == "/subscriptions/SUB-1/renew?tenant=acme"
        for role in (Role.RESPONDER, Role.VIEWER):
            assert shown(role, at, MAIN).label == ""
            assert shown(role, at, MAIN).text.endswith(" Ask an admin of your organisation to renew it.")


def test_a_stop_comes_before_a_clock_in_doubt_and_a_grace_after_it() -> None:
    for at, places in ((END + GRACE, (0, 1)), (END, (1, 0))):
        counts = NavCounts(1, 0, 0, subscription=said(at, MAIN))
        found = banners_of(State(OPERATOR, "acme", counts, None, True, at.timestamp(), 7 * DAY))
        assert tuple(found[place].href.partition("/renew")[0] for place in places) == (
            "/subscriptions/SUB-1",
            "/system",
        )


def test_a_hold_is_lifted_by_the_operator_and_by_no_renewal() -> None:
    held = replace(MAIN, hold_reason="unpaid")
    assert shown(Role.OPERATOR, END - DAY, held).href == "/tenants/acme/subscriptions/SUB-1"
    for role in (Role.ADMIN, Role.VIEWER):
        assert shown(role, END - DAY, held).label == ""
        assert shown(role, END - DAY, held).text.endswith(" Ask the operator of this appliance.")


@pytest.mark.parametrize("role", [Role.VIEWER, Role.ADMIN, Role.OPERATOR])
async def test_every_page_of_the_tenant_says_so_and_no_page_of_another(database: Database, role: Role) -> None:
    arrange(
        database,
        "INSERT INTO tenants (created_at, updated_at, tenant_id) VALUES"
        f" (now(), now(), '{TENANT}'), (now(), now(), 'beta')",
        "INSERT INTO subscriptions (created_at, tenant_id, subscription_id, subscription_type, device_limit,"
        f" term_start, term_end, status) VALUES (now(), '{TENANT}', 'SUB-1', 'MAIN', 1, now() - interval '400 days',"
        " now() - interval '20 days', 'ACTIVE'), (now(), 'beta', 'SUB-2', 'MAIN', 1, now(),"
        " now() + interval '200 days', 'ACTIVE')",
    )
    who = signed_in(database.conninfo(), role, TENANT)
    async with dashboard(database) as served, client(served.url, who) as http:
        for path in ("/", "/alerts", "/devices", "/sites", "/rules", "/quarantine", "/profile"):
            page = (await http.get(f"{path}?tenant={TENANT}")).text
            assert page.count("Subscription SUB-1 is suspended:") == 1, path
            assert (">Renew<" in page) is (role is not Role.VIEWER), path
        if role is Role.OPERATOR:
            for query in ("?tenant=beta", ""):
                assert "is suspended:" not in (await http.get(f"/alerts{query}")).text
