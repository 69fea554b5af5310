"""A form that is refused points at a field that is there."""

import re

import pytest

from appliance.people.role import Role
from tests.support.postgres_server import Database
from tests.support.web.api_caller import dashboard
from tests.web.devices.test_views import person, prepare

CUSTOMERS = (
    *("/devices/+new", "/devices/+import", "/rules/new", "/integrations/+new", "/maintenance/+new"),
    *("/sites/+new", "/metric-names/+new", "/users/new", "/profile/password", "/profile/tokens/new"),
)
OPERATORS = (
    *("/tenants/+new", "/tenants/acme/edit", "/tenants/acme/subscriptions/+new"),
    *("/users/new", "/users/new?tenant=acme", "/devices/+new?tenant=acme"),
)


@pytest.mark.parametrize(("role", "forms"), [(Role.ADMIN, CUSTOMERS), (Role.OPERATOR, OPERATORS)])
async def test_an_empty_form_is_refused_at_a_field_that_is_there(
    database: Database, role: Role, forms: tuple[str, ...]
) -> None:
    await prepare(database)
    async with dashboard(database) as served, person(served, database, role) as asking:
        for path in forms:
            page = await asking.post(path, data={"type": "webhook"})
            assert page.status_code == 422, path
            main = page.text.partition("<main")[2]
            pointed = re.findall(r'href="#(f-[^"]*)"', main)
            assert pointed, path
            assert [one for one in pointed if f'id="{one}"' not in main] == [], path


async def test_the_role_of_a_user_is_refused_where_it_is_chosen(database: Database) -> None:
    await prepare(database)
    async with dashboard(database) as served, person(served, database) as admin, person(served, database, Role.VIEWER):
        users = (await admin.get("/users?role=viewer")).text
        (viewer,) = set(re.findall(r'href="(/users/[0-9a-f-]{36})', users))
        page = await admin.post(f"{viewer}/role", data={"was": "viewer"})
        assert ('href="#f-role"' in page.text, 'id="f-role"' in page.text) == (True, True)
