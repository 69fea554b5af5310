"""Lists change in place, or say as of when they are."""

import pytest

from appliance.people.role import Role
from tests.support.postgres_server import Database
from tests.support.web.api_caller import dashboard
from tests.web.devices.test_views import person, prepare, text

LISTS = (
    *("/alerts", "/rules", "/maintenance", "/devices", "/sites", "/metric-names", "/routes", "/integrations"),
    *("/deliveries", "/subscriptions", "/quarantine", "/quarantine/door", "/audit", "/users", "/tenants"),
)


@pytest.mark.parametrize("role", [Role.ADMIN, Role.OPERATOR])
async def test_a_list_is_live_or_says_as_of_when_it_is(database: Database, role: Role) -> None:
    await prepare(database)
    async with dashboard(database) as served, person(served, database, role) as asking:
        for path in LISTS if role is Role.OPERATOR else LISTS[:-1]:
            page = await asking.get(path)
            assert page.status_code == 200, path
            assert "data-page=" in page.text or "As of" in text(page), path
