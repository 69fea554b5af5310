"""The System page: for operators, true, live by parts, and harmless whatever an error says."""

import re
from dataclasses import replace
from datetime import UTC, datetime

import pytest
import trio
from msgspec.structs import replace as changed

from appliance.broker.floods.record import FloodCause, Flooder
from appliance.broker.room import BrokerRoom
from appliance.broker.takeover import SharedClientId
from appliance.clock import SystemClock
from appliance.db import server
from appliance.db.collations import ChangedCollation
from appliance.db.migrations import shipped
from appliance.diagnostics.latency import Percentiles
from appliance.diagnostics.snapshot import BrokerTerms, Dependency, DiskRoom
from appliance.people.role import Role
from appliance.runtime.tree import Report
from appliance.watchdog.proof import Part
from appliance.watchdog.watchdog import EndToEnd, HeartbeatCall
from appliance.web.system.labels import promise
from tests.support.busy import within
from tests.support.pipeline import arrange
from tests.support.postgres_server import Database
from tests.support.routes import add_integration, add_route
from tests.support.web.accounts import client, signed_in
from tests.support.web.serving import over, page_socket
from tests.support.web.stand_ins import backed_up
from tests.support.web.system_page import system_page

TERMS = BrokerTerms(5, 200_000, 268_435_456, 4096, 262_144, 10_000, 14, 805_306_368)


async def test_it_shows_the_message_balance(database: Database) -> None:
    arrange(
        database,
        "INSERT INTO ingest_ledger (minute, instance, tenant_id, received, stored, refused, duplicate, cleared)"
        " VALUES (now(), 'a', 'acme', 3316281, 3309871, 5102, 1231, 77)",
    )
    async with system_page(database) as asking:
        html = (await asking.get("/system")).text
    for text in ("Message balance", "3,316,281", "3,309,871", "5,102", "1,231", "77 cleared", "Balanced"):
        assert text in html
    assert "Not balanced" not in html


async def test_it_says_that_text_sorts_otherwise_than_in_the_indexes(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def changed(_connection: object) -> list[ChangedCollation]:
        return [ChangedCollation(None, "2.36", "2.41", ())]

    async with system_page(database) as asking:
        assert "Order of text" not in (await asking.get("/system")).text
    monkeypatch.setattr(server, "changed", changed)
    async with system_page(database) as asking:
        html = (await asking.get("/system")).text
    assert "the collation of the database was version 2.36, and is 2.41" in html
    assert "appliance doctor --mend" in html


async def test_it_shows_client_ids_that_two_tenants_use_and_who_is_shut_out(database: Database) -> None:
    now = SystemClock().now()
    shared = [
        SharedClientId("<esp>", ("acme/device/a", "globex/device/b"), now - 60, 7, True, None),
        SharedClientId("acme/device/a", ("acme/device/a", "globex/device/c"), now - 90, 3, True, now + 60),
    ]
    async with system_page(database, shared_client_ids=lambda: shared) as asking:
        html = (await asking.get("/system")).text
        answer = (await asking.get("/operator/system")).json()
    for text in ("Client ids of two tenants", "&lt;esp&gt;", "acme/device/a", "globex/device/b", "globex/device/c"):
        assert text in html
    assert html.count("Shut out") == 1
    assert [one["client_id"] for one in answer["shared_client_ids"]] == ["<esp>", "acme/device/a"]
    async with system_page(database) as asking:
        assert "Client ids of two tenants" not in (await asking.get("/system")).text


async def test_it_shows_who_is_shut_out_of_the_broker_and_what_the_broker_takes(database: Database) -> None:
    now = SystemClock().now()
    flooder = Flooder("globex", FloodCause.RETAINED, "left <b>3,001</b> retained messages", now, now + 300, 2)
    room = BrokerRoom(24_000_000, 805_306_368, 31_000_000, 5_800_000, 52)
    broker = Dependency("Mosquitto", embedded=True, version="2.0.11", trouble=None, room=room)
    async with system_page(database, flooders=lambda: [flooder], dependencies=lambda: [broker]) as asking:
        html = (await asking.get("/system")).text
        answer = (await asking.get("/operator/system")).json()
    for text in ("Shut out of the broker", "globex", "It left &lt;b&gt;3,001&lt;/b&gt; retained messages"):
        assert text in html
    assert "24.0 MB of 805 MB allocated, 31.0 MB resident, 5.8 MB on disk, 52 retained messages" in html
    assert [one["user"] for one in answer["flooders"]] == ["globex"]
    assert answer["companions"][0]["room"]["retained"] == 52
    async with system_page(database) as asking:
        assert "Shut out of the broker" not in (await asking.get("/system")).text


async def test_it_shows_the_state_of_the_disk_what_is_free_and_the_reserve(database: Database) -> None:
    full = DiskRoom("full", 3_000_000, 260_000_000, 0, 33_554_432, 25_165_824, 83_886_080, "the disk is full: so it is")
    low = replace(full, state="low", reserve=33_554_432, cause=None)
    async with system_page(database, room=lambda: full) as asking:
        html = (await asking.get("/system")).text
        answer = (await asking.get("/operator/system")).json()
    for text in ("Full", "3.0 MB of 260 MB", "given back", "83.9 MB must be free", "messages wait in the broker"):
        assert text in html, text
    assert answer["room"]["state"] == "full"
    assert (answer["room"]["free"], answer["room"]["reserve"]) == (3_000_000, 0)
    async with system_page(database, room=lambda: low) as asking:
        html = (await asking.get("/system")).text
    for text in ("Low", "33.6 MB, kept back for a full disk"):
        assert text in html, text
    assert "given back" not in html


async def test_it_shows_every_service_and_the_tasks_below_it(database: Database) -> None:
    async with system_page(database, Report("passes on", kind="v7", waiting=3, room=4096), Report("rests")) as asking:
        html = (await asking.get("/system")).text
    for text in (
        "watches 2 services",
        "service-0",
        "v7",
        "passes on, 3 of 4,096 waiting",
        "service-1",
        "sleep_forever",
    ):
        assert text in html


async def test_only_problems_leaves_out_what_is_well(database: Database) -> None:
    async with system_page(database, Report("is well"), Report(trouble="the link is down")) as asking:
        html = (await asking.get("/system/problems")).text
    assert "the link is down" in html
    assert "Only problems, 1" in html
    assert "is well" not in html


async def test_what_an_error_says_is_text_and_nothing_else(database: Database) -> None:
    async with system_page(database, Report(trouble="<script>alert(1)</script>")) as asking:
        html = (await asking.get("/system")).text
    assert "<script>alert" not in html
    assert "&lt;script&gt;alert(1)" in html


async def test_a_service_that_does_not_answer_is_told(database: Database) -> None:
    away = Dependency("Postgres", embedded=True, version="15", trouble="is waiting", restarts=3, last_error="SIGKILL")
    async with system_page(database, dependencies=lambda: [away]) as asking:
        html = (await asking.get("/system")).text
    for text in ("0 of 1 answering", "is waiting", "last error: SIGKILL"):
        assert text in html


async def test_a_schema_that_is_not_the_programs_own_is_marked(database: Database) -> None:
    newest = shipped()[-1].version
    async with system_page(database) as asking:
        assert f"{newest}, matches this version" in (await asking.get("/system")).text
    async with system_page(database, schema=lambda: newest - 1) as asking:
        html = (await asking.get("/system")).text
    assert f"this version needs {newest}" in html
    assert "matches this version" not in html


async def test_it_shows_the_last_backup_the_next_one_and_what_went_wrong(database: Database) -> None:
    now = datetime.now(UTC).timestamp()
    async with system_page(database) as asking:
        html = (await asking.get("/system")).text
    assert "1.2 GB" in html
    assert "appliance-0123456789ab-20261130T023000Z.age" in html
    assert "The folder is on the disk of the data" in html
    assert "The last 7 verified ones are kept." in html
    assert "Back up now" in html
    running = changed(backed_up(now), running=True, next_at=None, on_data_disk=False)
    async with system_page(database, backups=lambda: running) as asking:
        html = (await asking.get("/system")).text
    assert "being made now" in html
    assert "Back up now" not in html
    assert "on the disk of the data" not in html
    failed = changed(backed_up(now), last_error="the disk of /mnt/backups is full", good_at=None, good_file=None)
    async with system_page(database, backups=lambda: failed) as asking:
        html = (await asking.get("/system")).text
    assert "the disk of /mnt/backups is full" in html
    assert "none yet" in html
    in_doubt = changed(backed_up(now), next_at=None, overdue=True)
    async with system_page(database, backups=lambda: in_doubt) as asking:
        html = (await asking.get("/system")).text
    assert "a day after the last: the clock is in doubt" in html
    assert "Overdue" in html
    async with system_page(database, backups=lambda: None) as asking:
        assert "no folder is configured" in (await asking.get("/system")).text


@pytest.mark.parametrize("role", [Role.ADMIN, Role.VIEWER])
async def test_it_is_for_operators(database: Database, role: Role) -> None:
    person = signed_in(database.conninfo(), role)
    async with over(database) as served, client(served.url, person) as asking:
        assert (await asking.get("/system")).status_code == 403
        assert "/system" not in (await asking.get("/")).text


async def test_its_parts_come_live_to_operators_only(database: Database) -> None:
    people = [signed_in(database.conninfo(), role) for role in (Role.OPERATOR, Role.ADMIN)]
    heard: list[str | bytes] = []
    async with over(database) as served:
        for person in people:
            headers = [("Origin", served.url), ("Cookie", person.headers()["Cookie"])]
            async with page_socket(served, page="system", headers=headers) as socket:
                with trio.fail_after(within(2)):
                    heard.append(await socket.get_message())
    assert heard[1] == "", "an administrator hears that there is nothing to tell"
    for part in (
        "sys-balance",
        "sys-kpis",
        "sys-tasks",
        "sys-services",
        "sys-disk",
        "sys-retention",
        "sys-versions",
        "live-state",
    ):
        assert f'id="{part}"' in str(heard[0])


def test_the_promise_says_what_can_be_lost_and_when_nothing_can() -> None:
    lossy = promise(TERMS, Percentiles(10, 0.02, 0.084, 0.19))
    assert "every 5 s" in lossy
    assert "84 ms" in lossy
    assert "are lost" in lossy
    assert "Nothing acknowledged is lost" in promise(replace(TERMS, saves_every=None), None)
    assert "is external" in promise(None, None)


@pytest.mark.parametrize(
    ("proven", "texts"),
    [
        (
            EndToEnd(24.0, True, (), 60.0, heartbeat=True, called=HeartbeatCall(12.0, True, None)),
            ("Last proven end to end: 24 s ago", "The heartbeat URL was called 12 s ago, and is called every 1 min."),
        ),
        (
            EndToEnd(90.0, False, (Part.COMMIT, Part.OUTBOX), 60.0, heartbeat=False, called=None),
            ("Last proven end to end: 1 min 30 s ago", "Missing: Commit, Outbox", "No heartbeat URL is set"),
        ),
        (
            EndToEnd(None, None, (), 60.0, heartbeat=True, called=None),
            ("Not proven end to end yet", "is called as soon as there is a proof"),
        ),
        (
            EndToEnd(None, False, (Part.BROKER,), 60.0, heartbeat=True, called=HeartbeatCall(5.0, False, "timeout")),
            ("Not proven end to end since the start", "Missing: Broker", "was not reached 5 s ago: timeout"),
        ),
    ],
)
async def test_it_says_when_a_message_was_last_proven_to_pass(
    database: Database, proven: EndToEnd, texts: tuple[str, ...]
) -> None:
    async with system_page(database, end_to_end=lambda: proven) as asking:
        html = (await asking.get("/system")).text
        told = (await asking.get("/operator/system")).json()["end_to_end"]
    for text in texts:
        assert text in html
    assert told["missing"] == list(proven.missing)
    assert told["proven_seconds"] == proven.proven_seconds


async def test_it_leads_to_the_appliances_own_integrations_and_routes_which_operators_edit_there(
    database: Database,
) -> None:
    add_integration(database, "rival", name="Of a customer")
    async with system_page(database) as asking:
        html = (await asking.get("/system")).text
        addresses = re.findall(r'href="(/(?:integrations|routes)\?tenant=appliance)"', html)
        assert sorted(addresses) == ["/integrations?tenant=appliance", "/routes?tenant=appliance"]
        for address in addresses:
            answer = await asking.get(address)
            assert answer.status_code == 200
            assert "Of a customer" not in answer.text
            path, _, query = address.partition("?")
            assert f"{path}/+new?{query}" in answer.text.replace("&amp;", "&"), "a way to make the first one"
            assert (await asking.get(f"{path}/+new?{query}")).status_code == 200


async def test_it_says_whether_anybody_is_told_of_the_appliances_alerts(database: Database) -> None:
    async with system_page(database) as asking:
        assert "Nobody is told of alerts of this appliance" in (await asking.get("/system")).text
    add_route(database, add_integration(database, "appliance"), "appliance")
    async with system_page(database) as asking:
        assert "Alerts of this appliance are told along 1 route." in (await asking.get("/system")).text
