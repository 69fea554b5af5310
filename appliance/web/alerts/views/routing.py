"""Why somebody was told of an alert, or nobody: what each route makes of it, and what becomes of its notices.

Pure but for :func:`read_routing`. What was written as jobs counts; what a route would decide now is said of those that
have none.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from appliance.alerts.alert import Alert, Status
from appliance.counted import counted
from appliance.db.trio_psycopg import Connection
from appliance.delivery.outbox import alert_notices
from appliance.delivery.outbox.alert_notices import AlertNotice
from appliance.delivery.outbox.job import JobEvent, JobStatus, Reason, Receipt
from appliance.delivery.routes import explanation, store
from appliance.delivery.routes.matching import Condition, Decision
from appliance.delivery.routes.route import DeliverOn
from appliance.delivery.routes.store import KnownRoute
from appliance.delivery.senders.table import SENDERS
from appliance.devices import sites
from appliance.web.access.auth import ADMINS
from appliance.web.alerts.labels import ALERT_TYPES
from appliance.web.alerts.views.notice_texts import Seen, announced, sentences, state_of
from appliance.web.deliveries.labels import StateLabel
from appliance.web.page import formats
from appliance.web.page.paths import of_tenant
from appliance.web.routes.labels import condition_text

TYPE_LABELS: Mapping[str, str] = {one.value: label for one, label in ALERT_TYPES.items()}
ORDER = tuple(JobEvent)
"""The order in which the steps of an alert are told."""
NO_ICON = "i-waypoints"
"""Of a route whose integration is gone."""


@dataclass(frozen=True, slots=True)
class RoutingRow:
    """One route, and what it does with the alert."""

    priority: int | None
    """None: the route was deleted."""
    icon: str
    name: str
    href: str | None
    below: str
    """Its type of integration, and how it tells."""
    conditions: Sequence[tuple[bool, str]]
    state: StateLabel
    what: str
    following: str
    """What happens next; empty if nothing does."""
    delivery: str | None
    """The address of the delivery that needs a look."""
    muted: bool
    """Whether nothing is sent."""


@dataclass(frozen=True, slots=True)
class Routing:
    """Who is told of an alert, and why."""

    rows: Sequence[RoutingRow]
    notices: Sequence[AlertNotice]
    anybody: bool
    """Whether a notice arrived."""
    unrouted: bool
    """Whether no route tells anybody, and nobody was told."""
    summary: str
    """How many routes match, in a few words."""
    told: str
    """Who was told, in one sentence."""
    routes_href: str
    new_route_href: str | None
    """Where the viewer makes a route, if they may."""


async def read_routing(connection: Connection[Any], alert: Alert, cause: str | None, seen: Seen) -> Routing:
    """Return what the routes of a tenant make of an alert. ``cause``: the summary of the alert that stands for it."""
    decisions = await explanation.decisions_of(connection, alert.tenant_id, alert.alert_id)
    known = {one.route.route_id: one for one in await store.of_tenant(connection, alert.tenant_id)}
    notices = await alert_notices.of_alert(connection, alert.tenant_id, alert.alert_id)
    wanted = {site for one in known.values() for site in one.route.site_ids}
    names = await sites.names(connection, alert.tenant_id, sorted(wanted)) if wanted else {}
    return routing(alert, cause, decisions, known, notices, names, seen)


def routing(
    alert: Alert,
    cause: str | None,
    decisions: Sequence[Decision],
    known: Mapping[UUID, KnownRoute],
    notices: Sequence[AlertNotice],
    site_names: Mapping[str, str],
    seen: Seen,
) -> Routing:
    """Return what routes make of an alert, from what is known of them."""
    by_route: dict[UUID, list[AlertNotice]] = {}
    for notice in notices:
        by_route.setdefault(notice.route_id, []).append(notice)
    rows = [
        _row(
            alert,
            cause,
            decision,
            known[decision.route.route_id],
            by_route.get(decision.route.route_id),
            site_names,
            seen,
        )
        for decision in decisions
        if decision.route.route_id in known
    ]
    rows += [_deleted_row(alert, cause, of, seen) for route_id, of in by_route.items() if route_id not in known]
    anybody = any(notice.receipt is Receipt.CONFIRMED for notice in notices)
    unrouted = not notices and alert.inhibited_by is None and not alert.past
    matching = sum(decision.taken for decision in decisions)
    held = sum(row.state.text == "On hold" for row in rows)
    who = seen.who
    return Routing(
        rows=rows,
        notices=notices,
        anybody=anybody,
        unrouted=unrouted,
        summary=_summary(len(decisions), matching, held),
        told=_told(alert, by_route, unrouted),
        routes_href=of_tenant("/routes", who, alert.tenant_id),
        new_route_href=of_tenant("/routes/+new", who, alert.tenant_id) if who.role in ADMINS else None,
    )


def _summary(routes: int, matching: int, held: int) -> str:
    if not routes:
        return ""
    verb = "matches" if matching == 1 else "match"
    return f"{matching} of {counted(routes, 'route')} {verb} now" + (f", {held} on hold" if held else "")


def _told(alert: Alert, by_route: Mapping[UUID, Sequence[AlertNotice]], unrouted: bool) -> str:
    """Return who was told, in one sentence."""
    if unrouted:
        return "Unrouted: no route takes it, so nobody is told."
    if not by_route:
        return (
            "Another alert stands for it."
            if alert.inhibited_by is not None
            else "It ended before it could be delivered."
        )
    first = [of[0] for of in by_route.values()]
    arrived = sum(one.receipt is Receipt.CONFIRMED for one in first)
    waiting = sum(one.finished_at is None for one in first)
    routes = f"{len(first)} route{'' if len(first) == 1 else 's'}"
    return f"{arrived} of {routes} delivered it" + (f", {waiting} waiting." if waiting else ".")


def _row(
    alert: Alert,
    cause: str | None,
    decision: Decision,
    known: KnownRoute,
    notices: Sequence[AlertNotice] | None,
    site_names: Mapping[str, str],
    seen: Seen,
) -> RoutingRow:
    route, sender = decision.route, SENDERS.get(known.integration_type or "")
    if notices:
        state, what, following, delivery = _of_notices(alert, cause, notices, route.deliver_on, seen)
    else:
        state, what, following = _of_decision(alert, decision)
        delivery = None
    texts = ((r.matches, condition_text(r, alert_types=TYPE_LABELS, sites=site_names)) for r in _in_order(decision))
    return RoutingRow(
        priority=route.priority,
        icon=NO_ICON if sender is None else sender.icon,
        name=route.name,
        href=of_tenant(f"/routes/{route.route_id}", seen.who, alert.tenant_id),
        below=", ".join(_below(known)),
        conditions=[(matches, text) for matches, text in texts if text],
        state=state,
        what=what,
        following=following,
        delivery=delivery,
        muted=not notices,
    )


def _in_order(decision: Decision) -> list[Any]:
    """Return the conditions in the order in which they are read: what happened comes last."""
    last = (Condition.DELIVER_ON, Condition.STOPPED)
    reasons = [one for one in decision.reasons if decision.route.enabled or one.condition is not Condition.INTEGRATION]
    return sorted(reasons, key=lambda reason: last.index(reason.condition) + 1 if reason.condition in last else 0)


def _below(known: KnownRoute) -> Iterator[str]:
    sender, route = SENDERS.get(known.integration_type or ""), known.route
    yield "No integration" if sender is None else sender.label
    if route.delay_seconds:
        yield f"after {formats.lasting(route.delay_seconds)}"
    if route.stop:
        yield "stops here"


def _deleted_row(alert: Alert, cause: str | None, notices: Sequence[AlertNotice], seen: Seen) -> RoutingRow:
    """Return the row of a route that told of the alert and was deleted since."""
    sender = SENDERS.get(notices[0].integration_type or "")
    state, what, _, delivery = _of_notices(alert, cause, notices, (), seen)
    icon, below = (NO_ICON, "") if sender is None else (sender.icon, sender.label)
    return RoutingRow(None, icon, "Deleted route", None, below, (), state, what, "", delivery, muted=False)


def _of_decision(alert: Alert, decision: Decision) -> tuple[StateLabel, str, str]:
    """Return what becomes of an alert for which a route has no notice."""
    failed = {reason.condition for reason in decision.reasons if not reason.matches}
    closed, route = alert.status is Status.CLOSED, decision.route
    if not failed:
        return StateLabel("Not sent", "", "i-minus"), "It was set up or changed after the alert opened.", ""
    if Condition.ENABLED in failed or Condition.INTEGRATION in failed:
        what = "The route is off." if Condition.ENABLED in failed else "Its integration is off."
        return StateLabel("Off", "", "i-minus"), what, ""
    if failed == {Condition.STOPPED} and decision.stopped_by is not None:
        return StateLabel("Not reached", "", "i-minus"), f"{decision.stopped_by.name} stops here.", ""
    if failed == {Condition.DELIVER_ON} and alert.inhibited_by is not None:
        return StateLabel("Not sent", "", "i-minus"), "Nothing is sent while another alert stands for it.", ""
    if failed == {Condition.DELIVER_ON} and not closed:
        acknowledged = DeliverOn.ACKNOWLEDGED in route.deliver_on and alert.status is Status.OPEN
        if acknowledged and DeliverOn.CLOSED in route.deliver_on:
            return StateLabel("Later", "accent", "i-clock"), "Sent when the alert is acknowledged or closes.", ""
        if acknowledged:
            return StateLabel("Later", "accent", "i-clock"), "Sent when the alert is acknowledged.", ""
        if DeliverOn.CLOSED in route.deliver_on:
            return StateLabel("On close", "accent", "i-clock"), "Sent when the alert closes.", ""
    return StateLabel("Not matched", "", "i-minus"), "Nothing is sent.", ""


def _of_notices(
    alert: Alert, cause: str | None, notices: Sequence[AlertNotice], deliver_on: Sequence[DeliverOn], seen: Seen
) -> tuple[StateLabel, str, str, str | None]:
    """Return the state of a route's notices, what happened, what happens next, and which delivery needs a look."""
    ordered = sorted(notices, key=lambda one: (ORDER.index(one.event), one.job_id))
    begun = [one for one in ordered if one.attempts or one.status is not JobStatus.PENDING]
    shown = begun[-1] if begun else ordered[0]
    after = next((one for one in ordered if one.finished_at is None and one is not shown), None)
    what, following = sentences(cause, shown, seen)
    if after is not None and shown.finished_at is not None:
        following = announced(after, seen)
    elif after is None and shown.status is JobStatus.COMPLETED and alert.status is not Status.CLOSED:
        following = "The closing notice will follow" if DeliverOn.CLOSED in deliver_on else ""
    looked_at = shown.status is JobStatus.DEAD or shown.reason in (Reason.RETRYING, Reason.UNREACHABLE)
    delivery = of_tenant("/deliveries", seen.who, alert.tenant_id, open=str(shown.job_id)) if looked_at else None
    state = state_of(shown, seen)
    if shown.reason is Reason.RETRYING:  # the sentence beside it says when
        state = replace(state, text="Waiting")
    return state, what, following, delivery
