"""Every name and reason that people type, over the API: what is not seen is refused, with its field."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import pytest

from appliance.people.role import Role
from tests.support.pipeline import TENANT, arrange, look
from tests.support.postgres_server import Database
from tests.support.routes import add_integration
from tests.support.web.accounts import PASSWORD, client, signed_in
from tests.support.web.api_caller import dashboard

SIGNS = {
    "override": "\u202e",
    "isolate": "\u2066",
    "line": "\u2028",
    "paragraph": "\u2029",
    "bell": "\x07",
    "zero": "\0",
}


class Typed(NamedTuple):
    """A field of something that people make or change."""

    path: str
    field: str
    body: Mapping[str, Any]
    role: Role = Role.ADMIN


RULE = {"name": "Warm", "severity": "high", "kind": "threshold", "metric": "temp", "operator": "GT", "value": 8}
WINDOW = {"name": "Defrost", "kind": "once", "starts": "2027-01-01T00:00", "ends": "2027-01-02T00:00"}
TYPED = [
    Typed("/customer/sites", "name", {"site_id": "barn"}),
    Typed("/customer/metrics", "label", {"name": "temp"}),
    Typed("/customer/metrics", "unit", {"name": "temp"}),
    Typed("/customer/devices", "name", {"device_id": "d1"}),
    Typed("/customer/devices", "place", {"device_id": "d1"}),
    Typed("/customer/alert-rules", "name", RULE),
    Typed("/customer/alert-rules", "description", RULE),
    Typed("/customer/maintenance", "name", WINDOW),
    Typed("/customer/maintenance", "reason", WINDOW),
    Typed("/customer/integrations", "name", {"type": "webhook", "config": {"url": "https://hooks.example/a"}}),
    Typed("/customer/integration-routes", "name", {"severities": ["high"], "deliver_on": ["OPEN"]}),
    Typed("/customer/users", "name", {"email": "kari@acme.example", "role": "viewer", "password": PASSWORD}),
    Typed("/operator/tenants", "name", {"tenant_id": "beta"}, Role.OPERATOR),
    Typed("/operator/subscriptions?tenant=acme", "description", {"device_limit": 1, "term_days": 1}, Role.OPERATOR),
    Typed("/operator/subscriptions?tenant=acme", "plan_id", {"device_limit": 1, "term_days": 1}, Role.OPERATOR),
]


@pytest.mark.parametrize("sign", SIGNS)
async def test_a_name_with_what_is_not_seen_is_refused_with_its_field(database: Database, sign: str) -> None:
    arrange(database, f"INSERT INTO tenants (created_at, updated_at, tenant_id) VALUES (now(), now(), '{TENANT}')")
    receiver = add_integration(database, TENANT, name="Ops desk")
    people = {role: signed_in(database.conninfo(), role, TENANT) for role in (Role.ADMIN, Role.OPERATOR)}
    async with dashboard(database) as served:
        for one in TYPED:
            body = {**one.body, one.field: f"Fre{SIGNS[sign]}ezer"}
            if one.path.endswith("routes"):
                body["integration_id"] = str(receiver)
            async with client(served.url, people[one.role]) as http:
                answer = await http.post(one.path, json=body)
            assert (answer.status_code, answer.json().get("field")) == (400, one.field), (one, answer.text)
    assert look(database, "SELECT count(*) FROM audit_log") == [(0,)]
