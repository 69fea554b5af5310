"""Alerts as people see them: the list with its filters, orders and pages, the counts, one alert, its timeline."""

from datetime import UTC, datetime, timedelta
from itertools import chain
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from appliance.alerts import store
from appliance.alerts.alert import AlertType, Status
from appliance.alerts.maintenance.book import ActiveScopes
from appliance.alerts.store import AlertCounts, AlertFilter, AlertPosition, AlertSort, AlertTab
from appliance.alerts.timeline import MAX_ENTRIES, TimelineKind, timeline
from appliance.db.audit import ActorKind
from appliance.errors import NotFound
from appliance.severity import Severity
from tests.support.alerts import OPENED_AT, add_alert, add_alerts, add_rule, insert_event
from tests.support.pipeline import arrange
from tests.support.postgres_server import Database
from tests.support.tenants import customer, ingest

NOW = OPENED_AT + timedelta(hours=1)
SOON, BEFORE = NOW + timedelta(minutes=1), NOW - timedelta(minutes=1)
DEVICES = (
    "INSERT INTO tenants (created_at, updated_at, tenant_id) VALUES (now(), now(), 'acme')",
    """
    INSERT INTO sites (created_at, updated_at, tenant_id, site_id, name)
    VALUES (now(), now(), 'acme', 'north', 'North Pole')
    """,
    """
    INSERT INTO device_registry (tenant_id, device_id, site_id, name, place, status, created_at, updated_at)
    VALUES ('acme', 'd1', 'north', 'Zebra', 'Loading dock', 'INACTIVE', now(), now()),
      ('acme', 'd2', NULL, NULL, NULL, 'INACTIVE', now(), now())
    """,
)

EVERYTHING = AlertFilter("acme")
NONE = ActiveScopes.none()
"""No maintenance window is active."""


async def listed(
    database: Database, wanted: AlertFilter = EVERYTHING, sort: AlertSort = AlertSort.NEWEST, limit: int = 100
) -> list[int]:
    """The ids of all matching alerts, in order, read in pages of ``limit``."""
    found: list[int] = []
    after: AlertPosition | None = None
    async with ingest(database) as connection:
        while True:
            page = await store.page(
                connection, wanted, settled=NOW, maintenance=NONE, sort=sort, limit=limit, after=after
            )
            assert len(page.alerts) <= limit
            found += [one.alert.alert_id for one in page.alerts]
            after = page.next
            if after is None:
                return found


async def counted(database: Database, tenant_id: str | None = "acme") -> AlertCounts:
    async with ingest(database) as connection:
        return await store.counts(connection, tenant_id, settled=NOW, maintenance=NONE)


async def test_one_alert_comes_with_the_names_of_what_it_is_about(database: Database) -> None:
    arrange(database, *DEVICES)
    rule = add_rule(database, name="Freezer")
    alert_id = add_alert(database, site_id="north", rule_id=rule, severity="critical")
    async with ingest(database) as connection:
        one = await store.get(connection, "acme", alert_id)
    assert (one.device_name, one.device_place, one.site_name, one.rule_name) == (
        "Zebra",
        "Loading dock",
        "North Pole",
        "Freezer",
    )
    alert = one.alert
    assert (alert.alert_id, alert.status, alert.severity) == (alert_id, Status.OPEN, Severity.CRITICAL)
    assert (alert.alert_type, alert.details["value"], alert.created_at) == (AlertType.THRESHOLD, 9.5, OPENED_AT)
    assert (alert.close_reason, alert.closed_by, alert.inhibited_by, alert.due_at) == (None, None, None, OPENED_AT)


async def test_every_column_of_an_alert_arrives_in_its_field(database: Database) -> None:
    at = [OPENED_AT + timedelta(seconds=second) for second in range(8)]
    columns: dict[str, Any] = {
        "site_id": "s", "device_id": "d", "fingerprint": "f", "status": "CLOSED", "severity": "low", "summary": "words",
        "details": {"a": 1}, "created_at": at[0], "started_at": at[1], "last_triggered_at": at[2], "trigger_count": 7,
        "due_at": at[3], "past": True, "inhibited_by": 99, "acknowledged_at": at[4], "acknowledged_by": "ann",
        "silenced_until": at[5], "silenced_by": "bob", "silence_reason": "why", "closed_at": at[6], "closed_by": "eve",
        "close_reason": "closed",
    }  # fmt: skip
    alert_id = add_alert(database, **columns)
    async with ingest(database) as connection:
        alert = (await store.get(connection, None, alert_id)).alert
    assert {name: getattr(alert, name) for name in columns} == columns


async def test_an_alert_of_another_tenant_is_not_there(database: Database) -> None:
    alert_id, rival = add_alert(database), add_alert(database, "rival")
    async with ingest(database) as connection:
        with pytest.raises(NotFound, match=str(rival)):
            await store.get(connection, "acme", rival)
        with pytest.raises(NotFound):
            await store.get(connection, "acme", alert_id + 1000)
        assert (await store.get(connection, None, rival)).alert.tenant_id == "rival"
    async with customer(database, "acme") as connection:
        with pytest.raises(NotFound):
            await store.get(connection, None, rival)
        assert await timeline(connection, "rival", rival) == []
    assert await listed(database, AlertFilter("rival")) == [rival]


async def test_each_alert_is_in_one_tab_and_in_all(database: Database) -> None:
    ids = {
        AlertTab.OPEN: [
            add_alert(database),
            add_alert(database, silenced_until=BEFORE),
            add_alert(database, silenced_until=NOW),
        ],
        AlertTab.ACKNOWLEDGED: [add_alert(database, status="ACKNOWLEDGED")],
        AlertTab.SILENCED: [
            add_alert(database, silenced_until=SOON),
            add_alert(database, status="ACKNOWLEDGED", silenced_until=SOON),
        ],
        AlertTab.INHIBITED: [
            add_alert(database, inhibited_by=1),
            add_alert(database, inhibited_by=1, silenced_until=SOON),
        ],
        AlertTab.CLOSED: [
            add_alert(database, status="CLOSED", silenced_until=SOON),
            add_alert(database, status="CLOSED", inhibited_by=1),
        ],
    }
    for tab, expected in ids.items():
        assert sorted(await listed(database, AlertFilter("acme", tab))) == expected, tab
        async with ingest(database) as connection:
            shown = [await store.get(connection, "acme", alert_id) for alert_id in expected]
        assert {one.tab(settled=NOW) for one in shown} == {tab}
    assert sorted(await listed(database)) == sorted(chain.from_iterable(ids.values()))
    counts = await counted(database)
    assert {tab: counts.of(tab) for tab in counts.by_tab} == {
        tab: len(expected) for tab, expected in ids.items() if tab is not AlertTab.CLOSED
    }
    assert (counts.open, counts.unclosed) == (3, 8)
    async with ingest(database) as connection:
        assert await store.count_closed(connection, "acme") == 2
        assert await store.count_closed(connection, "rival") == 0


async def test_filters_narrow_and_several_values_widen(database: Database) -> None:
    arrange(database, *DEVICES)
    rule = add_rule(database, name="Ammonia")
    a = add_alert(database, site_id="north", severity="critical")
    b = add_alert(database, device_id="d2", alert_type="NO_HEARTBEAT", summary="No heartbeat", created_at=BEFORE)
    c = add_alert(
        database, rule_id=rule, device_id=None, status="CLOSED", severity="info", inhibited_by=a, site_id="south"
    )
    for wanted, expected in (
        (AlertFilter("acme", statuses=(Status.OPEN,)), [b, a]),
        (AlertFilter("acme", statuses=(Status.CLOSED, Status.OPEN)), [b, c, a]),
        (AlertFilter("acme", severities=(Severity.CRITICAL, Severity.INFO)), [c, a]),
        (AlertFilter("acme", types=(AlertType.NO_HEARTBEAT,)), [b]),
        (AlertFilter("acme", device_id="d2"), [b]),
        (AlertFilter("acme", sites=("north", "south")), [c, a]),
        (AlertFilter("acme", sites=("",)), [b]),
        (AlertFilter("acme", rule_id=rule), [c]),
        (AlertFilter("acme", rule_id=uuid4()), []),
        (AlertFilter("acme", inhibited_by=a), [c]),
        (AlertFilter("acme", since=BEFORE), [b]),
        (AlertFilter("acme", until=BEFORE), [c, a]),
        (AlertFilter("acme", search="ZEBRA temperature"), [a]),
        (AlertFilter("acme", search="loading pole"), [a]),
        (AlertFilter("acme", search="ammonia"), [c]),
        (AlertFilter("acme", search="d2"), [b]),
        (AlertFilter("acme", search="100%"), []),
        (AlertFilter("acme", search="\0"), [b, c, a]),
        (AlertFilter("rival"), []),
        (AlertFilter(None), [b, c, a]),
    ):
        assert await listed(database, wanted) == expected, wanted


@pytest.mark.parametrize("limit", [1, 2, 100])
async def test_every_order_is_kept_over_pages(database: Database, limit: int) -> None:
    arrange(database, *DEVICES)
    at = [OPENED_AT + timedelta(minutes=minute) for minute in range(5)]
    newest = add_alert(database, created_at=at[4], severity="low", device_id="d2")
    first = add_alert(database, created_at=at[0], severity="critical")
    twin = add_alert(database, created_at=at[0], severity="critical", device_id=None)
    middle = add_alert(database, created_at=at[2], severity="high", device_id="d1")
    worst = add_alert(database, created_at=at[3], severity="critical", device_id="a-unknown")
    for sort, expected in (
        (AlertSort.NEWEST, [newest, worst, middle, twin, first]),
        (AlertSort.OLDEST, [first, twin, middle, worst, newest]),
        (AlertSort.SEVERITY, [first, twin, worst, middle, newest]),
        (AlertSort.DEVICE, [worst, newest, middle, first, twin]),
    ):
        assert await listed(database, sort=sort, limit=limit) == expected, sort


async def test_the_list_by_time_reads_an_index(database: Database) -> None:
    """Closed alerts gather over years: the newest page must not cost what they all do."""
    add_alert(database)
    arrange(
        database,
        """
        INSERT INTO fleet_alert (tenant_id, alert_type, fingerprint, status, severity, summary, created_at, started_at,
          last_triggered_at, due_at, closed_at, close_reason)
        SELECT 'acme', 'SYSTEM', n::text, 'CLOSED', 'low', 's', at, at, at, at, at, 'cleared'
        FROM generate_series(1, 20000) AS n,
          LATERAL (SELECT '2026-01-01Z'::timestamptz + n * interval '1 min' AS at) AS t
        """,
        "ANALYZE fleet_alert",
    )
    statement = f"EXPLAIN {store.STATEMENTS['list_alerts']}"
    parameters = store._filter_parameters(AlertFilter("acme")) | {
        "settled": NOW, "ascending": False, "limit": 51, "after_key": "", "after_at": NOW, "after_id": 7,
    }  # fmt: skip
    with psycopg.connect(database.conninfo()) as connection:
        plan = connection.execute(
            statement.encode(), parameters | NONE.parameters() | {"sort": "newest"}, prepare=False
        ).fetchall()
        assert "Index Scan using fleet_alert_created" in str(plan)
        assert "Sort" not in str(plan)


async def test_counts_name_the_worst_that_waits(database: Database) -> None:
    assert (await counted(database)).worst is None
    add_alert(database, severity="critical", status="ACKNOWLEDGED")
    add_alerts(database, 2, severity="medium")
    add_alert(database, "rival", severity="high")
    counts = await counted(database)
    assert counts.worst is Severity.MEDIUM
    assert counts.by_tab[AlertTab.OPEN] == dict.fromkeys(Severity, 0) | {Severity.MEDIUM: 2}
    assert (await counted(database, None)).open == 3
    async with customer(database, "acme") as connection:
        assert (await store.counts(connection, None, settled=NOW, maintenance=NONE)).open == 2, "row-level security"


async def test_the_timeline_is_newest_first_and_says_who(database: Database) -> None:
    alert_id = add_alert(database)
    with psycopg.connect(database.conninfo()) as connection:
        insert_event(connection, alert_id, "silenced", at=NOW, actor="ann@acme.example", note="works", until="tomorrow")
    async with customer(database, "acme") as reading:
        silenced, opened = await timeline(reading, "acme", alert_id)
    assert (silenced.kind, silenced.actor, silenced.actor_kind, silenced.note) == (
        TimelineKind.SILENCED,
        "ann@acme.example",
        ActorKind.USER,
        "works",
    )
    assert silenced.details == {"until": "tomorrow"}
    assert (opened.kind, opened.actor, opened.actor_kind, opened.at) == (TimelineKind.OPENED, None, None, OPENED_AT)


async def test_a_long_timeline_keeps_its_newest_entries(database: Database) -> None:
    alert_id = add_alert(database)
    arrange(
        database,
        "INSERT INTO alert_events (tenant_id, alert_id, at, kind)"
        f" SELECT 'acme', {alert_id}, now(), 'updated' FROM generate_series(1, {MAX_ENTRIES})",
    )
    async with ingest(database) as connection:
        entries = await timeline(connection, "acme", alert_id)
    assert {entry.kind for entry in entries} == {TimelineKind.UPDATED}
    assert len(entries) == MAX_ENTRIES


def test_every_kind_of_entry_is_one_that_the_table_allows(database: Database) -> None:
    alert_id = add_alert(database)
    with psycopg.connect(database.conninfo()) as connection:
        for kind in TimelineKind:
            insert_event(connection, alert_id, kind.value, at=datetime.now(UTC))
        with pytest.raises(psycopg.errors.CheckViolation):
            insert_event(connection, alert_id, "thought about")
