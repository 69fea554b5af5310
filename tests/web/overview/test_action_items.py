"""What the Overview calls for, and its first steps: plain values in, lines out."""

from datetime import UTC, datetime, timedelta

import pytest

from appliance.devices.fleet import SiteCounts
from appliance.people.role import Role
from appliance.subscriptions.lifecycle import Status, Subscription, SubscriptionType
from appliance.web.overview.action_items import ActionItem, PageLinks, action_items
from appliance.web.overview.onboarding_checklist import steps
from appliance.web.overview.query import OverviewData
from tests.support.tenants import GRACE

NOW = datetime(2026, 11, 23, 14, 30, tzinfo=UTC)
CUSTOMER, ALL = PageLinks(operator=False, tenant="acme"), PageLinks(operator=True, tenant=None)


def figures(
    *sites: SiteCounts, subscriptions: tuple[Subscription, ...] = (), held: int = 0, people: int = 1
) -> OverviewData:
    at = NOW.timestamp()
    return OverviewData(at, at, sites, subscriptions, people, held, at - 7200 if held else None, {})


def site(name: str = "hall", *, online: int = 0, offline: int = 0, refused: int = 0, waiting: int = 0) -> SiteCounts:
    active = online + offline + refused
    return SiteCounts("acme", name, name.title(), active, waiting, 0, online, 0, offline, refused, active)


def subscription(days: float, *, used: int = 3, kind: SubscriptionType = SubscriptionType.MAIN) -> Subscription:
    end, start = NOW + timedelta(days=days), NOW - timedelta(days=400)
    return Subscription("SUB-1", "acme", kind, None, 10, used, start, end, Status.ACTIVE, description="Base")


def sentences(told: OverviewData, places: PageLinks = CUSTOMER) -> list[tuple[str, str]]:
    return [(item.severity, item.before + item.what + item.after) for item in items(told, places)]


def items(told: OverviewData, places: PageLinks = CUSTOMER) -> list[ActionItem]:
    return action_items(told, NOW.timestamp(), UTC, places, grace=GRACE)


def test_nothing_needs_attention_while_all_is_well() -> None:
    assert sentences(figures(site(online=12), subscriptions=(subscription(90),))) == []


def test_devices_are_told_by_site_and_lead_to_their_list() -> None:
    told = figures(site(online=44, offline=5), site("", refused=1), site("yard", waiting=2))
    assert sentences(told) == [
        ("high", "5 of 49 devices at Hall are offline."),
        ("high", "1 device without a site sends what is not accepted."),
        ("medium", "2 devices at Yard wait for approval."),
    ]
    assert [item.href for item in items(told)] == [
        "/devices?presence=OFFLINE&site=hall",
        "/devices?presence=REFUSED&site=.none",
        "/devices?status=PENDING&site=yard",
    ]


def test_an_operator_of_all_tenants_is_told_whose_they_are() -> None:
    (item,) = items(figures(site(offline=1)), ALL)
    assert item.what + item.after == "1 of 1 device of acme at Hall is offline."
    assert item.href == "/devices?presence=OFFLINE&site=hall&tenant=acme"


@pytest.mark.parametrize(
    ("row", "told"),
    [
        (subscription(12.5), ("medium", "Subscription Base ends in 12 days, on 6 Dec 2026.")),
        (subscription(1.5), ("medium", "Subscription Base ends in 1 day, on 25 Nov 2026.")),
        (subscription(-1), ("high", "Subscription Base has ended and runs on in its grace period.")),
        (subscription(-40), ("crit", "Subscription Base is suspended: what its devices send is held.")),
        (
            subscription(-1, kind=SubscriptionType.TRIAL),
            ("crit", "Subscription Base is over: what its devices send is held."),
        ),
        (subscription(90, used=10), ("medium", "Subscription Base has no free seat: all 10 are taken.")),
    ],
)
def test_subscriptions_are_told_before_and_after_their_end(row: Subscription, told: tuple[str, str]) -> None:
    assert sentences(figures(subscriptions=(row,))) == [told]


def test_a_subscription_that_ended_and_serves_nobody_is_not_told() -> None:
    assert sentences(figures(subscriptions=(subscription(-40, used=0),))) == []


def test_the_worst_stands_first_and_quarantine_says_since_when() -> None:
    told = figures(site(offline=1), subscriptions=(subscription(-40),), held=412)
    assert [severity for severity, _ in sentences(told)] == ["crit", "high", "medium"]
    assert items(told)[-1].when == "2 h ago"


def test_steps_tick_themselves_and_go_once_all_that_can_be_taken_are_done() -> None:
    def done(told: OverviewData) -> list[bool]:
        return [step.done for step in steps(told, Role.ADMIN, CUSTOMER)]

    assert done(figures()) == [False, False, False, False, False]
    assert done(figures(site(waiting=1))) == [True, False, False, False, False]
    assert done(figures(site(online=1))) == [True, True, False, False, False]
    assert done(figures(site(online=1), people=2)) == []


def test_a_viewer_is_not_sent_where_they_may_not_go() -> None:
    leads = [step.href for step in steps(figures(), Role.VIEWER, CUSTOMER)]
    assert leads == ["/devices", "/devices", None, None, None]
    assert steps(figures(), Role.ADMIN, CUSTOMER)[0].href == "/devices/+new"
