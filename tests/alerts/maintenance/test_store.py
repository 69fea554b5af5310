"""Windows as people make, change, end and delete them."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from appliance.alerts.maintenance import store
from appliance.alerts.maintenance.store import MAX_WINDOWS
from appliance.alerts.maintenance.validation import length_until
from appliance.alerts.maintenance.window import Coverage, Schedule, Weekly, WindowDraft
from appliance.db.change_context import ChangeContext
from appliance.db.trio_psycopg import Connection
from appliance.devices import sites
from appliance.devices.device import NewDevice
from appliance.devices.seats import changes
from appliance.devices.sites import Site
from appliance.errors import Conflict, Invalid, NotFound
from tests.alerts.maintenance.windows import EVERY_DAY, once, weekly
from tests.support.postgres_server import Database
from tests.support.tenants import BY, GRACE, LATER, NOW, TENANT, add_tenant, customer, ingest, issue_tenant, rows, sell

AUDIT = "SELECT action, object_id, before, after FROM audit_log WHERE object_type = 'maintenance' ORDER BY id"
TONIGHT = once("2026-11-23T22:00", "2026-11-24T02:00")
SUNDAYS = weekly("sun", "22:00", 240)


@pytest.fixture
async def connection(database: Database) -> AsyncIterator[Connection[Any]]:
    """A tenant in Oslo with a site in St. John's, one without a zone, and three devices."""
    async with ingest(database) as opened:
        await issue_tenant(opened, time_zone="Europe/Oslo")
        await sell(opened, 5)
        await sites.create(opened, TENANT, Site("quay", "The quay", "America/St_Johns"), BY)
        await sites.create(opened, TENANT, Site("roof"), BY)
        for new in (NewDevice("q-1", "quay", tags=("wash",)), NewDevice("q-2", "quay"), NewDevice("r-1", "roof")):
            await changes.create(opened, TENANT, new, BY, grace=GRACE)
        yield opened


def draft(
    schedule: Schedule = SUNDAYS, *, zone: str | None = None, name: str = "Cleaning", **covers: Any
) -> WindowDraft:
    return WindowDraft(name, "", Coverage(**covers), schedule, zone)


def at(text: str) -> ChangeContext:
    moment = datetime.fromisoformat(text)
    return replace(BY, now=moment, settled=moment)


@pytest.mark.parametrize(
    ("covers", "zone"),
    [
        ({"site_ids": ("quay",)}, "America/St_Johns"),
        ({"site_ids": ("roof",)}, "Europe/Oslo"),
        ({}, "Europe/Oslo"),
        ({"site_ids": ("quay", "roof")}, "Europe/Oslo"),
        ({"site_ids": ("quay",), "tags": ("wash",)}, "Europe/Oslo"),
        ({"device_ids": ("q-1",)}, "Europe/Oslo"),
    ],
)
async def test_the_zone_is_that_of_the_only_site_else_the_tenants(
    connection: Connection[Any], covers: dict[str, Any], zone: str
) -> None:
    made = await store.create(connection, TENANT, draft(**covers), BY)
    assert made.time_zone == zone
    assert (await store.create(connection, TENANT, draft(zone="Asia/Tokyo", **covers), BY)).time_zone == "Asia/Tokyo"


async def test_a_window_is_read_as_it_was_made(connection: Connection[Any]) -> None:
    for schedule in (TONIGHT, SUNDAYS, weekly(EVERY_DAY, "07:15", 30, until="2027-03-01")):
        wanted = WindowDraft("Wash", "Hall 2", Coverage(("quay",), ("wash", "wet"), ("r-1",)), schedule)
        made = await store.create(connection, TENANT, wanted, BY)
        assert (made.name, made.reason, made.coverage, made.schedule) == ("Wash", "Hall 2", wanted.coverage, schedule)
        assert (made.created_by, made.created_at, made.version) == (BY.actor.name, NOW, NOW)
        assert await store.get(connection, TENANT, made.window_id) == made
    assert len(await store.of_tenant(connection, TENANT)) == 3


async def test_each_change_is_audited_with_what_differs(connection: Connection[Any]) -> None:
    made = await store.create(connection, TENANT, draft(SUNDAYS, site_ids=("quay",)), BY)
    wanted = replace(draft(weekly("sat", "22:00", 240), zone="America/St_Johns"), name="Wash")
    await store.change(connection, TENANT, made.window_id, wanted, LATER, version=made.version)
    await store.delete(connection, TENANT, made.window_id, LATER)
    key, times = str(made.window_id), {"kind": "weekly", "start_time": "22:00:00", "length_minutes": 240}
    assert await rows(connection, AUDIT) == [
        ("maintenance.create", key, None, {"name": "Cleaning", "site_ids": ["quay"], "weekdays": ["sun"], **times,
                                           "time_zone": "America/St_Johns"}),
        ("maintenance.update", key, {"name": "Cleaning", "site_ids": ["quay"], "weekdays": ["sun"]},
         {"name": "Wash", "weekdays": ["sat"]}),
        ("maintenance.delete", key, {"name": "Wash", "weekdays": ["sat"], **times,
                                "time_zone": "America/St_Johns"}, None),
    ]  # fmt: skip


async def test_a_change_that_changes_nothing_writes_nothing(connection: Connection[Any]) -> None:
    made = await store.create(connection, TENANT, draft(), BY)
    assert await store.change(connection, TENANT, made.window_id, draft(), LATER) == made
    assert len(await rows(connection, AUDIT)) == 1


async def test_the_second_of_two_editors_is_told(connection: Connection[Any]) -> None:
    made = await store.create(connection, TENANT, draft(), BY)
    changed = await store.change(connection, TENANT, made.window_id, draft(name="A"), BY, version=made.version)
    assert changed.version > made.version, "at the same instant, too"
    with pytest.raises(Conflict, match="changed by someone else"):
        await store.change(connection, TENANT, made.window_id, draft(name="B"), LATER, version=made.version)


async def test_one_that_is_ended_starts_again_only_if_it_is_weekly_or_gets_other_times(
    connection: Connection[Any],
) -> None:
    during = at("2026-11-23T22:30:00+01:00")
    tonight = await store.create(connection, TENANT, draft(TONIGHT), BY)
    with pytest.raises(Conflict, match="not active now"):
        await store.end(connection, TENANT, tonight.window_id, BY)
    ended = await store.end(connection, TENANT, tonight.window_id, during)
    assert ended.ended_at == during.now.timestamp()
    with pytest.raises(Conflict, match="not active now"):
        await store.end(connection, TENANT, tonight.window_id, during)
    assert await store.not_over(connection, [TENANT], during.now) == []
    renamed = await store.change(connection, TENANT, tonight.window_id, draft(TONIGHT, name="Other"), during)
    assert renamed.ended_at == ended.ended_at
    tomorrow = draft(once("2026-11-24T22:00", "2026-11-25T02:00"))
    again = await store.change(connection, TENANT, tonight.window_id, tomorrow, during)
    assert again.ended_at is None
    assert await store.not_over(connection, [TENANT], during.now) == [again]
    actions = [action for action, *_ in await rows(connection, AUDIT)]
    assert actions == ["maintenance.create", "maintenance.end", "maintenance.update", "maintenance.update"]


async def test_what_is_not_there_or_is_anothers_is_not_found(connection: Connection[Any], database: Database) -> None:
    made = await store.create(connection, TENANT, draft(), BY)
    await add_tenant(connection, "other")
    for tenant_id, window_id in ((TENANT, uuid4()), ("other", made.window_id)):
        await nothing_there(connection, tenant_id, window_id)
    async with customer(database, "other") as walled:
        assert await store.of_tenant(walled, TENANT) == []
        await nothing_there(walled, TENANT, made.window_id)
    with pytest.raises(NotFound):
        await store.create(connection, "nobody", draft(), BY)
    assert await store.of_tenant(connection, TENANT) == [made]


async def nothing_there(connection: Connection[Any], tenant_id: str, window_id: UUID) -> None:
    with pytest.raises(NotFound):
        await store.get(connection, tenant_id, window_id)
    with pytest.raises(NotFound):
        await store.change(connection, tenant_id, window_id, draft(), LATER)
    with pytest.raises(NotFound):
        await store.end(connection, tenant_id, window_id, LATER)
    with pytest.raises(NotFound):
        await store.delete(connection, tenant_id, window_id, LATER)


@pytest.mark.parametrize(
    ("wanted", "field"),
    [
        (draft(name=""), "name"),
        (draft(name="x" * 129), "name"),
        (draft(name="a\nb"), "name"),
        (replace(draft(), reason="x" * 513), "reason"),
        (replace(draft(), reason="a\x00"), "reason"),
        (draft(zone="Mars/Olympus"), "time_zone"),
        (draft(zone="../../etc/passwd"), "time_zone"),
        (draft(site_ids=("nowhere",)), "site_ids"),
        (draft(site_ids=("a\0b",)), "site_ids"),
        (draft(device_ids=("q-1", "q-9")), "device_ids"),
        (draft(device_ids=("../x",)), "device_ids"),
        (draft(tags=("",)), "tags"),
        (draft(tags=("x\0",)), "tags"),
        (draft(tags=tuple(map(str, range(201)))), "tags"),
        (draft(once("2026-12-02T08:00", "2026-12-02T08:00")), "ends"),
        (draft(once("2026-12-02T08:00", "2026-12-01T08:00")), "ends"),
        (draft(once("2026-11-20T08:00", "2026-11-23T13:00")), "ends"),
        (draft(once("0001-01-01T00:00", "0001-01-02T00:00")), "ends"),
        (draft(once("9999-12-30T00:00", "9999-12-31T23:59")), "starts"),
        (draft(once("2026-12-01T00:00", "2028-01-01T00:00")), "ends"),
        (draft(once("2026-12-01T00:00:30", "2026-12-02T00:00")), "starts"),
        (draft(once("2026-12-01T00:00+01:00", "2026-12-02T00:00+01:00")), "starts"),
        (draft(weekly("", "22:00", 60)), "weekdays"),
        (draft(weekly("mon", "22:00:01", 60)), "start_time"),
        (draft(weekly("mon", "22:00+01:00", 60)), "start_time"),
        (draft(weekly("mon", "22:00", 0)), "length_minutes"),
        (draft(weekly("mon", "22:00", 10_081)), "length_minutes"),
        (draft(weekly("mon", "22:00", 10_080)), "weekdays"),
        (draft(weekly(EVERY_DAY, "00:00", 1440)), "weekdays"),
        (draft(weekly("mon tue", "22:00", 1441)), "weekdays"),
        (draft(weekly("mon sun", "22:00", 1441)), "weekdays"),
        (draft(weekly("mon", "22:00", 60, until="2026-11-22")), "until"),
        (draft(weekly("sun", "22:00", 60, until="2026-11-28")), "until"),
        (draft(weekly("sun", "22:00", 60, until="9999-12-31")), "until"),
    ],
)  # fmt: skip
async def test_what_cannot_be_names_its_field(connection: Connection[Any], wanted: WindowDraft, field: str) -> None:
    with pytest.raises(Invalid) as refused:
        await store.create(connection, TENANT, wanted, BY)
    assert refused.value.field == field
    assert str(refused.value).endswith(".")
    assert await store.of_tenant(connection, TENANT) == []


async def test_what_just_fits_is_taken(connection: Connection[Any]) -> None:
    for schedule in (
        weekly("mon tue", "22:00", 1440),
        weekly("sun", "22:00", 10_079),
        weekly("mon", "13:30", 60, until="2026-11-23"),
        once("2026-11-20T08:00", "2026-11-23T13:01"),
        once("2026-12-01T00:00", "2027-12-02T00:00"),
    ):
        await store.create(connection, TENANT, draft(schedule), BY)


async def test_what_a_window_names_may_be_gone_when_it_is_edited(connection: Connection[Any]) -> None:
    made = await store.create(connection, TENANT, draft(device_ids=("r-1",), site_ids=("roof",)), BY)
    await changes.delete(connection, TENANT, "r-1", BY, keep_history=True)
    await sites.delete(connection, TENANT, "roof", BY)
    wanted = draft(device_ids=("r-1",), site_ids=("roof",), name="Still")
    assert (await store.change(connection, TENANT, made.window_id, wanted, LATER)).name == "Still"
    with pytest.raises(Invalid, match="no device q-9"):
        await store.change(connection, TENANT, made.window_id, draft(device_ids=("r-1", "q-9")), LATER)


async def test_the_times_of_one_that_is_over_may_stay(connection: Connection[Any]) -> None:
    made = await store.create(connection, TENANT, draft(TONIGHT), BY)
    long_after = at("2026-12-24T12:00:00+01:00")
    assert (
        await store.change(connection, TENANT, made.window_id, draft(TONIGHT, name="Old"), long_after)
    ).name == "Old"
    with pytest.raises(Invalid, match="in the past"):
        await store.change(
            connection, TENANT, made.window_id, draft(once("2026-11-23T22:00", "2026-11-24T03:00")), long_after
        )


async def test_a_tenant_has_a_limit(connection: Connection[Any]) -> None:
    made = await store.create(connection, TENANT, draft(), BY)
    await connection.execute(
        "INSERT INTO maintenance_windows (tenant_id, name, kind, weekdays, start_time, length_minutes, time_zone,"
        " created_at, created_by, updated_at) SELECT tenant_id, name, kind, weekdays, start_time, length_minutes,"
        " time_zone, created_at, created_by, updated_at FROM maintenance_windows, generate_series(2, %s)",
        [MAX_WINDOWS],
    )
    with pytest.raises(Conflict, match="at most 1,000 maintenance windows"):
        await store.create(connection, TENANT, draft(), BY)
    await store.delete(connection, TENANT, made.window_id, BY)
    await store.create(connection, TENANT, draft(), BY)


async def test_the_devices_that_are_covered_are_counted(connection: Connection[Any]) -> None:
    expected = {}
    for covers, count in (
        (Coverage(), 3),
        (Coverage(("quay",)), 2),
        (Coverage(("roof",), ("wash",)), 2),
        (Coverage(device_ids=("q-1", "q-2")), 2),
        (Coverage(tags=("nothing",)), 0),
    ):
        assert await store.count_covered(connection, TENANT, covers) == count
        made = await store.create(connection, TENANT, replace(draft(), coverage=covers), BY)
        expected[made.window_id] = count
    assert await store.counts_of(connection, await store.of_tenant(connection, TENANT)) == expected


async def test_what_is_long_over_is_deleted(connection: Connection[Any]) -> None:
    kept = await store.create(connection, TENANT, draft(), BY)
    await store.create(connection, TENANT, draft(TONIGHT), BY)
    over = datetime(2026, 11, 24, 1, tzinfo=UTC)
    assert await store.delete_over(connection, over) == 0
    assert await store.delete_over(connection, over + timedelta(seconds=1)) == 1
    assert await store.of_tenant(connection, TENANT) == [kept]


def test_an_end_that_is_not_later_is_on_the_next_day() -> None:
    for days, start, end, length in (
        ("mon", "22:00", "06:00", 480), ("mon", "07:15", "07:45", 30), ("mon", "08:00", "08:00", 1440),
    ):  # fmt: skip
        begins, ends = weekly(days, start, 1), weekly(days, end, 1)
        assert isinstance(begins, Weekly)
        assert length_until(begins.start_time, ends.start_time) == length
