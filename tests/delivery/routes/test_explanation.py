"""The alert page asks every route why it did or did not take an alert."""

import pytest

from appliance.delivery.routes.explanation import decisions_of
from appliance.delivery.routes.matching import Condition
from appliance.delivery.routes.route import DeliverOn
from appliance.errors import NotFound
from tests.support.alerts import add_alert
from tests.support.pipeline import arrange
from tests.support.postgres_server import Database
from tests.support.routes import add_integration, add_route
from tests.support.tenants import customer


async def test_every_route_says_what_it_makes_of_an_alert(database: Database) -> None:
    integration, dead = add_integration(database), add_integration(database, enabled=False)
    add_route(database, integration, name="cold", priority=1, tags=["cold"])
    add_route(database, dead, name="dead", priority=2)
    add_route(database, integration, name="first", priority=3, stop=True)
    add_route(database, integration, name="last", priority=4)
    arrange(
        database,
        "INSERT INTO device_registry (created_at, updated_at, tenant_id, device_id, status, tags)"
        " VALUES (now(), now(), 'acme', 'd1', 'PENDING', '{warm}')",
    )
    alert = add_alert(database)
    async with customer(database, "acme") as connection:
        found = await decisions_of(connection, "acme", alert)
        failing = {
            decision.route.name: [reason.condition for reason in decision.reasons if not reason.matches]
            for decision in found
        }
        assert failing == {
            "cold": [Condition.TAGS],
            "dead": [Condition.INTEGRATION],
            "first": [],
            "last": [Condition.STOPPED],
        }
        closed = await decisions_of(connection, "acme", alert, DeliverOn.CLOSED)
        assert [decision.route.name for decision in closed if decision.taken] == ["first"]
        with pytest.raises(NotFound):
            await decisions_of(connection, "acme", alert + 1)
