"""``POST /customer/subscription/renew`` over HTTP: once, by whom it may be, and with refusals that say the mend."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import trio

from appliance.devices.credentials import credential as credentials
from appliance.devices.device import NewDevice
from appliance.devices.seats import changes as seats
from appliance.people.role import Role
from appliance.service_clock.service_time import Cause, Doubt
from appliance.subscriptions.lifecycle import SubscriptionType
from tests.support.clock import StubServiceClock
from tests.support.postgres_server import Database
from tests.support.tenants import BY, GRACE, ingest, issue_tenant, sell
from tests.support.web.accounts import http_client, signed_in, token_of
from tests.support.web.api_caller import Caller, calling
from tests.support.web.serving import over

RENEW = "/customer/subscription/renew"
TODAY = datetime.now(UTC)
DAYS = timedelta(days=1)
PLANS = {"basic": 25, "pro": 200}


async def sold(
    database: Database,
    kind: SubscriptionType = SubscriptionType.MAIN,
    *,
    days_left: int = 20,
    limit: int = 5,
    tenant_id: str = "acme",
) -> str:
    """A subscription of which so many days are left; its id. The tenant is made if it is not there."""
    began = TODAY - 365 * DAYS
    async with ingest(database) as connection:
        known = await connection.execute("SELECT 1 FROM tenants WHERE tenant_id = %s", [tenant_id])
        if await known.fetchone() is None:
            await issue_tenant(connection, tenant_id, time_zone="Europe/Oslo")
        made = await sell(connection, limit, kind, tenant_id=tenant_id, now=began, term=(365 + days_left) * DAYS)
        return made.subscription_id


async def seated(database: Database, subscription: str, names: Iterable[str], tenant_id: str = "acme") -> None:
    """ACTIVE devices with credentials of their own on a subscription."""
    by = replace(BY, now=TODAY, settled=TODAY)
    async with ingest(database) as connection:
        for name in names:
            new = NewDevice(name, name=name.title(), subscription_id=subscription)
            await seats.create(connection, tenant_id, new, by, grace=GRACE)
            await credentials.create(connection, tenant_id, name, by)


def facts(database: Database, query: str, *parameters: object) -> list[tuple[Any, ...]]:
    with psycopg.connect(database.conninfo()) as connection:
        return connection.execute(query.encode(), parameters).fetchall()


def everything(database: Database) -> list[list[tuple[Any, ...]]]:
    """What a renewal may change, the time when people were last seen left out."""
    tables = ["subscriptions", "subscription_terms", "subscription_audit", "renewal_requests", "device_registry"]
    tables += ["device_credentials", "audit_log"]
    return [facts(database, f"SELECT to_jsonb(t)::text FROM {table} AS t ORDER BY 1") for table in tables]


def wanted(subscription: str, **members: Any) -> dict[str, Any]:
    return {"subscription_id": subscription, "term_days": 365, **members}


async def renewed(caller: Caller, status: int = 200, *, key: str | None = None, **members: Any) -> Any:
    headers = {} if key is None else {"Idempotency-Key": key}
    return await caller.ask("POST", RENEW, status, json={"term_days": 365, **members}, headers=headers)


async def test_an_administrator_renews_and_the_term_follows_the_paid_one(database: Database) -> None:
    main = await sold(database)
    addon = await sold(database, SubscriptionType.ADDON, limit=2)
    async with over(database) as served, calling(served, database) as admin:
        before = (await admin.ask("GET", "/customer/subscriptions"))["items"][0]
        answer = await renewed(admin, subscription_id=main, new_device_limit=8, plan_id="gold")
        rows = {row["subscription_id"]: row for row in (await admin.ask("GET", "/customer/subscriptions"))["items"]}
        terms = (await admin.ask("GET", "/customer/subscription/terms"))["items"]
        events = (await admin.ask("GET", "/customer/subscription/audit"))["items"]
    after = rows[main]
    assert answer == {
        "subscription_id": main,
        "renewed": True,
        "changed": True,
        "previous_term_end": before["term_end"],
        "new_term_end": after["term_end"],
        "device_limit": 8,
        "devices_deactivated": [],
        "note": None,
        "renewing_opens": None,
        "hint": None,
        "broker": None,
    }
    days = [datetime.fromisoformat(row["last_full_day"]) for row in (before, after)]
    assert days[1] - days[0] == 365 * DAYS
    assert (after["term_start"], after["device_limit"], after["plan_id"]) == (before["term_end"], 8, "gold")
    assert (rows[addon]["term_end"], rows[addon]["status"]) == (after["term_end"], "ACTIVE")
    assert [(term["subscription_id"], term["kind"]) for term in terms[:2]] == [(addon, "RENEWED"), (main, "RENEWED")]
    assert [event["event_type"] for event in events[:2]] == ["RENEWED", "RENEWED"]
    assert facts(database, "SELECT count(*) FROM audit_log WHERE action = 'subscription.renew'") == [(1,)]


async def test_administrators_and_operators_renew_and_nobody_else(database: Database) -> None:
    main = await sold(database)
    before = everything(database)
    async with over(database) as served:
        for role in (Role.VIEWER, Role.RESPONDER):
            async with calling(served, database, role) as reader:
                await renewed(reader, 403, subscription_id=main)
        assert everything(database) == before
        async with calling(served, database, Role.OPERATOR) as operator:
            assert (await renewed(operator, 400, subscription_id=main))["field"] == "tenant"
            for tenant, status in (("globex", 404), ("acme", 200)):
                await operator.ask("POST", f"{RENEW}?tenant={tenant}", status, json=wanted(main))


async def test_a_token_needs_the_scope_to_write(database: Database) -> None:
    main = await sold(database)
    admin = signed_in(database.conninfo(), Role.ADMIN)
    viewer = signed_in(database.conninfo(), Role.VIEWER)
    async with over(database) as served, http_client(base_url=served.url) as program:
        for person, scopes, status in ((admin, "{read}", 403), (viewer, "{read,write}", 403), (admin, "{write}", 200)):
            bearer = {"Authorization": f"Bearer {token_of(database, person, scopes)}"}
            answered = await program.post(RENEW, json=wanted(main), headers=bearer)
            assert answered.status_code == status, answered.text
        assert (await program.post(RENEW, json=wanted(main))).status_code == 401
    actors = facts(database, "SELECT actor FROM audit_log WHERE action = 'subscription.renew'")
    assert actors == [(f"{admin.email} (t)",)]


async def test_what_is_not_there_and_what_is_anothers_are_answered_alike(database: Database) -> None:
    await sold(database)
    theirs = await sold(database, tenant_id="globex")
    before = everything(database)
    async with over(database) as served, calling(served, database) as admin:
        for wrong in (theirs, "SUB-20200101-00001", "x\u0000", "", "../etc", "x" * 300):
            for more in ({}, {"new_device_limit": 1}, {"devices_to_deactivate": ["d"]}, {"again": True}):
                refused = await renewed(admin, 404, key="k", subscription_id=wrong, **more)
                assert refused["code"] == "NOT_FOUND"
                assert set(refused) == {"type", "title", "status", "code", "detail"}
        foreign = await renewed(admin, 404, subscription_id=theirs)
        nobodys = await renewed(admin, 404, subscription_id="SUB-20200101-00001")
        assert foreign["detail"].replace(theirs, "") == nobodys["detail"].replace("SUB-20200101-00001", "")
    assert everything(database) == before


async def test_an_addon_a_second_main_and_a_clock_in_doubt_are_conflicts(database: Database) -> None:
    main = await sold(database)
    addon = await sold(database, SubscriptionType.ADDON)
    trial = await sold(database, SubscriptionType.TRIAL)
    before = everything(database)
    async with over(database) as served, calling(served, database) as admin:
        assert main in (await renewed(admin, 409, subscription_id=addon))["detail"]
        assert main in (await renewed(admin, 409, subscription_id=trial, key="k"))["detail"]
    clock = StubServiceClock(Doubt(Cause.AHEAD, TODAY.timestamp()))
    async with over(database, service_clock=clock) as served, calling(served, database) as admin:
        refused = await renewed(admin, 409, subscription_id=main, key="k")
        assert "confirm the time" in refused["detail"]
    assert everything(database) == before


async def test_a_trial_becomes_the_main_subscription(database: Database) -> None:
    trial = await sold(database, SubscriptionType.TRIAL)
    async with over(database) as served, calling(served, database) as admin:
        await renewed(admin, subscription_id=trial)
        row = (await admin.ask("GET", "/customer/subscriptions"))["items"][0]
    assert (row["subscription_type"], row["status"]) == ("MAIN", "ACTIVE")


async def test_a_key_answers_as_before_and_says_so(database: Database) -> None:
    main = await sold(database)
    async with over(database) as served, calling(served, database) as admin:
        first = await admin.raw("POST", RENEW, json=wanted(main), headers={"Idempotency-Key": "order 4711"})
        replays = [
            await admin.raw("POST", RENEW, json=wanted(main), headers={"Idempotency-Key": "order 4711"}),
            await admin.raw("POST", RENEW, json=wanted(main, idempotency_key="order 4711")),
            await admin.raw("POST", RENEW, json=wanted(main, **{"Idempotency-Key": "order 4711"})),
            await admin.raw("POST", RENEW, json=wanted(main, idempotency_key="k"), headers={"Idempotency-Key": "k"}),
        ]
        other = await renewed(admin, 422, key="order 4711", subscription_id=main, term_days=30)
    assert first.status_code == 200
    assert "Idempotency-Replayed" not in first.headers
    for replay in replays[:3]:
        assert replay.headers["Idempotency-Replayed"] == "true"
        assert replay.content == first.content
    assert "Idempotency-Replayed" not in replays[3].headers
    assert replays[3].json() == first.json() | {"changed": False, "note": "Already active"}
    assert other["code"] == "KEY_REUSED"
    assert facts(database, "SELECT count(*) FROM subscription_terms WHERE kind = 'RENEWED'") == [(1,)]


async def test_a_key_is_one_and_printable(database: Database) -> None:
    main = await sold(database)
    before = everything(database)
    async with over(database) as served, calling(served, database) as admin:
        both = {"idempotency_key": "a", "subscription_id": main}
        assert (await renewed(admin, 400, key="b", **both))["field"] == "idempotency_key"
        for wrong in ("", "x" * 256, "a\tb", "a\u2028b"):
            assert (await renewed(admin, 400, subscription_id=main, idempotency_key=wrong))["status"] == 400
        assert (await renewed(admin, 400, key="", subscription_id=main))["field"] == "Idempotency-Key"
        twice = [("Idempotency-Key", "a"), ("Idempotency-Key", "b")]
        assert (await admin.raw("POST", RENEW, json=wanted(main), headers=twice)).status_code == 400
        assert everything(database) == before
        assert (await renewed(admin, subscription_id=main, idempotency_key="x" * 255))["changed"]


async def test_again_needs_a_key_and_renews_once_more_for_each(database: Database) -> None:
    main = await sold(database, days_left=300)
    async with over(database) as served, calling(served, database) as admin:
        assert (await renewed(admin, 400, subscription_id=main, again=True))["field"] == "Idempotency-Key"
        for key in ("a", "a", "b"):
            assert (await renewed(admin, key=key, subscription_id=main, again=True))["changed"]
    assert facts(database, "SELECT count(*) FROM subscription_terms WHERE kind = 'RENEWED'") == [(2,)]


async def test_too_early_a_request_names_the_day_from_which_renewing_opens(database: Database) -> None:
    main = await sold(database, days_left=300)
    before = everything(database)
    async with over(database) as served, calling(served, database) as admin:
        row = (await admin.ask("GET", "/customer/subscriptions"))["items"][0]
        for _ in range(2):
            early = await renewed(admin, key="one a term", subscription_id=main)
            assert (early["renewed"], early["changed"], early["note"]) == (True, False, "Already active")
            assert early["new_term_end"] == early["previous_term_end"] == row["term_end"]
            opens = datetime.fromisoformat(early["renewing_opens"])
            assert datetime.fromisoformat(row["last_full_day"]) + DAYS - opens == 30 * DAYS
            assert "`again`" in early["hint"]
        assert everything(database) == before, "the key is free for the day on which renewing opens"
        assert (await renewed(admin, key="one a term", subscription_id=main, new_device_limit=6))["changed"]


IMPOSSIBLE: tuple[tuple[dict[str, Any], str], ...] = (
    ({"term_days": 31}, "term_days"),
    ({"term_days": 0}, "term_days"),
    ({"term_days": "365"}, "term_days"),
    ({"term_days": 365.5}, "term_days"),
    ({"term_days": True}, "term_days"),
    ({"term_days": 10**30}, "term_days"),
    ({"term_days": None}, "term_days"),
    ({"new_device_limit": 0}, "new_device_limit"),
    ({"new_device_limit": -1}, "new_device_limit"),
    ({"new_device_limit": 2**31}, "new_device_limit"),
    ({"new_device_limit": "5"}, "new_device_limit"),
    ({"plan_id": ""}, "plan_id"),
    ({"plan_id": "a\u0000"}, "plan_id"),
    ({"plan_id": "x" * 257}, "plan_id"),
    ({"devices_to_deactivate": "d1"}, "devices_to_deactivate"),
    ({"devices_to_deactivate": [1]}, "devices_to_deactivate"),
    ({"again": "yes"}, "again"),
    ({"device_limit": 5}, "device_limit"),
    ({"tenant_id": "globex"}, "tenant_id"),
    ({"subscription_id": 5}, "subscription_id"),
)
"""What cannot be asked for, and the field that is to blame."""


async def test_what_cannot_be_asked_for_names_its_field(database: Database) -> None:
    main = await sold(database)
    before = everything(database)
    async with over(database) as served, calling(served, database) as admin:
        for members, field in IMPOSSIBLE:
            refused = await renewed(admin, 400, **{"subscription_id": main, **members})
            assert refused["field"] == field, members
    assert everything(database) == before


async def test_plans_cap_the_seats(database: Database) -> None:
    main = await sold(database)
    async with over(database, plans=PLANS) as served, calling(served, database) as admin:
        for members, field in (
            ({"plan_id": "gold"}, "plan_id"),
            ({"new_device_limit": 26, "plan_id": "basic"}, "new_device_limit"),
            ({"new_device_limit": 6}, "plan_id"),
        ):
            refused = await renewed(admin, 400, subscription_id=main, **members)
            assert (refused["field"], "basic (25), pro (200)" in refused["detail"]) == (field, True)
        answer = await renewed(admin, subscription_id=main, new_device_limit=25, plan_id="basic")
    assert answer["device_limit"] == 25


async def test_downsizing_by_a_wrong_choice_says_what_is_needed_and_changes_nothing(database: Database) -> None:
    main = await sold(database)
    other = await sold(database, SubscriptionType.TEMPORARY)
    theirs = await sold(database, tenant_id="globex")
    await seated(database, main, ["d1", "d2", "d3", "d4", "d5"])
    await seated(database, other, ["elsewhere"])
    await seated(database, theirs, ["foreign"], "globex")
    async with ingest(database) as connection:
        await seats.deactivate(connection, "acme", "d5", replace(BY, now=TODAY), revoke_credential=False)
    with psycopg.connect(database.conninfo()) as connection:
        connection.execute(
            "INSERT INTO device_state (tenant_id, device_id, last_seen_at)"
            " VALUES ('acme', 'd2', now() - interval '9 days'), ('acme', 'd1', now() - interval '1 hour')"
        )
    before = everything(database)
    async with over(database) as served, calling(served, database) as admin:
        texts = {}
        for named in (
            [], ["d1"], ["d1", "d2", "d3"], ["d1", "d1"], ["d1", "foreign"], ["d1", "unknown"], ["d1", "elsewhere"],
            ["d1", "d5"], ["d1", "\u0000"], ["d1", "x" * 5000],
        ):  # fmt: skip
            refused = await renewed(
                admin, 400, key="k", subscription_id=main, new_device_limit=2, devices_to_deactivate=named
            )
            assert (refused["code"], refused["field"]) == ("DEVICES_NEEDED", "devices_to_deactivate")
            assert (refused["needed"], "exactly 2 different devices" in refused["detail"]) == (2, True)
            assert next((one["device_id"], one["name"]) for one in refused["candidates"]) == ("d2", "D2")
            assert {one["device_id"] for one in refused["candidates"]} == {"d1", "d2", "d3", "d4"}
            assert refused["candidates"][0]["last_seen_at"] is not None
            texts["".join(named[1:2])] = refused["detail"]
        assert texts["foreign"].replace("foreign", "") == texts["unknown"].replace("unknown", ""), "nothing is guessed"
        unneeded = await renewed(admin, 400, subscription_id=main, devices_to_deactivate=["d1"])
        assert (unneeded["field"], unneeded["code"]) == ("devices_to_deactivate", "BAD_REQUEST")
        assert "needed" not in unneeded
    assert everything(database) == before


async def test_downsizing_stops_exactly_the_named_devices(database: Database) -> None:
    main = await sold(database)
    await seated(database, main, ["d1", "d2", "d3"])
    named: dict[str, Any] = {"subscription_id": main, "new_device_limit": 1, "devices_to_deactivate": ["d3", "d1"]}
    async with over(database) as served, calling(served, database) as admin:
        answer = await renewed(admin, key="k", **named)
        again = await renewed(admin, key="k", **named | {"devices_to_deactivate": ["d1", "d3"]})
    assert answer == again, "in another order it is the same request"
    assert (answer["device_limit"], answer["devices_deactivated"]) == (1, ["d1", "d3"])
    assert answer["broker"] == "no broker", "nobody serves one here"
    assert facts(database, "SELECT device_id, status, subscription_id FROM device_registry ORDER BY 1") == [
        ("d1", "INACTIVE", None), ("d2", "ACTIVE", main), ("d3", "INACTIVE", None),
    ]  # fmt: skip
    assert facts(database, "SELECT device_id FROM device_credentials") == [("d2",)]
    assert facts(database, "SELECT device_limit, active_device_count FROM subscriptions") == [(1, 1)]
    actions = facts(database, "SELECT action, object_id FROM audit_log WHERE action LIKE '%%deactivate' ORDER BY 2")
    assert actions == [("device.deactivate", "d1"), ("device.deactivate", "d3")]


async def test_a_held_subscription_is_renewed_and_stays_held(database: Database) -> None:
    main = await sold(database)
    with psycopg.connect(database.conninfo()) as connection:
        connection.execute("UPDATE subscriptions SET hold_reason = 'unpaid', status = 'SUSPENDED'")
    async with over(database) as served, calling(served, database) as admin:
        assert (await renewed(admin, subscription_id=main))["changed"]
        row = (await admin.ask("GET", "/customer/subscriptions"))["items"][0]
    assert (row["status"], row["hold_reason"]) == ("SUSPENDED", "unpaid")


async def test_many_equal_requests_at_once_renew_once(database: Database) -> None:
    main = await sold(database)
    answers: list[dict[str, Any]] = []
    async with over(database) as served, calling(served, database) as admin:

        async def ask(key: str | None) -> None:
            answers.append(await renewed(admin, key=key, subscription_id=main))

        async with trio.open_nursery() as nursery:
            for key in ("same", "same", "same", "a", "b", None, None):
                nursery.start_soon(ask, key)
    assert len({answer["new_term_end"] for answer in answers}) == 1
    assert facts(database, "SELECT count(*) FROM subscription_terms WHERE kind = 'RENEWED'") == [(1,)]
    assert facts(database, "SELECT count(*) FROM audit_log WHERE action = 'subscription.renew'") == [(1,)]


async def test_the_document_declares_key_replay_and_candidates(database: Database) -> None:
    async with over(database) as served, calling(served, database) as admin:
        document = await admin.ask("GET", "/openapi.json")
    operation = document["paths"][RENEW]["post"]
    assert [one["name"] for one in operation["parameters"] if one["in"] == "header"] == ["Idempotency-Key"]
    assert set(operation["responses"]["200"]["headers"]) == {"Idempotency-Replayed", "X-Request-Id"}
    problem = operation["responses"]["400"]["content"]["application/problem+json"]["schema"]["$ref"].rpartition("/")[2]
    assert {"needed", "candidates", "field", "detail"} <= set(document["components"]["schemas"][problem]["properties"])
    days = document["components"]["schemas"]["RenewalNew"]["properties"]["term_days"]
    assert days["enum"] == [30, 90, 180, 365, 730, 1095]


async def test_the_days_of_a_renewal_are_not_taken_by_who_has_not_read_of_it(database: Database) -> None:
    main = await sold(database)
    one = f"/operator/subscriptions/{main}?tenant=acme"
    soon = (TODAY + 10 * DAYS).isoformat()
    async with (
        over(database) as served,
        calling(served, database) as admin,
        calling(served, database, Role.OPERATOR) as operator,
    ):
        before = await operator.ask("GET", one)
        earlier = (TODAY + 15 * DAYS).isoformat()
        await operator.ask("PATCH", one, json={"term_end": earlier})  # what was sold, nobody has renewed
        await renewed(admin, subscription_id=main)
        refused = await operator.ask("PATCH", one, 428, json={"term_end": soon})
        assert refused["code"] == "VERSION_NEEDED"
        assert "was renewed and is paid until" in refused["detail"]
        await operator.ask("PATCH", one, 409, json={"term_end": soon, "version": before["version"]})
        paid = await operator.ask("GET", one)
        later = (TODAY + 700 * DAYS).isoformat()
        assert (await operator.ask("PATCH", one, json={"term_end": later, "hold_reason": "x"}))["hold_reason"] == "x"
        assert (await operator.ask("PATCH", one, json={"device_limit": 9}))["device_limit"] == 9
        now = await operator.ask("GET", one)
        assert now["term_end"] > paid["term_end"]
        told = await operator.ask("PATCH", one, json={"term_end": soon}, headers={"If-Match": f'"{now["version"]}"'})
        assert told["term_end"][:10] == soon[:10]
        sooner = (TODAY + 5 * DAYS).isoformat()
        forced = await operator.ask("PATCH", one, json={"term_end": sooner}, headers={"If-Match": "*"})
        assert forced["term_end"][:10] == sooner[:10]
