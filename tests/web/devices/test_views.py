"""The pages of devices over HTTP, as people with sessions see them."""

import csv
import html
import io
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import psycopg
import pytest

from appliance.broker.floods.record import FloodCause, Flooder
from appliance.broker.refusals import BrokerRefusal, RefusalCause
from appliance.devices.device import NewDevice
from appliance.devices.seats import changes
from appliance.people.role import Role
from appliance.people.sessions import Visit
from tests.support.pipeline import furnish, look, open_ingest, telemetry, until
from tests.support.postgres_server import Database
from tests.support.retention import retention
from tests.support.rollups import roll
from tests.support.tenants import BY, GRACE, TENANT, add_tenant, announce, check_seats, ingest, sell
from tests.support.web.accounts import client, signed_in
from tests.support.web.api_caller import dashboard
from tests.support.web.serving import Served, over, page_socket

NASTY = "<script>alert(1)</script> {{7*7}} \"' &"


async def prepare(database: Database, *devices: NewDevice, tenant: str = TENANT, strategy: str = "auto") -> None:
    async with ingest(database) as connection:
        await add_tenant(connection, tenant, strategy)
        await sell(connection, 20, tenant_id=tenant)
        for new in devices:
            await changes.create(connection, tenant, new, BY, grace=GRACE)


@asynccontextmanager
async def person(
    served: Served, database: Database, role: Role = Role.ADMIN, tenant: str = TENANT
) -> AsyncIterator[httpx.AsyncClient]:
    async with client(served.url, signed_in(database.conninfo(), role, tenant)) as asking:
        yield asking


def text(answer: httpx.Response) -> str:
    """What stands on a page, without markup."""
    return re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]*>", " ", answer.text)))


def execute(database: Database, query: str, *parameters: Any) -> None:
    with psycopg.connect(database.conninfo()) as connection:
        connection.execute(query.encode(), parameters)


async def test_an_empty_list_offers_the_first_device(database: Database) -> None:
    await prepare(database)
    async with dashboard(database) as served:
        async with person(served, database) as admin:
            assert "No devices yet" in text(page := await admin.get("/devices"))
            assert 'href="/devices/+new"' in page.text
        async with person(served, database, Role.VIEWER) as reader:
            page = await reader.get("/devices")
            assert "+new" not in page.text
            assert "+import" not in page.text


async def test_a_device_whose_readings_are_gone_has_its_pages_and_its_chart(database: Database) -> None:
    now = datetime.now(UTC)
    begin = now.replace(hour=12, minute=0, second=0, microsecond=0) - timedelta(days=5)
    await furnish(database)
    async with open_ingest(database) as stack:
        await stack.send(telemetry("pump", b'{"ts":%d,"t":21.5,"seq":1}' % begin.timestamp(), tenant=TENANT))
        await until(lambda: look(database, "SELECT 1 FROM telemetry_marks WHERE hour < %s", now - timedelta(days=1)))
    await roll(database)
    async with retention(database, now, keep_days=1) as keeper:
        await keeper.round()
    assert look(database, "SELECT count(*) FROM telemetry") == [(0,)]
    span = f"metric=t&from={begin - timedelta(days=1):%Y-%m-%dT%H:%MZ}&to={begin + timedelta(days=1):%Y-%m-%dT%H:%MZ}"
    async with dashboard(database) as served, person(served, database) as admin:
        pages = [await admin.get(path) for path in ("/", "/devices", "/devices/pump", "/devices/pump/messages")]
        series = await admin.get(f"/customer/devices/pump/telemetry?{span}")
    assert [page.status_code for page in pages] == [200] * 4
    assert "21.5" in text(pages[2]), "its latest value stays"
    assert [point["mean"] for point in series.json()["points"]] == [21.5]


async def test_the_list_finds_sorts_and_pages_and_keeps_all_in_the_address(database: Database) -> None:
    await prepare(database, *(NewDevice(f"d{n}", name=f"Name {n}", site_id="roof") for n in range(5)))
    async with dashboard(database) as served, person(served, database) as admin:
        page = await admin.get("/devices?q=name&site=roof&sort=-device&limit=2")
        assert re.findall(r'class="title" href="/devices/(d\d)"', page.text) == ["d4", "d3"]
        assert "2 of 5 devices" in text(page)
        onward = html.unescape(re.findall(r'rel="next" href="([^"]*)"', page.text)[0])
        page = await admin.get(onward)
        assert re.findall(r'class="title" href="/devices/(d\d)"', page.text) == ["d2", "d1"]
        assert 'value="name"' in page.text
        nothing = await admin.get("/devices?q=nobody")
        assert "No device matches" in text(nothing)


async def test_what_people_wrote_is_shown_as_they_wrote_it(database: Database) -> None:
    await prepare(database, NewDevice("d", name=NASTY, place=NASTY, tags=(NASTY,), site_id="roof"))
    execute(database, "UPDATE sites SET name = %s", NASTY)
    async with dashboard(database) as served, person(served, database) as admin:
        for path in ("/devices", "/devices/d", "/devices/d/edit", "/devices/d/revoke", "/devices/d/delete", "/sites"):
            page = await admin.get(path)
            assert page.status_code == 200, path
            assert "<script>alert" not in page.text, path
            assert "<script>alert(1)</script> {{7*7}}" in html.unescape(page.text), path


async def test_the_file_has_all_that_matches_and_no_formulas(database: Database) -> None:
    await prepare(database, *(NewDevice(f"d{n:04}", name="=cmd()") for n in range(5)), NewDevice("other"))
    async with dashboard(database) as served, person(served, database) as admin:
        answer = await admin.get("/devices?q=d0&format=csv&limit=2")
        assert answer.headers["content-type"].startswith("text/csv")
        assert answer.text.startswith("\N{ZERO WIDTH NO-BREAK SPACE}tenant_id,device_id,name")
        rows = list(csv.DictReader(io.StringIO(answer.text.lstrip("\N{ZERO WIDTH NO-BREAK SPACE}"))))
        assert [(row["device_id"], row["name"], row["presence"]) for row in rows] == [
            (f"d{n:04}", "'=cmd()", "NEW") for n in range(5)
        ]


async def test_those_that_wait_stand_on_top_and_are_let_in_with_one_press(database: Database) -> None:
    await prepare(database, NewDevice("a"), strategy="approve")
    async with ingest(database) as connection:
        await announce(connection, "z-new", "z-other")
    async with dashboard(database) as served, person(served, database) as admin:
        page = await admin.get("/devices")
        assert re.findall(r'class="title" href="/devices/([^"]*)"', page.text) == ["z-new", "z-other", "a"]
        assert 'formaction="/devices/z-new/approve"' in page.text
        answer = await admin.post("/devices/z-new/approve", data={"subscription_id": ""})
        assert (answer.status_code, answer.headers["location"]) == (303, "/devices/z-new?done=approved")
        assert "The device is approved." in text(await admin.get(answer.headers["location"]))
        assert (await admin.post("/devices/z-other/reject")).status_code == 303
        assert (await admin.post("/devices/z-new/approve")).status_code == 409
    check_seats(database)


async def test_an_open_claim_user_is_warned_of_until_it_is_closed(database: Database) -> None:
    await prepare(database)
    execute(
        database,
        "UPDATE tenants SET claim_mqtt_hash = 'x', claim_token_hash = sha256('x') WHERE tenant_id <> 'appliance'",
    )
    async with dashboard(database) as served, person(served, database) as admin:
        assert "The claim user of acme is open." in text(await admin.get("/devices"))
        assert (await admin.post("/devices/+close-claim")).status_code == 303
        page = text(await admin.get("/devices?done=claim"))
        assert "is open" not in page
        assert "The claim user is closed." in page


async def test_operators_are_warned_of_all_open_claim_users_at_once(database: Database) -> None:
    for number in range(5):
        await prepare(database, tenant=f"t{number}")
    execute(
        database,
        "UPDATE tenants SET claim_mqtt_hash = 'x', claim_token_hash = sha256('x') WHERE tenant_id <> 'appliance'",
    )
    async with dashboard(database) as served, person(served, database, Role.OPERATOR) as operator:
        page = text(await operator.get("/devices"))
        assert page.count("Anyone with its password") == 1
        assert "The claim users of t0, t1, t2 and 2 more are open." in page
        assert "The claim user of t3 is open." in text(await operator.get("/devices?tenant=t3"))


async def test_a_device_goes_through_its_life_and_what_is_lost_is_asked_for(database: Database) -> None:
    await prepare(database, NewDevice("d"))
    async with dashboard(database) as served, person(served, database) as admin:
        for step in ("deactivate", "reactivate"):
            assert (await admin.get(f"/devices/d/{step}")).status_code == 200
            assert (await admin.post(f"/devices/d/{step}")).status_code == 303
        assert (await admin.post("/devices/d/move", data={})).status_code == 422
        assert (await admin.post("/devices/d/move", data={"subscription_id": "SUB-none"})).status_code == 422
        asked = await admin.post("/devices/d/revoke", data={"typed": "D"})
        assert asked.status_code == 422
        assert "Type d exactly to confirm." in text(asked)
        assert (await admin.post("/devices/d/revoke", data={"typed": "d"})).status_code == 303
        assert "This device is revoked." in text(await admin.get("/devices/d"))
        assert (await admin.post("/devices/d/delete", data={"typed": "d"})).status_code == 422
        assert (await admin.post("/devices/d/delete", data={"history": "keep"})).status_code == 422
        gone = await admin.post("/devices/d/delete", data={"typed": "d", "history": "erase"})
        assert gone.headers["location"] == "/devices?done=deleted"
        assert (await admin.get("/devices/d")).status_code == 404
        assert (await admin.post("/devices/d/delete", data={"typed": "d", "history": "erase"})).status_code == 404
    check_seats(database)


async def test_a_new_password_takes_effect_when_it_is_switched_to(database: Database) -> None:
    await prepare(database, NewDevice("d"))
    async with dashboard(database) as served, person(served, database) as admin:
        assert "first credential of its own" in text(await admin.get("/devices/d/rotate"))
        assert (await admin.post("/devices/d/rotate", data={"when": "later"})).status_code == 201
        assert "A new password is ready." not in text(await admin.get("/devices/d"))
        rotated = await admin.post("/devices/d/rotate", data={"when": "at", "at": "2030-01-01T06:00"})
        assert "The old password still works." in text(rotated)
        until, after = re.findall(r'<pre class="code" id="line-(?:before|mqtt)"[^>]*>(.*?)</pre>', rotated.text)
        new = re.findall(r'id="secret-password"[^>]*>([A-Za-z0-9]{24})<', rotated.text)[0]
        assert "-P &#39;OLD_PASSWORD&#39; " in until
        assert f"-P &#39;{new}&#39; " in after
        assert "Over MQTT, from Tue 1 Jan 2030, 06:00:00 UTC on" in text(rotated)
        at_once = await admin.post("/devices/d/rotate", data={"when": "now"})
        assert "line-before" not in at_once.text
        assert (await admin.post("/devices/d/rotate", data={"when": "at", "at": "2030-01-01T06:00"})).is_success
        assert "It takes effect on Tue 1 Jan 2030, 06:00:00 UTC" in text(await admin.get("/devices/d"))
        for wrong in ({"when": "at", "at": ""}, {"when": "at", "at": "soon"}, {"when": "sometime"}):
            assert (await admin.post("/devices/d/rotate", data=wrong)).status_code == 422
        assert (await admin.post("/devices/d/switch")).headers["location"] == "/devices/d?done=switched"
        assert (await admin.post("/devices/d/switch")).status_code == 409


async def test_many_are_deactivated_after_a_question_and_each_is_answered(database: Database) -> None:
    await prepare(database, NewDevice("a"), NewDevice("b"))
    async with dashboard(database) as served, person(served, database) as admin:
        chosen = {"device": ["a", "b", "x"], "step": "deactivate"}
        asked = await admin.post("/devices/+bulk", data=chosen)
        assert "Deactivate 3 devices?" in text(asked)
        assert (await admin.post("/devices/+bulk", data=chosen | {"typed": "2"})).status_code == 422
        done = text(await admin.post("/devices/+bulk", data=chosen | {"typed": "3"}))
        assert "2 of 3 devices were changed." in done
        assert "There is no such device." in done
        back = text(await admin.post("/devices/+bulk", data={"device": ["a", "b"], "step": "reactivate"}))
        assert "2 of 2 devices" in back
        asked = await admin.post("/devices/+bulk", data={"device": ["a", "b"], "step": "move"})
        assert "Move 2 devices to another subscription?" in text(asked)
        seat = re.findall(r'<option value="(SUB-[^"]*)"', asked.text)[0]
        moved = await admin.post("/devices/+bulk", data={"device": "a", "step": "move", "subscription_id": seat})
        assert "1 of 1 device" in text(moved)
        for wrong in ({"step": "deactivate"}, {"step": "move"}, {"device": "a", "step": "explode"}):
            assert (await admin.post("/devices/+bulk", data=wrong)).status_code == 400
    check_seats(database)


BAD_QUERIES = [
    ("/devices", "limit=-1"),
    ("/devices", "limit=1000000000000"),
    ("/devices", "limit=NaN"),
    ("/devices", "limit=1;drop"),
    ("/devices", "sort=unknown"),
    ("/devices", "sort=--name"),
    ("/devices", "presence=LOUD"),
    ("/devices", "status=%00"),
    ("/devices", "site=%00"),
    ("/devices", "cursor=../../x"),
    ("/devices", "cursor=%ff%fe"),
    ("/devices", "format=exe"),
    ("/devices", "q=" + "x" * 500),
    ("/sites", "cursor=x"),
    ("/sites", "cursor=WyJhIiwiXHUwMDAwIl0"),
    ("/sites", "format=exe"),
    ("/metric-names", "cursor=e30"),
    ("/devices/d", "range=1000y"),
    ("/devices/d", "from=NaN"),
    ("/devices/d", "from=1000-01-01&to=3000-01-01"),
    ("/devices/d", "m=%00"),
    ("/devices/d/messages", "cursor=eyJyZWFkaW5nIjpbMSwyXX0"),
]


@pytest.mark.parametrize(("path", "query"), BAD_QUERIES)
async def test_a_bad_query_is_answered_with_bad_request(database: Database, path: str, query: str) -> None:
    await prepare(database, NewDevice("d"))
    insert_traffic(database)
    async with dashboard(database) as served, person(served, database) as admin:
        answer = await admin.get(f"{path}?{query}")
        assert answer.status_code == 400, text(answer)
        assert "Bad Request" in text(answer)


def insert_traffic(database: Database) -> None:
    """Insert readings and refusals of device d, with a wrong clock, nulls and a gap in its numbers."""
    now = datetime.now(UTC)
    with psycopg.connect(database.conninfo()) as connection:
        connection.execute("SELECT telemetry_ensure_partitions(%s, %s)", [(now - timedelta(days=1)).date(), now.date()])
        connection.execute(
            "INSERT INTO device_state (tenant_id, device_id, last_ts, last_seen_at, last_heard_at, ts_adjusted_at,"
            " null_metrics, unplaced, latest) VALUES ('acme', 'd', %(now)s, %(now)s, %(now)s, %(now)s, 17, 8,"
            """ '{"temperature": -11.84, "firmware": "1.2", "x<y": 1}')""",
            {"now": now},
        )
        for seq in (1, 2, 5):
            connection.execute(
                "INSERT INTO telemetry VALUES ('acme', 'd', 'telemetry', %s, %s, %s, false, false, %s, NULL, NULL,"
                " NULL, '{\"temperature\": -11.84}')",
                [now - timedelta(seconds=10 - seq), seq, now - timedelta(seconds=10 - seq), seq],
            )
        connection.execute(
            "INSERT INTO quarantine_events (ingested_at, topic, tenant_id, device_id, kind, reason, detail, payload)"
            " VALUES (%s, 't', 'acme', 'd', 'telemetry', 'INVALID_METRIC', '`humidity` is a list', %s)",
            [now, b'{"humidity": [1], "provision_token": "geheim", "n": "\x1b[31m<b>"}'],
        )
        for reason in ("SUBSCRIPTION_EXPIRED", "DEVICE_INACTIVE"):
            connection.execute(
                "INSERT INTO quarantine_events (ingested_at, topic, tenant_id, device_id, kind, reason, payload)"
                " VALUES (%s, 't', 'acme', 'd', 'telemetry', %s, '{}')",
                [now - timedelta(hours=1), reason],
            )
        connection.execute("INSERT INTO listening VALUES ('i', %s, %s)", [now - timedelta(days=1), now])


async def test_a_device_page_shows_how_the_device_is(database: Database) -> None:
    await prepare(database, NewDevice("d"))
    insert_traffic(database)
    async with dashboard(database) as served, person(served, database) as admin:
        page = await admin.get("/devices/d")
        shown = text(page)
        for expected in (
            "Online",
            "Temperature −11.8",  # noqa: RUF001 - a true minus sign
            "Its clock is wrong.",
            "17 ignored: the metric was null",
            "in 8 messages: latitude or longitude missing or impossible",
            "2 missing in 1 gap, among the last 3",
            "10 a second, 50 at once",
            "172,800 of 864,000",
            "3 in 24 h",
            "Invalid metric. humidity is a list",
            "it uses the tenant's claim user",
            "2 messages are held.",
        ):
            assert expected in shown, expected
        assert "geheim" not in page.text
        assert "<b>" not in page.text.replace("<b>In", "").split("device-messages")[1].split("</table>")[0]
        messages = text(await admin.get("/devices/d/messages"))
        assert messages.count("Accepted") >= 3
        assert "geheim" not in messages
        for query in ("cursor=x", "cursor=%00"):
            assert (await admin.get(f"/devices/d/messages?{query}")).status_code == 400
        for query in ("m=1x", "range=9y", "from=2026-02-30", "from=2026-01-02&to=2026-01-01"):
            assert (await admin.get(f"/devices/d?{query}")).status_code == 400, query


async def test_a_device_whose_client_id_another_client_uses_says_so_for_an_hour(database: Database) -> None:
    await prepare(database, NewDevice("d"))
    now = datetime.now(UTC).timestamp()
    told = BrokerRefusal(RefusalCause.CLIENT_ID, now - 3500, "192.0.2.7", "esp", "acme/device/d")

    async def shown(one: BrokerRefusal) -> str:
        async with (
            over(database, broker_refusals=lambda _tenant, _device: [one]) as served,
            person(served, database) as admin,
        ):
            return text(await admin.get("/devices/d"))

    page = await shown(told)
    assert "Two clients use one client id. A client of another tenant uses the client id esp , too" in page
    assert "Leave the client id empty, or use the user name" in page
    assert "It is shut out by the broker." in await shown(replace(told, shut_out=True))
    assert "Two clients use one client id." not in await shown(replace(told, at=now - 3700))


async def test_a_user_that_is_shut_out_of_the_broker_is_named_to_its_own_tenant(database: Database) -> None:
    await prepare(database, NewDevice("d"))
    now = datetime.now(UTC).timestamp()
    claim = Flooder("acme", FloodCause.RETAINED, "left <b>3,001</b> retained messages", now, now + 300, 1)
    other = replace(claim, user="globex")

    def flooders(tenant_id: str | None) -> list[Flooder]:
        return [one for one in (claim, other) if tenant_id in (None, one.tenant_id)]

    async with over(database, flooders=flooders) as served, person(served, database) as admin:
        page, device = await admin.get("/devices"), await admin.get("/devices/d")
    assert "The claim user acme is shut out of the broker until" in text(page)
    assert "It left &lt;b&gt;3,001&lt;/b&gt; retained messages." in page.text
    assert "globex" not in page.text
    assert "The claim user, as which it connects, left" in text(device)
    own = replace(claim, user="acme/device/d")
    async with over(database, flooders=lambda _tenant: [own]) as served, person(served, database) as admin:
        assert "The user acme/device/d is shut out of the broker" in text(await admin.get("/devices"))
        assert "shut out" not in text(await admin.get("/devices/d")), "it has no credential, so that is not its user"


async def test_readers_are_shown_no_buttons_and_get_no_forms(database: Database) -> None:
    await prepare(database, NewDevice("d"))
    async with dashboard(database) as served, person(served, database, Role.RESPONDER) as reader:
        for path in ("/devices", "/devices/d"):
            page = await reader.get(path)
            assert page.status_code == 200
            for nothing in ("rotate", "revoke", "+new", "+bulk", "deactivate", "/edit"):
                assert f'{nothing}"' not in page.text, (path, nothing)
        for path in ("/devices/+new", "/devices/d/edit", "/devices/d/revoke", "/devices/d/delete"):
            assert (await reader.get(path)).status_code == 403
            assert (await reader.post(path)).status_code == 403


async def test_another_tenants_device_is_as_if_it_were_not_there(database: Database) -> None:
    await prepare(database, NewDevice("d"))
    await prepare(database, tenant="rival")
    insert_traffic(database)
    async with dashboard(database) as served, person(served, database, tenant="rival") as rival:
        for part in ("", "/messages", "/edit", "/revoke", "/rotate", "/delete"):
            theirs, unknown = [await rival.get(f"/devices/{device}{part}?tenant=acme") for device in ("d", "none")]
            assert theirs.status_code == unknown.status_code == 404, part
            pages = [re.sub(r"device (d|none)\b", "", one.text) for one in (theirs, unknown)]
            assert pages[0] == pages[1], part
        for part in ("edit", "approve", "deactivate", "revoke", "rotate", "switch", "delete"):
            form = {"typed": "d", "history": "keep", "when": "now"}
            assert (await rival.post(f"/devices/d/{part}?tenant=acme", data=form)).status_code == 404, part


async def test_the_live_page_of_a_device_is_its_tenants_only(database: Database) -> None:
    await prepare(database, NewDevice("d"))
    await prepare(database, tenant="rival")
    insert_traffic(database)
    async with dashboard(database) as served:
        people = {tenant: signed_in(database.conninfo(), Role.VIEWER, tenant) for tenant in (TENANT, "rival")}
        headers = [("Origin", served.url), ("Cookie", people[TENANT].headers()["Cookie"])]
        async with page_socket(served, page="device/acme/d", headers=headers) as page:
            update = await page.get_message()
            assert 'id="device-state"' in update
            assert "Online" in update
        for which in ("acme/d", "acme/none", "acme/%00", "rival/d"):
            headers = [("Origin", served.url), ("Cookie", people["rival"].headers()["Cookie"])]
            viewer = await served.platform.identity.by_session(people["rival"].secret, Visit(None, None), touch=True)
            assert viewer is not None
            assert await served.app.live_pages.fragments(f"device/{which}", viewer) == [], which
