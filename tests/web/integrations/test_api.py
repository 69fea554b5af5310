"""``/customer/integrations``: integrations as programs make, try, read, change and delete them."""

import csv
import io
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from standardwebhooks import Webhook

from appliance.delivery.integrations.store import MAX_INTEGRATIONS
from appliance.delivery.senders.table import SENDERS
from appliance.people.role import Role
from tests.delivery.senders.network import network
from tests.support.http_sink import answers, http_sink
from tests.support.pipeline import arrange, look
from tests.support.postgres_server import Database
from tests.support.routes import add_integration, add_route
from tests.support.tenants import TENANT, add_tenant, ingest
from tests.support.web.api_caller import calling, dashboard

PATH = "/customer/integrations"
HOOK: dict[str, Any] = {"name": "Ops", "type": "webhook", "config": {"url": "https://hooks.example/alerts"}}
MARKED = "marked-5f2d-never-to-be-seen"
OUTSIDE = network(names={"hooks.example": "93.184.215.14"})


async def prepare(database: Database) -> None:
    async with ingest(database) as connection:
        await add_tenant(connection, TENANT)
        await add_tenant(connection, "rival")


async def test_a_webhook_is_made_with_a_signing_secret_that_is_shown_once(database: Database) -> None:
    await prepare(database)
    async with dashboard(database, network=OUTSIDE) as served, calling(served, database) as admin:
        answer = await admin.raw("POST", PATH, json=HOOK)
        assert answer.status_code == 201
        made = answer.json()
        where = f"{PATH}/{made['integration_id']}"
        assert answer.headers["location"] == where
        assert made["signing_secret"].startswith("whsec_")
        Webhook(made["signing_secret"])
        assert made["secrets"] == ["signing_secret"]
        kept = await admin.ask("GET", where)
        assert "signing_secret" not in kept
        assert kept == {name: value for name, value in made.items() if name != "signing_secret"}
        assert kept["config"] == HOOK["config"]
        assert (kept["enabled"], kept["concurrency"], kept["routes"], kept["last_success_at"]) == (True, 2, 0, None)
        assert (await admin.ask("GET", PATH))["items"] == [kept]
        again = await admin.ask("PATCH", where, json={"secrets": {"signing_secret": None}})
        assert again["signing_secret"].startswith("whsec_")
        assert again["signing_secret"] != made["signing_secret"]


async def test_a_name_that_cannot_be_resolved_is_saved_with_a_warning(database: Database) -> None:
    await prepare(database)
    nobody = {**HOOK, "config": {"url": "https://hoks.example/alerts"}}
    async with dashboard(database, network=OUTSIDE) as served, calling(served, database) as admin:
        made = await admin.ask("POST", PATH, 201, json=nobody)
        assert made["warnings"][0].startswith("url: hoks.example ")
        where = f"{PATH}/{made['integration_id']}"
        assert "warnings" not in await admin.ask("GET", where)
        assert "warnings" not in await admin.ask("PATCH", where, json={"config": HOOK["config"]})


async def test_it_is_changed_field_by_field_enabled_and_deleted(database: Database) -> None:
    await prepare(database)
    async with dashboard(database) as served, calling(served, database) as admin:
        own = {"signing_secret": "whsec_" + "A" * 40, "authorization": f"Bearer {MARKED}"}
        made = await admin.ask("POST", PATH, 201, json={**HOOK, "secrets": own})
        assert "signing_secret" not in made, "it is no secret of the appliance's making"
        where = f"{PATH}/{made['integration_id']}"
        changes = {"config": {"headers": ["X-Where: here"]}, "concurrency": 4, "version": made["version"]}
        changed = await admin.ask("PATCH", where, json=changes)
        assert changed["config"] == {**HOOK["config"], "headers": ["X-Where: here"]}
        assert (changed["concurrency"], changed["version"], changed["secrets"]) == (
            4,
            made["version"] + 1,
            ["authorization", "signing_secret"],
        )
        await admin.ask("PATCH", where, 409, json={"name": "x", "version": made["version"]})
        assert (await admin.ask("PATCH", where, json={}))["version"] == changed["version"], "nothing has changed"
        fewer = await admin.ask("PATCH", where, json={"config": {"headers": None}, "secrets": {"authorization": None}})
        assert (fewer["config"], fewer["secrets"]) == (HOOK["config"], ["signing_secret"])
        arrange(database, "UPDATE integrations SET enabled = false, disabled_reason = 'gone'")
        assert (await admin.ask("GET", where))["disabled_reason"] == "gone"
        on = await admin.ask("PATCH", where, json={"enabled": True})
        assert (on["enabled"], on["disabled_reason"]) == (True, None)
        await admin.ask("DELETE", where, 204)
        await admin.ask("GET", where, 404)
        await admin.ask("DELETE", where, 404)


async def test_what_failed_is_tried_at_once_after_a_change(database: Database) -> None:
    await prepare(database)
    integration = add_integration(database, name="Ops", secrets="{}", type="ntfy", config='{"topic": "ops"}')
    arrange(
        database,
        "INSERT INTO integration_health (tenant_id, integration_id, failures, failing_since, breaker_opened_at,"
        f" next_probe_at, last_error) VALUES ('acme', '{integration}', 7, now(), now(), now(), 'no answer')",
    )
    async with dashboard(database) as served, calling(served, database) as admin:
        found = await admin.ask("GET", f"{PATH}/{integration}")
        assert (found["last_error"], found["failing_since"] is not None) == ("no answer", True)
        await admin.ask("PATCH", f"{PATH}/{integration}", json={"concurrency": 3})
    query = "SELECT failures, breaker_opened_at, next_probe_at, failing_since IS NOT NULL FROM integration_health"
    assert look(database, query) == [(0, None, None, True)]


FAULTS: list[tuple[dict[str, Any], str]] = [
    ({"name": " "}, "name"),
    ({"name": "a\nBcc: b"}, "name"),
    ({"name": "a" * 129}, "name"),
    ({"type": "fax"}, "type"),
    ({"concurrency": 0}, "concurrency"),
    ({"concurrency": 17}, "concurrency"),
    ({"config": {}}, "url"),
    ({"config": {"url": "ftp://hooks.example"}}, "url"),
    ({"config": {"url": "http://hooks.example:99999/"}}, "url"),
    ({"config": {"url": "https://hooks.example", "unknown": 1}}, "unknown"),
    ({"config": {"url": "https://10.1.2.3/"}}, "url"),
    ({"config": {"url": "https://0x7f000001:22/"}}, "url"),
    ({"config": {"url": "https://inside.example/"}}, "url"),
    ({"secrets": {"token": "x"}}, "secrets.token"),
    ({"tenant_id": "rival"}, "tenant_id"),
]


@pytest.mark.parametrize(("fault", "field"), FAULTS, ids=lambda value: str(value)[:40])
async def test_every_fault_names_its_field(database: Database, fault: dict[str, Any], field: str) -> None:
    await prepare(database)
    outside = network(names={"inside.example": "10.1.2.3", "hooks.example": "93.184.215.14"})
    async with dashboard(database, network=outside) as served, calling(served, database) as admin:
        answer = await admin.raw("POST", PATH, json={**HOOK, **fault})
        assert (answer.status_code, answer.json().get("field")) == (400, field), answer.text
        assert look(database, "SELECT count(*) FROM integrations") == [(0,)]
        made = await admin.ask("POST", PATH, 201, json=HOOK)
        if "type" not in fault and "tenant_id" not in fault:
            answer = await admin.raw("PATCH", f"{PATH}/{made['integration_id']}", json=fault)
            merged = fault.get("config") == {}
            assert (answer.status_code, answer.json().get("field")) == ((200, None) if merged else (400, field))


async def test_a_refused_address_says_what_an_operator_can_do(database: Database) -> None:
    await prepare(database)
    async with dashboard(database, network=network()) as served, calling(served, database) as admin:
        answer = await admin.raw("POST", PATH, json={**HOOK, "config": {"url": "https://192.168.1.9/"}})
        assert answer.status_code == 400
        assert '[delivery] allow_networks = ["192.168.1.9/32"]' in answer.json()["detail"]
        await admin.ask("POST", PATH, 201, json=HOOK)  # a name that nobody knows now is judged when it is dialled


async def test_names_are_one_of_a_tenant_and_there_is_a_most(database: Database) -> None:
    await prepare(database)
    async with dashboard(database) as served, calling(served, database) as admin:
        made = await admin.ask("POST", PATH, 201, json=HOOK)
        await admin.ask("POST", PATH, 409, json={**HOOK, "name": "OPS"})
        for number in range(MAX_INTEGRATIONS - 1):
            add_integration(database, name=f"n{number:03}")
        await admin.ask("POST", PATH, 409, json={**HOOK, "name": "one more"})
        await admin.ask("PATCH", f"{PATH}/{made['integration_id']}", 409, json={"name": "N001"})
        first = await admin.ask("GET", f"{PATH}?limit=60")
        rest = await admin.ask("GET", f"{PATH}?limit=60&cursor={first['next']}")
        names = [one["name"] for one in (*first["items"], *rest["items"])]
        assert (names, rest["next"]) == (sorted(names, key=str.lower), None)
        assert len(set(names)) == MAX_INTEGRATIONS
        found = await admin.ask("GET", f"{PATH}?q=N09&type=webhook&enabled=true")
        assert [one["name"] for one in found["items"]] == [f"n09{digit}" for digit in range(9)]
        assert (await admin.ask("GET", f"{PATH}?enabled=false"))["items"] == []


async def test_one_that_routes_use_is_not_deleted_and_they_are_named(database: Database) -> None:
    await prepare(database)
    integration = add_integration(database, name="Ops")
    for name in ("Night", "Day"):
        add_route(database, integration, name=name)
    async with dashboard(database) as served, calling(served, database) as admin:
        assert (await admin.ask("GET", f"{PATH}/{integration}"))["routes"] == 2
        answer = await admin.raw("DELETE", f"{PATH}/{integration}")
        assert answer.status_code == 409
        assert "routes Day, Night lead to it" in answer.json()["detail"]
        arrange(database, "DELETE FROM integration_routes")
        await admin.ask("DELETE", f"{PATH}/{integration}", 204)


async def test_a_sample_takes_the_real_path_and_shows_it_without_secrets(database: Database) -> None:
    await prepare(database)
    late = datetime.now(UTC) + timedelta(minutes=20)
    behaviour = answers(200, f"Date: {format_datetime(late, usegmt=True)}", body=b"taken")
    async with (
        http_sink(behaviour) as sink,
        dashboard(database, public_url="https://edge.example") as served,
        calling(served, database) as admin,
    ):
        secrets = {"authorization": f"Bearer {MARKED}"}
        wanted = {**HOOK, "config": {"url": sink.url()}, "secrets": secrets, "enabled": False}
        made = await admin.ask("POST", PATH, 201, json=wanted)
        found = await admin.ask("POST", f"{PATH}/{made['integration_id']}/test")
        assert (found["delivered"], found["outcome"], found["status"], found["answer"]) == (
            True,
            "delivered",
            200,
            "taken",
        )
        assert found["address"] == "127.0.0.1"
        assert found["hint"].startswith("The clock of this appliance is 20 min behind that of the receiver.")
        [received] = sink.requests
        assert received.header("authorization") == f"Bearer {MARKED}"
        sample = Webhook(made["signing_secret"]).verify(received.body, dict(received.headers))
        assert sample["data"]["test"] is True
        assert sample["data"]["url"] == "https://edge.example/alerts"
        assert "webhook-id" in found["request"]
        assert MARKED not in str(found)
        assert made["signing_secret"] not in str(found)
    audit = look(database, "SELECT after FROM audit_log WHERE action = 'integration.test'")
    assert audit == [({"outcome": "delivered"},)]


async def test_a_sample_that_fails_says_how(database: Database) -> None:
    await prepare(database)
    async with dashboard(database) as served, calling(served, database) as admin:
        async with http_sink(answers(404, body=b"no such hook")) as sink:
            made = await admin.ask("POST", PATH, 201, json={**HOOK, "config": {"url": sink.url()}})
            where = f"{PATH}/{made['integration_id']}/test"
            found = await admin.ask("POST", where)
            assert (found["delivered"], found["outcome"], found["status"]) == (False, "refused", 404)
            assert (found["answer"], found["hint"]) == ("no such hook", None)
        found = await admin.ask("POST", where)
        assert (found["delivered"], found["outcome"], found["status"]) == (False, "unreached", None)
        assert found["error"]
        arrange(database, 'UPDATE integrations SET secrets = \'{"signing_secret": "AAAA"}\'')
        answer = await admin.raw("POST", where)
        assert answer.status_code == 409
        assert "enter it again" in answer.json()["detail"]
        arrange(database, "UPDATE integrations SET secrets = '{}'")
        answer = await admin.raw("POST", where)
        assert (answer.status_code, "Signing secret" in answer.json()["detail"]) == (409, True)
        await admin.ask("POST", f"{PATH}/{uuid4()}/test", 404)


async def test_no_secret_is_in_the_database_the_audit_or_any_list(database: Database) -> None:
    await prepare(database)
    async with dashboard(database) as served, calling(served, database) as admin:
        secrets = {"authorization": f"Bearer {MARKED}", "secret_headers": f"X-Key: {MARKED}"}
        made = await admin.ask("POST", PATH, 201, json={**HOOK, "secrets": secrets})
        where = f"{PATH}/{made['integration_id']}"
        await admin.ask("PATCH", where, json={"secrets": {"authorization": f"Basic {MARKED}"}})
        shown = [
            await admin.ask("GET", where),
            await admin.ask("GET", PATH),
            (await admin.raw("GET", f"{PATH}?format=csv")).text,
        ]
        await admin.ask("DELETE", where, 204)
    with psycopg.connect(database.conninfo()) as connection:
        kept = connection.execute("SELECT action, before::text, after::text FROM audit_log ORDER BY id").fetchall()
    assert [action for action, *_ in kept] == ["integration.create", "integration.update", "integration.delete"]
    assert kept[1][2] == '{"changed_secrets": ["authorization"]}'
    for text in (str(shown), str(kept)):
        assert MARKED not in text
        assert made["signing_secret"] not in text


async def test_viewers_read_only_and_other_tenants_have_their_own(database: Database) -> None:
    await prepare(database)
    theirs = add_integration(database, "rival", name="Theirs")
    async with dashboard(database) as served:
        async with calling(served, database, Role.VIEWER) as viewer:
            assert (await viewer.ask("GET", PATH))["items"] == []
            await viewer.ask("POST", PATH, 403, json=HOOK)
        async with calling(served, database) as admin:
            for method, path in (("GET", ""), ("PATCH", ""), ("DELETE", ""), ("POST", "/test")):
                await admin.ask(method, f"{PATH}/{theirs}{path}", 404, **({"json": {}} if method == "PATCH" else {}))
        async with calling(served, database, Role.OPERATOR) as operator:
            await operator.ask("POST", PATH, 400, json=HOOK)
            await operator.ask("POST", f"{PATH}?tenant=nobody", 404, json=HOOK)
            await operator.ask("POST", f"{PATH}?tenant={TENANT}", 201, json=HOOK)
            await operator.ask("POST", f"{PATH}?tenant=appliance", 201, json=HOOK)
            found = (await operator.ask("GET", PATH))["items"]
            assert [one["tenant_id"] for one in found] == [TENANT, "appliance", "rival"]
            answer = await operator.raw("GET", PATH, headers={"Accept": "text/csv"})
            assert [row["tenant_id"] for row in csv.DictReader(io.StringIO(answer.text.removeprefix("\ufeff")))] == [
                TENANT,
                "appliance",
                "rival",
            ]


def test_what_types_make_themselves_is_shown_under_the_name_of_the_api() -> None:
    """An answer shows a ``signing_secret``; a type that makes something else needs a field of its own there."""
    made = {field.name for sender in SENDERS.values() for field in sender.fields if field.generate}
    assert made == {"signing_secret"}


async def test_operators_set_up_what_the_appliance_itself_tells_and_nobody_else_does(database: Database) -> None:
    """Its tenant is in no list."""
    await prepare(database)
    own = {"tenant": "appliance"}
    routes = "/customer/integration-routes"
    async with dashboard(database) as served:
        async with calling(served, database, Role.OPERATOR) as operator:
            made = await operator.ask("POST", PATH, 201, params=own, json=HOOK)
            where = f"{PATH}/{made['integration_id']}"
            assert [one["name"] for one in (await operator.ask("GET", PATH, params=own))["items"]] == ["Ops"]
            await operator.ask("PATCH", where, params=own, json={"name": "On duty"})
            route = {"name": "All", "integration_id": made["integration_id"], "severities": ["critical", "high"]}
            quiet = {"begins": "22:00", "ends": "06:00"}
            led = await operator.ask("POST", routes, 201, params=own, json={**route, "quiet_hours": quiet})
            wanted = {**route, "alert_types": ["SYSTEM"]}
            preview = await operator.ask("POST", f"{routes}/preview", params=own, json=wanted)
            assert preview["alerts"] == 0
            assert (await operator.ask("GET", f"{routes}/{led['route_id']}", params=own))["name"] == "All"
            assert await operator.ask("GET", "/customer/deliveries", params=own)
        async with calling(served, database) as admin:
            await admin.ask("GET", where, 404, params=own)
            await admin.ask("PATCH", where, 404, params=own, json={"name": "Mine"})
            assert (await admin.ask("GET", PATH, params=own))["items"] == []
        async with calling(served, database, Role.OPERATOR) as operator:
            await operator.ask("DELETE", f"{routes}/{led['route_id']}", 204, params=own)
            await operator.ask("DELETE", where, 204, params=own)
