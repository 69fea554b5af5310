"""Rules as people make, see, change and delete them, and as the engine loads them."""

from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from appliance.alerts import actions
from appliance.alerts.kinds.kind import KindName, Parameters
from appliance.alerts.rules import in_force, store
from appliance.alerts.rules.rule import Scope
from appliance.alerts.rules.store import RuleFilter, Sort, TenantRule
from appliance.alerts.rules.validation import RuleDraft, changed, draft_of
from appliance.db.trio_psycopg import Connection
from appliance.devices.device import NewDevice
from appliance.devices.seats import changes
from appliance.errors import Busy, Conflict, Invalid, NotFound
from appliance.severity import Severity
from tests.support.postgres_server import Database
from tests.support.tenants import BY, GRACE, LATER, NOW, TENANT, add_tenant, customer, ingest, rows, sell

AUDIT = "SELECT action, before, after FROM audit_log WHERE object_type = 'rule' ORDER BY id"
HATCH_OPEN = {"metric": "hatch_open", "operator": "EQ", "value": True, "max_age_seconds": 300}
HOT = {"name": "Hot", "severity": "high", "kind": "threshold", "metric": "temperature", "operator": "GT", "value": 8}


def draft(**fields: Any) -> RuleDraft:
    """Return a rule of a threshold with some other fields."""
    return draft_of({**HOT, **fields})


async def make(connection: Connection[Any], tenant_id: str = TENANT, **fields: Any) -> TenantRule:
    """Make a rule of a threshold with some other fields."""
    return await store.create(connection, tenant_id, draft(**fields), BY)


async def add_built_in(connection: Connection[Any]) -> UUID:
    """Return the built-in rule of the tenant, made here if nothing else did."""
    await connection.execute(
        "INSERT INTO alert_rules (tenant_id, name, severity, kind, parameters, built_in, created_at, updated_at)"
        " VALUES (%s, 'No heartbeat', 'high', 'no_data', '{}', 'NO_HEARTBEAT', %s, %s) ON CONFLICT DO NOTHING",
        [TENANT, NOW, NOW],
    )
    found = await rows(connection, "SELECT rule_id FROM alert_rules WHERE built_in IS NOT NULL")
    rule_id: UUID = found[0][0]
    return rule_id


async def add_alert(connection: Connection[Any], rule: TenantRule, device_id: str, at: Any, *, closed: bool) -> None:
    """Add an alert as the engine does."""
    await connection.execute(
        "INSERT INTO fleet_alert (tenant_id, device_id, rule_id, rule_version, alert_type, fingerprint, status,"
        " severity, summary, created_at, started_at, last_triggered_at, due_at, closed_at, close_reason)"
        " VALUES (%s, %s, %s, 1, 'THRESHOLD', %s, %s, 'high', '', %s, %s, %s, %s, %s, %s)",
        [
            rule.tenant_id,
            device_id,
            rule.rule.rule_id,
            f"rule:{rule.rule.rule_id}:{device_id}",
            "CLOSED" if closed else "OPEN",
            at,
            at,
            at,
            at,
            at if closed else None,
            "cleared" if closed else None,
        ],
    )


async def test_a_rule_is_kept_as_it_was_made_with_its_audit_row(database: Database) -> None:
    async with ingest(database) as connection:
        await add_tenant(connection)
        made = await make(connection, conditions=[HATCH_OPEN], clear_value=7.5, scope={"tags": ["freezer"]})
        assert made == await store.get(connection, TENANT, made.rule.rule_id, now=NOW)
        assert draft_of(made.flat()) == draft(conditions=[HATCH_OPEN], clear_value=7.5, scope={"tags": ["freezer"]})
        assert (made.rule.version, made.rule.error, made.open_alerts, made.opened) == (1, None, 0, 0)
        (entry,) = await rows(connection, AUDIT)
        assert entry[:2] == ("rule.create", None)
        assert entry[2]["conditions"] == ["hatch_open EQ True, at most 300 s old"]
        assert (entry[2]["name"], entry[2]["value"], entry[2]["tags"]) == ("Hot", 8, ["freezer"])


async def test_a_name_is_taken_once_in_a_tenant_whatever_its_case(database: Database) -> None:
    async with ingest(database) as connection:
        await add_tenant(connection)
        await add_tenant(connection, "other")
        first, second = await make(connection), await make(connection, name="Cold")
        with pytest.raises(Conflict, match="There is a rule called hot already"):
            await make(connection, name="hot")
        with pytest.raises(Conflict):
            await store.change(connection, TENANT, second.rule.rule_id, draft(name="HOT"), LATER)
        await make(connection, "other")
        await store.delete(connection, TENANT, first.rule.rule_id, LATER)
        await make(connection, name="hot")


async def test_a_tenant_has_so_many_rules_and_no_more(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "MAX_RULES", 3)
    async with ingest(database) as connection:
        await add_tenant(connection)
        there = (await store.counts(connection, TENANT)).total
        for number in range(3 - there):
            last = await make(connection, name=f"rule {number}")
        with pytest.raises(Invalid, match="There are 3 rules already"):
            await make(connection)
        await store.delete(connection, TENANT, last.rule.rule_id, LATER)
        await make(connection)


async def test_a_rule_of_an_unknown_tenant_is_not_made(database: Database) -> None:
    async with ingest(database) as connection:
        with pytest.raises(NotFound, match="tenant"):
            await make(connection)


async def test_a_change_of_what_it_opens_is_a_new_version_and_a_name_is_none(database: Database) -> None:
    async with ingest(database) as connection:
        await add_tenant(connection)
        made = await make(connection)
        rule_id = made.rule.rule_id
        renamed = await store.change(connection, TENANT, rule_id, draft(name="Too hot", severity="low"), LATER)
        assert (renamed.rule.version, renamed.rule.severity) == (1, Severity.LOW)
        moved = await store.change(connection, TENANT, rule_id, draft(name="Too hot", value=9), LATER)
        assert moved.rule.version == 2
        assert [entry[0] for entry in await rows(connection, AUDIT)] == ["rule.create", "rule.update", "rule.update"]
        (entry,) = (await rows(connection, AUDIT))[2:]
        assert entry[1:] == ({"severity": "low", "value": 8}, {"severity": "high", "value": 9})


async def test_a_change_of_nothing_is_none(database: Database) -> None:
    async with ingest(database) as connection:
        await add_tenant(connection)
        made = await make(connection)
        assert await store.change(connection, TENANT, made.rule.rule_id, draft(), LATER) == made
        assert len(await rows(connection, AUDIT)) == 1


async def test_the_second_of_two_editors_is_told(database: Database) -> None:
    async with ingest(database) as connection:
        await add_tenant(connection)
        made = await make(connection)
        rule_id = made.rule.rule_id
        await store.change(connection, TENANT, rule_id, draft(value=9), LATER, version=made.version)
        with pytest.raises(Conflict, match="changed by someone else"):
            await store.change(connection, TENANT, rule_id, draft(value=10), LATER, version=made.version)


async def test_a_rule_is_switched_off_and_on_with_words_of_its_own(database: Database) -> None:
    async with ingest(database) as connection:
        await add_tenant(connection)
        rule_id = (await make(connection)).rule.rule_id
        off = await store.set_enabled(connection, TENANT, rule_id, enabled=False, context=BY)
        assert (off.rule.enabled, off.rule.version) == (False, 2)
        assert not [rule for rule in (await in_force.load_rules(connection)).rules if rule.rule_id == rule_id]
        await store.change(connection, TENANT, rule_id, draft(enabled=True), LATER)
        on = await store.set_enabled(connection, TENANT, rule_id, enabled=True, context=BY)
        assert on.rule.enabled
        assert (await rows(connection, AUDIT))[1:] == [
            ("rule.disable", {"enabled": True}, {"enabled": False}),
            ("rule.enable", {"enabled": False}, {"enabled": True}),
        ]


async def test_a_deleted_rule_is_gone_for_people_and_stays_for_its_alerts(database: Database) -> None:
    async with ingest(database) as connection:
        await add_tenant(connection)
        made = await make(connection)
        rule_id = made.rule.rule_id
        await store.delete(connection, TENANT, rule_id, LATER)
        for step in (
            store.get(connection, TENANT, rule_id, now=NOW),
            store.delete(connection, TENANT, rule_id, LATER),
            store.change(connection, TENANT, rule_id, draft(), LATER),
            store.set_enabled(connection, TENANT, rule_id, enabled=False, context=LATER),
        ):
            with pytest.raises(NotFound):
                await step
        assert await rows(connection, "SELECT name FROM alert_rules WHERE deleted_at IS NOT NULL") == [("Hot",)]
        assert [entry[0] for entry in await rows(connection, AUDIT)] == ["rule.create", "rule.delete"]


async def test_the_built_in_rule_can_be_tuned_and_disabled_and_not_deleted(database: Database) -> None:
    async with ingest(database) as connection:
        await add_tenant(connection)
        rule_id = await add_built_in(connection)
        with pytest.raises(Conflict, match="disable it instead"):
            await store.delete(connection, TENANT, rule_id, BY)
        with pytest.raises(Invalid) as refused:
            await store.change(connection, TENANT, rule_id, draft(), LATER)
        assert refused.value.field == "kind"
        before = await store.get(connection, TENANT, rule_id, now=NOW)
        wanted = draft_of(changed(before.flat(), {"seconds": 600}), built_in=before.rule.built_in)
        assert (await store.change(connection, TENANT, rule_id, wanted, LATER)).stored == {"seconds": 600}
        off = await store.set_enabled(connection, TENANT, rule_id, enabled=False, context=LATER)
        assert (off.rule.enabled, off.rule.built_in) == (False, "NO_HEARTBEAT")


async def test_another_tenant_sees_and_reaches_none_of_it(database: Database) -> None:
    async with ingest(database) as connection:
        await add_tenant(connection)
        await add_tenant(connection, "other")
        rule_id = (await make(connection)).rule.rule_id
    async with customer(database, "other") as connection:
        assert rule_id not in [kept.rule.rule_id for kept in await page(connection)]
        with pytest.raises(NotFound):
            await store.get(connection, TENANT, rule_id, now=NOW)
        with pytest.raises(NotFound):
            await store.delete(connection, "other", rule_id, BY)
    async with customer(database, TENANT) as connection:
        await make(connection, name="By a customer")
        await store.change(connection, TENANT, rule_id, draft(value=9), LATER)
        await store.delete(connection, TENANT, rule_id, LATER)


async def page(connection: Connection[Any], **fields: Any) -> list[TenantRule]:
    """Return the rules that people made and a filter matches, worst first."""
    found = await store.list_page(connection, RuleFilter(**fields), now=NOW, limit=100)
    return [kept for kept in found if kept.rule.built_in is None]


async def test_rules_are_filtered_and_searched(database: Database) -> None:
    async with ingest(database) as connection:
        await add_tenant(connection)
        await add_tenant(connection, "other")
        await make(connection, scope={"device_prefixes": ["DRM-"]})
        await make(connection, name="Cold", severity="critical", operator="LT", enabled=False)
        mode = {"name": "Mode", "severity": "high", "kind": "change", "metric": "mode", "description": "by hand"}
        await store.create(connection, TENANT, draft_of(mode), BY)
        await make(connection, "other", name="Foreign")

        async def names(**fields: Any) -> list[str]:
            return [kept.rule.name for kept in await page(connection, **fields)]

        assert await names(tenant_id=TENANT) == ["Cold", "Hot", "Mode"]
        assert await names() == ["Cold", "Foreign", "Hot", "Mode"]
        assert await names(tenant_id=TENANT, enabled=False) == ["Cold"]
        assert await names(tenant_id=TENANT, enabled=True) == ["Hot", "Mode"]
        assert await names(tenant_id=TENANT, severities=[Severity.CRITICAL, Severity.LOW]) == ["Cold"]
        assert await names(tenant_id=TENANT, kinds=[KindName.CHANGE]) == ["Mode"]
        assert await names(tenant_id=TENANT, search="TEMPERATURE drm-") == ["Hot"]
        assert await names(tenant_id=TENANT, search="hand") == ["Mode"]
        assert await names(tenant_id=TENANT, search="100%") == []
        found = await store.counts(connection, TENANT)
        assert (found.by_kind[KindName.THRESHOLD], found.by_kind[KindName.CHANGE], found.failing) == (2, 1, 0)


async def test_pages_follow_one_another_without_gap_in_both_orders(database: Database) -> None:
    async with ingest(database) as connection:
        await add_tenant(connection)
        for number in range(7):
            await make(connection, name=f"r{number}", severity=["low", "critical"][number % 2])
        for sort, wanted in ((Sort.SEVERITY, "1350246"), (Sort.NAME, "0123456")):
            read: list[TenantRule] = []
            while True:
                after = read[-1].position if read else None
                found = await store.list_page(
                    connection, RuleFilter(TENANT, kinds=[KindName.THRESHOLD]), now=NOW, limit=2, sort=sort, after=after
                )
                if not found:
                    break
                read += found
            assert "".join(kept.rule.name[1:] for kept in read) == wanted


async def test_a_list_says_what_each_rule_has_opened(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    async with ingest(database) as connection:
        await add_tenant(connection)
        hot, cold = await make(connection), await make(connection, name="Cold")
        old, lately = NOW - timedelta(days=31), NOW - timedelta(days=1)
        await add_alert(connection, hot, "a", old, closed=False)
        await add_alert(connection, hot, "a2", lately, closed=True)
        await add_alert(connection, hot, "b", lately, closed=True)
        await add_alert(connection, hot, "b", lately, closed=False)
        by_name = {kept.rule.name: kept for kept in await page(connection, tenant_id=TENANT)}
        told = by_name["Hot"]
        assert (told.open_alerts, told.opened, told.last_opened_at) == (2, 3, lately)
        assert (by_name[cold.rule.name].open_alerts, by_name[cold.rule.name].last_opened_at) == (0, None)
        monkeypatch.setattr(store, "MOST_COUNTED", 2)
        assert (await store.get(connection, TENANT, hot.rule.rule_id, now=NOW)).opened == 2


async def test_the_devices_that_a_rule_covers_are_those_that_python_says(database: Database) -> None:
    async with ingest(database) as connection:
        await add_tenant(connection)
        await sell(connection, 10)
        devices = [
            NewDevice("drm-1", site_id="roof", tags=("x",)),
            NewDevice("drm-2"),
            NewDevice("bgo-1", site_id="quay", tags=("x", "y")),
            NewDevice("gone", tags=("x",)),
        ]
        for device in devices:
            await changes.create(connection, TENANT, device, BY, grace=GRACE)
        await changes.deactivate(connection, TENANT, "gone", BY)
        scopes: list[dict[str, list[str]]] = [
            {},
            {"tags": ["x"]},
            {"site_ids": ["roof", "quay"]},
            {"device_prefixes": ["drm-"]},
            {"device_ids": ["drm-2"], "tags": ["y"]},
            {"device_prefixes": ["zzz"]},
        ]
        active = {
            row[0] for row in await rows(connection, "SELECT device_id FROM device_registry WHERE status = 'ACTIVE'")
        }
        made = [await make(connection, name=f"r{n}", scope=scope) for n, scope in enumerate(scopes)]
        found = await store.covered(connection, [kept.rule for kept in made])
        for kept in made:
            scope = kept.rule.scope
            said = sum(scope.covers(d.device_id, d.site_id, d.tags) for d in devices if d.device_id in active)
            assert found[kept.rule.rule_id] == said, scope


async def in_force_ids(connection: Connection[Any]) -> set[UUID]:
    """Return the ids of the rules that the engine judges by."""
    return {rule.rule_id for rule in (await in_force.load_rules(connection)).rules}


async def test_a_rule_that_raised_is_marked_until_it_is_saved_again(database: Database) -> None:
    async with ingest(database) as connection:
        await add_tenant(connection)
        made = await make(connection)
        key = (TENANT, made.rule.rule_id)
        await in_force.mark_error(connection, *key, 1, "KeyError: 'x\0'", NOW)
        await in_force.mark_error(connection, *key, 1, "again", NOW, times=40)
        await in_force.mark_error(connection, *key, 7, "of another version", NOW)
        marked = await store.get(connection, *key, now=NOW)
        assert (marked.rule.error, marked.rule.error_at, marked.error_count) == ("again", NOW, 41)
        assert (marked.version, marked.rule.version) == (made.version, 1)
        assert [kept.rule.name for kept in await page(connection, failing=True)] == ["Hot"]
        assert (await store.counts(connection, TENANT)).failing == 1
        assert made.rule.rule_id not in await in_force_ids(connection)
        saved = await store.change(connection, *key, draft(), LATER)
        assert (saved.rule.error, saved.error_count, saved.rule.version) == (None, 0, 2)
        assert made.rule.rule_id in await in_force_ids(connection)
        assert [entry[0] for entry in await rows(connection, AUDIT)] == ["rule.create", "rule.update"]


async def test_a_rule_whose_parameters_cannot_be_read_is_shown_and_told_to_the_engine(database: Database) -> None:
    async with ingest(database) as connection:
        await add_tenant(connection)
        await add_tenant(connection, "other")
        good, bad = await make(connection), await make(connection, name="Bad")
        await make(connection, "other")
        await connection.execute(
            "UPDATE alert_rules SET parameters = %s WHERE rule_id = %s",
            ['{"metric": "t", "operator": "~", "conditions": [1]}', bad.rule.rule_id],
        )
        shown = await store.get(connection, TENANT, bad.rule.rule_id, now=NOW)
        assert shown.rule.error is not None
        assert "operator" in shown.rule.error
        assert (shown.rule.parameters, shown.rule.error_at) == (Parameters(), shown.version)
        loaded = await in_force.load_rules_of(connection, [TENANT])
        assert [rule.rule_id for rule in loaded.rules if rule.built_in is None] == [good.rule.rule_id]
        assert loaded.rules[-1].scope == Scope()
        ((key, error),) = loaded.unreadable
        assert (key, error) == ((TENANT, bad.rule.rule_id, 2), shown.rule.error)
        await in_force.mark_error(connection, *key, error, NOW)
        assert (await in_force.load_rules(connection)).unreadable == [], "it is told once"
        assert {rule.tenant_id for rule in (await in_force.load_rules(connection)).rules} == {TENANT, "other"}
        mended = await store.change(connection, TENANT, bad.rule.rule_id, draft(name="Bad"), LATER)
        assert mended.rule.error is None


async def test_a_change_does_not_wait_long_for_somebody_who_holds_an_alert_of_the_rule(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(actions, "LOCK_TIMEOUT_MS", 50)
    async with ingest(database) as connection, ingest(database) as other:
        await add_tenant(connection)
        made = await make(connection)
        await add_alert(connection, made, "a", NOW, closed=False)
        async with other.transaction():
            await other.execute("SELECT FROM fleet_alert FOR UPDATE")
            with pytest.raises(Busy, match="try again"):
                await store.delete(connection, TENANT, made.rule.rule_id, LATER)
        await store.delete(connection, TENANT, made.rule.rule_id, LATER)
        closed = await rows(connection, "SELECT status, close_reason, closed_at FROM fleet_alert")
        assert closed == [("CLOSED", "rule_deleted", LATER.now)]


async def test_a_rule_that_is_not_there_is_marked_without_a_word(database: Database) -> None:
    async with ingest(database) as connection:
        await in_force.mark_error(connection, TENANT, uuid4(), 1, "gone", NOW)
        assert await rows(connection, "SELECT count(*) FROM alert_rules WHERE error IS NOT NULL") == [(0,)]
