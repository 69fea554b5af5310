"""The types of ``/customer/integration-routes``: its bodies and answers, and how they are made."""

from dataclasses import replace
from datetime import datetime, time
from typing import Annotated, Any
from uuid import UUID

import msgspec
from msgspec import UNSET, Meta, UnsetType

from appliance.delivery.routes.explanation import PREVIEWED, JudgedAlert
from appliance.delivery.routes.matching import Condition
from appliance.delivery.routes.route import DeliverOn, QuietHours, Route
from appliance.delivery.routes.store import KnownRoute, RouteFilter
from appliance.delivery.routes.validation import QuietDraft, RouteDraft, draft_of
from appliance.errors import Invalid
from appliance.severity import Severity
from appliance.web.openapi.body import given

Listed = Annotated[tuple[str, ...], Meta(description="Empty: all.")]
Severities = Annotated[tuple[str, ...], Meta(description="At least one of critical, high, medium, low, info.")]
Delivers = Annotated[tuple[str, ...], Meta(description="At least one of OPEN, ACKNOWLEDGED, CLOSED.")]
Priority = Annotated[int, Meta(description="Low first.")]
Delay = Annotated[int, Meta(description="An OPEN goes out only if it is still open and not acknowledged by then.")]
Remind = Annotated[int, Meta(description="Again until it is acknowledged, silenced or closed; 0: never.")]
Throttle = Annotated[int, Meta(description="At most one OPEN of the same alert in that time; 0: no limit.")]
Burst = Annotated[int, Meta(description="Notices a minute before further ones are gathered into one; 0: never.")]
Stop = Annotated[bool, Meta(description="No later route is tried for an event that this one takes.")]
Zone = Annotated[str, Meta(max_length=64, description="As in Europe/Oslo.")]
LocalTime = Annotated[str, Meta(max_length=16, description="Local time, as in 22:00.")]


class QuietBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """When notices wait, every day; past midnight where it begins later than it ends."""

    begins: LocalTime
    ends: LocalTime
    zone: Annotated[Zone | None, Meta(description="null: that of the tenant.")] = None
    spares_critical: Annotated[bool, Meta(description="Critical alerts are delivered all the same.")] = True


class RouteQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which routes; they come in the order in which they are tried."""

    q: Annotated[str, Meta(max_length=200, description="Words in the name.")] = ""
    integration_id: UUID | None = None
    enabled: bool | None = None
    limit: Annotated[int, Meta(ge=1, le=1000)] = 50
    cursor: Annotated[str, Meta(max_length=1000)] = ""


class RouteNew(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A new route. It takes the alerts that all of its lists let through."""

    name: str
    integration_id: UUID
    severities: Severities
    enabled: bool = True
    alert_types: Listed = ()
    site_ids: Listed = ()
    tags: Listed = ()
    device_prefixes: Listed = ()
    deliver_on: Delivers = ("OPEN", "CLOSED")
    priority: Priority = 100
    stop: Stop = False
    delay_seconds: Delay = 0
    remind_minutes: Remind = 0
    throttle_seconds: Throttle = 0
    burst: Burst = 10
    quiet_hours: QuietBody | None = None


class RouteTried(RouteNew, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A route that is to be tried on the newest alerts."""

    route_id: Annotated[UUID | None, Meta(description="The route in whose place it is tried; null: a new one.")] = None


class RouteChange(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The changes; omitted fields keep their values, and lists are replaced as a whole."""

    name: str | UnsetType = UNSET
    integration_id: UUID | UnsetType = UNSET
    severities: Severities | UnsetType = UNSET
    enabled: bool | UnsetType = UNSET
    alert_types: Listed | UnsetType = UNSET
    site_ids: Listed | UnsetType = UNSET
    tags: Listed | UnsetType = UNSET
    device_prefixes: Listed | UnsetType = UNSET
    deliver_on: Delivers | UnsetType = UNSET
    priority: Priority | UnsetType = UNSET
    stop: Stop | UnsetType = UNSET
    delay_seconds: Delay | UnsetType = UNSET
    remind_minutes: Remind | UnsetType = UNSET
    throttle_seconds: Throttle | UnsetType = UNSET
    burst: Burst | UnsetType = UNSET
    quiet_hours: QuietBody | UnsetType | None = UNSET
    version: int | None = None


class RouteOut(msgspec.Struct, frozen=True, kw_only=True):
    """A route, with where it leads."""

    tenant_id: str
    route_id: UUID
    name: str
    enabled: bool
    integration_id: UUID
    integration_name: Annotated[
        str | None, Meta(description="null: the integration is gone, and nothing is delivered.")
    ]
    integration_type: str | None
    integration_enabled: bool
    severities: list[Severity]
    alert_types: list[str]
    site_ids: list[str]
    tags: list[str]
    device_prefixes: list[str]
    deliver_on: list[DeliverOn]
    priority: int
    stop: bool
    delay_seconds: int
    remind_minutes: int
    throttle_seconds: int
    burst: int
    quiet_hours: QuietBody | None
    created_at: datetime
    updated_at: datetime
    version: Annotated[int, Meta(description="Send it with a change; an outdated version is a conflict.")]


class RoutePage(msgspec.Struct, frozen=True):
    """One page; ``next`` is the cursor of the next, if there is one."""

    items: list[RouteOut]
    next: str | None


class ReasonOut(msgspec.Struct, frozen=True):
    """A condition that an alert does not meet."""

    condition: Condition
    wanted: list[str]
    found: list[str]


class TriedAlert(msgspec.Struct, frozen=True):
    """An alert, and what the route makes of it."""

    alert_id: int
    summary: str
    severity: Severity
    alert_type: str
    device_id: str | None
    site_id: str | None
    created_at: datetime
    taken: bool
    reasons: Annotated[list[ReasonOut], Meta(description="Why the route does not match it.")]
    stopped_by: Annotated[str | None, Meta(description="The route before it that stops the alert.")]


class RouteTrial(msgspec.Struct, frozen=True):
    """What a route would have taken."""

    alerts: Annotated[int, Meta(description=f"Alerts that it was tried on: the newest, {PREVIEWED} at most.")]
    taken: int
    items: Annotated[list[TriedAlert], Meta(description="Newest first.")]


def filter_of(asked: RouteQuery, tenant_id: str | None) -> RouteFilter:
    """Return the filter of a query. Raises Invalid for text that Postgres cannot compare."""
    if "\0" in asked.q:
        raise Invalid("This holds characters that cannot be shown.", "q")
    return RouteFilter(tenant_id, asked.integration_id, asked.enabled, asked.q)


def new_draft(new: RouteNew) -> RouteDraft:
    """Return a new route as the domain takes it. Raises Invalid with the field."""
    fields = msgspec.structs.asdict(new)
    fields.pop("route_id", None)
    return RouteDraft(quiet=_quiet(fields.pop("quiet_hours")), **fields)


def edited(kept: Route, wanted: RouteChange) -> RouteDraft:
    """Return a route with the changes. Raises Invalid with the field."""
    changes: dict[str, Any] = given(wanted)
    if "quiet_hours" in changes:
        changes["quiet"] = _quiet(changes.pop("quiet_hours"))
    return replace(draft_of(kept), **changes)


def shown(known: KnownRoute) -> RouteOut:
    """Return a route as the API shows it."""
    route = known.route
    return RouteOut(
        tenant_id=route.tenant_id,
        route_id=route.route_id,
        name=route.name,
        enabled=route.enabled,
        integration_id=route.integration_id,
        integration_name=known.integration_name,
        integration_type=known.integration_type,
        integration_enabled=known.integration_enabled,
        severities=list(route.severities),
        alert_types=list(route.alert_types),
        site_ids=list(route.site_ids),
        tags=list(route.tags),
        device_prefixes=list(route.device_prefixes),
        deliver_on=list(route.deliver_on),
        priority=route.priority,
        stop=route.stop,
        delay_seconds=route.delay_seconds,
        remind_minutes=route.remind_minutes,
        throttle_seconds=route.throttle_seconds,
        burst=route.burst,
        quiet_hours=_quiet_shown(route.quiet),
        created_at=route.created_at,
        updated_at=route.updated_at,
        version=route.version,
    )


def tried(found: list[JudgedAlert]) -> RouteTrial:
    """Return what a route would have taken."""
    items = [_tried(one) for one in found]
    return RouteTrial(len(items), sum(one.taken for one in items), items)


def _tried(one: JudgedAlert) -> TriedAlert:
    decision, subject = one.decision, one.subject
    reasons = [
        ReasonOut(reason.condition, list(map(str, reason.wanted)), list(map(str, reason.found)))
        for reason in decision.reasons
        if not reason.matches
    ]
    return TriedAlert(
        one.alert_id,
        one.summary,
        subject.severity,
        subject.alert_type,
        subject.device_id,
        subject.site_id,
        one.created_at,
        decision.taken,
        reasons,
        decision.stopped_by.name if decision.stopped_by else None,
    )


def _quiet(body: QuietBody | None) -> QuietDraft | None:
    if body is None:
        return None
    moments = (_moment("begins", body.begins), _moment("ends", body.ends))
    return QuietDraft(*moments, body.zone, body.spares_critical)


def _moment(field: str, text: str) -> time:
    try:
        return time.fromisoformat(text)
    except ValueError:
        name = f"quiet_hours.{field}"
        raise Invalid(f"`{name}`: write a local time in whole minutes, such as 22:00.", name) from None


def _quiet_shown(quiet: QuietHours | None) -> QuietBody | None:
    if quiet is None:
        return None
    begins, ends = quiet.begins.isoformat("minutes"), quiet.ends.isoformat("minutes")
    return QuietBody(begins, ends, quiet.zone, quiet.spares_critical)
