"""The list of subscriptions and its key figures, as the page and its live parts show them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, tzinfo
from typing import Any, NamedTuple

from appliance import local_time
from appliance.counted import counted
from appliance.db import statements
from appliance.db.trio_psycopg import Connection
from appliance.ingest.quarantine import store as quarantine
from appliance.reading import Reason
from appliance.renewals.policy import RenewalPolicy
from appliance.subscriptions import history, store
from appliance.subscriptions.lifecycle import Subscription, SubscriptionStatus, SubscriptionType, usable
from appliance.subscriptions.statuses import as_of
from appliance.subscriptions.terms import last_full_day
from appliance.web.access.auth import ADMINS, Viewer
from appliance.web.page.paths import of_tenant
from appliance.web.subscriptions import labels, term_line
from appliance.web.subscriptions.labels import SubscriptionLabel
from appliance.web.subscriptions.page_query import PAGE_FAMILIES, ListState, matches
from appliance.web.subscriptions.term_line import Scale, TermLine

STATEMENTS = statements.load("web")

PATH = "/subscriptions"
NEARLY_FULL = 95.0
"""Percent of the seats from which a subscription is nearly full."""
LAPSED = (Reason.SUBSCRIPTION_SUSPENDED, Reason.SUBSCRIPTION_EXPIRED)
"""The reasons for which messages wait until a subscription is renewed."""


class Position(NamedTuple):
    """Where a page ends."""

    end: str
    """The end of the term where that is the order, else empty."""
    tenant_id: str
    subscription_id: str


@dataclass(frozen=True, slots=True)
class TenantFacts:
    """What a page of subscriptions needs to know of a tenant."""

    title: str
    zone: tzinfo | None


@dataclass(frozen=True, slots=True)
class SubscriptionRow:
    """A subscription in the list."""

    label: SubscriptionLabel
    line: TermLine
    href: str
    renew: str | None
    """The address of the form that renews it; None: this viewer does not, or it renews with its main one."""
    tenant: str
    """The tenant's name."""

    @property
    def fill(self) -> str:
        """Return the class of the bar of its seats."""
        return "f-medium" if self.label.share >= NEARLY_FULL else "f-accent"


@dataclass(frozen=True, slots=True)
class NextEnd:
    """The subscription that ends next."""

    title: str
    tenant: str
    """The tenant's name."""
    days_left: int
    last_day: date
    after: str
    """What follows, in words."""
    href: str


@dataclass(frozen=True, slots=True)
class KeyFigures:
    """The key figures over all subscriptions shown."""

    used: int
    seats: int
    giving: int
    """Subscriptions that give seats now."""
    next_end: NextEnd | None
    nearly_full: Sequence[SubscriptionLabel]
    held: int
    """Messages that wait for a subscription to be renewed."""
    held_at: str
    """Where they are."""

    @property
    def free(self) -> int:
        """Return the number of free seats."""
        return self.seats - self.used


@dataclass(frozen=True, slots=True)
class SubscriptionList:
    """A page of the list."""

    rows: Sequence[SubscriptionRow]
    total: int
    """Subscriptions that match, add-ons included."""
    counts: Mapping[ListState | None, int]
    figures: KeyFigures
    scale: Scale
    next: Position | None


@dataclass(frozen=True, slots=True)
class Reader:
    """Who reads, and by what subscriptions are judged."""

    who: Viewer
    tenant_id: str | None
    """None: all tenants."""
    now: datetime
    """The instant by which terms are judged."""
    policy: RenewalPolicy

    def may_renew(self) -> bool:
        """Return whether this viewer renews."""
        return self.who.role in ADMINS

    def at(self, row: Subscription, part: str = "") -> str:
        """Return the address of a subscription, or of what is done with it."""
        return of_tenant(f"{PATH}/{row.subscription_id}{part}", self.who, row.tenant_id)


async def read(
    connection: Connection[Any], reader: Reader, state: ListState | None, after: Position | None
) -> SubscriptionList:
    """Return a page of the subscriptions of the tenants shown, with the figures over all of them."""
    owned = as_of(await store.list_all(connection, reader.tenant_id), reader.now, reader.policy.grace)
    families = _families(owned)
    matching = {
        one: [f for f in families if matches(one, f[0], reader.now, reader.policy.soon)] for one in (None, *ListState)
    }
    ordered = sorted(matching[state], key=lambda family: _position(family[0], state))
    page = [family for family in ordered if after is None or _position(family[0], state) > after]
    shown = [row for family in page[:PAGE_FAMILIES] for row in family]
    figures = await _figures(connection, reader, owned)
    following = _position(page[PAGE_FAMILIES - 1][0], state) if len(page) > PAGE_FAMILIES else None
    return SubscriptionList(
        await rows_of(connection, reader, shown, owned),
        sum(map(len, ordered)),
        {one: sum(map(len, found)) for one, found in matching.items()},
        figures,
        term_line.scale_at(reader.now, reader.who.zone),
        following,
    )


async def rows_of(
    connection: Connection[Any], reader: Reader, shown: Sequence[Subscription], owned: Sequence[Subscription]
) -> list[SubscriptionRow]:
    """Return the rows of subscriptions, each with its status of now; ``owned``: all of their tenants."""
    known = await facts_of(connection, (row.tenant_id for row in shown))
    began = await history.running_starts(connection, shown, reader.now)
    scale = term_line.scale_at(reader.now, reader.who.zone)
    mains = {row.tenant_id for row in owned if row.subscription_type is SubscriptionType.MAIN}
    rows = []
    for row in shown:
        of = known[row.tenant_id]
        line = term_line.term_line(
            row,
            scale,
            reader.now,
            of.zone,
            grace=reader.policy.grace,
            began=began.get((row.tenant_id, row.subscription_id)),
        )
        renewable = reader.may_renew() and row.subscription_type is not SubscriptionType.ADDON
        if row.subscription_type is SubscriptionType.TRIAL and row.tenant_id in mains:
            renewable = False  # it would become a second main one
        label = labels.subscription_label(row, reader.now, of.zone, reader.policy)
        href = reader.at(row, "/renew") if renewable else None
        rows.append(SubscriptionRow(label, line, reader.at(row), href, of.title))
    return rows


async def facts_of(connection: Connection[Any], tenants: Iterable[str]) -> dict[str, TenantFacts]:
    """Return the names and zones of tenants."""
    wanted = sorted(set(tenants))
    cursor = await connection.execute(STATEMENTS["select_tenant_zones"], {"tenants": wanted})
    return {
        tenant_id: TenantFacts(name or tenant_id, local_time.zone_of(zone))
        for tenant_id, name, zone in await cursor.fetchall()
    }


def _families(owned: Sequence[Subscription]) -> list[list[Subscription]]:
    """Return each subscription with its add-ons behind it."""
    addons: dict[tuple[str, str], list[Subscription]] = {}
    for row in owned:
        if row.parent_subscription_id is not None:
            addons.setdefault((row.tenant_id, row.parent_subscription_id), []).append(row)
    return [
        [row, *addons.get((row.tenant_id, row.subscription_id), ())]
        for row in owned
        if row.parent_subscription_id is None
    ]


def _position(row: Subscription, state: ListState | None) -> Position:
    """Return the place of a subscription: by the end of its term where that narrows the list."""
    return Position("" if state is None else row.term_end.isoformat(), row.tenant_id, row.subscription_id)


async def _figures(connection: Connection[Any], reader: Reader, owned: Sequence[Subscription]) -> KeyFigures:
    giving = [row for row in owned if usable(row.status)]
    running = [
        row
        for row in owned
        if row.status in (SubscriptionStatus.ACTIVE, SubscriptionStatus.TRIAL) and row.parent_subscription_id is None
    ]
    first = min(running, key=lambda row: row.term_end, default=None)
    full = [row for row in giving if 100 * row.active_device_count >= NEARLY_FULL * row.device_limit]
    held = await quarantine.held_by_reason(connection, reader.tenant_id)
    named = full if first is None else [first, *full]
    known = await facts_of(connection, (row.tenant_id for row in named))
    at = of_tenant("/quarantine", reader.who, reader.tenant_id)
    reasons = "&".join(f"reason={reason.value}" for reason in LAPSED)
    return KeyFigures(
        used=sum(row.active_device_count for row in giving),
        seats=sum(row.device_limit for row in giving),
        giving=len(giving),
        next_end=None if first is None else _next_end(first, known[first.tenant_id], reader),
        nearly_full=[
            labels.subscription_label(row, reader.now, known[row.tenant_id].zone, reader.policy) for row in full
        ],
        held=sum(one.held for one in held if one.reason in LAPSED),
        held_at=f"{at}{'&' if '?' in at else '?'}{reasons}",
    )


def _next_end(row: Subscription, of: TenantFacts, reader: Reader) -> NextEnd:
    if row.subscription_type is SubscriptionType.MAIN:
        after = (
            f"then {counted(reader.policy.grace.days, 'day')} of grace"
            if reader.policy.grace.days
            else "then suspended"
        )
    else:
        after = "then expired"
    left = labels.days_left(row, reader.now, of.zone)
    title = labels.subscription_title(row)
    return NextEnd(title, of.title, left, last_full_day(row.term_end, of.zone), after, reader.at(row))
