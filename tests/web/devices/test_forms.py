"""The forms of a device: what they take, refuse, keep as it was typed, and ignore."""

import html
import re
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from appliance.devices.device import NewDevice
from appliance.devices.seats import changes
from appliance.people.role import Role
from appliance.subscriptions.lifecycle import SubscriptionType
from tests.support.postgres_server import Database
from tests.support.tenants import BY, GRACE, TENANT, add_tenant, announce, check_seats, ingest, sell
from tests.support.web.api_caller import dashboard
from tests.support.web.serving import over
from tests.web.devices.test_views import person, prepare, text

PART = b'--b\r\nContent-Disposition: form-data; name="f"\r\n\r\n1\r\n'
PARTS = PART * 1001 + b"--b--\r\n"
FILE = (
    b'--b\r\nContent-Disposition: form-data; name="device_id"\r\n\r\nd\r\n'
    b'--b\r\nContent-Disposition: form-data; name="x"; filename="x.txt"\r\n\r\nfile\r\n--b--\r\n'
)


async def test_a_device_is_added_and_its_secrets_are_shown_this_once(database: Database) -> None:
    await prepare(database)
    async with dashboard(database) as served, person(served, database) as admin:
        assert (await admin.get("/devices/+new")).status_code == 200
        form = {"device_id": " frz-1 ", "name": "Freezer", "tags": "cold, , b", "site_id": "roof", "interval": "2,5"}
        made = await admin.post("/devices/+new", data=form, headers={"Host": "localhost:8080"})
        assert made.status_code == 201
        password, token = re.findall(r'id="secret-(?:password|token)"[^>]*>([A-Za-z0-9]{24})<', made.text)
        lines = html.unescape(made.text)
        assert f"mosquitto_pub -h localhost -p 1883 -u acme/device/frz-1 -P '{password}' -q 1" in lines
        assert f"Authorization: Bearer {token}" in lines
        assert "http://localhost:8080/ingest/tenant/acme/device/frz-1/telemetry" in lines
        for path in ("/devices", "/devices/frz-1", "/devices/frz-1/edit"):
            page = await admin.get(path)
            assert password not in page.text
            assert token not in page.text
        shown = text(await admin.get("/devices/frz-1"))
        assert "2.5 s, set by hand" in shown
        again = await admin.post("/devices/+new", data=form)
        assert again.status_code == 409
        assert 'value="Freezer"' in again.text
    check_seats(database)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("device_id", ""),
        ("device_id", "../x"),
        ("device_id", "a:b"),
        ("device_id", "x" * 65),
        ("name", "x" * 257),
        ("name", "a\0b"),
        ("name", "a\x1b[31m"),
        ("tags", ",".join(f"t{n}" for n in range(65))),
        ("site_id", "a b"),
        ("interval", "soon"),
        ("interval", "NaN"),
        ("interval", "-1"),
        ("interval", "1e400"),
        ("subscription_id", "SUB-none"),
    ],
)
async def test_a_bad_form_comes_back_filled_in_with_its_field_named(database: Database, field: str, value: str) -> None:
    await prepare(database)
    async with dashboard(database) as served, person(served, database) as admin:
        answer = await admin.post("/devices/+new", data={"device_id": "d", "place": "Kept place", field: value})
        assert answer.status_code in {409, 422}
        assert 'value="Kept place"' in answer.text
        assert f'href="#f-{field}"' in answer.text
        assert "No devices yet" in text(await admin.get("/devices"))


async def test_fields_that_are_nobodys_business_are_ignored(database: Database) -> None:
    await prepare(database)
    await prepare(database, tenant="rival")
    async with dashboard(database) as served, person(served, database) as admin:
        more = {"tenant_id": "rival", "status": "PENDING", "device_limit": "9999", "role": "operator", "rate": "1000"}
        assert (await admin.post("/devices/+new?tenant=rival", data={"device_id": "d", **more})).status_code == 201
        assert (await admin.post("/devices/d/edit", data={"name": "x", **more})).status_code == 303
    with psycopg.connect(database.conninfo()) as connection:
        found = connection.execute("SELECT tenant_id, status, rate FROM device_registry").fetchall()
    assert found == [("acme", "ACTIVE", None)]


@pytest.mark.parametrize(
    ("body", "kind", "statuses"),
    [
        ("&".join(f"f{n}=1" for n in range(2000)).encode(), "application/x-www-form-urlencoded", {413}),
        (PARTS, "multipart/form-data; boundary=b", {413}),
        (b"nonsense", "multipart/form-data", {400}),
        (FILE, "multipart/form-data; boundary=b", {400}),
        (b"\xff\xfe=1", "application/x-www-form-urlencoded", {400}),
        (b"device_id=%ff", "application/x-www-form-urlencoded", {400}),
        (b"device_id=d", "text/plain", {400}),
    ],
)
async def test_a_body_that_is_no_form_is_refused(
    database: Database, body: bytes, kind: str, statuses: set[int]
) -> None:
    await prepare(database)
    async with dashboard(database) as served, person(served, database) as admin:
        answer = await admin.post("/devices/+new", content=body, headers={"Content-Type": kind})
        assert answer.status_code in statuses
        assert "No devices yet" in text(await admin.get("/devices"))


async def test_the_second_of_two_editors_keeps_what_they_typed(database: Database) -> None:
    await prepare(database, NewDevice("d", name="One"))
    async with dashboard(database) as served, person(served, database) as admin:
        page = await admin.get("/devices/d/edit")
        version = html.unescape(re.findall(r'name="version" value="([^"]*)"', page.text)[0])
        first = await admin.post("/devices/d/edit", data={"name": "Two", "version": version})
        assert (first.status_code, first.headers["location"]) == (303, "/devices/d?done=edited")
        second = await admin.post("/devices/d/edit", data={"name": "Three", "version": version})
        assert second.status_code == 409
        assert 'value="Three"' in second.text
        assert "The device was changed by someone else" in text(second)
        for broken in ("yesterday", "2026-01-01T00:00:00"):
            assert (await admin.post("/devices/d/edit", data={"version": broken})).status_code == 422
        assert "Two" in text(await admin.get("/devices/d"))


async def test_operators_also_set_limits(database: Database) -> None:
    await prepare(database, NewDevice("d"))
    async with dashboard(database) as served, person(served, database, Role.OPERATOR) as operator:
        assert (await operator.get("/devices/d")).headers["location"] == "/devices/d?tenant=acme"
        assert 'name="rate"' in (await operator.get("/devices/d/edit?tenant=acme")).text
        answer = await operator.post("/devices/d/edit?tenant=acme", data={"rate": "2.5", "burst": "7"})
        assert answer.headers["location"] == "/devices/d?done=edited&tenant=acme"
        wrong = await operator.post("/devices/d/edit?tenant=acme", data={"burst": "0"})
        assert wrong.status_code == 422
    with psycopg.connect(database.conninfo()) as connection:
        assert connection.execute("SELECT rate, burst FROM device_registry").fetchall() == [(2.5, 7)]


@pytest.mark.parametrize(
    ("role", "seats", "said", "leads_to"),
    [
        (Role.ADMIN, 0, "There is no subscription yet. A device takes its seat from one: ask the operator", None),
        (Role.OPERATOR, 0, "There is no subscription yet.", "/tenants/acme/subscriptions/+new"),
        (Role.ADMIN, 1, "Every seat is taken. A device takes its seat from one: deactivate a device", "/subscriptions"),
    ],
)
async def test_the_form_says_what_to_do_while_no_seat_is_free(
    database: Database, role: Role, seats: int, said: str, leads_to: str | None
) -> None:
    async with ingest(database) as connection:
        await add_tenant(connection)
        if seats:
            await sell(connection, seats)
            await changes.create(connection, TENANT, NewDevice("d"), BY, grace=GRACE)
    async with dashboard(database) as served, person(served, database, role) as asking:
        page = await asking.get("/devices/+new?tenant=acme")
        assert said in text(page)
        assert (leads_to is None) or f'<a class="btn s" href="{leads_to}">' in page.text


@pytest.mark.parametrize(("grace_days", "offered"), [(2, False), (14, True)])
async def test_the_forms_offer_seats_of_a_subscription_only_within_the_configured_grace(
    database: Database, grace_days: int, offered: bool
) -> None:
    async with ingest(database) as connection:
        await add_tenant(connection, TENANT, "approve")
        now = datetime.now(UTC)
        for kind in (SubscriptionType.MAIN, SubscriptionType.ADDON):
            await sell(connection, 20, kind, now=now - timedelta(days=35), term=timedelta(days=30))
        await announce(connection, "waiting")
    async with (
        over(database, grace=timedelta(days=grace_days)) as served,
        person(served, database) as admin,
    ):
        pages = [
            await admin.get("/devices/+new"),
            await admin.get("/devices/waiting/approve"),
            await admin.post("/devices/+bulk", data={"device": "waiting", "step": "move"}),
        ]
    assert [page.status_code for page in pages] == [200] * 3
    assert ['<option value="SUB-' in page.text for page in pages] == [offered] * 3
