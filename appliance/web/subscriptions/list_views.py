"""The pages on which subscriptions are looked at: the list, one subscription with its terms, and the history.

Everybody looks; admins and operators find the buttons that renew, and what people have done as in the audit.
"""

from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

from quart import Blueprint, Response, request

from appliance.db.require import require
from appliance.db.trio_psycopg import Connection
from appliance.errors import Invalid
from appliance.subscriptions import history, store
from appliance.subscriptions.history import HistoryFilter, SubscriptionEvent
from appliance.subscriptions.lifecycle import Subscription
from appliance.subscriptions.statuses import as_of
from appliance.web.access.auth import ADMINS, READERS, Viewer, allow, viewer
from appliance.web.access.transactions import tenants_shown
from appliance.web.openapi.describe import parse_query
from appliance.web.page import csv, cursor
from appliance.web.page.address import Address
from appliance.web.page.paths import of_tenant, subscription_of_path
from appliance.web.page.renderer import PageRenderer
from appliance.web.subscriptions import export, labels, listing
from appliance.web.subscriptions.history_labels import HistoryEntry, entry_of, term_entry
from appliance.web.subscriptions.listing import PATH, Position, Reader, facts_of
from appliance.web.subscriptions.page_query import ListState, PageQuery, matches
from appliance.web.subscriptions.term_line import scale_at

PAGE = "subscriptions"
RECENT = 5
"""Events below the list."""
PAGE_EVENTS = 50
MAX_TERMS = 500
"""Terms that the page of a subscription lists."""
STATES = {None: "All", ListState.SOON: "Ends soon", ListState.ENDED: "Ended"}


class SubscriptionPages:
    """Reads what the pages show."""

    def __init__(self, renderer: PageRenderer) -> None:
        self.renderer = renderer
        self._platform = renderer.platform

    def reader(self, who: Viewer, tenant_id: str | None) -> Reader:
        """Return who reads, now."""
        return Reader(who, tenant_id, self._platform.access.settled(), self._platform.renewals)

    async def read(
        self, connection: Connection[Any], who: Viewer, tenant_id: str | None, asked: PageQuery
    ) -> dict[str, Any]:
        """Return what the list shows, for the page and its live parts. Raises Invalid for a stale cursor."""
        after = cursor.read(asked.cursor, Position)
        reader = self.reader(who, tenant_id)
        found = await listing.read(connection, reader, asked.state, after)
        may_renew = reader.may_renew()
        events = await history.events(connection, HistoryFilter(tenant_id), RECENT) if may_renew else []
        return {
            "found": found,
            "asked": asked,
            "entries": await self.entries(connection, who, events),
            "all_entries": of_tenant(f"{PATH}/+history", who, tenant_id),
            "next": cursor.write(found.next),
            "of_all": who.is_operator and tenant_id is None,
            "of_one": False,
            "may_renew": may_renew,
        }

    async def entries(
        self, connection: Connection[Any], who: Viewer, events: Sequence[SubscriptionEvent]
    ) -> list[HistoryEntry]:
        """Return events as people read them, with the names of their subscriptions."""
        tenants = {event.tenant_id for event in events}
        facts = await facts_of(connection, tenants)
        titles = await _titles(connection, tenants)
        return [
            entry_of(
                event,
                titles.get((event.tenant_id, event.subscription_id), event.subscription_id),
                facts[event.tenant_id].zone,
                of_tenant(f"{PATH}/{event.subscription_id}", who, event.tenant_id),
            )
            for event in events
        ]

    async def owned(
        self, connection: Connection[Any], subscription_id: str
    ) -> tuple[Subscription, Sequence[Subscription]]:
        """Return a subscription of the path and all of its tenant, with their statuses of now. Raises NotFound."""
        subscription_id = subscription_of_path(subscription_id)
        tenant_id = tenants_shown() or await store.tenant_of(connection, subscription_id)
        access = self._platform.access
        rows = as_of(await store.list_all(connection, tenant_id), access.settled(), self._platform.grace)
        row = next((row for row in rows if row.subscription_id == subscription_id), None)
        return require(row, f"subscription {subscription_id}"), rows


def blueprint(pages: SubscriptionPages) -> Blueprint:
    """Return the routes."""
    routes = Blueprint(PAGE, __name__)
    _add_list(routes, pages)
    _add_history(routes, pages)
    _add_detail(routes, pages)
    return routes


def _add_list(routes: Blueprint, pages: SubscriptionPages) -> None:
    renderer = pages.renderer
    access = renderer.platform.access

    @routes.get(PATH)
    @allow(READERS)
    async def listed() -> Response:
        who, tenant_id = viewer(), tenants_shown()
        address = Address.of_request()
        try:
            asked, fault = parse_query(request.args, PageQuery), None
            cursor.read(asked.cursor, Position)
        except Invalid as error:  # the page says so beside the list, which stays usable
            asked, fault = PageQuery(), error
            address = Address(PATH, tuple(pair for pair in address.pairs if pair[0] == "tenant"))
        if fault is None and csv.asked_for():
            reader = pages.reader(who, tenant_id)
            return export.answer(
                renderer.platform, who, tenant_id, lambda row: matches(asked.state, row, reader.now, reader.policy.soon)
            )
        async with access.reading() as connection:
            shown = await pages.read(connection, who, tenant_id, asked)
        return await renderer.page(
            "subscriptions/list.html",
            status=HTTPStatus.OK if fault is None else HTTPStatus.BAD_REQUEST,
            live_page=f"{PAGE}/{address.query}" if address.pairs else f"{PAGE}/state=",
            live=False,
            fault=fault,
            states=[(state, text, address.having(state=state and state.value)) for state, text in STATES.items()],
            **shown,
        )


def _add_history(routes: Blueprint, pages: SubscriptionPages) -> None:
    @routes.get(f"{PATH}/+history")
    @allow(ADMINS)
    async def events() -> Response:
        tenant_id = tenants_shown()
        before = cursor.read(request.args.get("cursor"), int)
        async with pages.renderer.platform.access.reading() as connection:
            found = await history.events(connection, HistoryFilter(tenant_id, before_id=before), PAGE_EVENTS + 1)
            entries = await pages.entries(connection, viewer(), found[:PAGE_EVENTS])
        following = found[PAGE_EVENTS - 1].event_id if len(found) > PAGE_EVENTS else None
        return await pages.renderer.page(
            "subscriptions/history.html",
            live=False,
            entries=entries,
            next=cursor.write(following),
            of_all=viewer().is_operator and tenant_id is None,
            of_one=False,
            file=of_tenant("/customer/subscription/audit", viewer(), tenant_id, format="csv"),
            back=of_tenant(PATH, viewer(), tenant_id),
        )


def _add_detail(routes: Blueprint, pages: SubscriptionPages) -> None:
    platform = pages.renderer.platform

    @routes.get(f"{PATH}/<subscription_id>")
    @allow(READERS)
    async def show(subscription_id: str) -> Response:
        who = viewer()
        async with platform.access.reading() as connection:
            row, owned = await pages.owned(connection, subscription_id)
            reader = pages.reader(who, row.tenant_id)
            family = [row, *(one for one in owned if one.parent_subscription_id == row.subscription_id)]
            parent = [one for one in owned if one.subscription_id == row.parent_subscription_id]
            shown = await listing.rows_of(connection, reader, [*family, *parent], owned)
            facts = (await facts_of(connection, [row.tenant_id]))[row.tenant_id]
            wanted = HistoryFilter(row.tenant_id, row.subscription_id)
            bought = await history.terms(connection, wanted, MAX_TERMS)
            happened = await history.events(connection, wanted, PAGE_EVENTS) if reader.may_renew() else []
            entries = await pages.entries(connection, who, happened)
        return await pages.renderer.page(
            "subscriptions/show.html",
            live=False,
            one=shown[0],
            addons=shown[1 : len(family)],
            parent=shown[-1] if parent else None,
            facts=facts,
            terms=[term_entry(term, facts.zone) for term in bought],
            entries=entries,
            may_renew=reader.may_renew(),
            scale=scale_at(reader.now, who.zone),
            edit=f"/tenants/{row.tenant_id}/subscriptions/{row.subscription_id}" if who.is_operator else None,
            devices=of_tenant("/devices", who, row.tenant_id, subscription=row.subscription_id),
            file=of_tenant(
                "/customer/subscription/terms", who, row.tenant_id, subscription_id=row.subscription_id, format="csv"
            ),
            back=of_tenant(PATH, who, row.tenant_id),
            appliance_id=platform.instance,
            of_all=False,
            of_one=True,
        )


async def _titles(connection: Connection[Any], tenants: set[str]) -> dict[tuple[str, str], str]:
    """Return what the subscriptions of tenants are called."""
    found: dict[tuple[str, str], str] = {}
    for tenant_id in sorted(tenants):
        for row in await store.list_all(connection, tenant_id):
            found[tenant_id, row.subscription_id] = labels.subscription_title(row)
    return found
