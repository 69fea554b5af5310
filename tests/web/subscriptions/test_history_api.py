"""Terms and events of subscriptions over the API and as files: filtered, page by page, each tenant its own."""

import csv
import io
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import httpx
import psycopg
import pytest

from appliance.people.role import Role
from appliance.subscriptions import store
from appliance.subscriptions.store import Changes
from tests.support.postgres_server import Database
from tests.support.tenants import BY, GRACE, NOW, ingest, issue_tenant, sell
from tests.support.web.api_caller import Caller, calling, dashboard

TERMS, AUDIT = "/customer/subscription/terms", "/customer/subscription/audit"
SUBSCRIPTIONS = "/customer/subscriptions"
MIDSUMMER = datetime(2026, 6, 30, 22, tzinfo=UTC)
"""The end of 30 June in Oslo."""


async def furnish(database: Database) -> list[str]:
    """A subscription of acme in Oslo, held and corrected, and one of globex in Tokyo; their ids."""
    async with ingest(database) as connection:
        await issue_tenant(connection, "acme", time_zone="Europe/Oslo")
        await issue_tenant(connection, "globex", time_zone="Asia/Tokyo")
        mine = (await sell(connection, 5, now=MIDSUMMER, term=timedelta(days=180))).subscription_id
        theirs = (await sell(connection, 7, tenant_id="globex", now=NOW, term=timedelta(days=30))).subscription_id
        for day, changes in ((1, Changes(device_limit=9)), (2, Changes(hold_reason="=unpaid"))):
            context = replace(BY, now=NOW + timedelta(days=day), settled=NOW + timedelta(days=day))
            await store.change(connection, "acme", mine, changes, context, grace=GRACE)
    return [mine, theirs]


def file_of(answer: httpx.Response) -> list[Mapping[str, str]]:
    assert answer.headers["Content-Type"].startswith("text/csv"), answer.text
    assert answer.text.startswith("\ufeff")
    return list(csv.DictReader(io.StringIO(answer.text.removeprefix("\ufeff"))))


async def everything(caller: Caller, path: str) -> list[dict[str, object]]:
    """All rows of a list, one a page."""
    found: list[dict[str, object]] = []
    following = ""
    while True:
        page = await caller.ask("GET", f"{path}?limit=1&cursor={following}")
        found += page["items"]
        if page["next"] is None:
            return found
        following = page["next"]


async def test_terms_are_listed_newest_first_with_their_last_full_day(database: Database) -> None:
    mine, _ = await furnish(database)
    async with dashboard(database) as served, calling(served, database, Role.VIEWER) as reader:
        corrected, sold = await everything(reader, TERMS)
    assert (sold["kind"], sold["corrects_term_id"], sold["device_limit"]) == ("SOLD", None, 5)
    assert (corrected["kind"], corrected["corrects_term_id"]) == ("CORRECTED", sold["term_id"])
    assert (corrected["device_limit"], corrected["subscription_id"]) == (9, mine)
    assert sold["term_end"] == "2026-12-27T23:00:00Z", "180 days of Oslo's calendar"
    assert (sold["last_full_day"], sold["actor"]) == ("2026-12-27", "alice@example.org")
    assert sold["bought_at"] == "2026-06-30T22:00:00Z"


async def test_events_are_listed_newest_first_with_what_changed(database: Database) -> None:
    mine, _ = await furnish(database)
    async with dashboard(database) as served, calling(served, database) as admin:
        held, changed, added = await everything(admin, AUDIT)
    assert [one["event_type"] for one in (held, changed, added)] == ["hold", "change", "add"]
    assert changed["previous_state"] == {"device_limit": 5}
    assert (changed["new_state"], changed["ip"]) == ({"device_limit": 9}, "192.0.2.7")
    assert (added["previous_state"], added["subscription_id"]) == (None, mine)
    assert held["at"] == "2026-11-25T12:00:00Z"


@pytest.mark.parametrize("path", [TERMS, AUDIT])
async def test_a_customer_sees_their_own_and_an_operator_all_or_one_tenants(database: Database, path: str) -> None:
    mine, theirs = await furnish(database)
    async with dashboard(database) as served:
        async with calling(served, database) as admin:
            own = await everything(admin, path)
            for foreign in (f"tenant=globex&subscription_id={mine}", f"subscription_id={mine}"):
                assert (await admin.ask("GET", f"{path}?{foreign}"))["items"] == own
            for nobodys in (theirs, "SUB-20260101-99999"):
                guessed = await admin.ask("GET", f"{path}?tenant=globex&subscription_id={nobodys}")
                assert guessed == {"items": [], "next": None}
        async with calling(served, database, Role.OPERATOR) as operator:
            assert {one["tenant_id"] for one in await everything(operator, path)} == {"acme", "globex"}
            one = (await operator.ask("GET", f"{path}?tenant=globex"))["items"]
            assert [row["subscription_id"] for row in one] == [theirs]
    assert {row["tenant_id"] for row in own} == {"acme"}


async def test_events_name_people_and_are_for_administrators_as_the_audit_is(database: Database) -> None:
    await furnish(database)
    async with dashboard(database) as served:
        for role in (Role.VIEWER, Role.RESPONDER):
            async with calling(served, database, role) as reader:
                await reader.ask("GET", AUDIT, 403)
                assert len((await reader.ask("GET", TERMS))["items"]) == 2


@pytest.mark.parametrize("path", [TERMS, AUDIT])
async def test_lists_are_filtered_by_time(database: Database, path: str) -> None:
    await furnish(database)
    async with dashboard(database) as served, calling(served, database) as admin:

        async def number(query: str) -> int:
            return len((await admin.ask("GET", f"{path}?{query}"))["items"])

        everything = await number("")
        assert await number("until=2026-06-30T22:00:00Z") == 0, "what was written at that moment is not before it"
        assert await number("since=2026-06-30T22:00:00Z") == everything
        assert await number("until=2026-06-30T22:00:01Z") == 1
        assert await number("since=2026-11-24&until=2026-11-24") == 1, "a day as the end is included"
        for query, field in (
            ("since=soon", "since"),
            ("until=2026-13-01", "until"),
            ("since=2026-11-25&until=2026-11-24T00:00Z", "since"),
            ("subscription_id=%00", "subscription_id"),
            ("limit=0", "limit"),
            ("cursor=x", "cursor"),
            ("cursor=LTE", "cursor"),
        ):
            assert (await admin.ask("GET", f"{path}?{query}", 400))["field"] == field, query


async def test_files_name_the_last_full_day_beside_the_end(database: Database) -> None:
    await furnish(database)
    csv_please = {"headers": {"Accept": "text/csv"}}
    async with dashboard(database) as served, calling(served, database, Role.OPERATOR) as operator:
        terms = file_of(await operator.raw("GET", TERMS, **csv_please))
        sold = file_of(await operator.raw("GET", f"{TERMS}?format=csv&tenant=globex"))
        rows = file_of(await operator.raw("GET", "/operator/subscriptions", **csv_please))
        events = file_of(await operator.raw("GET", f"{AUDIT}?tenant=acme", **csv_please))
        listed = (await operator.ask("GET", "/operator/subscriptions"))["items"]
    assert [(row["tenant_id"], row["kind"]) for row in terms] == [
        ("acme", "CORRECTED"), ("globex", "SOLD"), ("acme", "SOLD"),
    ]  # fmt: skip
    ends = {"acme": ("2026-12-27T23:00:00+00:00", "2026-12-27"), "globex": ("2026-12-23T12:00:00+00:00", "2026-12-22")}
    for found in (terms, sold, rows):
        assert {(row["tenant_id"], row["term_end"], row["last_full_day"]) for row in found} <= {
            (tenant, *end) for tenant, end in ends.items()
        }
    assert [row["last_full_day"] for row in rows] == [row["last_full_day"] for row in listed] == [
        "2026-12-27", "2026-12-22",
    ]  # fmt: skip
    assert events[0]["new_state"] == '{"status":"SUSPENDED","hold_reason":"=unpaid"}'
    assert [row["event_type"] for row in events] == ["hold", "change", "add"]


async def test_a_long_history_is_one_file(database: Database) -> None:
    mine, _ = await furnish(database)
    with psycopg.connect(database.conninfo()) as connection:
        connection.execute(
            "INSERT INTO subscription_terms"
            " (tenant_id, subscription_id, kind, term_start, term_end, device_limit, actor, bought_at)"
            " SELECT 'acme', %s, 'RENEWED', '2027-01-01Z'::timestamptz + n * interval '1 day',"
            " '2027-01-02Z'::timestamptz + n * interval '1 day', n, 'x', '2026-12-01Z'"
            " FROM generate_series(1, 2500) AS n",
            [mine],
        )
    async with dashboard(database) as served, calling(served, database) as admin:
        found = file_of(await admin.raw("GET", f"{TERMS}?since=2026-12-01", headers={"Accept": "text/csv"}))
    assert [int(row["device_limit"]) for row in found] == list(range(2500, 0, -1))
