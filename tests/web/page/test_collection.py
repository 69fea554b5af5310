"""``/customer/sites`` and ``/customer/metrics``: alike in all but their fields."""

from typing import Any, NamedTuple

import pytest

from appliance.people.role import Role
from tests.support.postgres_server import Database
from tests.support.tenants import TENANT, add_tenant, ingest
from tests.support.web.api_caller import calling, dashboard


class Kind(NamedTuple):
    """One of the two."""

    path: str
    key: str
    label: str
    bad: list[tuple[dict[str, Any], str]]


SITES = Kind(
    "/customer/sites",
    "site_id",
    "name",
    [
        ({"site_id": "../x"}, "site_id"),
        ({"site_id": "a", "time_zone": "Mars"}, "time_zone"),
        ({"site_id": "a", "lat": 1}, "lng"),
        ({"site_id": "a", "lat": 100, "lng": 1}, "lat"),
        ({"site_id": "a", "lat": "x", "lng": 1}, "lat"),
        ({"site_id": "a", "name": ""}, "name"),
        ({"site_id": "a", "tenant_id": "rival"}, "tenant_id"),
    ],
)
METRICS = Kind(
    "/customer/metrics",
    "name",
    "label",
    [
        ({"name": "1x"}, "name"),
        ({"name": "a", "label": "x" * 65}, "label"),
        ({"name": "a", "unit": "\n"}, "unit"),
        ({"name": "a", "decimals": 1.5}, "decimals"),
        ({"name": "a", "decimals": 99}, "decimals"),
        ({"name": "a", "usual_low": 2, "usual_high": 1}, "usual_high"),
        ({"name": "a", "tenant_id": "rival"}, "tenant_id"),
    ],
)
BOTH = pytest.mark.parametrize("kind", [SITES, METRICS], ids=["sites", "metrics"])


async def prepare(database: Database) -> None:
    async with ingest(database) as connection:
        await add_tenant(connection, TENANT)
        await add_tenant(connection, "rival")


@BOTH
async def test_one_is_made_shown_changed_and_removed(database: Database, kind: Kind) -> None:
    await prepare(database)
    async with dashboard(database) as served, calling(served, database) as admin:
        made = await admin.ask("POST", kind.path, 201, json={kind.key: "one", kind.label: "One"})
        assert await admin.ask("GET", f"{kind.path}/one") == made
        await admin.ask("POST", kind.path, 409, json={kind.key: "one"})
        change = {kind.label: "Two", "version": made["version"]}
        assert (await admin.ask("PATCH", f"{kind.path}/one", json=change))[kind.label] == "Two"
        await admin.ask("PATCH", f"{kind.path}/one", 409, json=change | {kind.label: "Three"})
        assert (await admin.ask("PATCH", f"{kind.path}/one", json={}))[kind.label] == "Two"
        await admin.ask("DELETE", f"{kind.path}/one", 204)
        for method in ("GET", "PATCH", "DELETE"):
            await admin.ask(method, f"{kind.path}/one", 404)


@BOTH
async def test_bad_input_names_its_field_and_makes_nothing(database: Database, kind: Kind) -> None:
    await prepare(database)
    async with dashboard(database) as served, calling(served, database) as admin:
        for body, field in kind.bad:
            assert (await admin.ask("POST", kind.path, 400, json=body))["field"] == field, body
        for query in ("limit=0", "limit=1001", "cursor=x", "cursor=WyJhIl0", "cursor=WzEsMl0"):
            await admin.ask("GET", f"{kind.path}?{query}", 400)
        for unlikely in ("%00", "a%20b", "..%2f", "%ff"):
            assert (await admin.raw("GET", f"{kind.path}/{unlikely}")).status_code in {400, 404}
        assert (await admin.ask("GET", kind.path))["items"] == []


@BOTH
async def test_readers_look_and_what_is_anothers_is_not_there(database: Database, kind: Kind) -> None:
    await prepare(database)
    async with (
        dashboard(database) as served,
        calling(served, database) as admin,
        calling(served, database, Role.VIEWER) as reader,
        calling(served, database, tenant_id="rival") as rival,
        calling(served, database, Role.OPERATOR) as operator,
    ):
        for name in ("a", "b", "c"):
            await admin.ask("POST", kind.path, 201, json={kind.key: name})
        await rival.ask("POST", kind.path, 201, json={kind.key: "a"})
        first = await reader.ask("GET", f"{kind.path}?limit=2")
        rest = await reader.ask("GET", f"{kind.path}?limit=2&cursor={first['next']}")
        assert [one[kind.key] for one in (*first["items"], *rest["items"])] == ["a", "b", "c"]
        assert rest["next"] is None
        for method, path in (("POST", ""), ("PATCH", "/a"), ("DELETE", "/a")):
            await reader.ask(method, kind.path + path, 403, json={kind.key: "d"})
        for method in ("GET", "PATCH", "DELETE"):
            await rival.ask(method, f"{kind.path}/b?tenant=acme", 404)
        for as_file in ({"headers": {"Accept": "text/csv"}}, {"params": {"format": "csv"}}):
            answer = await reader.raw("GET", kind.path, **as_file)
            assert answer.headers["content-type"].startswith("text/csv")
            assert [line.split(",")[:2] for line in answer.text.splitlines()[1:]] == [["acme", n] for n in "abc"]
        assert len((await operator.ask("GET", kind.path))["items"]) == 4
        assert len((await operator.ask("GET", f"{kind.path}?tenant=rival"))["items"]) == 1
        assert (await operator.ask("GET", f"{kind.path}/a", 400))["field"] == "tenant"
        await operator.ask("POST", f"{kind.path}?tenant=nobody", 404, json={kind.key: "d"})
