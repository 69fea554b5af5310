"""Which routes take an event, and why the others do not."""

from typing import Any
from uuid import UUID

import pytest

from appliance.delivery.routes.matching import (
    Candidate,
    Condition,
    Decision,
    Subject,
    conditions,
    decide,
    matches,
    takes,
)
from appliance.delivery.routes.route import DeliverOn, Route
from appliance.severity import Severity
from tests.delivery.routes.routes import route, subject

OPEN, ACKNOWLEDGED, CLOSED = DeliverOn
NOWHERE = subject(site_id=None, device_id=None, tags=(), alert_type="CAPACITY")
"""An alert about no device and no site."""


@pytest.mark.parametrize(
    ("fields", "alert", "failing"),
    [
        ({}, subject(), None),
        ({}, NOWHERE, None),
        ({"severities": (Severity.HIGH,)}, subject(), None),
        ({"severities": (Severity.CRITICAL, Severity.LOW)}, subject(), Condition.SEVERITY),
        ({"alert_types": ("WINDOW", "THRESHOLD")}, subject(), None),
        ({"alert_types": ("WINDOW",)}, subject(), Condition.ALERT_TYPE),
        ({"site_ids": ("shop", "depot")}, subject(), None),
        ({"site_ids": ("shop",)}, subject(), Condition.SITE),
        ({"site_ids": ("shop",)}, NOWHERE, Condition.SITE),
        ({"tags": ("warm", "food")}, subject(), None),
        ({"tags": ("warm",)}, subject(), Condition.TAGS),
        ({"tags": ("warm",)}, NOWHERE, Condition.TAGS),
        ({"device_prefixes": ("oven-", "fridge-")}, subject(), None),
        ({"device_prefixes": ("fridge-1",)}, subject(), None),
        ({"device_prefixes": ("ridge",)}, subject(), Condition.DEVICE_PREFIX),
        ({"device_prefixes": ("fridge-",)}, NOWHERE, Condition.DEVICE_PREFIX),
        ({"site_ids": ("depot",), "tags": ("warm",)}, subject(), Condition.TAGS),
    ],
)
def test_every_condition_is_met_or_says_why_not(
    fields: dict[str, Any], alert: Subject, failing: Condition | None
) -> None:
    made = route(**fields)
    asked = conditions(made, alert)
    assert [reason.condition for reason in asked if not reason.matches] == ([] if failing is None else [failing])
    assert matches(made, alert) is (failing is None)


def test_a_reason_names_what_was_wanted_and_what_was_found() -> None:
    made = route(severities=(Severity.CRITICAL,), tags=("warm",), device_prefixes=("oven-",), alert_types=("WINDOW",))
    shown = {reason.condition: (list(reason.wanted), list(reason.found)) for reason in conditions(made, subject())}
    assert shown == {
        Condition.SEVERITY: (["critical"], ["high"]),
        Condition.ALERT_TYPE: (["WINDOW"], ["THRESHOLD"]),
        Condition.SITE: ([], ["depot"]),
        Condition.TAGS: (["warm"], ["cold", "food"]),
        Condition.DEVICE_PREFIX: (["oven-"], ["fridge-1"]),
    }


@pytest.mark.parametrize(
    ("deliver_on", "event", "matching", "told", "taken"),
    [
        ((OPEN,), OPEN, True, False, True),
        ((OPEN,), OPEN, False, False, False),
        ((CLOSED,), OPEN, True, False, False),
        ((OPEN,), CLOSED, True, True, False),
        ((OPEN, CLOSED), CLOSED, True, False, False),
        ((OPEN, CLOSED), CLOSED, True, True, True),
        ((OPEN, CLOSED), CLOSED, False, True, True),
        ((CLOSED,), CLOSED, True, False, True),
        ((CLOSED,), CLOSED, False, True, False),
        ((OPEN, ACKNOWLEDGED), ACKNOWLEDGED, False, True, True),
        ((OPEN, ACKNOWLEDGED), ACKNOWLEDGED, True, False, False),
        ((ACKNOWLEDGED,), ACKNOWLEDGED, True, False, True),
    ],
)
def test_the_end_goes_to_whom_the_beginning_was_told(
    deliver_on: tuple[DeliverOn, ...], event: DeliverOn, matching: bool, told: bool, taken: bool
) -> None:
    made = route(deliver_on=deliver_on, severities=(Severity.HIGH if matching else Severity.LOW,))
    assert takes(made, event, subject(), told=told) is taken
    assert decide([Candidate(made, integration_enabled=True, told=told)], event, subject())[0].taken is taken


def test_that_an_integration_fails_is_told_by_others_and_a_route_to_it_stops_none() -> None:
    failing, other = route(name="failing", stop=True, priority=1), route(name="other", integration_id=UUID(int=9))
    about = subject(failing=str(failing.integration_id))
    candidates = [Candidate(one, integration_enabled=True) for one in (failing, other)]
    decisions = {one.route.name: one for one in decide(candidates, OPEN, about)}
    assert taken(decisions) == ["other"]
    reasons = [reason.condition for reason in decisions["failing"].reasons if not reason.matches]
    assert reasons == [Condition.ANOTHER]


def decided(*routes: Route, event: DeliverOn = OPEN, told: tuple[str, ...] = ()) -> dict[str, Decision]:
    candidates = [Candidate(one, integration_enabled=True, told=one.name in told) for one in routes]
    return {decision.route.name: decision for decision in decide(candidates, event, subject())}


def taken(decisions: dict[str, Decision]) -> list[str]:
    return [name for name, decision in decisions.items() if decision.taken]


def test_routes_are_tried_by_priority_and_then_by_id() -> None:
    late = route(name="late", priority=9, route_id=UUID(int=1))
    first = route(name="first", priority=3, route_id=UUID(int=5))
    second = route(name="second", priority=3, route_id=UUID(int=7))
    assert list(decided(late, second, first)) == ["first", "second", "late"]


def test_all_that_match_deliver_until_one_with_stop() -> None:
    routes = [
        route(name="a", priority=1),
        route(name="b", priority=2, stop=True, severities=(Severity.LOW,)),
        route(name="c", priority=3, stop=True),
        route(name="d", priority=4, stop=True),
        route(name="e", priority=5),
    ]
    decisions = decided(*routes)
    assert taken(decisions) == ["a", "c"]
    stoppers = {name: decision.stopped_by and decision.stopped_by.name for name, decision in decisions.items()}
    assert stoppers == {"a": None, "b": None, "c": None, "d": "c", "e": "c"}
    assert decisions["e"].reasons[-1].found == ["c"]
    failing = [reason.condition for reason in decisions["e"].reasons if not reason.matches]
    assert failing == [Condition.STOPPED]


def test_a_route_stops_others_only_for_an_event_that_it_takes() -> None:
    first = route(name="first", priority=1, stop=True, deliver_on=(OPEN,))
    second = route(name="second", priority=2, deliver_on=(CLOSED,))
    assert taken(decided(first, second, event=CLOSED, told=("first",))) == ["second"]


def test_what_was_told_gets_its_end_whatever_route_stops_others() -> None:
    first = route(name="first", priority=1, stop=True, deliver_on=(CLOSED,))
    told = route(name="told", priority=2, deliver_on=(OPEN, CLOSED))
    third = route(name="third", priority=3, deliver_on=(CLOSED,))
    assert taken(decided(first, told, third, event=CLOSED, told=("told",))) == ["first", "told"]


def test_a_disabled_route_and_one_of_a_disabled_integration_take_and_stop_nothing() -> None:
    off = route(name="off", priority=1, stop=True, enabled=False)
    dead = route(name="dead", priority=2, stop=True)
    on = route(name="on", priority=3)
    candidates = [Candidate(off, True), Candidate(dead, False), Candidate(on, True)]
    decisions = decide(candidates, OPEN, subject())
    failing = [[reason.condition for reason in decision.reasons if not reason.matches] for decision in decisions]
    assert failing == [[Condition.ENABLED], [Condition.INTEGRATION], []]
