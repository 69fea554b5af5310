"""The action items and the onboarding checklist of the Overview: plain values in, lines out."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from appliance.alerts.alert import Alert, AlertType, Status
from appliance.alerts.store import ListedAlert
from appliance.devices.fleet import SiteCounts
from appliance.peers.store import Peer
from appliance.people.role import Role
from appliance.renewals.policy import RenewalPolicy
from appliance.severity import Severity
from appliance.subscriptions.lifecycle import Subscription, SubscriptionStatus, SubscriptionType
from appliance.web.overview.action_items import ActionItem, PageLinks, action_items
from appliance.web.overview.onboarding_checklist import steps
from appliance.web.overview.open_alerts import OpenAlerts
from appliance.web.overview.query import OverviewData
from appliance.web.overview.views import seats
from tests.support.tenants import GRACE

POLICY = RenewalPolicy(GRACE, opens_days=30, plans={})
NOW = datetime(2026, 11, 23, 14, 30, tzinfo=UTC)
OSLO = ZoneInfo("Europe/Oslo")
CUSTOMER, ALL = PageLinks(operator=False, tenant="acme"), PageLinks(operator=True, tenant=None)


def overview(
    *sites: SiteCounts, subscriptions: tuple[Subscription, ...] = (), held: int = 0, people: int = 1
) -> OverviewData:
    at = NOW.timestamp()
    zones = {"acme": OSLO}
    return OverviewData(at, at, sites, subscriptions, zones, people, held, at - 7200 if held else None, {})


def site(
    name: str = "hall", *, online: int = 0, offline: int = 0, refused: int = 0, new: int = 0, waiting: int = 0
) -> SiteCounts:
    active = online + offline + refused + new
    return SiteCounts("acme", name, name.title(), active, waiting, 0, online, 0, offline, refused, new, active - new)


def subscription(days: float, *, used: int = 3, kind: SubscriptionType = SubscriptionType.MAIN) -> Subscription:
    end, start = NOW + timedelta(days=days), NOW - timedelta(days=400)
    return Subscription(
        "SUB-1", "acme", kind, None, 10, used, start, end, SubscriptionStatus.ACTIVE, description="Base"
    )


def sentences(shown: OverviewData, links: PageLinks = CUSTOMER) -> list[tuple[str, str]]:
    return [(item.severity, item.before + item.what + item.after) for item in items(shown, links)]


def items(shown: OverviewData, links: PageLinks = CUSTOMER) -> list[ActionItem]:
    return action_items(shown, NOW.timestamp(), UTC, links, policy=POLICY)


def alert(number: int, severity: Severity, device_id: str | None = "d1") -> ListedAlert:
    """Return an open alert that began five minutes ago."""
    began = NOW - timedelta(minutes=5)
    row = Alert(
        number, "acme", None, device_id, None, AlertType.THRESHOLD, "f", Status.OPEN, severity, "Too warm", {}, began,
        began, began, 1, began, False, None, None, None, None, None, None, None, None, None,
    )  # fmt: skip
    return ListedAlert(row, "Freezer 1", None, None, None)


def test_there_are_no_action_items_while_all_is_well() -> None:
    assert sentences(overview(site(online=12), subscriptions=(subscription(90),))) == []


def test_devices_are_counted_by_site_and_link_to_their_list() -> None:
    shown = overview(site(online=44, offline=5), site("", refused=1), site("yard", waiting=2))
    assert sentences(shown) == [
        ("high", "5 of 49 devices at Hall are offline."),
        ("high", "1 device without a site sends messages that are refused."),
        ("medium", "2 devices at Yard wait for approval."),
    ]
    assert [item.href for item in items(shown)] == [
        "/devices?presence=OFFLINE&site=hall",
        "/devices?presence=REFUSED&site=.none",
        "/devices?status=PENDING&site=yard",
    ]


def test_devices_that_were_never_heard_are_no_action_item() -> None:
    assert sentences(overview(site(online=1, new=8))) == []
    assert sentences(overview(site(offline=1, new=8))) == [("high", "1 of 9 devices at Hall is offline.")]


def test_an_operator_of_all_tenants_sees_the_tenant_of_each_item() -> None:
    (item,) = items(overview(site(offline=1)), ALL)
    assert item.what + item.after == "1 of 1 device of acme at Hall is offline."
    assert item.href == "/devices?presence=OFFLINE&site=hall&tenant=acme"


@pytest.mark.parametrize(
    ("row", "line"),
    [
        (subscription(12.5), ("medium", "Subscription Base ends in 12 days; its last full day is 5 Dec 2026.")),
        (subscription(1.5), ("medium", "Subscription Base ends in 1 day; its last full day is 24 Nov 2026.")),
        (subscription(-1), ("high", "Subscription Base has ended and is in its grace period.")),
        (subscription(-40), ("crit", "Subscription Base is suspended: its devices' messages are held.")),
        (
            subscription(-1, kind=SubscriptionType.TRIAL),
            ("crit", "Subscription Base has expired: its devices' messages are held."),
        ),
        (subscription(90, used=10), ("medium", "Subscription Base has no free seat: all 10 are in use.")),
    ],
)
def test_subscriptions_have_an_item_before_and_after_their_end(row: Subscription, line: tuple[str, str]) -> None:
    assert sentences(overview(subscriptions=(row,))) == [line]


def test_the_last_full_day_is_that_of_the_tenants_zone_whoever_looks() -> None:
    end = datetime(2026, 12, 5, 23, tzinfo=UTC)  # midnight in Oslo
    row = replace(subscription(1), term_end=end)
    for links in (CUSTOMER, ALL):
        assert sentences(overview(subscriptions=(row,)), links)[0][1].endswith("; its last full day is 5 Dec 2026.")
    (ended,) = items(overview(subscriptions=(replace(row, term_end=end - timedelta(days=40)),)))
    assert ended.when == "ended 26 Oct"


def test_a_hold_says_so_and_names_no_day() -> None:
    held = replace(subscription(90), hold_reason="unpaid")
    assert sentences(overview(subscriptions=(held,))) == [
        ("crit", "Subscription Base is on hold: its devices' messages are held.")
    ]
    assert items(overview(subscriptions=(held,)))[0].when == ""


def test_a_subscription_that_ended_without_devices_has_no_item() -> None:
    assert sentences(overview(subscriptions=(subscription(-40, used=0),))) == []


def test_the_worst_item_is_first_and_quarantine_shows_its_age() -> None:
    shown = overview(site(offline=1), subscriptions=(subscription(-40),), held=412)
    assert [severity for severity, _ in sentences(shown)] == ["crit", "high", "medium"]
    assert items(shown)[-1].when == "2 h ago"


def test_steps_are_ticked_automatically_and_disappear_once_all_are_done() -> None:
    def done(shown: OverviewData) -> list[bool]:
        return [step.done for step in steps(shown, Role.ADMIN, CUSTOMER)]

    assert done(overview()) == [False, False, False, False, False]
    assert done(overview(site(waiting=1))) == [True, False, False, False, False]
    assert done(overview(site(online=1))) == [True, True, False, False, False]
    assert done(overview(site(online=1), people=2)) == [True, True, False, False, True]
    assert done(replace(overview(site(online=1)), rules=1)) == [True, True, True, False, False]
    assert done(replace(overview(site(online=1)), tried=True)) == [True, True, False, True, False]
    assert done(replace(overview(site(online=1), people=2), rules=1)) == [True, True, True, False, True]
    assert done(replace(overview(site(online=1), people=2), rules=1, tried=True)) == []


def test_a_viewer_gets_no_links_to_pages_they_may_not_use() -> None:
    leads = [step.href for step in steps(overview(), Role.VIEWER, CUSTOMER)]
    assert leads == ["/devices", "/devices", "/rules", "/integrations", None]
    leads = [step.href for step in steps(overview(), Role.ADMIN, CUSTOMER)]
    assert leads == ["/devices/+new", "/devices", "/rules/new", "/integrations", "/users"]


def test_open_alerts_are_the_first_of_their_severity_and_many_are_one_line_more() -> None:
    worst = [alert(number, severity=Severity.CRITICAL) for number in range(1, 4)]
    others = [alert(number, severity=Severity.HIGH, device_id=None) for number in range(4, 11)]
    calm = [alert(11, severity=Severity.LOW)]
    found = OpenAlerts({}, (), [*worst, *others, *calm])
    shown = action_items(overview(site(offline=1)), NOW.timestamp(), UTC, CUSTOMER, policy=POLICY, alerts=found)
    assert [item.severity for item in shown] == ["crit"] * 3 + ["high"] * 4
    assert [item.href for item in shown][:5] == [f"/alerts/{number}" for number in range(1, 6)]
    assert (shown[0].what, shown[0].after, shown[0].when) == ("Too warm", " on Freezer 1", "5 min ago")
    assert (shown[5].what, shown[5].after, shown[5].href) == ("5 more alerts", " are open.", "/alerts")
    assert shown[6].after.endswith("offline.")


def test_a_peer_that_is_away_is_an_action_item_of_operators() -> None:
    heard = datetime(2026, 11, 23, 12, 3, tzinfo=UTC)
    peers = [Peer("aaaaaaaaaaaa", "hall", "1.0", heard, 9, away=True), Peer("b", None, None, None, 1, away=True)]
    shown = replace(overview(site(online=12)), away=peers)
    assert sentences(shown) == [], "customers have a notice: they can do nothing about it"
    assert sentences(shown, ALL) == [
        (
            "high",
            "Appliance hall has not listened since 12:03:00: whether the 9 devices it heard last send is not known.",
        ),
        ("high", "Appliance b has never listened: whether the 1 device it heard last sends is not known."),
    ]
    assert {item.href for item in items(shown, ALL)} == {"/system#sys-peers"}
    with_sites = replace(shown, sites=[site(offline=3)])
    assert [item.action for item in items(with_sites, ALL)] == ["View system", "View system", "View devices"]


def test_what_ends_soon_is_as_far_off_as_renewing_opens() -> None:
    shown = overview(subscriptions=(subscription(50),))
    for opens, number in ((30, 0), (60, 1)):
        policy = replace(POLICY, opens_days=opens)
        assert len(action_items(shown, NOW.timestamp(), UTC, CUSTOMER, policy=policy)) == number


class Counted(tuple[Subscription, ...]):
    """Subscriptions that count how often they are gone through."""

    __slots__ = ()
    times = 0

    def __iter__(self) -> Iterator[Subscription]:
        Counted.times += 1
        return super().__iter__()


def test_many_subscriptions_are_not_gone_through_for_each_of_them() -> None:
    rows = Counted(replace(subscription(90), subscription_id=f"SUB-{number}") for number in range(100))
    shown = overview(subscriptions=rows)
    Counted.times = 0
    assert items(shown) == []
    assert len(seats(shown, NOW.timestamp(), CUSTOMER, policy=POLICY)) == 100
    assert 0 < Counted.times < 10
