"""Subscriptions in Postgres: sold, changed, recorded, with who did it."""

import re
from datetime import datetime, timedelta

import pytest
import trio

from appliance.db.trio_psycopg import connect
from appliance.devices.device import NewDevice
from appliance.devices.seats import changes as seats
from appliance.errors import Conflict, Invalid, NotFound
from appliance.subscriptions import rows as subscription_rows
from appliance.subscriptions import store
from appliance.subscriptions.lifecycle import Subscription, SubscriptionStatus, SubscriptionType
from appliance.subscriptions.statuses import record_statuses
from tests.support.postgres_server import Database
from tests.support.tenants import ALICE, BY, GRACE, NOW, TENANT, add_tenant, customer, ingest, rows, sell

DAY = timedelta(days=1)


async def test_a_sold_subscription_is_there_with_its_term_and_audit_rows(database: Database) -> None:
    async with ingest(database) as connection:
        await add_tenant(connection)
        new = store.NewSubscription(TENANT, SubscriptionType.MAIN, 10, 30 * DAY, plan_id="basic", description="Hall 3")
        made = await store.add(connection, new, BY, grace=GRACE)
        assert re.fullmatch(r"SUB-\d{8}-\d{5}", made.subscription_id)
        assert made == Subscription(
            made.subscription_id,
            TENANT,
            SubscriptionType.MAIN,
            None,
            10,
            0,
            NOW,
            NOW + 30 * DAY,
            SubscriptionStatus.ACTIVE,
            plan_id="basic",
            description="Hall 3",
        )
        assert await store.list_all(connection) == [made] == await store.list_all(connection, TENANT)
        assert await store.get(connection, TENANT, made.subscription_id) == made
        assert await store.tenant_of(connection, made.subscription_id) == TENANT
        terms = await rows(
            connection, "SELECT kind, term_start, term_end, device_limit, plan_id, actor FROM subscription_terms"
        )
        assert terms == [("SOLD", NOW, NOW + 30 * DAY, 10, "basic", ALICE.name)]
        events = await rows(
            connection, "SELECT event_type, actor, ip, new_state->>'device_limit' FROM subscription_audit"
        )
        assert events == [("add", ALICE.name, ALICE.address, "10")]
        audit = await rows(connection, "SELECT action, object_id FROM audit_log ORDER BY id")
        assert audit == [("subscription.add", made.subscription_id)]


async def test_a_number_past_five_digits_grows_and_loses_none(database: Database) -> None:
    async with await connect(database.conninfo()) as superuser:
        await superuser.execute("SELECT setval('subscription_numbers', 99999)")
    async with ingest(database) as connection:
        await add_tenant(connection)
        assert (await sell(connection, 1)).subscription_id.endswith("-100000")


async def test_a_tenant_has_one_main_however_many_ask_at_once(database: Database) -> None:
    async with ingest(database) as connection:
        await add_tenant(connection)
    outcomes: list[str] = []

    async def buy() -> None:
        async with ingest(database) as connection:
            try:
                outcomes.append((await sell(connection, 1)).subscription_type)
            except Conflict:
                outcomes.append("refused")

    async with trio.open_nursery() as nursery:
        for _ in range(8):
            nursery.start_soon(buy)
    assert sorted(outcomes) == ["MAIN", *["refused"] * 7]


async def test_an_addon_follows_its_main(database: Database) -> None:
    async with ingest(database) as connection:
        await add_tenant(connection)
        with pytest.raises(NotFound):
            await sell(connection, 1, SubscriptionType.ADDON)
        main = await sell(connection, 5, term=30 * DAY)
        addon = await sell(connection, 2, SubscriptionType.ADDON, term=999 * DAY)
        assert (addon.parent_subscription_id, addon.term_end) == (main.subscription_id, main.term_end)
        own_end = store.Changes(term_end=NOW + 60 * DAY)
        with pytest.raises(Conflict, match="it ends with"):
            await store.change(connection, TENANT, addon.subscription_id, own_end, BY, grace=GRACE)
        await store.change(connection, TENANT, main.subscription_id, own_end, BY, grace=GRACE)
        assert (await store.get(connection, TENANT, addon.subscription_id)).term_end == NOW + 60 * DAY
        hold = store.Changes(hold_reason="unpaid")
        await store.change(connection, TENANT, main.subscription_id, hold, BY, grace=GRACE)
        recorded = [(row.status, row.hold_reason) for row in await store.list_all(connection, TENANT)]
        assert recorded == [(SubscriptionStatus.SUSPENDED, "unpaid"), (SubscriptionStatus.SUSPENDED, None)]
        await store.change(connection, TENANT, main.subscription_id, store.Changes(hold_reason=""), BY, grace=GRACE)
        assert {row.status for row in await store.list_all(connection, TENANT)} == {SubscriptionStatus.ACTIVE}
        events = await rows(
            connection, "SELECT event_type FROM subscription_audit WHERE subscription_id = %s ORDER BY event_id",
            main.subscription_id,
        )  # fmt: skip
        assert [event for (event,) in events] == ["add", "change", "hold", "lift_hold"]


async def test_a_limit_is_never_set_below_the_seats_in_use(database: Database) -> None:
    async with ingest(database) as connection:
        await add_tenant(connection)
        main = await sell(connection, 5)
        for name in "abc":
            await seats.create(connection, TENANT, NewDevice(name), BY, grace=GRACE)
        with pytest.raises(Conflict, match="deactivate 1 of them"):
            await store.change(connection, TENANT, main.subscription_id, store.Changes(device_limit=2), BY, grace=GRACE)
        for impossible in (0, -1, 2**31):
            with pytest.raises(Conflict):
                await store.change(
                    connection,
                    TENANT,
                    main.subscription_id,
                    store.Changes(device_limit=impossible),
                    BY,
                    grace=GRACE,
                )
        changed = await store.change(
            connection, TENANT, main.subscription_id, store.Changes(device_limit=3), BY, grace=GRACE
        )
        assert (changed.device_limit, changed.active_device_count) == (3, 3)
        terms = await rows(
            connection, "SELECT device_limit, kind, corrects_term_id FROM subscription_terms ORDER BY term_id"
        )
        assert terms == [(5, "SOLD", None), (3, "CORRECTED", 1)]


async def test_changes_by_an_operator_are_corrections_of_the_term_and_no_terms_that_were_bought(
    database: Database,
) -> None:
    async with ingest(database) as connection:
        await add_tenant(connection)
        main = await sell(connection, 5)
        for days in range(1, 11):
            changes = store.Changes(term_end=NOW + days * DAY)
            await store.change(connection, TENANT, main.subscription_id, changes, BY, grace=GRACE)
        kinds = await rows(
            connection, "SELECT kind, count(*), count(corrects_term_id) FROM subscription_terms GROUP BY 1"
        )
        assert sorted(kinds) == [("CORRECTED", 10, 10), ("SOLD", 1, 0)]


async def test_an_operator_takes_a_term_back_that_has_not_begun(database: Database) -> None:
    async with ingest(database) as connection:
        await add_tenant(connection)
        main = await sell(connection, 5, term=30 * DAY)
        await connection.execute(
            "INSERT INTO subscription_terms"
            " (tenant_id, subscription_id, kind, term_start, term_end, device_limit, actor, bought_at)"
            " SELECT tenant_id, subscription_id, 'RENEWED', term_end, term_end + interval '1 year', 5, 'x', term_start"
            " FROM subscriptions"
        )
        await connection.execute(
            "UPDATE subscriptions SET term_start = term_end, term_end = term_end + interval '365 days'"
        )
        changes = store.Changes(term_end=NOW + 30 * DAY)
        changed = await store.change(connection, TENANT, main.subscription_id, changes, BY, grace=GRACE)
        assert (changed.term_start, changed.term_end) == (NOW, NOW + 30 * DAY)
        with pytest.raises(Conflict, match="ends after it starts"):
            await store.change(
                connection, TENANT, main.subscription_id, store.Changes(term_end=NOW - DAY), BY, grace=GRACE
            )
        corrected = await rows(
            connection,
            "SELECT t.term_start, c.kind FROM subscription_terms AS t JOIN subscription_terms AS c"
            " ON c.corrects_term_id = t.term_id",
        )
        assert corrected == [(NOW + 30 * DAY, "CORRECTED")], "the term that was renewed is the one that is corrected"


async def test_what_is_not_there_or_is_another_tenants_is_not_found(database: Database) -> None:
    async with ingest(database) as connection:
        for tenant in (TENANT, "other"):
            await add_tenant(connection, tenant)
        theirs = await sell(connection, 1, tenant_id="other")
        with pytest.raises(NotFound):
            await sell(connection, 1, tenant_id="nobody")
        for identity in (theirs.subscription_id, "SUB-19700101-00001"):
            with pytest.raises(NotFound):
                await store.get(connection, TENANT, identity)
            with pytest.raises(NotFound):
                await store.change(connection, TENANT, identity, store.Changes(device_limit=9), BY, grace=GRACE)
        with pytest.raises(NotFound):
            await store.tenant_of(connection, "SUB-19700101-00001")
    async with customer(database, TENANT) as connection:
        assert await store.list_all(connection) == []
        with pytest.raises(NotFound):
            await store.get(connection, "other", theirs.subscription_id)


async def test_an_id_that_two_tenants_have_does_not_tell_the_tenant(database: Database) -> None:
    async with ingest(database) as connection:
        for tenant in ("acme", "globex"):
            await add_tenant(connection, tenant)
            await connection.execute(
                "INSERT INTO subscriptions (created_at, tenant_id, subscription_id, subscription_type, device_limit,"
                " term_start, term_end, status) VALUES (%(now)s, %(tenant)s, 'SUB-1', 'TEMPORARY', 2, %(now)s,"
                " %(now)s + interval '30 days', 'ACTIVE')",
                {"now": NOW, "tenant": tenant},
            )
        with pytest.raises(Conflict, match=r"acme, globex\. Name the tenant\."):
            await store.tenant_of(connection, "SUB-1")


async def test_nothing_is_sold_that_makes_no_sense(database: Database) -> None:
    async with ingest(database) as connection:
        await add_tenant(connection)
        main = await sell(connection, 1, term=DAY)
        for wrong in (
            store.NewSubscription(TENANT, SubscriptionType.TRIAL, 0, DAY),
            store.NewSubscription(TENANT, SubscriptionType.TRIAL, 1, timedelta(0)),
            store.NewSubscription(TENANT, SubscriptionType.TRIAL, 1, DAY, main.subscription_id),
        ):
            with pytest.raises(Conflict):
                await store.add(connection, wrong, BY, grace=GRACE)
        with pytest.raises(Conflict, match="has ended"):
            await sell(connection, 1, SubscriptionType.ADDON, now=NOW + 2 * DAY)
        with pytest.raises(Conflict, match="after it starts"):
            await store.change(connection, TENANT, main.subscription_id, store.Changes(term_end=NOW), BY, grace=GRACE)
        assert len(await store.list_all(connection)) == 1


async def test_the_recorded_status_catches_up_and_stays_quiet_when_it_is_right(database: Database) -> None:
    async with ingest(database) as connection:
        await add_tenant(connection)
        await sell(connection, 1, term=10 * DAY)
        await sell(connection, 1, SubscriptionType.ADDON)
        await sell(connection, 1, SubscriptionType.TRIAL, term=5 * DAY)
        seen = []
        for day in (4, 5, 10, 24, 114, 115):
            async with connection.transaction():
                before = await subscription_rows.lock(connection, [TENANT])
                moment = NOW + day * DAY
                after = await record_statuses(connection, before, now=moment, settled=moment, grace=GRACE)
            written = sum(old.status is not new.status for old, new in zip(before, after, strict=True))
            assert await store.list_all(connection) == after
            seen.append((written, [str(row.status) for row in after]))
        assert seen == [
            (0, ["ACTIVE", "ACTIVE", "TRIAL"]),
            (1, ["ACTIVE", "ACTIVE", "EXPIRED"]),
            (2, ["GRACE", "GRACE", "EXPIRED"]),
            (2, ["SUSPENDED", "SUSPENDED", "EXPIRED"]),
            (2, ["EXPIRED", "EXPIRED", "EXPIRED"]),
            (0, ["EXPIRED", "EXPIRED", "EXPIRED"]),
        ]
        events = await rows(
            connection, "SELECT actor, count(*) FROM subscription_audit WHERE event_type = 'status' GROUP BY 1"
        )
        assert events == [("subscriptions", 7)]


async def test_terms_and_audit_rows_are_only_ever_added(database: Database) -> None:
    async with ingest(database) as connection:
        await add_tenant(connection)
        await sell(connection, 1)
        grants = await rows(
            connection,
            "SELECT DISTINCT t, p FROM unnest(ARRAY['subscription_terms', 'subscription_audit', 'audit_log']) AS t,"
            " unnest(ARRAY['UPDATE', 'DELETE', 'TRUNCATE']) AS p,"
            " unnest(ARRAY['appliance_ingest', 'appliance_web', 'appliance_backup']) AS r"
            " WHERE has_table_privilege(r, t, p)",
        )
        assert grants == []


async def test_a_page_tells_what_each_is_worth_now_whatever_page_its_main_is_on(database: Database) -> None:
    async with ingest(database) as connection:
        await add_tenant(connection)
        main, addon, trial = [
            await sell(connection, 5, kind, term=30 * DAY)
            for kind in (SubscriptionType.MAIN, SubscriptionType.ADDON, SubscriptionType.TRIAL)
        ]
        hold = store.Changes(hold_reason="unpaid")
        await store.change(connection, TENANT, main.subscription_id, hold, BY, grace=GRACE)
        later, seen, after = NOW + 31 * DAY, list[Subscription](), None
        for _ in range(3):
            (row,) = await store.list_page(connection, None, limit=1, after=after, now=later, grace=GRACE)
            seen.append(row)
            after = (row.tenant_id, row.subscription_id)
        assert await store.list_page(connection, None, limit=1, after=after, now=later, grace=GRACE) == []
        assert [(row.subscription_id, row.status) for row in seen] == [
            (main.subscription_id, SubscriptionStatus.SUSPENDED),
            (addon.subscription_id, SubscriptionStatus.SUSPENDED),
            (trial.subscription_id, SubscriptionStatus.EXPIRED),
        ]
        assert await store.list_page(connection, "nobody", limit=9, after=None, now=later, grace=GRACE) == []


async def test_a_change_of_what_somebody_has_changed_is_refused_and_seats_taken_are_no_change(
    database: Database,
) -> None:
    async with ingest(database) as connection:
        await add_tenant(connection)
        sold = await sell(connection, 5)
        version = store.version_of(sold)
        await seats.create(connection, TENANT, NewDevice("pump"), BY, grace=GRACE)

        async def change(**wanted: int | str) -> Subscription:
            changes = store.Changes(**wanted)  # type: ignore[arg-type] # a test's own names
            return await store.change(
                connection, TENANT, sold.subscription_id, changes, BY, grace=GRACE, version=version
            )

        assert (await change(device_limit=9)).device_limit == 9
        with pytest.raises(Conflict, match="changed by someone else"):
            await change(device_limit=7)


async def test_a_text_or_an_end_that_none_can_have_names_its_field(database: Database) -> None:
    async with ingest(database) as connection:
        await add_tenant(connection)
        sold = await sell(connection, 5)
        for wrong, field in (
            (store.Changes(hold_reason="a\0b"), "hold_reason"),
            (store.Changes(plan_id="x" * 257), "plan_id"),
            (store.Changes(description="a\nb"), "description"),
            (store.Changes(term_end=NOW + store.MOST_TERM + DAY), "term_end"),
        ):
            with pytest.raises(Invalid) as refused:
                await store.change(connection, TENANT, sold.subscription_id, wrong, BY, grace=GRACE)
            assert refused.value.field == field
        endless = store.NewSubscription(TENANT, SubscriptionType.TRIAL, 1, store.MOST_TERM + DAY)
        with pytest.raises(Invalid):
            await store.add(connection, endless, BY, grace=GRACE)
        assert await store.list_all(connection) == [sold]


async def test_a_term_is_days_of_the_calendar_in_the_zone_of_its_tenant(database: Database) -> None:
    autumn = datetime.fromisoformat("2026-10-20T10:00-04:00")
    async with ingest(database) as connection:
        await add_tenant(connection)
        await connection.execute("UPDATE tenants SET time_zone = 'America/New_York' WHERE tenant_id <> 'appliance'")
        made = await sell(connection, 5, term=30 * DAY, now=autumn)
        assert made.term_end == datetime.fromisoformat("2026-11-19T10:00-05:00")
        assert await store.term_end(connection, TENANT, autumn, 5) == datetime.fromisoformat("2026-10-25T10:00-04:00")
        with pytest.raises(NotFound):
            await store.term_end(connection, "nobody", autumn, 5)
