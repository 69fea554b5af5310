"""The pages of sites and of metrics: alike in all but their fields."""

import html
import re
from typing import NamedTuple

import pytest

from appliance.devices.device import NewDevice
from appliance.devices.seats import changes
from appliance.people.role import Role
from tests.support.postgres_server import Database
from tests.support.tenants import BY, GRACE, TENANT, add_tenant, ingest, sell
from tests.support.web.accounts import client, signed_in
from tests.support.web.api_caller import dashboard


class Kind(NamedTuple):
    """One of the two."""

    path: str
    key: str
    label: str
    good: dict[str, str]
    bad: list[tuple[str, str]]


SITES = Kind(
    "/sites",
    "site_id",
    "name",
    {"time_zone": "Asia/Tokyo", "lat": "60,39", "lng": "5.32"},
    [
        ("site_id", ""),
        ("site_id", "../x"),
        ("site_id", "a:b"),
        ("name", "x" * 257),
        ("name", "a\0b"),
        ("time_zone", "Mars/Olympus"),
        ("lat", "91"),
        ("lat", "NaN"),
        ("lng", "east"),
        ("lng", ""),
    ],
)
METRICS = Kind(
    "/metric-names",
    "name",
    "label",
    {"unit": "°C", "decimals": "1", "usual_low": "−25", "usual_high": "-15"},  # noqa: RUF001 - a true minus sign
    [
        ("name", ""),
        ("name", "1x"),
        ("name", "a b"),
        ("label", "x" * 65),
        ("unit", "x" * 17),
        ("decimals", "1.5"),
        ("decimals", "99"),
        ("usual_low", "inf"),
        ("usual_high", "-30"),
    ],
)
BOTH = pytest.mark.parametrize("kind", [SITES, METRICS], ids=["sites", "metrics"])
BAD = [(kind, field, value) for kind in (SITES, METRICS) for field, value in kind.bad]
NASTY = "<script>alert(1)</script> {{7*7}}"


async def prepare(database: Database) -> None:
    async with ingest(database) as connection:
        for tenant in (TENANT, "rival"):
            await add_tenant(connection, tenant)
            await sell(connection, 5, tenant_id=tenant)


@BOTH
async def test_one_is_made_shown_changed_and_removed(database: Database, kind: Kind) -> None:
    await prepare(database)
    async with dashboard(database) as served, client(served.url, signed_in(database.conninfo(), Role.ADMIN)) as admin:
        form = {kind.key: "one", kind.label: NASTY, **kind.good}
        made = await admin.post(f"{kind.path}/+new", data=form)
        assert made.headers["location"] == f"{kind.path}?done=created"
        for path in (kind.path, f"{kind.path}/one"):
            page = await admin.get(path)
            assert "<script>alert" not in page.text
            assert NASTY in html.unescape(page.text)
        version = html.unescape(re.findall(r'name="version" value="([^"]*)"', page.text)[0])
        changed = await admin.post(f"{kind.path}/one", data={kind.label: "Two", "version": version})
        assert changed.headers["location"] == f"{kind.path}?done=saved"
        late = await admin.post(f"{kind.path}/one", data={kind.label: "Three", "version": version})
        assert late.status_code == 409
        assert 'value="Three"' in late.text
        again = await admin.post(f"{kind.path}/+new", data={kind.key: "one", kind.label: "Kept"})
        assert again.status_code == 409
        assert 'value="Kept"' in again.text
        gone = await admin.post(f"{kind.path}/one/delete")
        assert gone.headers["location"] == f"{kind.path}?done=deleted"
        for answer in (
            await admin.get(f"{kind.path}/one"),
            await admin.post(f"{kind.path}/one", data={}),
            await admin.post(f"{kind.path}/one/delete"),
        ):
            assert answer.status_code == 404


@pytest.mark.parametrize(("kind", "field", "value"), BAD)
async def test_a_bad_form_comes_back_with_its_field_named(
    database: Database, kind: Kind, field: str, value: str
) -> None:
    await prepare(database)
    async with dashboard(database) as served, client(served.url, signed_in(database.conninfo(), Role.ADMIN)) as admin:
        form = {kind.key: "one", **kind.good, field: value}
        answer = await admin.post(f"{kind.path}/+new", data=form)
        assert answer.status_code == 422
        assert f'href="#f-{field}"' in answer.text
        assert (await admin.get(f"{kind.path}/one")).status_code == 404


@BOTH
async def test_readers_look_and_what_is_anothers_is_not_there(database: Database, kind: Kind) -> None:
    await prepare(database)
    people = {role: signed_in(database.conninfo(), role) for role in (Role.ADMIN, Role.VIEWER, Role.OPERATOR)}
    rival = signed_in(database.conninfo(), Role.ADMIN, "rival")
    async with (
        dashboard(database) as served,
        client(served.url, people[Role.ADMIN]) as admin,
        client(served.url, people[Role.VIEWER]) as reader,
        client(served.url, people[Role.OPERATOR]) as operator,
        client(served.url, rival) as other,
    ):
        await admin.post(f"{kind.path}/+new", data={kind.key: "one", kind.label: "First of all"})
        page = await reader.get(kind.path)
        assert "First of all" in page.text
        assert "+new" not in page.text
        page = await reader.get(f"{kind.path}/one")
        assert page.status_code == 200
        assert 'class="form"' not in page.text
        for path in ("/+new", "/one", "/one/delete"):
            assert (await reader.post(kind.path + path, data={})).status_code == 403
            assert (await other.post(f"{kind.path}{path}?tenant=acme", data={})).status_code in {404, 422}
        assert "First of all" not in (await other.get(f"{kind.path}?tenant=acme")).text
        assert "First of all" in (await operator.get(f"{kind.path}?tenant=acme")).text
        assert "Choose a tenant" in (await operator.get(f"{kind.path}/one")).text
        assert (await operator.get(f"{kind.path}/one?tenant=acme")).status_code == 200


async def test_a_site_where_devices_stand_stays(database: Database) -> None:
    await prepare(database)
    async with ingest(database) as connection:
        await changes.create(connection, TENANT, NewDevice("d", site_id="roof"), BY, grace=GRACE)
    async with dashboard(database) as served, client(served.url, signed_in(database.conninfo(), Role.ADMIN)) as admin:
        answer = await admin.post("/sites/roof/delete")
        assert answer.status_code == 409
        assert "1 device is at site roof" in answer.text
        assert (await admin.get("/sites/roof")).status_code == 200
