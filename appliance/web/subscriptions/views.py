"""Pages of a tenant's subscriptions for operators: a form to add one, and a form to change one."""

from collections.abc import Mapping
from datetime import date, datetime, timedelta, tzinfo
from http import HTTPStatus

from quart import Blueprint, Response

from appliance import local_time
from appliance.devices.tenants import Tenant
from appliance.errors import Conflict, Invalid, NotFound
from appliance.subscriptions import terms
from appliance.subscriptions.lifecycle import Subscription, SubscriptionType
from appliance.subscriptions.store import MAX_TEXT, MOST_TERM, UNREAD, Changes, NewSubscription, version_of
from appliance.web.access.auth import OPERATORS, allow
from appliance.web.page import forms
from appliance.web.page.faults import Fault, fault_of
from appliance.web.page.forms import Fields
from appliance.web.page.paths import subscription_of_path, tenant_of_path
from appliance.web.page.renderer import PageRenderer, see_other
from appliance.web.subscriptions import labels
from appliance.web.subscriptions.actions import SubscriptionActions
from appliance.web.tenants.actions import TenantActions

MOST_SEATS = 2**31 - 1
USUAL_DAYS = 365
FIELDS = (
    "subscription_type", "device_limit", "term_days", "last_day", "hold_reason", "plan_id", "description", "version",
)  # fmt: skip
CHOICES = [(kind.value, label) for kind, label in labels.TYPES.items()]


def blueprint(renderer: PageRenderer, actions: SubscriptionActions, tenants: TenantActions) -> Blueprint:
    """Return the routes of the pages of subscriptions."""
    routes = Blueprint("tenant_subscriptions", __name__)
    _add_new(routes, renderer, tenants, actions)
    _add_edit(routes, renderer, tenants, actions)
    return routes


def _add_new(routes: Blueprint, renderer: PageRenderer, tenants: TenantActions, actions: SubscriptionActions) -> None:
    async def page(
        tenant: Tenant, given: Mapping[str, str], fault: Fault | None = None, status: HTTPStatus = HTTPStatus.OK
    ) -> Response:
        return await renderer.page(
            "subscriptions/new.html", status=status, tenant=tenant, given=given, fault=fault, choices=CHOICES
        )

    @routes.get("/tenants/<tenant_id>/subscriptions/+new")
    @allow(OPERATORS)
    async def new(tenant_id: str) -> Response:
        overview = await tenants.get(tenant_of_path(tenant_id))
        has_main = any(row.subscription_type is SubscriptionType.MAIN for row in overview.subscriptions)
        usual = SubscriptionType.ADDON if has_main else SubscriptionType.MAIN
        given = dict.fromkeys(FIELDS, "") | {"subscription_type": usual.value, "term_days": str(USUAL_DAYS)}
        return await page(overview.tenant, given)

    @routes.post("/tenants/<tenant_id>/subscriptions/+new")
    @allow(OPERATORS)
    async def add(tenant_id: str) -> Response:
        tenant, fields = (await tenants.get(tenant_of_path(tenant_id))).tenant, await forms.read()
        try:
            await actions.add(_new(tenant_id, fields))
        except Invalid as error:
            return await page(tenant, _given(fields), fault_of(error), HTTPStatus.UNPROCESSABLE_ENTITY)
        except (Conflict, NotFound) as error:
            fault = fault_of(error, "subscription_type")
            return await page(tenant, _given(fields), fault, HTTPStatus.CONFLICT)
        return see_other(f"/tenants/{tenant_id}?done=sold")


def _add_edit(routes: Blueprint, renderer: PageRenderer, tenants: TenantActions, actions: SubscriptionActions) -> None:
    async def page(
        tenant: Tenant,
        row: Subscription,
        given: Mapping[str, str],
        fault: Fault | None = None,
        status: HTTPStatus = HTTPStatus.OK,
    ) -> Response:
        now, zone = renderer.platform.access.now(), local_time.zone_of(tenant.time_zone)
        return await renderer.page(
            "subscriptions/edit.html",
            status=status,
            tenant=tenant,
            subscription=labels.subscription_label(row, now, zone, renderer.platform.renewals),
            given=given,
            fault=fault,
        )

    @routes.get("/tenants/<tenant_id>/subscriptions/<subscription_id>")
    @allow(OPERATORS)
    async def edit(tenant_id: str, subscription_id: str) -> Response:
        tenant = (await tenants.get(tenant_of_path(tenant_id))).tenant
        row = await actions.get(tenant_id, subscription_of_path(subscription_id))
        return await page(tenant, row, _given_of(row, local_time.zone_of(tenant.time_zone)))

    @routes.post("/tenants/<tenant_id>/subscriptions/<subscription_id>")
    @allow(OPERATORS)
    async def save(tenant_id: str, subscription_id: str) -> Response:
        tenant, fields = (await tenants.get(tenant_of_path(tenant_id))).tenant, await forms.read()
        row = await actions.get(tenant_id, subscription_of_path(subscription_id))
        try:
            changes = _changes(fields, row, local_time.zone_of(tenant.time_zone))
            await actions.change(tenant_id, subscription_id, changes, fields.text("version", most=64) or UNREAD)
        except Invalid as error:
            fault = fault_of(error, "last_day") if error.field != "term_end" else ("last_day", str(error))
            return await page(tenant, row, _given(fields), fault, HTTPStatus.UNPROCESSABLE_ENTITY)
        except Conflict as error:
            return await page(tenant, row, _given(fields), fault_of(error), HTTPStatus.CONFLICT)
        return see_other(f"/tenants/{tenant_id}?done=subscription")


def _new(tenant_id: str, fields: Fields) -> NewSubscription:
    """Return the subscription that the form adds. Raises Invalid, which names the field."""
    kind = fields.choice("subscription_type", SubscriptionType)
    days = fields.whole("term_days", least=1, most=MOST_TERM.days)
    if days is None and kind is not SubscriptionType.ADDON:
        raise Invalid("Enter the term in days.", "term_days")
    return NewSubscription(
        tenant_id,
        kind,
        _seats(fields),
        timedelta(days=days or 0),
        plan_id=fields.text("plan_id", most=MAX_TEXT) or None,
        description=fields.text("description", most=MAX_TEXT) or None,
    )


def _changes(fields: Fields, row: Subscription, zone: tzinfo | None) -> Changes:
    """Return what the form changes. If the last day is the one that was shown, the end keeps its time of day."""
    last_day = _day(fields)
    moved = row.parent_subscription_id is None and last_day != terms.last_full_day(row.term_end, zone)
    return Changes(
        device_limit=_seats(fields),
        term_end=_end(last_day, zone) if moved else None,
        hold_reason=fields.text("hold_reason", most=MAX_TEXT),
        plan_id=fields.text("plan_id", most=MAX_TEXT),
        description=fields.text("description", most=MAX_TEXT),
    )


def _seats(fields: Fields) -> int:
    seats = fields.whole("device_limit", least=1, most=MOST_SEATS)
    if seats is None:
        raise Invalid("Enter the number of seats.", "device_limit")
    return seats


def _day(fields: Fields) -> date:
    try:
        return date.fromisoformat(fields.text("last_day", most=10))
    except ValueError:
        raise Invalid("Enter a day, such as 2027-12-31.", "last_day") from None


def _end(day: date, zone: tzinfo | None) -> datetime:
    try:
        return terms.end_after(day, zone)
    except (OverflowError, ValueError):  # past the year 9999
        raise Invalid("Enter an earlier day.", "last_day") from None


def _given(fields: Fields) -> dict[str, str]:
    return {name: fields.typed(name) for name in FIELDS}


def _given_of(row: Subscription, zone: tzinfo | None) -> dict[str, str]:
    return {
        "device_limit": str(row.device_limit),
        "last_day": terms.last_full_day(row.term_end, zone).isoformat(),
        "hold_reason": row.hold_reason or "",
        "plan_id": row.plan_id or "",
        "description": row.description or "",
        "version": version_of(row),
    }
