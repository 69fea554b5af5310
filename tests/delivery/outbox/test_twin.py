"""The jobs that the database writes are those that the pure matching names, over routes and alerts of any kind."""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any
from uuid import UUID

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from appliance.delivery.routes.matching import Candidate, Subject, decide, matches, takes
from appliance.delivery.routes.route import DeliverOn, Route
from appliance.severity import Severity
from tests.delivery.routes.routes import EVERYTHING
from tests.support import soak
from tests.support.alerts import OPENED_AT, insert_alert, insert_event
from tests.support.postgres_server import Database
from tests.support.routes import insert_integration, insert_route, insert_tenant

EVENTS = {"acknowledged": DeliverOn.ACKNOWLEDGED, "closed": DeliverOn.CLOSED}
TYPES = ("THRESHOLD", "CAPACITY", "SITE_SILENT")
SITES, TAGS = ("north", "south"), ("a", "b", "c")
DEVICES = ("fridge-1", "fridge-22", "oven", "_x")
PREFIXES = ("fridge", "fridge-2", "o", "%", "_", "f%")
TAKEN_OVER = ("severities", "alert_types", "site_ids", "tags", "device_prefixes", "deliver_on")


def some_of(values: Any, most: int = 2) -> SearchStrategy[list[Any]]:
    """Return lists that are empty half of the time: a route that asks for much takes nearly nothing."""
    return st.just([]) | st.lists(st.sampled_from(values), max_size=most, unique=True)


routes = st.builds(
    partial(replace, EVERYTHING),
    route_id=st.uuids(),
    priority=st.integers(0, 2),
    stop=st.booleans(),
    enabled=st.integers(0, 4).map(bool),
    severities=st.just(list(Severity)) | st.lists(st.sampled_from(Severity), min_size=1, unique=True),
    alert_types=some_of(TYPES),
    site_ids=some_of(SITES),
    tags=some_of(TAGS),
    device_prefixes=some_of(PREFIXES),
    deliver_on=st.lists(st.sampled_from(DeliverOn), min_size=1, unique=True),
)
INTEGRATIONS = {True: UUID(int=3), False: UUID(int=4)}
"""One that is enabled, and one that is not."""
subjects = st.builds(
    Subject,
    severity=st.sampled_from(Severity),
    alert_type=st.sampled_from(TYPES),
    site_id=st.sampled_from(SITES) | st.none(),
    device_id=st.sampled_from(DEVICES) | st.none(),
    tags=st.lists(st.sampled_from(TAGS), max_size=3, unique=True),
    failing=st.none() | st.sampled_from([str(one) for one in INTEGRATIONS.values()]),
).map(lambda subject: subject if subject.device_id else replace(subject, tags=()))


@pytest.fixture
def connection(database: Database) -> Iterator[psycopg.Connection[Any]]:
    """A session of the superuser in which nothing stays; one for all examples, as plans are kept for a session."""
    with psycopg.connect(database.conninfo(), autocommit=True) as opened:
        yield opened


@settings(max_examples=soak.times(60), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    made=st.lists(st.tuples(routes, st.booleans()), max_size=5, unique_by=lambda one: one[0].route_id),
    changed=st.lists(routes, min_size=5, max_size=5),
    subject=subjects,
    kinds=st.permutations(["acknowledged", "closed"]),
)
def test_the_database_writes_the_jobs_that_the_matching_names(
    connection: psycopg.Connection[Any],
    made: list[tuple[Route, bool]],
    changed: list[Route],
    subject: Subject,
    kinds: list[str],
) -> None:
    """Routes change between the opening and what follows it, so that what was told and what matches differ."""
    made = [(replace(route, integration_id=INTEGRATIONS[on]), on) for route, on in made]
    with connection.transaction(force_rollback=True):
        insert_tenant(connection, "acme")
        for on, integration_id in INTEGRATIONS.items():
            insert_integration(connection, enabled=on, integration_id=integration_id)
        for route, _ in made:
            insert_route(connection, route.integration_id, **row_of(route))
        alert = insert_subject(connection, subject)
        check(connection, alert, DeliverOn.OPEN, subject, made, set())
        told = {route_id for (route_id,) in connection.execute("SELECT route_id FROM delivery_jobs").fetchall()}
        now = [
            (replace(new, route_id=old.route_id, integration_id=old.integration_id), on)
            for (old, on), new in zip(made, changed, strict=False)
        ]
        for route, _ in now:
            update_route(connection, route)
        for kind in kinds:
            insert_event(connection, alert, kind)
            check(connection, alert, EVENTS[kind], subject, now, told)


def check(
    connection: psycopg.Connection[Any],
    alert: int,
    event: DeliverOn,
    subject: Subject,
    made: list[tuple[Route, bool]],
    told: set[UUID],
) -> None:
    candidates = [Candidate(route, on, route.route_id in told) for route, on in made]
    expected = [decision.route.route_id for decision in decide(candidates, event, subject) if decision.taken]
    query = "SELECT route_id FROM delivery_jobs WHERE alert_id = %s AND event = %s ORDER BY job_id"
    assert [row[0] for row in connection.execute(query, [alert, event.value]).fetchall()] == expected
    values = [
        subject.severity.value, subject.alert_type, subject.site_id, subject.device_id,
        list(subject.tags) if subject.device_id else None,
    ]  # fmt: skip
    for route, _ in made:
        heard = route.route_id in told
        query = (
            "SELECT route_matches(r, %s, %s, %s, %s, %s), route_takes(r, %s, %s, %s, %s, %s, %s, %s)"
            " FROM integration_routes AS r WHERE route_id = %s"
        )
        row = connection.execute(query.encode(), [*values, event.value, heard, *values, route.route_id]).fetchone()
        assert row == (matches(route, subject), takes(route, event, subject, told=heard))


def insert_subject(connection: psycopg.Connection[Any], subject: Subject) -> int:
    if subject.device_id is not None:
        connection.execute(
            "INSERT INTO device_registry (created_at, updated_at, tenant_id, device_id, status, tags)"
            " VALUES (%s, %s, 'acme', %s, 'PENDING', %s)",
            [OPENED_AT, OPENED_AT, subject.device_id, list(subject.tags)],
        )
    return insert_alert(
        connection,
        severity=subject.severity.value,
        alert_type=subject.alert_type,
        site_id=subject.site_id,
        device_id=subject.device_id,
        details={} if subject.failing is None else {"integration_id": subject.failing},
    )


def row_of(route: Route) -> dict[str, Any]:
    lists = {name: [str(value) for value in getattr(route, name)] for name in TAKEN_OVER}
    return {
        **lists,
        "route_id": route.route_id,
        "enabled": route.enabled,
        "priority": route.priority,
        "stop": route.stop,
    }


def update_route(connection: psycopg.Connection[Any], route: Route) -> None:
    row = row_of(route)
    sets = ", ".join(f"{name} = %({name})s" for name in row)
    connection.execute(f"UPDATE integration_routes SET {sets} WHERE route_id = %(route_id)s".encode(), row)
