"""``/customer/quarantine``: every operation, its refusals, its walls; and what a decision does."""

import time
from base64 import b64decode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import trio

from appliance import local_time
from appliance.broker.refusals import BrokerRefusal, RefusalCause
from appliance.errors import Invalid
from appliance.local_time import HOUR
from appliance.people.role import Role
from appliance.web.quarantine.actions import moment
from tests.support.pipeline import arrange, furnish, look, open_ingest, telemetry
from tests.support.postgres_server import Database
from tests.support.replays import replayer
from tests.support.web.api_caller import Caller, calling, dashboard
from tests.support.web.serving import over

QUARANTINE = "/customer/quarantine"
REPLAY, DISMISS = f"{QUARANTINE}/replay", f"{QUARANTINE}/dismiss"
MESSAGES = (
    "INSERT INTO tenants (created_at, updated_at, tenant_id) VALUES (now(), now(), 'acme'), (now(), now(), 'rival')",
    """
    INSERT INTO quarantine_events (ingested_at, topic, tenant_id, device_id, site_id, kind, reason, detail, payload)
    VALUES
      (now() - interval '3 hours', 'tenant/acme/device/a/telemetry', 'acme', 'a', 'north', 'telemetry',
       'DEVICE_INACTIVE', 'the device is inactive', '{"t": 1, "provision_token": "s3cr3t"}'),
      (now(), 'tenant/acme/device/b/telemetry', 'acme', 'b', NULL, 'telemetry', 'INVALID_JSON', 'at byte 0',
       '\\xff00'),
      (now(), 'tenant/rival/device/r/telemetry', 'rival', 'r', NULL, 'telemetry', 'DEVICE_INACTIVE', '', '{}'),
      (now(), 'nonsense', NULL, NULL, NULL, NULL, 'BAD_TOPIC_FORMAT', '', 'x')
    """,
    """
    INSERT INTO quarantine_counters_minute (bucket_minute, tenant_id, reason, cnt)
    VALUES (date_trunc('minute', now()), 'acme', 'INVALID_JSON', 40)
    """,
)
A, B, RIVALS, NOBODYS = 1, 2, 3, 4
HUGE = 2**63


@asynccontextmanager
async def asking(database: Database, role: Role = Role.ADMIN, tenant_id: str = "acme") -> AsyncIterator[Caller]:
    """A caller of a dashboard with four messages: two of acme, one of its rival, one of nobody."""
    arrange(database, *MESSAGES)
    async with dashboard(database) as served, calling(served, database, role, tenant_id) as caller:
        yield caller


async def ids(caller: Caller, query: str = "") -> list[int]:
    return [item["id"] for item in (await caller.ask("GET", f"{QUARANTINE}?{query}"))["items"]]


async def test_customers_see_their_own_messages_and_operators_all(database: Database) -> None:
    async with asking(database, Role.VIEWER) as viewer:
        assert await ids(viewer) == [B, A]
        assert await ids(viewer, "tenant=rival") == [B, A]
        refused = await viewer.ask("GET", "/customer/quarantine?unknown_tenant=true", 400)
        assert refused["field"] == "unknown_tenant", "to ignore it would show other messages than were asked for"


async def test_operators_see_all_or_one_tenants_or_nobodys(database: Database) -> None:
    async with asking(database, Role.OPERATOR) as operator:
        assert await ids(operator) == [NOBODYS, RIVALS, B, A]
        assert await ids(operator, "tenant=rival") == [RIVALS]
        assert await ids(operator, "unknown_tenant=true") == [NOBODYS]


async def test_filters_narrow_and_pages_leave_nothing_out(database: Database) -> None:
    async with asking(database) as admin:
        for query, found in (
            ("reason=DEVICE_INACTIVE", [A]),
            ("reason=DEVICE_INACTIVE&reason=INVALID_JSON", [B, A]),
            ("device=b", [B]),
            ("site=north", [A]),
            ("since=1h", [B]),
            ("until=1h", [A]),
            ("since=2020-01-01&until=2099-01-01T00:00Z", [B, A]),
            ("status=DISMISSED", []),
            ("status=all", [B, A]),
        ):
            assert await ids(admin, query) == found, query
        first = await admin.ask("GET", f"{QUARANTINE}?limit=1")
        second = await admin.ask("GET", f"{QUARANTINE}?limit=1&cursor={first['next']}")
        assert [first["items"][0]["id"], second["items"][0]["id"], second["next"]] == [B, A, None]


async def test_the_list_is_a_file_for_who_accepts_one(database: Database) -> None:
    async with asking(database) as admin:
        await admin.ask("GET", f"{QUARANTINE}?limit=1", headers={"Accept": "text/csv"})
        answer = await admin.raw("GET", f"{QUARANTINE}?limit=1", headers={"Accept": "text/csv"})
    assert answer.headers["content-type"].startswith("text/csv")
    assert [line.partition(",")[0] for line in answer.text.splitlines()] == ["\ufeffid", str(B), str(A)]
    assert "s3cr3t" not in answer.text


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("reason=NONE", "reason"),
        ("status=held", "status"),
        ("device=a%00b", "device"),
        ("site=../x", "site"),
        ("since=yesterday", "since"),
        ("since=999999d", "since"),
        ("limit=0", "limit"),
        ("limit=501", "limit"),
        ("cursor=AAAA", "cursor"),
        ("cursor=LTE", "cursor"),
        ("unknown_tenant=perhaps", "unknown_tenant"),
    ],
)
async def test_an_invalid_filter_names_its_parameter(database: Database, query: str, field: str) -> None:
    async with asking(database) as admin:
        answer = await admin.ask("GET", f"{QUARANTINE}?{query}", 400)
        assert answer["field"] == field


async def test_a_message_is_shown_as_received_without_its_token(database: Database) -> None:
    async with asking(database) as admin:
        answer = await admin.ask("GET", f"{QUARANTINE}/{A}")
        assert answer["payload"] == '{"t": 1, "provision_token": "******"}'
        assert (answer["title"], answer["payload_bytes"]) == ("Device inactive", 37)
        answer = await admin.ask("GET", f"{QUARANTINE}/{B}")
        assert (b64decode(answer["payload_base64"]), "payload" in answer) == (b"\xff\x00", False)


async def test_messages_of_others_do_not_exist(database: Database) -> None:
    async with asking(database) as admin:
        for other in (RIVALS, NOBODYS, 0, 999, HUGE, 10**400):
            await admin.ask("GET", f"{QUARANTINE}/{other}", 404)
            await admin.ask("GET", f"{QUARANTINE}/replays/{other}", 404)
            await admin.ask("POST", f"{QUARANTINE}/replays/{other}/cancel", 404)
        for other in (RIVALS, NOBODYS, 999):
            for path in (REPLAY, DISMISS, f"{REPLAY}?dry_run=true"):
                await admin.ask("POST", path, 404, json={"ids": [other]})
                await admin.ask("POST", path, 404, json={"ids": [A, other]})
    assert look(database, "SELECT count(*) FROM quarantine_events WHERE status <> 'HELD'") == [(0,)]


async def test_counts_by_cause_are_exact_and_say_how_far_back_held_messages_reach(database: Database) -> None:
    async with asking(database) as admin:
        answer = await admin.ask("GET", f"{QUARANTINE}/causes")
        counted = {cause["reason"]: (cause["held"], cause["refused"]) for cause in answer["causes"]}
        assert counted == {"INVALID_JSON": (1, 40), "DEVICE_INACTIVE": (1, 0)}
        assert (answer["holding"]["held"], answer["holding"]["complete_since"]) == (2, None)


async def test_only_administrators_decide(database: Database) -> None:
    for role in (Role.VIEWER, Role.RESPONDER):
        async with dashboard(database) as served, calling(served, database, role) as caller:
            for path in (REPLAY, DISMISS, f"{QUARANTINE}/replays/1/cancel"):
                await caller.ask("POST", path, 403, json={"ids": [A]})


async def test_a_dismissal_is_audited_and_done_once(database: Database) -> None:
    async with asking(database) as admin:
        assert await admin.ask("POST", DISMISS, json={"ids": [A]}) == {"dismissed": 1}
        await admin.ask("POST", DISMISS, 409, json={"ids": [A]})
        assert await ids(admin, "status=DISMISSED") == [A]
        answer = await admin.ask("GET", f"{QUARANTINE}/{A}")
        assert answer["decided_by"] == admin.person.email
    audited = look(database, "SELECT tenant_id, actor, action FROM audit_log WHERE object_type = 'quarantine'")
    assert audited == [("acme", admin.person.email, "quarantine.dismiss")]


@pytest.mark.parametrize("body", [{}, {"unknown_tenant": True}])
async def test_a_dismissal_of_everything_is_refused(database: Database, body: dict[str, bool]) -> None:
    async with asking(database) as admin:
        await admin.ask("POST", DISMISS, 400, json=body)


@pytest.mark.parametrize(
    "body", [{"ids": ["x"]}, {"ids": [0]}, {"ids": [HUGE]}, {"reasons": ["NONE"]}, {"since": "soon"}, {"id": [1]}, [1]]
)
async def test_an_invalid_selection_is_refused(database: Database, body: object) -> None:
    async with asking(database) as admin:
        for path in (REPLAY, DISMISS):
            await admin.ask("POST", path, 400, json=body)


async def test_operators_name_the_tenant_of_their_decision(database: Database) -> None:
    async with asking(database, Role.OPERATOR) as operator:
        await operator.ask("POST", DISMISS, 400, json={"ids": [A]})
        await operator.ask("POST", f"{DISMISS}?tenant=rival", 404, json={"ids": [A]})
        assert await operator.ask("POST", f"{DISMISS}?tenant=acme", json={"ids": [A]}) == {"dismissed": 1}
        body = {"reasons": ["BAD_TOPIC_FORMAT"], "unknown_tenant": True}
        assert await operator.ask("POST", DISMISS, json=body) == {"dismissed": 1}
    assert look(database, "SELECT id FROM quarantine_events WHERE status = 'DISMISSED' ORDER BY 1") == [
        (A,),
        (NOBODYS,),
    ]


async def test_held_messages_are_previewed_offered_replayed_and_followed(database: Database) -> None:
    """From a full subscription to stored readings, all over the API, with the worker of the appliance beside it."""
    await furnish(database, seats=1)
    async with open_ingest(database) as stack, trio.open_nursery() as nursery:
        stamp = int(time.time()) - 60
        await stack.send(telemetry("first", b'{"t": 1}'))
        await stack.send(*[telemetry("second", b'{"ts": %d, "t": %d}' % (stamp + n, n)) for n in range(3)])
        async with dashboard(database) as served, calling(served, database) as admin:
            assert await admin.ask("GET", f"{QUARANTINE}/offers") == []
            answer = await admin.ask("POST", f"{REPLAY}?dry_run=true", json={})
            assert (answer["passing"], answer["refused"]) == (0, {"NO_SUBSCRIPTION_CAPACITY": 3})
            arrange(database, "UPDATE subscriptions SET device_limit = 2")
            stack.registry.forget()
            offers: list[dict[str, Any]] = []
            with trio.fail_after(60):  # what was found before holds for a moment
                while not offers:
                    offers = await admin.ask("GET", f"{QUARANTINE}/offers")
            (offer,) = offers
            assert (offer["messages"], offer["devices"], offer["cause"]) == (3, 1, "there are free seats")
            answer = await admin.ask("POST", f"{REPLAY}?dry_run=true", json={"reasons": [offer["reason"]]})
            assert (answer["passing"], answer["new_devices"], answer["complete"]) == (3, 1, True)
            job = await admin.ask("POST", REPLAY, 202, json={"reasons": [offer["reason"]]})
            assert (job["status"], job["total"]) == ("WAITING", 3)
            await nursery.start(replayer(stack).run)
            with trio.fail_after(60):
                while job["ended_at"] is None:
                    await trio.sleep(0.02)
                    job = await admin.ask("GET", f"{QUARANTINE}/replays/{job['replay_id']}")
            assert (job["status"], job["replayed"], job["examined"]) == ("DONE", 3, 3)
            assert [one["replay_id"] for one in await admin.ask("GET", f"{QUARANTINE}/replays")] == [job["replay_id"]]
            await admin.ask("POST", f"{QUARANTINE}/replays/{job['replay_id']}/cancel", 409)
            assert await ids(admin) == []
        nursery.cancel_scope.cancel()
    assert look(database, "SELECT count(*) FROM telemetry WHERE device_id = 'second'") == [(3,)]


async def test_a_replay_that_waits_can_be_cancelled(database: Database) -> None:
    async with asking(database) as admin:
        job = await admin.ask("POST", REPLAY, 202, json={"ids": [A]})
        assert (await admin.ask("POST", f"{QUARANTINE}/replays/{job['replay_id']}/cancel"))["status"] == "CANCELLED"
    audited = look(database, "SELECT action FROM audit_log WHERE tenant_id = 'acme' ORDER BY id")
    assert audited == [("quarantine.replay",), ("quarantine.cancel_replay",)]


async def test_broker_refusals_are_the_tenants_own(database: Database) -> None:
    seen = [
        BrokerRefusal(RefusalCause.TOPIC, time.time(), "10.0.0.7", "c1", "acme/device/a", "tenants/acme/a", 412),
        BrokerRefusal(RefusalCause.TOPIC, time.time(), "10.0.0.8", "c2", "rival/device/r", "x", 1),
        BrokerRefusal(RefusalCause.SIGN_IN, time.time(), "10.0.0.9"),
    ]

    def refused(tenant: str | None, device: str | None) -> list[BrokerRefusal]:
        return [one for one in seen if tenant in (None, one.tenant_id) and device in (None, one.device_id)]

    async with over(database, broker_refusals=refused) as served:
        async with calling(served, database) as admin:
            (answer,) = await admin.ask("GET", f"{QUARANTINE}/door")
            assert (answer["cause"], answer["times"], answer["device_id"]) == ("topic", 412, "a")
            assert answer["hint"] == "publishes to `tenants/acme/a`, should be `tenant/acme/device/a/telemetry`"
            assert await admin.ask("GET", f"{QUARANTINE}/door?device=b") == []
        async with calling(served, database, Role.OPERATOR) as operator:
            assert len(await operator.ask("GET", f"{QUARANTINE}/door")) == 3
            assert len(await operator.ask("GET", f"{QUARANTINE}/door?tenant=rival")) == 1


def test_a_filter_of_days_begins_at_the_same_time_of_the_wall_clock() -> None:
    new_york, now = ZoneInfo("America/New_York"), datetime.fromisoformat("2026-11-03T12:00-05:00")
    for text, begins in (
        ("7d", "2026-10-27T12:00-04:00"),
        ("24h", "2026-11-02T12:00-05:00"),
        ("168h", "2026-10-27T13:00-04:00"),
        ("2026-11-01", "2026-11-01T00:00-04:00"),
        ("2026-11-01T01:30", "2026-11-01T01:30-04:00"),
        ("2026-03-08T02:30", "2026-03-08T03:30-04:00"),
    ):
        found = moment(text, "since", now, new_york)
        assert found == datetime.fromisoformat(begins), text
    with pytest.raises(Invalid):
        moment("999999d", "since", now, new_york)


async def test_the_trend_has_the_steps_of_the_viewers_wall_clock(database: Database) -> None:
    """Six hours of Kolkata begin half an hour off those of UTC."""
    arrange(
        database,
        "INSERT INTO tenants (created_at, updated_at, tenant_id, time_zone)"
        " VALUES (now(), now(), 'acme', 'Asia/Kolkata')",
    )
    now = datetime.now(UTC)
    edge = local_time.newest_edges(now.timestamp(), 6 * HOUR, 28, ZoneInfo("Asia/Kolkata"))[0]
    first = datetime.fromtimestamp(edge, UTC)
    arrange(
        database,
        "INSERT INTO quarantine_counters_minute (bucket_minute, tenant_id, reason, cnt) VALUES"
        f" ('{(first - timedelta(minutes=1)).isoformat()}', 'acme', 'INVALID_JSON', 1000),"
        f" ('{first.isoformat()}', 'acme', 'INVALID_JSON', 7)",
    )
    async with dashboard(database) as served, calling(served, database) as admin:
        page = (await admin.raw("GET", "/quarantine?span=7d")).text
    assert "7 messages, at most 7 in one step" in page
