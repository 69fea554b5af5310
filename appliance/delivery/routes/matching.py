"""Which routes take an event of an alert, and why the others do not.

Pure, for people to read: the alert page, the route editor and the API show it. What is delivered is decided by its twin
in the database, ``route_takes`` and ``alert_events_write_jobs``, which writes the jobs beside the event.

A route takes OPEN if the alert meets its conditions. It takes ACKNOWLEDGED and CLOSED if it was given the OPEN,
whatever has changed since and though it is disabled by now, so that what was told gets its end; a route that does not
deliver OPEN at all takes them if the alert meets its conditions. Routes are tried in the order of priority; after one
with ``stop`` that takes the event, no other is tried, but for those that were given the OPEN. An alert about an
integration that fails is not told through that integration, and a route to it stops no other.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from operator import attrgetter

from appliance.delivery.routes.route import DeliverOn, Route
from appliance.severity import Severity


class Condition(StrEnum):
    """What is asked of a route before it takes an event, in the order in which people read it."""

    ENABLED = "enabled"
    INTEGRATION = "integration"
    """The integration is enabled."""
    ANOTHER = "another"
    """The alert does not say that this very integration fails: that is told by others."""
    DELIVER_ON = "deliver_on"
    SEVERITY = "severity"
    ALERT_TYPE = "alert_type"
    SITE = "site"
    TAGS = "tags"
    DEVICE_PREFIX = "device_prefix"
    TOLD = "told"
    """It was given the OPEN."""
    STOPPED = "stopped"
    """No route before it has stopped the event."""


@dataclass(frozen=True, slots=True)
class Subject:
    """What routes ask of an alert."""

    severity: Severity
    alert_type: str
    site_id: str | None
    device_id: str | None
    tags: Collection[str]
    """Of the device, as they are now; empty where the alert is about none."""
    failing: str | None = None
    """The integration that the alert says fails; None for any other alert."""


@dataclass(frozen=True, slots=True)
class Reason:
    """One condition of a route, and what was found of it."""

    condition: Condition
    wanted: Sequence[str]
    """One of these is enough. Empty: everything is."""
    found: Sequence[str]
    matches: bool


@dataclass(frozen=True, slots=True)
class Candidate:
    """A route, and what of it is not in its row."""

    route: Route
    integration_enabled: bool
    """Of the integration that it leads to; for an alert that was told, of the one that was told."""
    told: bool = False
    """Whether it was given the OPEN of the alert."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What one route makes of an event."""

    route: Route
    reasons: Sequence[Reason]
    stopped_by: Route | None = None

    @property
    def taken(self) -> bool:
        """Return whether a notice follows."""
        return all(reason.matches for reason in self.reasons)


def conditions(route: Route, subject: Subject) -> list[Reason]:
    """Return what the route asks of an alert, with what is found."""
    device = [] if subject.device_id is None else [subject.device_id]
    site = [] if subject.site_id is None else [subject.site_id]
    prefixes = route.device_prefixes
    begun = not prefixes or any(found.startswith(tuple(prefixes)) for found in device)
    return [
        _one_of(Condition.SEVERITY, route.severities, [subject.severity]),
        _one_of(Condition.ALERT_TYPE, route.alert_types, [subject.alert_type]),
        _one_of(Condition.SITE, route.site_ids, site),
        _one_of(Condition.TAGS, route.tags, sorted(subject.tags)),
        Reason(Condition.DEVICE_PREFIX, prefixes, device, begun),
    ]


def matches(route: Route, subject: Subject) -> bool:
    """Return whether an alert meets the conditions of a route. The same as ``route_matches`` in the database."""
    return all(reason.matches for reason in conditions(route, subject))


def takes(route: Route, event: DeliverOn, subject: Subject, *, told: bool) -> bool:
    """Return whether an enabled route takes an event, but for ``stop``. The same as ``route_takes`` in the database."""
    if event not in route.deliver_on:
        return False
    return told if follows(route, event) else matches(route, subject)


def follows(route: Route, event: DeliverOn) -> bool:
    """Return whether the route takes the event only of alerts whose OPEN it was given."""
    return event is not DeliverOn.OPEN and DeliverOn.OPEN in route.deliver_on


def in_order(candidates: Iterable[Candidate]) -> list[Candidate]:
    """Return the routes in the order in which they are tried."""
    return sorted(candidates, key=_order)


def decide(candidates: Iterable[Candidate], event: DeliverOn, subject: Subject) -> list[Decision]:
    """Return what each route makes of an event, in the order in which they are tried."""
    decisions: list[Decision] = []
    stopper: Route | None = None
    for candidate in in_order(candidates):
        route = candidate.route
        reasons = _reasons(candidate, event, subject)
        decision = Decision(route, reasons)
        if not follows(route, event):
            name = [] if stopper is None else [stopper.name]
            decision = Decision(route, [*reasons, Reason(Condition.STOPPED, (), name, stopper is None)], stopper)
        decisions.append(decision)
        # One that another route has stopped would have taken it, but does not: it stops nothing anew. One that is off
        # ends what it told, and is otherwise as if it were not there.
        on = route.enabled and candidate.integration_enabled
        if stopper is None and route.stop and on and decision.taken:
            stopper = route
    return decisions


def _reasons(candidate: Candidate, event: DeliverOn, subject: Subject) -> list[Reason]:
    """Return all but what other routes have to do with it."""
    route = candidate.route
    ends = follows(route, event) and candidate.told
    reasons = [
        Reason(Condition.ENABLED, (), (), route.enabled or ends),
        Reason(Condition.INTEGRATION, (), (), candidate.integration_enabled or ends),
        _one_of(Condition.DELIVER_ON, route.deliver_on, [event]),
    ]
    if subject.failing is not None and not ends:
        reasons.append(Reason(Condition.ANOTHER, (), (), str(route.integration_id) != subject.failing))
    if follows(route, event):
        return [*reasons, Reason(Condition.TOLD, (), (), candidate.told)]
    return reasons + conditions(route, subject)


def _one_of(condition: Condition, wanted: Sequence[str], found: Sequence[str]) -> Reason:
    return Reason(condition, wanted, found, not wanted or not set(wanted).isdisjoint(found))


_order = attrgetter("route.priority", "route.route_id")
