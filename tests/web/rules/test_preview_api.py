"""The preview over the API: what a rule would have opened, and which field is wrong."""

from typing import Any

import pytest

from appliance.people.role import Role
from tests.support.pipeline import arrange
from tests.support.postgres_server import Database
from tests.support.web.api_caller import calling, dashboard
from tests.web.rules.test_pages import TENANT_WITH_READINGS, rules

PATH = "/customer/alert-rules/preview"
RULE: dict[str, Any] = {
    "name": "Freezer", "severity": "high", "kind": "threshold", "metric": "temperature", "operator": "GT", "value": -15,
}  # fmt: skip


async def test_a_program_sees_what_a_rule_would_have_opened_and_nothing_is_kept(database: Database) -> None:
    arrange(database, *TENANT_WITH_READINGS)
    async with dashboard(database) as served, calling(served, database) as asking:
        found = await asking.ask("POST", PATH, json=RULE)
        assert (found["alerts"], found["by_device"]) == (1, {"d-1": 1})
        [opening] = found["openings"]
        assert (opening["device_id"], opening["value"], opening["extreme"]) == ("d-1", -12, -12)
        assert opening["started_at"] < opening["ended_at"]
        covered = found["covered"]
        assert (covered["devices"], covered["reporting"], covered["checked"]) == (2, 2, 2)
        assert (covered["readings"], covered["stopped"]) == (100, None)
        narrow = await asking.ask("POST", PATH, json=RULE | {"scope": {"device_ids": ["d-2"]}})
        assert (narrow["alerts"], narrow["covered"]["devices"]) == (0, 1)
    assert rules(database) == []


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"value": "warm"}, "value"),
        ({"metric": "9"}, "metric"),
        ({"clear_value": 3}, "clear_value"),
        ({"operator": "ABOVE"}, "operator"),
        ({"scope": {"device_ids": ["no such/id"]}}, "scope.device_ids"),
        ({"kind": "no_data", "metric": None, "operator": None, "value": None}, "seconds"),
        ({"until": 5}, "until"),
    ],
)
async def test_an_error_names_the_field_as_the_rule_itself_would(
    database: Database, wrong: dict[str, Any], field: str
) -> None:
    arrange(database, *TENANT_WITH_READINGS)
    async with dashboard(database) as served, calling(served, database) as asking:
        assert (await asking.ask("POST", PATH, 400, json=RULE | wrong))["field"] == field
        assert (await asking.ask("POST", "/customer/alert-rules", 400, json=RULE | wrong))["field"] == field


async def test_a_preview_that_is_found_again_is_of_the_same_tenant_and_the_same_value(database: Database) -> None:
    arrange(
        database,
        *TENANT_WITH_READINGS,
        "INSERT INTO tenants (created_at, updated_at, tenant_id) VALUES (now(), now(), 'globex')",
        "UPDATE telemetry SET metrics = '{\"temperature\": 1}' WHERE digest < 50",
    )
    one = RULE | {"operator": "EQ", "value": 1}
    async with dashboard(database) as served, calling(served, database, Role.OPERATOR) as asking:
        assert (await asking.ask("POST", f"{PATH}?tenant=acme", json=one))["alerts"] == 1
        assert (await asking.ask("POST", f"{PATH}?tenant=globex", json=one))["alerts"] == 0
        assert (await asking.ask("POST", f"{PATH}?tenant=acme", json=one | {"value": True}))["alerts"] == 0
        first = (await asking.ask("POST", f"{PATH}?tenant=acme", json=one))["covered"]
        assert (await asking.ask("POST", f"{PATH}?tenant=acme", json=one))["covered"] == first, "found again"
        await asking.ask("POST", PATH, 400, json=one)
