"""Integrations that do not deliver: whose alert it is, and when it is nobody's fault but the way out's."""

from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from appliance.alerts.alert import AlertType
from appliance.alerts.conditions.integrations import (
    CUT_OFF_FOR,
    FAILING_FOR,
    NO_WAY_OUT,
    UNREACHED_FOR,
    Attempted,
    conditions_of,
)
from appliance.devices.tenants import OWN_TENANT
from tests.alerts.conditions.test_watcher import watched
from tests.support.postgres_server import Database
from tests.support.routes import add_integration, add_route
from tests.support.tenants import NOW, rows

SECOND, DAY = timedelta(seconds=1), timedelta(days=1)


def attempted(number: int = 1, tenant_id: str = "acme", **fields: Any) -> Attempted:
    """An integration that delivered a day ago, but for ``fields``."""
    values: dict[str, Any] = {
        "tenant_id": tenant_id,
        "integration_id": UUID(int=number),
        "name": f"Hook {number}",
        "gone": False,
        "breaker_open": False,
        "failing_since": None,
        "unreachable_since": None,
        "last_success_at": NOW - DAY,
        "last_failure_at": None,
        "error": None,
    }
    return Attempted(**(values | fields))


def unreached(number: int, since: timedelta, **fields: Any) -> Attempted:
    at = NOW - since
    times = {"failing_since": at, "unreachable_since": at, "last_failure_at": NOW - SECOND}
    return attempted(number, **(times | fields))


@pytest.mark.parametrize(
    ("fields", "fails"),
    [
        ({}, False),
        ({"failing_since": NOW - SECOND, "last_failure_at": NOW - SECOND}, False),
        ({"failing_since": NOW - FAILING_FOR, "last_failure_at": NOW - FAILING_FOR}, True),
        ({"failing_since": NOW - SECOND, "breaker_open": True}, True),
        ({"failing_since": NOW - SECOND, "breaker_open": True, "unreachable_since": NOW - SECOND}, False),
        ({"failing_since": NOW - UNREACHED_FOR, "unreachable_since": NOW - UNREACHED_FOR}, True),
        ({"gone": True}, True),
    ],
)
def test_when_an_integration_fails(fields: dict[str, Any], *, fails: bool) -> None:
    found = conditions_of([attempted(**fields), attempted(2)], (), NOW)
    assert [one.alert_type for one in found] == [AlertType.INTEGRATION_FAILING] * fails


def test_of_the_appliance_itself_it_is_an_alert_of_the_system() -> None:
    [found] = conditions_of([attempted(tenant_id=OWN_TENANT, breaker_open=True)], (), NOW)
    assert (found.tenant_id, found.alert_type) == (OWN_TENANT, AlertType.SYSTEM)
    assert found.details["integration_id"] == str(UUID(int=1))


def fingerprints(*known: Attempted, said: tuple[str, ...] = ()) -> list[str]:
    return [one.fingerprint for one in conditions_of(known, said, NOW)]


def test_no_way_out_at_all_is_one_alert_and_none_of_an_integration() -> None:
    lost = [unreached(number, UNREACHED_FOR + number * SECOND) for number in (1, 2, 3)]
    assert fingerprints(*lost, attempted(4)) == [NO_WAY_OUT]
    assert fingerprints(*(unreached(number, CUT_OFF_FOR - SECOND) for number in (1, 2, 3))) == []


def test_what_was_lost_before_the_way_out_is_told_on() -> None:
    before = unreached(1, DAY / 2)
    assert fingerprints(before, unreached(2, UNREACHED_FOR), said=(before.fingerprint,)) == [
        NO_WAY_OUT,
        before.fingerprint,
    ]


def test_whoever_is_reached_meanwhile_proves_that_there_is_a_way() -> None:
    lost = [unreached(1, UNREACHED_FOR), unreached(2, UNREACHED_FOR)]
    answers = attempted(3, last_success_at=NOW - SECOND)
    refuses = attempted(3, failing_since=NOW - SECOND, last_failure_at=NOW - SECOND)
    for reached in (answers, refuses):
        assert fingerprints(*lost, reached) == [one.fingerprint for one in lost]


def test_one_integration_alone_says_nothing_about_the_way_out() -> None:
    assert fingerprints(unreached(1, UNREACHED_FOR)) == [attempted(1).fingerprint]


async def test_a_failing_integration_is_told_through_another_route_until_it_delivers_again(database: Database) -> None:
    health = (
        "INSERT INTO integration_health (tenant_id, integration_id, failures, failing_since, breaker_opened_at,"
        " last_failure_at, last_error) VALUES ('acme', %s, 5, %s, %s, %s, 'status: answered 500')"
    )
    async with watched(database) as seen:
        broken, other = add_integration(database, name="Pager"), add_integration(database)
        add_route(database, broken, priority=1, stop=True)
        add_route(database, other, priority=2)
        await rows(seen.connection, health + " RETURNING 1", broken, NOW, NOW, NOW)
        expected = ("INTEGRATION_FAILING", "high", "Pager does not take the notices that it is sent", 1)
        assert await seen.open_after(5) == [expected]
        jobs = "SELECT integration_id, event FROM delivery_jobs ORDER BY job_id"
        assert await rows(seen.connection, jobs) == [(other, "OPEN")]
        delivered = (
            "UPDATE integration_health SET failures = 0, failing_since = NULL, breaker_opened_at = NULL,"
            " last_success_at = %s RETURNING 1"
        )
        await rows(seen.connection, delivered, NOW)
        assert await seen.open_after(5) == []
        assert await rows(seen.connection, jobs) == [(other, "OPEN"), (other, "CLOSED")]
