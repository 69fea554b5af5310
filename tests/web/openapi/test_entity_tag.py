"""ETag in answers, If-Match with changes, for everything that is edited."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import pytest

from appliance.people.role import Role
from tests.support.pipeline import TENANT, arrange
from tests.support.postgres_server import Database
from tests.support.routes import add_integration
from tests.support.web.accounts import client, signed_in
from tests.support.web.api_caller import dashboard


class Edited(NamedTuple):
    """Something that the API edits."""

    path: str
    key: str
    made: Mapping[str, Any]
    change: Mapping[str, Any]
    role: Role = Role.ADMIN


RULE = {"name": "Warm", "severity": "high", "kind": "threshold", "metric": "temp", "operator": "GT", "value": 8}
WINDOW = {"name": "Defrost", "kind": "weekly", "weekdays": ["mon"], "start_time": "02:00", "length_minutes": 60}
ALL = [
    Edited("/customer/alert-rules", "rule_id", RULE, {"name": "Hot"}),
    Edited("/customer/maintenance", "window_id", WINDOW, {"name": "Cleaning"}),
    Edited("/customer/integrations", "integration_id", {"name": "Chat", "type": "mqtt"}, {"name": "Broker"}),
    Edited("/customer/integration-routes", "route_id", {"name": "All", "severities": ["high"]}, {"name": "Some"}),
    Edited("/customer/sites", "site_id", {"site_id": "barn"}, {"name": "Barn"}),
    Edited("/customer/metrics", "name", {"name": "temp"}, {"unit": "°C"}),
    Edited("/operator/tenants", "tenant_id", {"tenant_id": "beta"}, {"name": "Beta"}, Role.OPERATOR),
]


@pytest.mark.parametrize("thing", ALL, ids=lambda one: one.path.rpartition("/")[2])
async def test_a_change_of_what_was_changed_since_fails_and_one_of_the_latest_does_not(
    database: Database, thing: Edited
) -> None:
    arrange(database, f"INSERT INTO tenants (created_at, updated_at, tenant_id) VALUES (now(), now(), '{TENANT}')")
    made = dict(thing.made)
    if thing.path.endswith("routes"):
        made |= {"integration_id": str(add_integration(database, TENANT, name="Desk")), "deliver_on": ["OPEN"]}
    if thing.path.endswith("integrations"):
        made["config"] = {"host": "127.0.0.1", "port": 1883, "tls": False, "topic": "alerts"}
    who = signed_in(database.conninfo(), thing.role, TENANT)
    async with dashboard(database) as served, client(served.url, who) as http:
        answer = await http.post(thing.path, json=made)
        assert answer.status_code == 201, answer.text
        created = answer.json()
        where = f"{thing.path}/{created.get('tenant', created).get(thing.key, made.get(thing.key))}"
        read = await http.get(where)
        first = read.headers["ETag"]
        assert first == f'"{read.json()["version"]}"'

        changed = await http.patch(where, json=thing.change, headers={"If-Match": first})
        assert changed.status_code == 200, changed.text
        second = changed.headers["ETag"]
        assert second != first

        for outdated in (first, '"nonsense"', '"null"'):
            late = await http.patch(where, json=thing.change, headers={"If-Match": outdated})
            assert (late.status_code, late.json()["code"]) == (412, "PRECONDITION_FAILED"), outdated
        for wrong in ("nonsense", f"W/{second}", f"{first}, {second}"):
            bad = await http.patch(where, json=thing.change, headers={"If-Match": wrong})
            assert (bad.status_code, bad.json()["field"]) == (400, "If-Match"), wrong
        both = await http.patch(
            where, json={**thing.change, "version": read.json()["version"]}, headers={"If-Match": second}
        )
        assert (both.status_code, both.json()["field"]) == (400, "version")
        stale = await http.patch(where, json={**thing.change, "version": read.json()["version"]})
        assert stale.status_code == 409
        assert (await http.patch(where, json=thing.change, headers={"If-Match": "*"})).status_code == 200
        assert (await http.get(where)).headers["ETag"]


async def test_the_document_tells_of_both(database: Database) -> None:
    async with dashboard(database) as served, client(served.url, None) as http:
        paths = (await http.get("/openapi.json")).json()["paths"]
    patch = paths["/customer/integration-routes/{route_id}"]["patch"]
    assert "If-Match" in [one["name"] for one in patch["parameters"]]
    assert "ETag" in patch["responses"]["200"]["headers"]
    assert "ETag" not in paths["/customer/integration-routes"]["get"]["responses"]["200"]["headers"]
