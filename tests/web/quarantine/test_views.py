"""The Quarantine page: what it shows, to whom, what its questions say, and what its forms do."""

import csv
import io
import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from html import unescape
from typing import Any

import httpx
import pytest

from appliance.broker.client_ids import ClientIds
from appliance.broker.refusals import BrokerRefusal, RefusalCause
from appliance.broker.shut_out import ShutOut
from appliance.broker.takeover import Party, Takeover
from appliance.clock import SystemClock
from appliance.metrics import Metrics
from appliance.people.role import Role
from appliance.web.quarantine.actions import MAX_NEWER
from tests.support.pipeline import arrange, look
from tests.support.postgres_server import Database
from tests.support.web.accounts import TENANT, Person, client, signed_in
from tests.support.web.serving import Served, over
from tests.support.web.stand_ins import OPERATOR
from tests.web.quarantine.test_api import MESSAGES, NOBODYS, RIVALS, A, B

PAGE = "/quarantine"


@asynccontextmanager
async def viewing(
    database: Database, role: Role = Role.ADMIN, tenant: str = TENANT, **given: Any
) -> AsyncIterator[httpx.AsyncClient]:
    """A person who views four messages: two of acme, one of its rival, one of no tenant."""
    arrange(database, *MESSAGES)
    person = signed_in(database.conninfo(), role, tenant)
    async with over(database, **given) as served, client(served.url, person) as asking:
        asking.headers["X-Person"] = person.email
        yield asking


def listed(html: str) -> list[int]:
    """The messages of the list, as their links say."""
    return [int(number) for number in re.findall(r'class="title" href="/quarantine/(\d+)"', html)]


async def test_customers_see_their_own_and_operators_all(database: Database) -> None:
    async with viewing(database, Role.VIEWER) as viewer:
        html = (await viewer.get(PAGE)).text
        assert listed(html) == [B, A]
        assert "rival" not in html
        assert "Replay…" not in html, "who may not decide is not asked to"


async def test_operators_see_all_and_choose_a_tenant_or_none(database: Database) -> None:
    async with viewing(database, Role.OPERATOR) as operator:
        assert listed((await operator.get(PAGE)).text) == [NOBODYS, RIVALS, B, A]
        assert listed((await operator.get(f"{PAGE}?tenant=rival")).text) == [RIVALS]
        nobodys = (await operator.get(f"{PAGE}?unknown_tenant=true")).text
        assert listed(nobodys) == [NOBODYS]
        assert nobodys.count('name="unknown_tenant"') == 1, "the box alone says it, so that it can be unchecked"


async def test_an_empty_list_says_whether_nothing_is_held_or_nothing_matches(database: Database) -> None:
    async with viewing(database, tenant="idle") as admin:
        nothing, matching = (await admin.get(PAGE)).text, (await admin.get(f"{PAGE}?device=d")).text
    assert ("No messages are held" in nothing, "Clear the filter" in nothing) == (True, False)
    assert ("No message matches" in matching, "Clear the filter" in matching) == (True, True)


async def test_only_what_is_kept_for_replay_is_called_held(database: Database) -> None:
    async with viewing(database) as admin:
        arrange(
            database,
            "INSERT INTO quarantine_events (ingested_at, topic, tenant_id, device_id, reason, payload)"
            " SELECT now(), 't', 'acme', 'd', r, '{}' FROM unnest(ARRAY['TENANT_SUSPENDED', 'DEVICE_INACTIVE']) AS r",
        )
        states = {}
        for reason in ("TENANT_SUSPENDED", "DEVICE_INACTIVE"):
            html = (await admin.get(f"{PAGE}?reason={reason}&device=d")).text
            states[reason] = re.findall(r'class="m2r">(\w+)</td>', html)
            message = (await admin.get(f"{PAGE}/{listed(html)[0]}")).text
            assert f"<dt>Status</dt><dd>{states[reason][0]}</dd>" in message
    assert states == {"TENANT_SUSPENDED": ["Sample"], "DEVICE_INACTIVE": ["Held"]}


async def test_causes_show_the_exact_count_beside_the_rows(database: Database) -> None:
    async with viewing(database) as admin:
        html = re.sub(r"\s+", " ", (await admin.get(PAGE)).text)
    assert re.search(r"Not JSON</a>\s*</td>\s*<td[^>]*>40</td>", html), "40 were refused, of which one row is kept"
    assert "40 messages, at most 40 in one step" in html


async def test_an_invalid_filter_is_shown_and_the_list_stays(database: Database) -> None:
    async with viewing(database) as admin:
        for query in ("reason=NONE", "span=2h", "device=%00", "since=soon"):
            answered = await admin.get(f"{PAGE}?{query}")
            assert (answered.status_code, listed(answered.text)) == (400, [B, A]), query
            assert "The filter cannot be used." in answered.text


async def test_a_list_gets_its_own_news_and_counts_live(database: Database) -> None:
    arrange(database, *MESSAGES)
    people = {role: signed_in(database.conninfo(), role) for role in (Role.ADMIN, Role.OPERATOR)}
    expected = {
        (Role.ADMIN, ""): "2",
        (Role.ADMIN, "reason=INVALID_JSON"): "2",
        (Role.ADMIN, "reason=INVALID_METRIC&status="): "0",
        (Role.ADMIN, "tenant=rival&unknown_tenant=true"): "2",
        (Role.ADMIN, "status=DISMISSED"): "0",
        (Role.ADMIN, "device=new&since=1h"): "2",
        (Role.OPERATOR, ""): "4",
        (Role.OPERATOR, "tenant=rival"): "1",
        (Role.OPERATOR, "unknown_tenant=true"): "1",
    }
    async with over(database) as served:
        pages = {}
        for role, query in expected:
            async with client(served.url, people[role]) as http:
                (name,) = re.findall(r'<main [^>]*data-page="([^"]+)"', (await http.get(f"{PAGE}?{query}")).text)
            pages[role, query] = unescape(name)
        arrange(
            database,
            "INSERT INTO quarantine_events (ingested_at, topic, tenant_id, device_id, reason, payload)"
            " SELECT now(), 't', tenant, 'new', 'INVALID_JSON', ''"
            " FROM unnest(ARRAY['acme', 'acme', 'rival', NULL]) AS tenant",
        )
        for (role, query), name in pages.items():
            parts = await live_parts(served, name, people[role])
            assert re.findall(r'<span class="num">(\d+)', parts["news"]) == [expected[role, query]], (role, query)
            assert "live-state" in parts
        counts = (await live_parts(served, "quarantine/span=1h", people[Role.ADMIN]))["causes"]
        assert re.search(r"Not JSON</a>.*?>40</td>.*>3</td>", counts.replace("\n", "")), "40 refused, 3 rows held"
        await a_flood_hides_nothing(database, served, people[Role.ADMIN])
        later = await live_parts(served, "quarantine/cursor=x", people[Role.ADMIN])
        assert "news" not in later, "new messages would not stand on a later page"
        for wrong in ("reason=NONE", "device=%2E%2E", "since=soon", "after=x", "tenant=a+b", "&".join(["q=1"] * 101)):
            assert await live_parts(served, f"quarantine/{wrong}", people[Role.OPERATOR]) == {}, wrong


async def a_flood_hides_nothing(database: Database, served: Served, person: Person) -> None:
    """Insert more messages than a live list examines, none of which match: it says that some may."""
    [(newest,)] = look(database, "SELECT max(id) FROM quarantine_events")
    arrange(
        database,
        "INSERT INTO quarantine_events (ingested_at, topic, tenant_id, device_id, reason, payload)"
        f" SELECT now(), 't', 'acme', 'loud', 'INVALID_JSON', '' FROM generate_series(1, {MAX_NEWER})",
    )
    news = (await live_parts(served, f"quarantine/device=quiet&after={newest}", person))["news"]
    assert " hidden" not in news
    assert "0 and more new" in re.sub(r"<[^>]*>", "", news)


async def live_parts(served: Served, name: str, person: Person) -> dict[str, str]:
    """The live parts of a page for somebody, by their ids."""
    viewer = replace(OPERATOR, role=person.role, tenant_id=person.tenant_id)
    return {part.element_id: part.html for part in await served.app.live_pages.fragments(name, viewer)}


async def test_pages_follow_one_another_and_leave_nothing_out(database: Database) -> None:
    arrange(
        database,
        "INSERT INTO tenants (created_at, updated_at, tenant_id) VALUES (now(), now(), 'acme')",
        "INSERT INTO quarantine_events (ingested_at, topic, tenant_id, device_id, reason, payload)"
        " SELECT now(), 't', 'acme', 'd', 'DEVICE_INACTIVE', '{}' FROM generate_series(1, 120)",
    )
    person = signed_in(database.conninfo(), Role.VIEWER)
    async with over(database) as served, client(served.url, person) as asking:
        found, where = [], f"{PAGE}?device=d"
        while where:
            html = (await asking.get(where)).text
            found += listed(html)
            after = re.search(r'rel="next" href="([^"]+)"', html)
            where = "" if after is None else after[1].replace("&amp;", "&")
            assert not where or "device=d" in where
    assert found == list(range(120, 0, -1))


async def test_the_csv_is_the_filtered_list_with_payloads_and_no_formula_and_no_token(database: Database) -> None:
    async with viewing(database) as admin:
        arrange(database, "UPDATE quarantine_events SET detail = '=1+1' WHERE id = 2")
        answered = await admin.get(f"{PAGE}?format=csv")
    assert answered.text.startswith("\ufeff")
    rows = list(csv.DictReader(io.StringIO(answered.text.removeprefix("\ufeff"))))
    assert [int(row["id"]) for row in rows] == [B, A]
    assert (rows[0]["detail"], rows[0]["payload"]) == ("'=1+1", "0xff00")
    assert "s3cr3t" not in answered.text


async def test_a_message_shows_what_was_found_and_marks_the_place(database: Database) -> None:
    async with viewing(database) as admin:
        html = (await admin.get(f"{PAGE}/{B}")).text
        assert "at byte 0" in html
        assert "<mark>ff</mark>" in html
        html = (await admin.get(f"{PAGE}/{A}")).text
        assert "s3cr3t" not in html
        download = await admin.get(f"{PAGE}/{A}/payload")
    assert download.headers["content-type"] == "application/octet-stream"
    assert download.content == b'{"t": 1, "provision_token": "******"}'


async def test_what_a_device_sent_is_shown_as_text_only(database: Database) -> None:
    async with viewing(database) as admin:
        arrange(
            database, "UPDATE quarantine_events SET payload = '<script>alert(1)</script>', detail = '<b>' WHERE id = 1"
        )
        for path in (PAGE, f"{PAGE}/{A}"):
            html = (await admin.get(path)).text
            assert "<script>alert" not in html
            assert "<b>" not in html.replace("<b>Not saved", "")
            assert "&lt;script&gt;alert(1)" in html


async def test_messages_of_others_do_not_exist(database: Database) -> None:
    async with viewing(database) as admin:
        for other in (RIVALS, NOBODYS, 999, 2**63, 10**40):
            for path in (
                f"/{other}",
                f"/{other}/payload",
                f"/replay?id={other}",
                f"/dismiss?id={other}",
                f"/replays/{other}",
            ):
                assert (await admin.get(f"{PAGE}{path}")).status_code in {400, 404}, path
            for path in (f"/replay?id={other}", f"/dismiss?id={other}", f"/replays/{other}/cancel"):
                assert (await admin.post(f"{PAGE}{path}")).status_code in {400, 404}, path
    assert look(database, "SELECT count(*) FROM quarantine_events WHERE status <> 'HELD'") == [(0,)]


@pytest.mark.parametrize("role", [Role.VIEWER, Role.RESPONDER])
async def test_only_administrators_are_asked_and_decide(database: Database, role: Role) -> None:
    async with viewing(database, role) as asking:
        for path in ("/replay", "/dismiss"):
            assert (await asking.get(f"{PAGE}{path}?id={A}")).status_code == 403
            assert (await asking.post(f"{PAGE}{path}?id={A}")).status_code == 403


async def test_a_dismissal_is_asked_twice_audited_and_leads_back_to_the_filter(database: Database) -> None:
    async with viewing(database) as admin:
        question = (await admin.get(f"{PAGE}/dismiss?id={A}&device=a")).text
        assert "Dismiss 1 message" in question
        assert look(database, "SELECT count(*) FROM quarantine_events WHERE status = 'HELD'") == [(4,)], "only asked"
        answered = await admin.post(f"{PAGE}/dismiss?id={A}&device=a")
        assert (answered.status_code, answered.headers["location"]) == (303, f"{PAGE}?device=a&done=dismissed")
        assert "Dismissed." in (await admin.get(answered.headers["location"])).text
        who = admin.headers["X-Person"]
        assert (await admin.post(f"{PAGE}/dismiss?id={A}")).status_code == 409
    assert look(database, "SELECT actor, action FROM audit_log WHERE tenant_id = 'acme' ORDER BY id") == [
        (who, "quarantine.dismiss")
    ]


async def test_many_are_dismissed_only_when_their_number_is_typed(database: Database) -> None:
    arrange(
        database,
        "INSERT INTO tenants (created_at, updated_at, tenant_id) VALUES (now(), now(), 'acme')",
        "INSERT INTO quarantine_events (ingested_at, topic, tenant_id, device_id, reason, payload)"
        " SELECT now(), 't', 'acme', 'd', 'INVALID_JSON', '{}' FROM generate_series(1, 60)",
    )
    person = signed_in(database.conninfo())
    address = f"{PAGE}/dismiss?reason=INVALID_JSON&tenant=acme"
    async with over(database) as served, client(served.url, person) as operator:
        assert "to confirm" in (await operator.get(address)).text
        for typed in ("", "59", "yes"):
            answered = await operator.post(address, data={"typed": typed})
            assert answered.status_code == 422
        assert look(database, "SELECT count(*) FROM quarantine_events WHERE status = 'HELD'") == [(60,)]
        assert (await operator.post(address, data={"typed": "60"})).status_code == 303
    assert look(database, "SELECT count(*) FROM quarantine_events WHERE status = 'DISMISSED'") == [(60,)]


async def test_an_operators_choice_across_tenants_is_carried_out_and_audited_tenant_by_tenant(
    database: Database,
) -> None:
    async with viewing(database, Role.OPERATOR) as operator:
        question = (await operator.get(f"{PAGE}/dismiss?id={A}&id={RIVALS}&id={NOBODYS}")).text
        assert "of acme and rival and no known tenant" in question
        assert (await operator.post(f"{PAGE}/dismiss?id={A}&id={RIVALS}&id={NOBODYS}")).status_code == 303
    audited = look(
        database, "SELECT tenant_id FROM audit_log WHERE action = 'quarantine.dismiss' ORDER BY 1 NULLS LAST"
    )
    assert audited == [("acme",), ("rival",), (None,)]


async def test_all_that_match_always_belong_to_one_tenant(database: Database) -> None:
    async with viewing(database, Role.OPERATOR) as operator:
        assert "Choose a tenant" in (await operator.get(f"{PAGE}/replay?reason=DEVICE_INACTIVE")).text
        assert (await operator.get(f"{PAGE}/replay?reason=DEVICE_INACTIVE&tenant=acme")).status_code == 200


async def test_a_replay_shows_a_preview_first_and_then_its_progress(database: Database) -> None:
    async with viewing(database) as admin:
        question = re.sub(r"\s+", " ", (await admin.get(f"{PAGE}/replay?id={A}")).text)
        assert "Replay 1 message" in question
        assert "None of them can be stored yet." in question
        answered = await admin.post(f"{PAGE}/replay?id={A}")
        assert answered.status_code == 303
        where = answered.headers["location"]
        shown = (await admin.get(where)).text
        assert "Queued" in shown
        assert "Cancel the replay" in shown
        assert "Replay 1" in (await admin.get(f"{PAGE}/replays")).text
        assert "continues when you leave" in (await admin.get(PAGE)).text
        assert (await admin.post(f"{where}/cancel")).headers["location"] == where
        assert "Cancelled" in (await admin.get(where)).text


async def test_broker_refusals_are_grouped_by_cause_with_what_to_fix(database: Database) -> None:
    seen = [
        BrokerRefusal(RefusalCause.TOPIC, time.time(), "10.0.0.7", "c1", "acme/device/a", "tenants/acme/a", 412),
        BrokerRefusal(RefusalCause.TOPIC, time.time(), "10.0.0.8", "c2", "rival/device/r", "elsewhere", 1),
        BrokerRefusal(RefusalCause.SIGN_IN, time.time(), "10.0.0.9"),
    ]

    def refused(tenant: str | None, device: str | None) -> list[BrokerRefusal]:
        return [one for one in seen if tenant in (None, one.tenant_id) and device in (None, one.device_id)]

    async with viewing(database, broker_refusals=refused) as admin:
        html = (await admin.get(f"{PAGE}/door")).text
        text = re.sub(r"<[^>]*>", "", html)
        assert "publishes to tenants/acme/a, should be tenant/acme/device/a/telemetry" in text
        assert "412 times" in html
        assert "10.0.0.8" not in html
        assert "10.0.0.9" not in html


async def test_two_clients_with_one_client_id_are_told_without_the_other_tenant(database: Database) -> None:
    taken = Takeover("esp", Party("acme/device/a", "192.0.2.7"), Party("rival/device/r", "198.51.100.1"))
    clock = SystemClock()
    seen = ClientIds(clock, Metrics(), ShutOut(clock)).note(taken)

    def refused(tenant: str | None, device: str | None) -> list[BrokerRefusal]:
        return [one for one in seen if tenant in (None, one.tenant_id) and device in (None, one.device_id)]

    async with viewing(database, broker_refusals=refused) as admin:
        html = (await admin.get(f"{PAGE}/door")).text
        (told,) = (await admin.get("/customer/quarantine/door")).json()
    assert "a client of another tenant uses the client id esp, too" in re.sub(r"<[^>]*>", "", html)
    assert (told["cause"], told["username"], told["address"]) == ("client_id", "acme/device/a", "192.0.2.7")
    for secret in ("rival", "198.51.100.1"):
        assert secret not in html
        assert secret not in str(told)


async def test_a_form_of_another_site_decides_nothing(database: Database) -> None:
    async with viewing(database) as admin:
        for path in ("/replay", "/dismiss"):
            answered = await admin.post(f"{PAGE}{path}?id={A}", headers={"X-CSRF-Token": "guessed"})
            assert answered.status_code == 403
    assert look(database, "SELECT count(*) FROM quarantine_replays") == [(0,)]
