"""``/operator/subscriptions``: the subscriptions of tenants. Only operators add, change and hold them.

Customers read their own at ``/customer/subscriptions`` and renew elsewhere.
"""

from collections.abc import Sequence
from datetime import date, datetime, timedelta
from http import HTTPStatus
from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, UnsetType
from quart import Blueprint, Response

from appliance.errors import Invalid
from appliance.subscriptions.lifecycle import Subscription, SubscriptionStatus, SubscriptionType
from appliance.subscriptions.store import UNREAD, Changes, NewSubscription, version_of
from appliance.web.access.auth import OPERATORS, READERS, allow, viewer
from appliance.web.access.transactions import tenant_of, tenants_shown
from appliance.web.openapi.body import body
from appliance.web.openapi.describe import answer, describe, query
from appliance.web.openapi.entity_tag import any_version_asked
from appliance.web.page import csv as csv_export
from appliance.web.page import cursor
from appliance.web.page.paths import subscription_of_path
from appliance.web.platform import Platform
from appliance.web.subscriptions import export
from appliance.web.subscriptions.actions import SubscriptionActions

MOST_SEATS = 2**31 - 1
MOST_DAYS = 36_500

Text = Annotated[str, Meta(max_length=256)]


class SubscriptionOut(msgspec.Struct, frozen=True, kw_only=True):
    """A subscription with its current status."""

    subscription_id: str
    tenant_id: str
    subscription_type: SubscriptionType
    parent_subscription_id: str | None
    device_limit: int
    active_device_count: Annotated[int, Meta(description="Seats in use.")]
    term_start: datetime
    term_end: datetime
    last_full_day: Annotated[date, Meta(description="The last day, in the tenant's zone, that it covers completely.")]
    status: SubscriptionStatus
    grace_end: datetime | None
    hold_reason: Annotated[str | None, Meta(description="Why it is on hold; null: it is not on hold.")]
    plan_id: str | None
    description: str | None
    version: Annotated[str, Meta(description="Send it with a change: a stale one is a conflict.")]


class SubscriptionQuery(msgspec.Struct, frozen=True):
    """Which page of the list."""

    limit: Annotated[int, Meta(ge=1, le=1000)] = 50
    cursor: Annotated[str, Meta(max_length=1000)] = ""


class SubscriptionPage(msgspec.Struct, frozen=True):
    """One page, by tenant and id; ``next`` is the cursor of the next, if there is one."""

    items: list[SubscriptionOut]
    next: str | None


class SubscriptionNew(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A subscription to add; its term starts now."""

    subscription_type: SubscriptionType = SubscriptionType.MAIN
    device_limit: Annotated[int, Meta(ge=1, le=MOST_SEATS)]
    term_days: Annotated[int, Meta(ge=1, le=MOST_DAYS, description="An ADDON ends with its MAIN instead.")] | None = (
        None
    )
    parent_subscription_id: Annotated[Text | None, Meta(description="Of an ADDON; null: the tenant's MAIN.")] = None
    plan_id: Text | None = None
    description: Text | None = None


class SubscriptionChange(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What to change; a member that is left out stays."""

    device_limit: Annotated[int, Meta(ge=1, le=MOST_SEATS)] | UnsetType = UNSET
    term_end: Annotated[datetime, Meta(tz=True)] | UnsetType = UNSET
    hold_reason: Annotated[Text | UnsetType | None, Meta(description="Suspends it at once; null lifts the hold.")] = (
        UNSET
    )
    plan_id: Text | UnsetType | None = UNSET
    description: Text | UnsetType | None = UNSET
    version: Annotated[Text | None, Meta(description="The version that was read: a stale one is a conflict.")] = None


def blueprint(platform: Platform, actions: SubscriptionActions) -> Blueprint:
    """Return the routes of subscriptions in the API."""
    routes = Blueprint("api_subscriptions", __name__)
    _add_list(routes, platform, actions)
    _add_new(routes, actions)
    _add_subscription(routes, actions)
    return routes


def _add_list(routes: Blueprint, platform: Platform, actions: SubscriptionActions) -> None:
    @routes.get("/customer/subscriptions")
    @allow(READERS)
    @describe("List your subscriptions", query=SubscriptionQuery, answers={HTTPStatus.OK: SubscriptionPage}, csv=True)
    async def list_own() -> Response:
        return await list_subscriptions()

    @routes.get("/operator/subscriptions")
    @allow(OPERATORS)
    @describe("List subscriptions", query=SubscriptionQuery, answers={HTTPStatus.OK: SubscriptionPage}, csv=True)
    async def list_subscriptions() -> Response:
        asked = query(SubscriptionQuery)
        if csv_export.asked_for():
            return export.answer(platform, viewer(), tenants_shown())
        after = cursor.read(asked.cursor, tuple[str, str])
        page, next_position = await actions.list_page(tenants_shown(), limit=asked.limit, after=after)
        return answer(SubscriptionPage(await _shown(actions, page), cursor.write(next_position)))


def _add_new(routes: Blueprint, actions: SubscriptionActions) -> None:
    @routes.post("/operator/subscriptions")
    @allow(OPERATORS)
    @describe("Add a subscription", body=SubscriptionNew, answers={HTTPStatus.CREATED: SubscriptionOut})
    async def add() -> Response:
        new, tenant_id = await body(SubscriptionNew), tenant_of()
        if new.term_days is None and new.subscription_type is not SubscriptionType.ADDON:
            raise Invalid("Enter the term in days.", "term_days")
        added = await actions.add(
            NewSubscription(
                tenant_id,
                new.subscription_type,
                new.device_limit,
                timedelta(days=new.term_days or 0),
                new.parent_subscription_id,
                new.plan_id,
                new.description,
            )
        )
        headers = {"Location": f"/operator/subscriptions/{added.subscription_id}?tenant={tenant_id}"}
        return answer((await _shown(actions, [added]))[0], HTTPStatus.CREATED, headers)


def _add_subscription(routes: Blueprint, actions: SubscriptionActions) -> None:
    @routes.get("/operator/subscriptions/<subscription_id>")
    @allow(OPERATORS)
    @describe("Show a subscription", answers={HTTPStatus.OK: SubscriptionOut})
    async def show(subscription_id: str) -> Response:
        found = await actions.get(tenant_of(), subscription_of_path(subscription_id))
        return answer((await _shown(actions, [found]))[0])

    @routes.patch("/operator/subscriptions/<subscription_id>")
    @allow(OPERATORS)
    @describe(
        "Change, hold or end a subscription",
        details="To end the term of a renewal earlier, name the version that was read (If-Match): 428 without.",
        body=SubscriptionChange,
        answers={HTTPStatus.OK: SubscriptionOut},
    )
    async def change(subscription_id: str) -> Response:
        wanted = await body(SubscriptionChange)
        changes = Changes(
            device_limit=None if wanted.device_limit is UNSET else wanted.device_limit,
            term_end=None if wanted.term_end is UNSET else wanted.term_end,
            hold_reason=_text(wanted.hold_reason),
            plan_id=_text(wanted.plan_id),
            description=_text(wanted.description),
        )
        version = wanted.version or (None if any_version_asked() else UNREAD)
        changed = await actions.change(tenant_of(), subscription_of_path(subscription_id), changes, version)
        return answer((await _shown(actions, [changed]))[0])


def _text(given: str | UnsetType | None) -> str | None:
    """Return the text as ``Changes`` takes it: None keeps the current one, an empty text removes it."""
    return None if given is UNSET else given or ""


async def _shown(actions: SubscriptionActions, found: Sequence[Subscription]) -> list[SubscriptionOut]:
    """Return subscriptions as the API shows them."""
    days = await actions.last_full_days(found)
    names = [name for name in SubscriptionOut.__struct_fields__ if name not in {"version", "last_full_day"}]
    return [
        SubscriptionOut(**{name: getattr(row, name) for name in names}, version=version_of(row), last_full_day=day)
        for row, day in zip(found, days, strict=True)
    ]
