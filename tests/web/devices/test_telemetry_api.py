"""``/customer/devices/{device_id}/telemetry``, and the chart that the device's page makes of the same."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from appliance.people.role import Role
from tests.support.pipeline import arrange
from tests.support.postgres_server import Database
from tests.support.rollups import roll
from tests.support.tenants import TENANT, add_tenant, announce, ingest, sell
from tests.support.web.api_caller import calling, dashboard

PATH = "/customer/devices/d-1/telemetry"
BEGIN = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(hours=5)
SPAN = {"from": BEGIN.isoformat(), "to": (BEGIN + timedelta(hours=1)).isoformat()}


async def prepare(database: Database) -> None:
    """Two tenants, each with a device of the same name; that of TENANT has readings."""
    async with ingest(database) as connection:
        for tenant in (TENANT, "rival"):
            await add_tenant(connection, tenant)
            await sell(connection, 5, tenant_id=tenant, now=BEGIN - timedelta(days=1))
        await announce(connection, "d-1")
        await announce(connection, "d-1", tenant_id="rival")
    arrange(
        database,
        f"SELECT telemetry_ensure_partitions('{BEGIN.date() - timedelta(1)}', '{BEGIN.date() + timedelta(1)}')",
        "INSERT INTO telemetry (tenant_id, device_id, kind, ts, digest, received_at, ts_adjusted, late, metrics)"
        f" SELECT '{TENANT}', 'd-1', 'telemetry', '{BEGIN.isoformat()}'::timestamptz + n * interval '1 min', n, now(),"
        " false, false, jsonb_build_object('temperature', n - 10) FROM generate_series(0, 59) AS n",
    )


async def test_a_metric_is_told_in_steps(database: Database) -> None:
    await prepare(database)
    async with dashboard(database) as served, calling(served, database, Role.VIEWER) as viewer:
        answer = await viewer.ask("GET", PATH, params={"metric": "temperature", "points": 6, **SPAN})
        assert {name: answer[name] for name in ("device_id", "label", "unit", "step", "source", "gaps")} == {
            "device_id": "d-1",
            "label": "Temperature",
            "unit": "°C",
            "step": 600,
            "source": "readings",
            "gaps": [],
        }
        assert [(point["readings"], point["mean"], point["low"], point["high"]) for point in answer["points"][:2]] == [
            (10, -5.5, -10, -1),
            (10, 4.5, 0, 9),
        ]
        assert datetime.fromisoformat(answer["points"][1]["at"]) == BEGIN + timedelta(minutes=10)
        whole = await viewer.ask("GET", PATH, params={"metric": "temperature"})
        assert sum(point["readings"] for point in whole["points"]) == 60
        year = await viewer.ask("GET", PATH, params={"metric": "temperature", "range": "1y"})
        assert year["source"] == "hourly"


async def test_the_same_is_told_as_csv(database: Database) -> None:
    await prepare(database)
    async with dashboard(database) as served, calling(served, database) as admin:
        asked = {"metric": "temperature", "points": "6", **SPAN}
        by_header = await admin.raw("GET", PATH, params=asked, headers={"Accept": "text/csv"})
        by_name = await admin.raw("GET", PATH, params={**asked, "format": "csv"})
        assert by_header.content == by_name.content
        assert by_name.headers["content-type"] == "text/csv; charset=utf-8"
        assert 'attachment; filename="d-1-temperature-' in by_name.headers["content-disposition"]
        lines = by_name.content.decode("utf-8-sig").splitlines()
        assert by_name.content.startswith(b"\xef\xbb\xbf")
        assert lines[0].startswith("time,readings,temperature mean (°C),")
        assert lines[1].endswith(",10,-5.5,-10.0,-1.0")
        assert len(lines) == 7


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        ({}, "metric"),
        ({"metric": "1;drop"}, "metric"),
        ({"points": "0"}, "points"),
        ({"points": "1000000"}, "points"),
        ({"points": "NaN"}, "points"),
        ({"from": "x"}, "from"),
        ({"from": "2026-01-02", "to": "2026-01-01"}, "from"),
        ({"from": "1970-01-03", "to": "2099-01-01"}, "from"),
        ({"to": "x\0"}, "to"),
        ({"range": "5m"}, "range"),
        ({"format": "xlsx"}, "format"),
    ],
)
async def test_bad_questions_are_refused_by_their_field(database: Database, asked: dict[str, str], field: str) -> None:
    await prepare(database)
    async with dashboard(database) as served, calling(served, database) as admin:
        parameters = asked if field == "metric" else {"metric": "temperature", **asked}
        answer: Any = await admin.ask("GET", PATH, 400, params=parameters)
        assert answer["field"] == field


async def test_another_tenants_device_is_not_there_and_an_equal_name_shows_ones_own(database: Database) -> None:
    await prepare(database)
    async with dashboard(database) as served:
        async with calling(served, database, Role.ADMIN, "rival") as rival:
            assert (await rival.ask("GET", PATH, params={"metric": "temperature", **SPAN}))["points"] == []
            await rival.ask("GET", "/customer/devices/nobody/telemetry", 404, params={"metric": "temperature"})
        async with calling(served, database, Role.OPERATOR) as operator:
            await operator.ask("GET", PATH, 400, params={"metric": "temperature"})
            answer = await operator.ask("GET", PATH, params={"metric": "temperature", "tenant": TENANT, **SPAN})
            assert len(answer["points"]) == 60


HALF_HOURS = (
    "INSERT INTO telemetry (tenant_id, device_id, kind, ts, digest, received_at, ts_adjusted, late, metrics)"
    f" SELECT '{TENANT}', 'd-1', 'telemetry', at, extract(epoch FROM at), at, false, false,"
    " jsonb_build_object('temperature', 1)"
    " FROM generate_series('{first}'::timestamptz, '{last}'::timestamptz, '30 min') AS at"
)


async def prepare_zone(database: Database, zone: str, first: datetime, last: datetime) -> None:
    """Give a tenant in a zone a device with a reading at each half of an hour."""
    async with ingest(database) as connection:
        await add_tenant(connection, TENANT)
        await sell(connection, 5, now=first)
        await announce(connection, "d-1")
    arrange(
        database,
        f"UPDATE tenants SET time_zone = '{zone}' WHERE tenant_id <> 'appliance'",
        f"SELECT telemetry_ensure_partitions('{first.date()}', '{last.date()}')",
        HALF_HOURS.format(first=first.isoformat(), last=last.isoformat()),
        "INSERT INTO telemetry_marks (tenant_id, device_id, hour, marked_at)"
        " SELECT DISTINCT tenant_id, device_id, date_trunc('hour', ts, 'UTC'), now() FROM telemetry",
    )


async def test_a_day_on_which_the_clock_is_changed_is_a_day(database: Database) -> None:
    first = datetime(2026, 10, 30, tzinfo=UTC)
    await prepare_zone(database, "America/New_York", first, first + timedelta(days=7))
    await roll(database)
    asked = {"metric": "temperature", "from": "2026-10-31", "to": "2026-11-04", "points": 5}
    async with dashboard(database) as served, calling(served, database) as admin:
        answer = await admin.ask("GET", PATH, params=asked)
        rows = (await admin.raw("GET", PATH, params={**asked, "format": "csv"})).text.splitlines()[1:]
    assert (answer["source"], answer["step"]) == ("hourly", 86_400)
    assert [point["readings"] for point in answer["points"]] == [48, 50, 48, 48, 48]
    assert [row.split(",")[0] for row in rows] == [
        "2026-10-31T00:00:00-04:00",
        "2026-11-01T00:00:00-04:00",
        "2026-11-02T00:00:00-05:00",
        "2026-11-03T00:00:00-05:00",
        "2026-11-04T00:00:00-05:00",
    ]
    assert [point["until"] for point in answer["points"][:-1]] == [point["at"] for point in answer["points"][1:]]
