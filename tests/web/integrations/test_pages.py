"""The pages of integrations, as a browser without script uses them."""

import html
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any
from uuid import UUID

import httpx
import pytest

from appliance.delivery.senders.table import SENDERS
from appliance.people.role import Role
from tests.delivery.senders.network import network
from tests.support.http_sink import answers, http_sink
from tests.support.pipeline import TENANT, arrange, look
from tests.support.postgres_server import Database
from tests.support.routes import add_integration, add_route
from tests.support.web.accounts import client, signed_in
from tests.support.web.api_caller import dashboard

HOOK = {"type": "webhook", "name": "Ops desk", "config.url": "https://hooks.example/alerts", "enabled": "on"}
MARKED = "marked-5f2d-never-to-be-seen"
OUTSIDE = network(names={"hooks.example": "93.184.215.14"})


@pytest.fixture
def acme(database: Database) -> Database:
    """A tenant without integrations."""
    arrange(database, "INSERT INTO tenants (created_at, updated_at, tenant_id) VALUES (now(), now(), 'acme')")
    return database


@asynccontextmanager
async def browsing(database: Database, role: Role = Role.ADMIN, **options: Any) -> AsyncIterator[httpx.AsyncClient]:
    """A dashboard, and somebody signed in at it."""
    person = signed_in(database.conninfo(), role, TENANT)
    async with dashboard(database, **options) as served, client(served.url, person) as browser:
        yield browser


def words(page: httpx.Response) -> str:
    """Return the words of the page, one blank between them."""
    inner = page.text.partition('id="main"')[2]
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", inner)).split())


def filled(page: httpx.Response, name: str) -> str | None:
    """Return what a control of the form is filled with; None: there is none."""
    tag = re.search(rf'<input[^>]* name="{re.escape(name)}"[^>]*>', page.text)
    if tag is not None:
        value = re.search(r' value="([^"]*)"', tag[0])
        return html.unescape(value[1]) if value else ""
    area = re.search(rf'<textarea[^>]* name="{re.escape(name)}"[^>]*>([^<]*)<', page.text)
    return html.unescape(area[1]) if area else None


async def the_one(browser: httpx.AsyncClient) -> str:
    """Return the address of the only integration."""
    found = re.search(r'href="(/integrations/[0-9a-f-]{36})"', (await browser.get("/integrations")).text)
    assert found
    return found[1]


async def test_a_name_that_cannot_be_resolved_is_saved_with_a_warning(acme: Database) -> None:
    async with browsing(acme, network=OUTSIDE) as browser:
        typed = {**HOOK, "config.url": "https://hoks.example/alerts", "do": "save"}
        page = await browser.post("/integrations/+new", data=typed)
        assert "Nobody can be told yet." in words(page)
        assert "hoks.example" in words(page)
        where = await the_one(browser)
        version = filled(await browser.get(where), "version") or ""
        mended = await browser.post(where, data={**HOOK, "version": version, "do": "save"})
        assert mended.status_code == 303


async def test_without_integrations_the_page_leads_to_the_first_one(acme: Database) -> None:
    async with browsing(acme) as browser:
        page = await browser.get("/integrations")
        assert "No integrations yet" in page.text
        assert 'href="/integrations/+new"' in page.text
    async with browsing(acme, Role.VIEWER) as viewer:
        assert 'href="/integrations/+new"' not in (await viewer.get("/integrations")).text


@pytest.mark.parametrize("kind", SENDERS)
async def test_the_form_of_each_type_is_made_of_its_fields(kind: str, acme: Database) -> None:
    async with browsing(acme) as browser:
        page = await browser.get(f"/integrations/+new?type={kind}")
        for field in SENDERS[kind].fields:
            assert f'name="{"secrets" if field.secret else "config"}.{field.name}"' in page.text
            assert html.escape(field.label, quote=False) in page.text
        again = await browser.post("/integrations/+new", data={"type": kind, "name": "Kept", "do": "redraw"})
        assert (again.status_code, filled(again, "name")) == (200, "Kept")
        assert (await browser.get("/integrations/+new?type=fax")).status_code == 400


async def test_a_signing_secret_is_shown_once_and_never_again(acme: Database) -> None:
    async with browsing(acme) as browser:
        made = await browser.post("/integrations/+new", data=HOOK | {"secrets.authorization": MARKED})
        assert made.status_code == 200
        [secret] = set(re.findall(r"whsec_[A-Za-z0-9+/=]+", made.text))
        where = await the_one(browser)
        page = await browser.get(where)
        for text in (page.text, (await browser.get("/integrations")).text, (await browser.get("/audit")).text):
            assert secret not in text
            assert MARKED not in text
        assert filled(page, "config.url") == HOOK["config.url"]
        assert filled(page, "secrets.authorization") == filled(page, "secrets.signing_secret") == ""
        assert words(page).count("never shown again") == 3


async def test_an_empty_secret_is_kept_and_a_tick_removes_it_or_makes_it_anew(acme: Database) -> None:
    async with browsing(acme, network=OUTSIDE) as browser:
        made = await browser.post("/integrations/+new", data=HOOK | {"secrets.authorization": MARKED})
        where = await the_one(browser)
        before = look(acme, "SELECT secrets FROM integrations")
        version = filled(await browser.get(where), "version") or ""
        edited = HOOK | {"name": "Desk", "config.headers": "X-Where: here\r\nX-Also: there", "version": version}
        answer = await browser.post(where, data=edited)
        assert (answer.status_code, answer.headers["location"]) == (303, "/integrations?done=saved")
        assert look(acme, "SELECT secrets FROM integrations") == before
        [(name, config)] = look(acme, "SELECT name, config FROM integrations")
        assert (name, config["headers"]) == ("Desk", ["X-Where: here", "X-Also: there"])
        version = filled(await browser.get(where), "version") or ""
        removed = {"version": version, "remove": ["authorization", "signing_secret"]}
        answer = await browser.post(where, data=HOOK | removed)
        [secret] = set(re.findall(r"whsec_[A-Za-z0-9+/=]+", answer.text))
        assert secret not in made.text, "it is another one"
        assert look(acme, "SELECT array(SELECT jsonb_object_keys(secrets)) FROM integrations") == [
            (["signing_secret"],)
        ]


async def test_a_refused_address_shows_the_lines_that_would_allow_it(acme: Database) -> None:
    async with browsing(acme, network=network()) as browser:
        typed = HOOK | {"config.url": "http://10.20.0.31:8088/alerts", "secrets.authorization": MARKED}
        answer = await browser.post("/integrations/+new", data=typed)
        assert answer.status_code == 422
        assert '<a href="#f-url">Address</a>' in answer.text
        assert re.search(r'id="f-url"[^>]* aria-invalid="true"', answer.text)
        assert "10.20.0.31 is a private address." in words(answer)
        lines = re.search(r'<code class="code" id="([^"]+)">([^<]+)</code>', answer.text)
        assert lines
        assert html.unescape(lines[2]) == '[delivery]\nallow_networks = ["10.20.0.31/32"]'
        assert f'data-copy="{lines[1]}"' in answer.text
        assert '"10.20.0.0/24"' in html.unescape(answer.text)
        assert filled(answer, "config.url") == typed["config.url"]
        assert MARKED not in answer.text
        assert "Secrets have to be entered again." in answer.text
        assert look(acme, "SELECT count(*) FROM integrations") == [(0,)]


@pytest.mark.parametrize(
    ("typed", "field", "text"),
    [
        ({"name": ""}, "name", "A name has"),
        ({"config.url": ""}, "url", "Address is missing."),
        ({"concurrency": "two"}, "concurrency", "Write a whole number."),
        ({"concurrency": "99"}, "concurrency", "from 1 to 16"),
        ({"secrets.signing_secret": "short"}, "signing_secret", "whsec_"),
        ({"config.headers": "nonsense"}, "headers", "is not a header"),
    ],
)
async def test_a_fault_stands_at_its_field(typed: dict[str, str], field: str, text: str, acme: Database) -> None:
    async with browsing(acme) as browser:
        answer = await browser.post("/integrations/+new", data=HOOK | typed)
        assert answer.status_code == 422
        assert f'href="#f-{field}"' in answer.text
        assert re.search(rf'id="f-{field}"[^>]* aria-invalid="true"', answer.text)
        found = re.search(rf'id="f-{field}-e">.*?</svg>(.*?)</p>', answer.text)
        assert found
        assert text in html.unescape(found[1])
        assert "`" not in found[1]


async def test_a_sample_shows_answer_times_address_and_the_masked_request(acme: Database) -> None:
    late = format_datetime(datetime.now(UTC) + timedelta(minutes=9), usegmt=True)
    async with (
        http_sink(answers(503, f"Date: {late}", body=b"maintenance until 15:00")) as sink,
        browsing(acme) as browser,
    ):
        typed = HOOK | {"config.url": sink.url(), "secrets.authorization": MARKED, "do": "test"}
        page = await browser.post("/integrations/+new", data=typed)
        assert page.status_code == 200, words(page)
        seen = words(page)
        assert re.search(r"503 Service Unavailable after [\d.]+ m?s\.", seen)
        assert "The receiver answered but did not accept the notice." in seen
        assert "Address 127.0.0.1" in seen
        assert re.search(r"Name, connect [\d.]+, [\d.]+ ms", seen)
        assert "Clock of receiver 9 min ahead" in seen
        assert "The clock of this appliance is 9 min behind" in seen
        assert "POST /hook HTTP/1.1" in seen
        assert "maintenance until 15:00" in seen
        assert MARKED not in page.text
        assert sink.requests[0].header("authorization") == MARKED
        assert "whsec_" in page.text, "the secret that was just made is on the page too"
        assert look(acme, "SELECT after FROM audit_log WHERE action = 'integration.test'") == [({"outcome": "retry"},)]


async def test_what_is_typed_is_tried_without_being_saved(acme: Database) -> None:
    async with http_sink(answers(200)) as sink, browsing(acme) as browser:
        typed = {"type": "webhook", "name": "", "config.url": sink.url(), "enabled": "on", "do": "try"}
        page = await browser.post("/integrations/+new", data=typed | {"secrets.authorization": MARKED})
        assert "Nothing was saved." in words(page)
        assert "Delivered , 200 OK, after" in words(page)
        assert MARKED not in page.text
        assert sink.requests[0].header("authorization") == MARKED
        assert filled(page, "config.url") == sink.url()
        assert look(acme, "SELECT count(*) FROM integrations") == [(0,)]
        [(named, after)] = look(acme, "SELECT object_id, after FROM audit_log WHERE action = 'integration.try'")
        assert (named, after) == ("Webhook", {"outcome": "delivered", "saved": False})
        refused = await browser.post("/integrations/+new", data=typed | {"config.url": "http://10.20.0.31/alerts"})
        assert "No sample was sent. Address: 10.20.0.31 is a private address." in words(refused)
        assert "allow_networks" in words(refused)
        assert len(sink.requests) == 1


async def test_secrets_that_stay_are_tried_at_the_same_receiver_and_at_no_other(acme: Database) -> None:
    async with http_sink(answers(200)) as sink, http_sink(answers(200)) as other, browsing(acme) as browser:
        typed = HOOK | {"config.url": sink.url("/a")}
        await browser.post("/integrations/+new", data=typed | {"secrets.authorization": MARKED})
        where = await the_one(browser)
        before = look(acme, "SELECT * FROM integrations")
        page = await browser.post(where, data=typed | {"config.url": sink.url("/b"), "do": "try"})
        assert "Delivered , 200 OK, after" in words(page)
        assert (sink.requests[0].target, sink.requests[0].header("authorization")) == ("/b", MARKED)
        moved = await browser.post(where, data=typed | {"config.url": other.url(), "do": "try"})
        assert "No sample was sent. Authorization header: It was entered for another receiver" in words(moved)
        assert other.requests == []
        assert look(acme, "SELECT * FROM integrations") == before


async def test_a_sample_that_arrives_ends_a_pause(acme: Database) -> None:
    async with http_sink(answers(200)) as sink, browsing(acme) as browser:
        await browser.post("/integrations/+new", data=HOOK | {"config.url": sink.url()})
        where = await the_one(browser)
        arrange(
            acme,
            "INSERT INTO integration_health (tenant_id, integration_id, failures, failing_since, breaker_opened_at,"
            " next_probe_at, last_failure_at, last_error)"
            " SELECT tenant_id, integration_id, 5, now(), now(), now() + interval '50 s', now(),"
            " 'status: answered 502' FROM integrations",
        )
        paused = await browser.get("/integrations")
        assert re.search(r"Paused after 5 failures next check in \d+ s", words(paused))
        assert "1 failing" in paused.text
        page = await browser.post(f"{where}/test")
        assert "Delivered , 200 OK, after" in words(page)
        assert "Never used" in words(page), "no notice was delivered yet"
        assert "1 failing" not in (await browser.get("/integrations")).text


async def test_one_that_was_disabled_by_410_says_so_and_can_be_enabled(acme: Database) -> None:
    async with browsing(acme) as browser:
        await browser.post("/integrations/+new", data=HOOK)
        arrange(acme, "UPDATE integrations SET enabled = false, disabled_reason = 'gone'")
        where = await the_one(browser)
        page = await browser.get("/integrations")
        assert "Disabled answered 410 Gone" in words(page)
        assert "The appliance disabled it" in (await browser.get(where)).text
        answer = await browser.post(f"{where}/switch", data={"enabled": "true"})
        assert answer.headers["location"] == "/integrations?done=on"
        assert look(acme, "SELECT enabled, disabled_reason FROM integrations") == [(True, None)]
        await browser.post(f"{where}/switch", data={"enabled": "false"})
        assert look(acme, "SELECT enabled FROM integrations") == [(False,)]


async def test_one_that_routes_use_says_which_and_is_not_deleted(acme: Database) -> None:
    identity = add_integration(acme, TENANT, name="Ops desk")
    route = add_route(acme, identity, TENANT, name="Everything bad")
    where = f"/integrations/{identity}/delete"
    async with browsing(acme) as browser:
        question = await browser.get(where)
        assert "1 route leads to it: Everything bad ." in words(question)
        assert re.search(r'class="btn danger"[^>]* disabled>', question.text)
        refused = await browser.post(where)
        assert refused.status_code == 409
        assert "Ops desk is in use" in refused.text
        await browser.post(f"/routes/{route}/delete", data={"typed": "Everything bad"})
        assert not re.search(r'class="btn danger"[^>]* disabled>', (await browser.get(where)).text)
        assert "Type Ops desk exactly" in (await browser.post(where, data={"typed": "Ops"})).text
        gone = await browser.post(where, data={"typed": "Ops desk"})
        assert gone.headers["location"] == "/integrations?done=deleted"
        assert look(acme, "SELECT count(*) FROM integrations") == [(0,)]


async def test_somebody_elses_change_is_not_overwritten(acme: Database) -> None:
    async with browsing(acme) as browser:
        await browser.post("/integrations/+new", data=HOOK)
        where = await the_one(browser)
        arrange(acme, "UPDATE integrations SET version = version + 1")
        answer = await browser.post(where, data=HOOK | {"name": "Mine", "version": "1"})
        assert answer.status_code == 409
        assert "was changed by someone else" in answer.text
        assert filled(answer, "name") == "Mine"


async def test_a_viewer_sees_the_list_and_one_without_forms_or_secrets(acme: Database) -> None:
    async with browsing(acme) as admin:
        await admin.post("/integrations/+new", data=HOOK | {"secrets.authorization": MARKED})
        where = await the_one(admin)
    async with browsing(acme, Role.VIEWER) as viewer:
        for path in ("/integrations", where):
            page = await viewer.get(path)
            assert page.status_code == 200
            assert "Ops desk" in page.text
            assert MARKED not in page.text
            inner = page.text.partition('id="main"')[2]
            assert 'method="post"' not in inner
        assert "Authorization header set, never shown" in words(page)
        assert (await viewer.post(where, data=HOOK)).status_code == 403


async def test_a_type_of_another_version_is_shown_and_left_alone(acme: Database) -> None:
    identity = add_integration(acme, TENANT, name="Fax", type="fax", config='{"number": "+47 55"}')
    async with browsing(acme) as browser:
        page = await browser.get(f"/integrations/{identity}")
        assert "This version does not know the type fax" in page.text
        assert (await browser.post(f"/integrations/{identity}", data=HOOK)).status_code == 404


async def test_operators_name_the_tenant(acme: Database) -> None:
    identity: UUID = add_integration(acme, TENANT, name="Ops desk")
    async with browsing(acme, Role.OPERATOR) as operator:
        every = await operator.get("/integrations")
        assert f'href="/integrations/{identity}?tenant=acme"' in every.text
        assert 'href="/integrations/+new"' in every.text
        page = await operator.get(f"/integrations/{identity}?tenant=acme")
        assert f'action="/integrations/{identity}?tenant=acme"' in page.text
        only = await operator.get("/integrations/+new")
        assert (only.status_code, only.headers["Location"]) == (303, "/integrations/+new?tenant=acme")
