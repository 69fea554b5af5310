"""Renewals against a real Postgres: once, whole or not at all, with the records that they leave."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from appliance.db.trio_psycopg import Connection
from appliance.devices.device import NewDevice
from appliance.devices.seats import changes as seats
from appliance.errors import Conflict, Invalid, KeyReused, NotFound
from appliance.renewals.plan import NotOpen, Plan, Refusal, Request
from appliance.renewals.policy import RenewalPolicy
from appliance.renewals.renewal import DevicesNeeded, Renewed, StalePreview, preview, renew
from appliance.subscriptions import store
from appliance.subscriptions.lifecycle import Subscription, SubscriptionType
from tests.support.postgres_server import Database
from tests.support.tenants import BY, GRACE, NOW, TENANT, add_tenant, customer, ingest, rows, sell

DAY = timedelta(days=1)
POLICY = RenewalPolicy(GRACE, opens_days=30, plans={})


async def asked(
    connection: Connection[Any],
    request: Request,
    *,
    key: str | None = None,
    at: datetime = NOW,
    tenant_id: str = TENANT,
    trusted: bool = True,
    seen: str | None = None,
) -> Renewed:
    context = replace(BY, now=at, settled=at)
    return await renew(connection, tenant_id, request, context, key=key, policy=POLICY, trusted=trusted, seen=seen)


async def terms_of(connection: Connection[Any], subscription: str) -> list[tuple[Any, ...]]:
    return await rows(
        connection,
        "SELECT kind, term_start, term_end, device_limit FROM subscription_terms"
        f" WHERE subscription_id = '{subscription}' ORDER BY term_id",
    )


async def stock(connection: Connection[Any], main: Subscription, names: Sequence[str]) -> None:
    for name in names:
        await seats.create(connection, TENANT, NewDevice(name, subscription_id=main.subscription_id), BY, grace=GRACE)


async def test_a_renewal_leaves_a_term_an_event_and_one_audit_row(database: Database) -> None:
    async with ingest(database) as connection:
        await add_tenant(connection)
        main = await sell(connection, 5, term=20 * DAY)
        outcome = await asked(connection, Request(main.subscription_id, 365))
        assert (outcome.answer.changed, outcome.answer.renewed, outcome.replayed) == (True, True, False)
        after = await store.get(connection, TENANT, main.subscription_id)
        assert (after.term_start, after.term_end) == (main.term_end, main.term_end + 365 * DAY)
        assert await terms_of(connection, main.subscription_id) == [
            ("SOLD", NOW, main.term_end, 5),
            ("RENEWED", main.term_end, main.term_end + 365 * DAY, 5),
        ]
        events = await rows(connection, "SELECT event_type, details->>'term_days' FROM subscription_audit")
        assert events == [("add", None), ("RENEWED", "365")]
        audit = await rows(connection, "SELECT action FROM audit_log WHERE object_type = 'subscription' ORDER BY id")
        assert audit == [("subscription.add",), ("subscription.renew",)]


async def test_the_same_request_renews_once_with_any_key_and_with_none(database: Database) -> None:
    async with ingest(database) as connection:
        await add_tenant(connection)
        main = await sell(connection, 5, term=20 * DAY)
        request = Request(main.subscription_id, 30)
        first = await asked(connection, request, key="a" * 16)
        replayed = await asked(connection, request, key="a" * 16, at=NOW + 40 * DAY)
        assert (replayed.answer, replayed.replayed) == (first.answer, True)
        for key in (None, "b" * 16, None):
            again = await asked(connection, request, key=key, at=NOW + timedelta(hours=23))
            assert (again.answer.note, again.answer.changed, again.answer.renewed) == ("Already active", False, True)
            assert again.answer.new_term_end == first.answer.new_term_end
            assert not again.replayed
        late = await asked(connection, request, key="b" * 16, at=NOW + 45 * DAY)
        assert late.replayed, "a key that was answered as another's renews nothing later"
        assert len(await terms_of(connection, main.subscription_id)) == 2


async def test_what_the_subscription_has_may_be_named_or_left_out(database: Database) -> None:
    async with ingest(database) as connection:
        await add_tenant(connection)
        main = await sell(connection, 5, term=DAY)
        spellings = [
            Request(main.subscription_id, 30, new_device_limit=7, plan_id="pro"),
            Request(main.subscription_id, 30),
            Request(main.subscription_id, 30, new_device_limit=7),
            Request(main.subscription_id, 30, plan_id="pro"),
        ]
        outcomes = [await asked(connection, request) for request in spellings]
        assert [outcome.answer.changed for outcome in outcomes] == [True, False, False, False]
        other = await asked(connection, Request(main.subscription_id, 30, new_device_limit=8))
        assert other.answer.changed
        assert len(await terms_of(connection, main.subscription_id)) == 3


async def test_a_request_a_day_later_is_a_new_one(database: Database) -> None:
    async with ingest(database) as connection:
        await add_tenant(connection)
        main = await sell(connection, 5, term=DAY)
        await asked(connection, Request(main.subscription_id, 30))
        later = await asked(connection, Request(main.subscription_id, 30), at=NOW + timedelta(days=1, seconds=1))
        assert later.answer.changed, "its end is less than 30 days ahead again"


async def test_too_early_a_request_changes_nothing_and_keeps_no_key(database: Database) -> None:
    async with ingest(database) as connection:
        await add_tenant(connection)
        main = await sell(connection, 5, term=40 * DAY)
        request = Request(main.subscription_id, 30)
        early = await asked(connection, request, key="k")
        assert (early.answer.note, early.answer.changed, early.answer.renewed) == ("Already active", False, True)
        assert early.answer.renewing_opens == (NOW + 10 * DAY).date()
        assert early.answer.new_term_end == main.term_end
        assert await store.get(connection, TENANT, main.subscription_id) == main
        opened = await asked(connection, request, key="k", at=NOW + 11 * DAY)
        assert opened.answer.changed


async def test_again_renews_on_purpose_once_a_key(database: Database) -> None:
    async with ingest(database) as connection:
        await add_tenant(connection)
        main = await sell(connection, 5, term=400 * DAY)
        request = Request(main.subscription_id, 30, again=True)
        with pytest.raises(Invalid, match="Idempotency-Key"):
            await asked(connection, request)
        for key, changed in (("a", True), ("a", True), ("b", True)):
            assert (await asked(connection, request, key=key)).answer.changed is changed
        assert len(await terms_of(connection, main.subscription_id)) == 3
        with pytest.raises(KeyReused):
            await asked(connection, replace(request, again=False), key="a")
        with pytest.raises(KeyReused):
            await asked(connection, replace(request, term_days=90), key="a")


async def test_a_key_is_free_again_when_the_term_it_bought_has_ended(database: Database) -> None:
    async with ingest(database) as connection:
        await add_tenant(connection)
        main = await sell(connection, 5, term=DAY)
        request = Request(main.subscription_id, 30)
        first = await asked(connection, request, key="k")
        assert (await asked(connection, request, key="k", at=NOW + 30 * DAY)).replayed
        again = await asked(connection, request, key="k", at=first.answer.new_term_end)
        assert again.answer.changed


async def test_fewer_seats_stop_exactly_the_devices_that_are_named(database: Database) -> None:
    async with ingest(database) as connection:
        await add_tenant(connection)
        main = await sell(connection, 5, term=20 * DAY)
        await stock(connection, main, ["d1", "d2", "d3", "d4"])
        await connection.execute(
            "INSERT INTO device_credentials (tenant_id, device_id, mqtt_hash, token_hash, created_at)"
            " SELECT tenant_id, device_id, 'x', sha256(device_id::bytea), created_at FROM device_registry"
        )
        request = Request(main.subscription_id, 90, new_device_limit=2)
        with pytest.raises(DevicesNeeded) as error:
            await asked(connection, request, key="k")
        assert error.value.needed == 2
        assert [one.device_id for one in error.value.choices] == ["d1", "d2", "d3", "d4"]
        for wrong in (("d1",), ("d1", "d1"), ("d1", "d9"), ("d1", "d2", "d3"), ("d1", "\x00")):
            with pytest.raises(DevicesNeeded):
                await asked(connection, replace(request, devices_to_deactivate=wrong), key="k")
        assert await store.get(connection, TENANT, main.subscription_id) == replace(main, active_device_count=4)
        chosen = replace(request, devices_to_deactivate=("d3", "d1"))
        outcome = await asked(connection, chosen, key="k")
        assert (outcome.answer.devices_deactivated, outcome.answer.device_limit) == (["d1", "d3"], 2)
        statuses = await rows(connection, "SELECT device_id, status, subscription_id FROM device_registry ORDER BY 1")
        seat = main.subscription_id
        assert statuses == [
            ("d1", "INACTIVE", None), ("d2", "ACTIVE", seat), ("d3", "INACTIVE", None), ("d4", "ACTIVE", seat),
        ]  # fmt: skip
        stopped = await rows(
            connection, "SELECT object_id FROM audit_log WHERE action = 'device.deactivate' ORDER BY 1"
        )
        assert stopped == [("d1",), ("d3",)]
        left = await rows(connection, "SELECT device_id FROM device_credentials ORDER BY 1")
        assert left == [("d2",), ("d4",)], "credentials of stopped devices are revoked"
        with pytest.raises(Invalid, match="No device needs to stop"):
            await asked(connection, Request(main.subscription_id, 30, None, None, ("d2",), again=True), key="other")


async def test_add_ons_follow_in_the_same_transaction(database: Database) -> None:
    async with ingest(database) as connection:
        await add_tenant(connection)
        main = await sell(connection, 5, term=20 * DAY)
        addon = await sell(connection, 3, kind=SubscriptionType.ADDON)
        await asked(connection, Request(main.subscription_id, 90))
        after = await store.get(connection, TENANT, addon.subscription_id)
        assert (after.term_end, after.device_limit) == (main.term_end + 90 * DAY, 3)
        assert [term[0] for term in await terms_of(connection, addon.subscription_id)] == ["SOLD", "RENEWED"]
        with pytest.raises(Conflict, match=main.subscription_id):
            await asked(connection, Request(addon.subscription_id, 90))


async def test_what_is_another_tenants_is_not_there(database: Database) -> None:
    async with ingest(database) as connection:
        for tenant in (TENANT, "other"):
            await add_tenant(connection, tenant)
        mine = await sell(connection, 1, term=DAY)
        theirs = await sell(connection, 1, tenant_id="other", term=DAY)
        for identity in (theirs.subscription_id, "SUB-19700101-00001"):
            with pytest.raises(NotFound):
                await asked(connection, Request(identity, 30))
        first = await asked(connection, Request(mine.subscription_id, 30), key="same")
        other = await asked(connection, Request(theirs.subscription_id, 30), key="same", tenant_id="other")
        assert (first.answer.changed, other.answer.changed) == (True, True), "a key is a tenant's own"


async def test_a_customer_renews_under_the_role_of_the_dashboard(database: Database) -> None:
    async with ingest(database) as connection:
        await add_tenant(connection)
        main = await sell(connection, 3, term=DAY)
        await stock(connection, main, ["d1", "d2"])
    async with customer(database, TENANT) as connection:
        request = Request(main.subscription_id, 30, new_device_limit=1, devices_to_deactivate=("d2",))
        for replayed in (False, True):
            outcome = await asked(connection, request, key="k")
            assert (outcome.replayed, outcome.answer.changed) == (replayed, True)


async def test_nothing_is_renewed_while_the_clock_is_in_doubt(database: Database) -> None:
    async with ingest(database) as connection:
        await add_tenant(connection)
        main = await sell(connection, 3, term=DAY)
        with pytest.raises(Conflict, match="clock"):
            await asked(connection, Request(main.subscription_id, 30), trusted=False)
        assert await store.get(connection, TENANT, main.subscription_id) == main


async def test_a_stale_preview_changes_nothing(database: Database) -> None:
    async with ingest(database) as connection:
        await add_tenant(connection)
        main = await sell(connection, 3, term=DAY)
        request = Request(main.subscription_id, 30)
        shown = await preview(connection, TENANT, request, NOW, policy=POLICY)
        assert isinstance(shown.outcome, Plan)
        await store.change(connection, TENANT, main.subscription_id, store.Changes(device_limit=9), BY, grace=GRACE)
        with pytest.raises(StalePreview):
            await asked(connection, request, key="k", seen=shown.version)
        shown = await preview(connection, TENANT, request, NOW, policy=POLICY)
        outcome = await asked(connection, request, key="k", seen=shown.version)
        assert outcome.answer.changed
        again = await asked(connection, request, key="k", seen=shown.version)
        assert again.replayed, "a second press of the button is answered as the first"


async def test_a_preview_says_what_would_be_refused_and_changes_nothing(database: Database) -> None:
    async with ingest(database) as connection:
        await add_tenant(connection)
        main = await sell(connection, 3, term=50 * DAY)
        await stock(connection, main, ["d1", "d2"])
        early = await preview(connection, TENANT, Request(main.subscription_id, 30), NOW, policy=POLICY)
        assert isinstance(early.outcome, NotOpen)
        fewer = Request(main.subscription_id, 30, new_device_limit=1)
        missing = await preview(connection, TENANT, fewer, NOW, policy=POLICY)
        assert isinstance(missing.outcome, Refusal)
        assert missing.outcome.needed == 1
        chosen = replace(fewer, devices_to_deactivate=("d1",))
        assert isinstance((await preview(connection, TENANT, chosen, NOW, policy=POLICY)).outcome, Plan)
        with pytest.raises(NotFound):
            await preview(connection, TENANT, Request("SUB-19700101-00001", 30), NOW, policy=POLICY)
        assert await store.get(connection, TENANT, main.subscription_id) == replace(main, active_device_count=2)
